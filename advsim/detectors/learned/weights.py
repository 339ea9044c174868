"""Weights of a learned detector, and their description in ``detector.json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from advsim.detectors.learned.inputs import NUM_COUNTS
from advsim.models.embedder import FloatArray
from advsim.records import Visibility

_MAX_SCALED = 4.0
"""Counts are cut at so many standard deviations: a message unlike any labelled one must not decide by its length."""
_COUNTS_WEIGHT = 0.25
"""Scale of the counts beside unit-length embeddings under one penalty; .15 to .4 were equal to .01 in AUC."""


class ModeModel(BaseModel):
    """Intercept, calibration and threshold of one mode; its weights are in :class:`Weights`.

    The probability is ``1 / (1 + exp(slope * score + offset))`` of the score ``weights . inputs + intercept``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mode: str
    visibility: Visibility
    intercept: float
    slope: float
    offset: float
    threshold: Annotated[float, Field(ge=0.0, le=1.0)]
    severity: Annotated[int, Field(ge=1, le=3)]
    """Median of the positives' severities: the model does not tell severities apart."""
    num_positive: int
    num_negative: int


class Description(BaseModel):
    """Contents of ``detector.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["advsim-learned-detector"] = "advsim-learned-detector"
    inputs_version: int
    name: str
    abstain_margin: Annotated[float, Field(ge=0.0, le=0.5)]
    known_modes: tuple[str, ...]
    """All modes of the taxonomy; those without a model are abstained from."""
    models: tuple[ModeModel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Arrays of a detector. ``M`` models, ``I`` inputs, ``C`` counts among them, the last ones."""

    weights_MI: FloatArray
    mean_C: FloatArray
    scale_C: FloatArray


def scale_counts(inputs_NI: FloatArray, mean_C: FloatArray, scale_C: FloatArray) -> FloatArray:
    """Inputs with their counts standardised, cut, and weighted against the embeddings; same shape."""
    counts_NC = np.clip((inputs_NI[:, -NUM_COUNTS:] - mean_C) / scale_C, -_MAX_SCALED, _MAX_SCALED)
    return np.hstack([inputs_NI[:, :-NUM_COUNTS], _COUNTS_WEIGHT * counts_NC])
