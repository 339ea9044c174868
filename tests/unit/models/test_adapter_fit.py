"""An adapter of elsewhere is held against the base model by the shapes of both, before an engine is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from advsim.errors import ConfigError
from advsim.models.adapter_fit import check_adapter_fits

BASE = {
    "model.layers.0.self_attn.q_proj.weight": (8, 6),
    "model.layers.0.mlp.up_proj.weight": (12, 6),
    "lm_head.weight": (20, 6),
}
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def written(folder: Path, shapes: dict[str, tuple[int, ...]], name: str = "adapter_model.safetensors") -> Path:
    folder.mkdir()
    save_file({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, folder / name)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return written(tmp_path / "base", BASE, "model.safetensors")


@pytest.mark.parametrize("prefix", ["base_model.model.model.", "base_model.model.model.language_model."])
def test_an_adapter_of_the_model_fits_whatever_stands_before_its_layers(
    base: Path, tmp_path: Path, prefix: str
) -> None:
    shapes = {f"{prefix}layers.0.self_attn.q_proj.lora_A.weight": (2, 6), f"{Q}.lora_B.weight": (8, 2)}
    shapes["base_model.model.lm_head.lora_A.weight"] = (2, 6)
    check_adapter_fits(written(tmp_path / "lora", shapes), base)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({f"{Q}.lora_A.weight": (2, 7)}, r"another base model: .*lora_A.weight has shape \(2, 7\), .* \(8, 6\)"),
        ({f"{Q}.lora_B.weight": (9, 2)}, r"another base model: .*lora_B.weight has shape \(9, 2\)"),
        ({f"{Q.replace('layers.0', 'layers.7')}.lora_A.weight": (2, 6)}, r"changes layers\.7\.self_attn\.q_proj"),
        ({f"{Q}.lora_magnitude_vector": (8,)}, "expected weights of LoRA alone"),
        ({"base_model.model.lm_head.weight": (20, 6)}, "expected weights of LoRA alone"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    base: Path, tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_adapter_fits(written(tmp_path / "lora", shapes), base)


def test_weights_that_are_none_are_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: cannot be read"):
        check_adapter_fits(folder, base)
