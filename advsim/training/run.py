"""One training run from configuration to report: opens the run folder, starts Ray and the pools, runs the rounds."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from advsim.config import Config
from advsim.corpus.load import Corpus, load_corpus
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import Split
from advsim.report.run.page import write_report
from advsim.rollout.pool import RolloutPool
from advsim.run_folder.folder import MANIFEST, RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.reader import Run
from advsim.runtime.placement import Pools, pool_requests, start_ray
from advsim.runtime.progress import Reporter
from advsim.training.check import check_corpus
from advsim.training.discriminator.pool import ScorerPool
from advsim.training.held_out import HeldOut
from advsim.training.manifest import check_unchanged, manifest
from advsim.training.rounds import Training

REPORT = "report/index.html"


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
