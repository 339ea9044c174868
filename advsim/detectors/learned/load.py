"""The learned detector that ships, or one of the user's own."""

from __future__ import annotations

from pathlib import Path

from advsim.config.paths import local_path
from advsim.detectors.learned.detector import LearnedDetector
from advsim.models.embedder import Embedder, LazyEmbedder

SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the weights that ship; ``advsim detectors train`` makes such a folder."""


def load_learned(folder: str | None = None, *, embedder: Embedder | None = None) -> LearnedDetector:
    """The detector saved in a folder, or the one that ships.

    Args:
        folder: of ``advsim detectors train``; None: the one that ships.
        embedder: the sentence encoder that ships, where somebody has loaded it; None: loaded when it is needed.

    Raises:
        ConfigError: the folder holds no detector that can be used.
    """
    path = SHIPPED if folder is None else local_path(folder, key="evaluate.weights")
    return LearnedDetector.load(path, LazyEmbedder(None) if embedder is None else embedder)
