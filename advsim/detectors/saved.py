"""Files of a trained detector: ``weights.safetensors``, and a JSON file with what they mean. Never a pickle.

torch is loaded when files are read or written, not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from advsim.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "weights.safetensors"

Description = TypeVar("Description", bound=BaseModel)


def save(folder: Path, name: str, description: BaseModel, tensors: dict[str, Tensor]) -> None:
    """Write both files into a folder, which is made.

    Args:
        folder: for the files.
        name: of the JSON file.
        description: its contents.
        tensors: the weights.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / name).write_text(description.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load(
    folder: Path, name: str, kind: type[Description], *, of_this_version: dict[str, object], remedy: str
) -> tuple[Description, dict[str, Tensor]]:
    """Read both files.

    Args:
        folder: with the files.
        name: of the JSON file.
        kind: of its contents.
        of_this_version: what some of the description's attributes must be.
        remedy: what to do where the files cannot be used.

    Raises:
        ConfigError: a file is missing, cannot be read, is of another version, or holds numbers that are not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description = kind.model_validate_json((folder / name).read_bytes())
        tensors = load_file(folder / WEIGHTS_FILE)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{error.filename or folder / WEIGHTS_FILE}: no such file; name another folder or {remedy}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{folder / name}: {key}: {first['msg']}; {remedy}") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"{folder}: not a saved detector ({error}); {remedy}") from None
    for key, expected in of_this_version.items():
        if (got := getattr(description, key)) != expected:
            raise ConfigError(f"{folder / name}: {key}: got {got}, this advsim has {expected}; {remedy}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ConfigError(f"{folder / WEIGHTS_FILE}: got numbers that are not finite; {remedy}")
    return description, tensors


def put_in_place(tensors: Mapping[str, Tensor], weights: Mapping[str, nn.Parameter], head: nn.Linear) -> None:
    """Add trained low-rank updates to a network's weights, and take the trained linear layer.

    Args:
        tensors: ``NAME.up`` and ``NAME.down`` of each weight, whose product is its update, and those of the head.
        weights: of the network, by name, shape (out, in).
        head: its linear layer.

    Raises:
        ValueError: names or shapes are others than this network's.
    """
    import torch

    parameters = dict(head.named_parameters())
    expected = {f"{name}.{side}" for name in weights for side in ("up", "down")} | {
        f"head.{name}" for name in parameters
    }
    if set(tensors) != expected:
        raise ValueError(f"got tensors {sorted(set(tensors) ^ expected)[:3]} too many or too few")
    with torch.no_grad():
        for name, weight in weights.items():
            up, down = tensors[f"{name}.up"].float(), tensors[f"{name}.down"].float()
            if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0] or (up @ down).shape != weight.shape:
                raise ValueError(f"{name}: got {tuple(up.shape)}, which does not update {tuple(weight.shape)}")
            weight.copy_(weight.float() + up @ down)
        for name, parameter in parameters.items():
            given = tensors[f"head.{name}"]
            if given.shape != parameter.shape:
                raise ValueError(f"head.{name}: got {tuple(given.shape)}, expected {tuple(parameter.shape)}")
            parameter.copy_(given.float())
