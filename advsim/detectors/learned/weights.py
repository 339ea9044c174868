"""The files of a learned detector: ``weights.safetensors``, and ``detector.json`` with what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from advsim.detectors import saved
from advsim.detectors.learned.encoder import BASE
from advsim.detectors.learned.inputs import INPUTS_VERSION
from advsim.records import Visibility

DESCRIPTION_FILE = "detector.json"

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ModeModel(BaseModel):
    """One output of the network.

    Its log-odds are ``slopes . (score of the encoder, score of the regression) + offset``, all of the description.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mode: str
    visibility: Visibility
    threshold: Share
    severity: Annotated[int, Field(ge=1, le=3)]
    """Median of the positives' severities: the model does not tell severities apart."""
    num_positive: int
    num_negative: int


class Description(BaseModel):
    """Contents of ``detector.json``.

    Attributes:
        slopes: of the encoder's score and of the regression's in the calibrated log-odds, the same for all modes.
        offset: of the log-odds.
        most_novel: share of word pieces that no training message has, beyond which a message is abstained from.
        known_modes: all modes of the taxonomy; those without a model are abstained from.
        models: the outputs in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["advsim-learned-detector"] = "advsim-learned-detector"
    inputs_version: int = INPUTS_VERSION
    base: str = BASE
    name: str
    slopes: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(ge=0.0)]]
    offset: float
    most_novel: Share
    known_modes: tuple[str, ...]
    models: tuple[ModeModel, ...]


def save_weights(folder: Path, description: Description, tensors: dict[str, Tensor]) -> None:
    """Write both files into a folder, which is made."""
    saved.save(folder, DESCRIPTION_FILE, description, tensors)


def load_weights(folder: Path) -> tuple[Description, dict[str, Tensor]]:
    """Read both files.

    Raises:
        ConfigError: a file is missing, cannot be read, is of another version, or holds numbers that are not finite.
    """
    return saved.load(
        folder,
        DESCRIPTION_FILE,
        Description,
        of_this_version={"inputs_version": INPUTS_VERSION, "base": BASE},
        remedy="train the detector again",
    )
