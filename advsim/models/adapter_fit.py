"""Whether a LoRA adapter of elsewhere fits a base model, by the shapes in the headers of both: no weight is read."""

from __future__ import annotations

from pathlib import Path

from advsim.errors import ConfigError

_PREFIX = "base_model.model."
_PARTS = (".lora_A.weight", ".lora_B.weight")


def check_adapter_fits(adapter: Path, base: Path) -> None:
    """Check an adapter's weights against those that they are added to.

    Args:
        adapter: folder with ``adapter_model.safetensors``, as PEFT writes it.
        base: folder of the model.

    Raises:
        ConfigError: the file cannot be read, holds something else than LoRA's A and B (DoRA, whole modules), or is of
            a model with other layers or other widths.
    """
    shapes = _shapes(adapter / "adapter_model.safetensors")
    files = sorted(base.glob("*.safetensors"))
    theirs = {_in_layers(name): shape for file in files for name, shape in _shapes(file).items()}
    for name, shape in sorted(shapes.items()):
        part = next((part for part in _PARTS if name.endswith(part)), None)
        if part is None:
            raise ConfigError(f"{adapter}: holds {name}, expected weights of LoRA alone (lora_A, lora_B)")
        weight = _in_layers(f"{name.removeprefix(_PREFIX).removesuffix(part)}.weight")
        if weight not in theirs:
            raise ConfigError(f"{adapter}: is of another base model: it changes {weight}, which {base} does not have")
        of_base = theirs[weight]
        axis = 1 if part == _PARTS[0] else 0  # A reads what the weight reads, B writes what it writes
        if len(shape) != 2 or len(of_base) != 2 or shape[axis] != of_base[axis]:
            raise ConfigError(
                f"{adapter}: is of another base model: {name} has shape {shape}, the weight that it changes {of_base}"
            )


def _in_layers(name: str) -> str:
    """The name from the layers on: what stands before differs between PEFT and files, and between versions."""
    before, layers, after = name.rpartition("layers.")
    return f"{layers}{after}" if layers else before + after


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{file}: cannot be read ({error!s:.200})") from None
