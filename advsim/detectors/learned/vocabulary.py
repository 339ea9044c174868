"""The words of the messages that a learned detector was trained on: of other talk, it gives no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from advsim.detectors.learned.inputs import Pieces
from advsim.models.embedder import FloatArray

_NAME = "vocabulary.ids"
_MORE = 10
"""Known word pieces that every message is taken to have besides: one rare word of three is no strange message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Word pieces that occur in a training message, sorted, shape (pieces,)."""

    ids: np.ndarray[tuple[int], np.dtype[np.int32]]

    @classmethod
    def of(cls, cases: Sequence[Pieces]) -> Vocabulary:
        """The word pieces of these messages."""
        seen = {piece for case in cases for piece in case.ids[case.num_context :]}
        return cls(ids=np.array(sorted(seen), dtype=np.int32))

    def novelty(self, cases: Sequence[Pieces]) -> FloatArray:
        """Share of each message's word pieces that no training message has, shape (cases,); 0 to below 1."""
        shares = []
        for case in cases:
            said = np.array(case.ids[case.num_context :], dtype=np.int32)
            num_new = int((~np.isin(said, self.ids)).sum())
            shares.append(num_new / (len(said) + _MORE))
        return np.array(shares, dtype=np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """The array, for a file of weights."""
        return {_NAME: torch.tensor(self.ids)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Vocabulary:
        """The vocabulary of a file of weights; takes its tensor out.

        Raises:
            KeyError: it is missing.
        """
        return cls(ids=tensors.pop(_NAME).numpy().astype(np.int32))
