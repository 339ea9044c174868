"""A probe that likes turns which the tiny model finds likely: known in advance, and cheap to have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from advsim.rollout.choice.probe import Probe
from advsim.rollout.choice.turn_reader import NUM_DEPTHS, STATISTICS


def likes_likely_turns(model: Path) -> dict[str, bytes]:
    """Files of a probe whose log-odds are a turn's mean log-probability."""
    width = int(json.loads((model / "config.json").read_text())["hidden_size"])
    weights = np.zeros(2 * NUM_DEPTHS * width + len(STATISTICS))
    weights[STATISTICS.index("mean log-probability") - len(STATISTICS)] = 1.0
    return Probe(weights, 0.0).files()
