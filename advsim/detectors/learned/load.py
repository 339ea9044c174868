"""The learned detector, trained once on the labelled messages that ship."""

from __future__ import annotations

from pathlib import Path

from advsim.detectors.labelled import load_labelled
from advsim.detectors.learned.detector import LearnedDetector
from advsim.detectors.taxonomy import Taxonomy
from advsim.models.embedder import Embedder, MiniLmEmbedder


def load_learned(
    taxonomy: Taxonomy, *, folder: Path | None = None, embedder: Embedder | None = None
) -> LearnedDetector:
    """The detector saved in a folder, or else one trained now on the build part of the labelled messages that ship.

    Args:
        taxonomy: modes that can be learned; a detector from a folder keeps its own.
        folder: of :meth:`LearnedDetector.save`; None trains, which takes seconds.
        embedder: None is the one that ships.

    Raises:
        ConfigError: the folder holds no detector that can be used.
        CorpusError: the labelled messages name modes that the taxonomy lacks.
    """
    known = MiniLmEmbedder() if embedder is None else embedder
    if folder is not None:
        return LearnedDetector.load(folder, known)
    from advsim.detectors.learned.training import train_learned

    return train_learned(load_labelled("build", taxonomy=taxonomy), taxonomy=taxonomy, embedder=known)
