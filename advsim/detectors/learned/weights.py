"""The files of a learned detector: ``weights.safetensors``, and ``detector.json`` with what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from advsim.detectors.learned.encoder import BASE
from advsim.detectors.learned.inputs import INPUTS_VERSION
from advsim.errors import ConfigError
from advsim.records import Visibility

WEIGHTS_FILE = "weights.safetensors"
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
        farthest: distance from the training messages beyond which a message is abstained from.
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
    farthest: Annotated[float, Field(gt=0.0)]
    known_modes: tuple[str, ...]
    models: tuple[ModeModel, ...]


def save_weights(folder: Path, description: Description, tensors: dict[str, Tensor]) -> None:
    """Write both files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / DESCRIPTION_FILE).write_text(description.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_weights(folder: Path) -> tuple[Description, dict[str, Tensor]]:
    """Read both files.

    Raises:
        ConfigError: a file is missing, cannot be read, is of another version, or holds numbers that are not finite.
    """
    remedy = "train the detector again"
    try:
        description = Description.model_validate_json((folder / DESCRIPTION_FILE).read_bytes())
        tensors = load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{error.filename or folder / WEIGHTS_FILE}: no such file; train the detector first"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{folder / DESCRIPTION_FILE}: {key}: {first['msg']}; {remedy}") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"{folder}: not a saved detector ({error}); {remedy}") from None
    if (description.inputs_version, description.base) != (INPUTS_VERSION, BASE):
        raise ConfigError(
            f"{folder}: trained on inputs of version {description.inputs_version} of {description.base}, this advsim "
            f"has {INPUTS_VERSION} of {BASE}; {remedy}"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ConfigError(f"{folder / WEIGHTS_FILE}: got numbers that are not finite; {remedy}")
    return description, tensors
