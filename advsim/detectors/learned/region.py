"""The region of the messages that a learned detector was trained on: beyond it, it gives no verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from advsim.models.embedder import FloatArray

NUM_COMPONENTS = 32
"""Directions in which the training messages differ most; what lies across them is one more."""

_LEAST = 0.01
"""Share of the variance that each direction has at least: few messages vary in few directions by chance."""

_NAMES = ("region.mean", "region.components", "region.scales")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where the mean word vectors of training messages lie. ``D`` dimensions, ``K`` components.

    The distance of a vector is Mahalanobis' (1936) along the first principal components, and the distance across them
    against its own scale, in one root mean square: about 1 for a training message.

    Attributes:
        mean_D: of the vectors.
        components_KD: principal directions, each of length 1.
        scales: standard deviations along the components, then the one across them, shape (K + 1,).
    """

    mean_D: FloatArray
    components_KD: FloatArray
    scales: FloatArray

    @classmethod
    def of(cls, vectors_ND: FloatArray) -> Region:
        """The region of these vectors, shape (messages, D); at least two messages."""
        mean_D = vectors_ND.mean(axis=0)
        _, strengths, directions = np.linalg.svd(vectors_ND - mean_D, full_matrices=False)
        num = min(NUM_COMPONENTS, len(vectors_ND) - 1)
        components_KD = directions[:num]
        across = strengths[num:] ** 2
        variances = np.append(strengths[:num] ** 2, across.sum()) / len(vectors_ND)
        least = _LEAST * variances.sum()
        return cls(mean_D=mean_D, components_KD=components_KD, scales=np.sqrt(np.maximum(variances, least)))

    def distances(self, vectors_ND: FloatArray) -> FloatArray:
        """Distance of each vector, shape (messages,)."""
        centred = vectors_ND - self.mean_D
        along_NK = centred @ self.components_KD.T
        across_N = np.sqrt(np.maximum((centred**2).sum(axis=1) - (along_NK**2).sum(axis=1), 0.0))
        parts = np.column_stack([along_NK, across_N]) / self.scales
        return np.asarray(np.sqrt((parts**2).mean(axis=1)), dtype=np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """The arrays, for a file of weights."""
        arrays = (self.mean_D, self.components_KD, self.scales)
        return {name: torch.tensor(array, dtype=torch.float32) for name, array in zip(_NAMES, arrays, strict=True)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Region:
        """The region of a file of weights; takes its tensors out.

        Raises:
            KeyError: one of them is missing.
        """
        mean_D, components_KD, scales = (tensors.pop(name).numpy().astype(np.float64) for name in _NAMES)
        return cls(mean_D=mean_D, components_KD=components_KD, scales=scales)
