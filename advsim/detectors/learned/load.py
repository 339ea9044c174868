"""The learned detector that ships, or one of the user's own."""

from __future__ import annotations

from pathlib import Path

from advsim.config.paths import local_path
from advsim.detectors.learned.detector import LearnedDetector

SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the weights that ship; ``advsim detectors train`` makes such a folder."""


def load_learned(folder: str | None = None) -> LearnedDetector:
    """The detector saved in a folder, or the one that ships.

    Raises:
        ConfigError: the folder holds no detector that can be used.
    """
    return LearnedDetector.load(SHIPPED if folder is None else local_path(folder, key="evaluate.weights"))
