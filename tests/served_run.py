"""A run folder with adapters on a tiny model, as a server reads it: no training is needed to have one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from advsim.config import Config, parse_config
from advsim.corpus.load import load_corpus
from advsim.models.adapter import adapter_sha256
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import adapter_folder, adapter_metrics, round_folder
from advsim.run_folder.reader import Run
from advsim.serve.plan import ServePlan, plan_serving


def write_served_run(location: Path, tiny_model: Path, *, num_rounds: int = 1, **sections: Any) -> Run:
    """A run with an SFT adapter and ``num_rounds`` rounds, whose weights are a few bytes: for scripted engines."""
    config = parse_config({"name": "made-up", "model": {"path": str(tiny_model)}, **sections})
    corpus = load_corpus(config.corpus)
    folder = RunDir(str(location))
    folder.write_json(
        "manifest.json",
        {"name": "made-up", "config": config.model_dump(mode="json"), "corpus": {"sha256": corpus.sha256}},
    )
    for version in range(num_rounds + 1):
        add_adapter(folder, version)
    return Run(folder)


def add_adapter(folder: RunDir, version: int) -> None:
    """One more finished round (0: SFT). A scripted engine is certain of every token, and so is its learner."""
    files = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": f"weights {version}".encode()}
    folder.write_files(adapter_folder(version), files)
    sha256 = adapter_sha256(folder.path / adapter_folder(version))
    folder.write_json(
        adapter_metrics(version), {"adapter_sha256": sha256, "canary_logprobs": [0.0] * num_canary_tokens(folder)}
    )
    if version:
        folder.write_json(f"{round_folder(version)}/metrics.json", {"round": version})


def num_canary_tokens(folder: RunDir) -> int:
    """Tokens of the canary of this run."""
    config = parse_config(Run(folder).config)
    return len(plan_of(folder, config, at="zero_shot").canary.completion_ids)


def plan_of(folder: RunDir, config: Config, *, at: str = "newest", best_of: int = 1) -> ServePlan:
    """The plan to serve a run."""
    return plan_serving(Run(folder), config, load_corpus(config.corpus), at=at, best_of=best_of)


def scripted_plan(run: Run, *replies: str, at: str = "newest", best_of: int = 1) -> ServePlan:
    """The plan to serve a run by engines that say these lines."""
    plan = plan_of(run.folder, parse_config(run.config), at=at, best_of=best_of)
    engine = dataclasses.replace(plan.spec.engine, kind="scripted", replies=replies)
    return dataclasses.replace(plan, spec=dataclasses.replace(plan.spec, engine=engine))


def add_trained_adapter(folder: RunDir, version: int, tiny_model: Path) -> None:
    """One more round with weights that an engine can load, and what the learner says of them."""
    from advsim.models.adapter import adapter_files, completion_logprobs, load_trainable

    config = parse_config(Run(folder).config)
    adapter = load_trainable(tiny_model, None, dtype="float32", lora=config.lora, seed=version)
    for name, weight in adapter.named_parameters():
        if "lora_B" in name:  # a fresh adapter changes nothing: its B is zero
            weight.data.normal_(std=0.3)
    files, sha256 = adapter_files(adapter)
    folder.write_files(adapter_folder(version), files)
    canary = plan_of(folder, config, at="zero_shot").canary
    folder.write_json(
        adapter_metrics(version),
        {"adapter_sha256": sha256, "canary_logprobs": list(completion_logprobs(adapter, canary))},
    )
    if version:
        folder.write_json(f"{round_folder(version)}/metrics.json", {"round": version})
