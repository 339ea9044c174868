"""A probe that likes turns which the tiny model finds likely: known in advance, and cheap to have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from advsim.rollout.choice.probe import Probe
from advsim.rollout.choice.turn_reader import NUM_DEPTHS, STATISTICS
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import discriminator_folder, round_folder


def likes_likely_turns(model: Path) -> dict[str, bytes]:
    """Files of a probe whose log-odds are a turn's mean log-probability."""
    width = int(json.loads((model / "config.json").read_text())["hidden_size"])
    weights = np.zeros(2 * NUM_DEPTHS * width + len(STATISTICS))
    weights[STATISTICS.index("mean log-probability") - len(STATISTICS)] = 1.0
    return Probe(weights, 0.0).files()


def add_probe(folder: RunDir, number: int, model: Path, *, auc_low: float | None = 0.7, slope: float = 1.0) -> None:
    """Let a round of a run have trained such a probe."""
    probe = Probe.of_files(likes_likely_turns(model)).times(slope)
    folder.write_files(discriminator_folder(number), probe.files())
    folder.write_json(f"{round_folder(number)}/discriminator.json", {"auc": 0.8, "auc_low": auc_low, "auc_high": 0.9})
