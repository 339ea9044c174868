"""What all sections share: strict keys and types, and a lower and an upper bound for every number."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

Flag = StrictBool
"""``true`` or ``false``, never ``yes``, ``1`` or a text."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
InnerFraction = Annotated[float, Field(gt=0.0, lt=1.0, strict=True)]
"""Neither end: a share that leaves both sides something."""
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Replicas = Annotated[int, Field(ge=1, le=10_000, strict=True)]
"""Actors or engines of one pool."""
Tokens = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
Seconds = Annotated[float, Field(ge=0.001, le=30 * 86_400.0, strict=True)]
"""A millisecond to thirty days."""
Epochs = Annotated[float, Field(gt=0.0, le=1_000.0, strict=True)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0, strict=True)]
WeightDecay = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
Cpus = Annotated[float, Field(ge=0.0, le=4_096.0, strict=True)]
"""Logical CPUs in Ray's sense."""


def _whole_above_one(value: float) -> float:
    if value > 1.0 and value != int(value):
        raise ValueError("a part of a GPU, or whole ones: Ray gives no fraction above 1")
    return value


Gpus = Annotated[float, Field(ge=0.0, le=1_024.0, strict=True), AfterValidator(_whole_above_one)]
Gib = Annotated[float, Field(ge=0.01, le=16_384.0, strict=True)]
Mib = Annotated[int, Field(ge=80, le=16_777_216, strict=True)]
"""Of an object store: Ray refuses one under 75 MiB."""


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("expected a name of visible characters on one line")
    return value.strip()


DisplayName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""A name that is shown in tables and pages."""
Seed = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
"""What numpy, torch and vLLM all take, with room for the seeds that are made of it."""


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
