"""Adapters on disk: what is written, how it is named, and that it comes back the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from advsim.config import LoraConfig
from advsim.errors import RunError
from advsim.models.adapter import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Canary,
    adapter_files,
    adapter_sha256,
    completion_logprobs,
    load_base,
    load_trainable,
    new_adapter,
    save_adapter,
    write_merged,
)

LORA = LoraConfig(r=4, alpha=8)
CANARY = Canary(prompt_ids=(5, 6, 7, 8), completion_ids=(9, 10, 11))


def trained_adapter(tiny_model: Path, *, seed: int = 0):
    """An adapter that changes something: a fresh one has B = 0."""
    peft_model = new_adapter(load_base(tiny_model, dtype="float32"), LORA, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in peft_model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.5, generator=generator)
    return peft_model


def test_adapter_comes_back_with_the_same_hash_and_logprobs(tiny_model: Path, tmp_path: Path) -> None:
    peft_model = trained_adapter(tiny_model)
    sha256 = save_adapter(peft_model, tmp_path / "first")
    loaded = load_trainable(tiny_model, tmp_path / "first", dtype="float32", lora=LORA, seed=1)

    assert save_adapter(loaded, tmp_path / "second") == sha256 == adapter_sha256(tmp_path / "first")
    assert completion_logprobs(loaded, CANARY) == pytest.approx(completion_logprobs(peft_model, CANARY), abs=1e-6)


def test_loaded_adapter_is_trainable_and_the_base_is_not(tiny_model: Path, tmp_path: Path) -> None:
    save_adapter(trained_adapter(tiny_model), tmp_path / "adapter")
    loaded = load_trainable(tiny_model, tmp_path / "adapter", dtype="float32", lora=LORA, seed=0)
    trainable = {name for name, weight in loaded.named_parameters() if weight.requires_grad}
    assert trainable == {name for name, _ in loaded.named_parameters() if "lora_" in name}
    assert trainable


def test_hash_covers_weights_and_config(tiny_model: Path, tmp_path: Path) -> None:
    sha256 = save_adapter(trained_adapter(tiny_model, seed=0), tmp_path / "adapter")
    assert save_adapter(trained_adapter(tiny_model, seed=1), tmp_path / "other") != sha256

    config = tmp_path / "adapter" / CONFIG_FILE
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 9'))
    assert adapter_sha256(tmp_path / "adapter") != sha256


def test_adapter_files_are_the_two_files_and_name_no_machine(tiny_model: Path) -> None:
    files, _ = adapter_files(trained_adapter(tiny_model))
    assert set(files) == {WEIGHTS_FILE, CONFIG_FILE}
    assert str(tiny_model).encode() not in files[CONFIG_FILE] + files[WEIGHTS_FILE]
    config = json.loads(files[CONFIG_FILE])
    assert config["target_modules"] == sorted(LORA.target_modules)  # a set's order differs between processes
    assert config["base_model_name_or_path"] == "base"


def test_equal_seeds_give_equal_fresh_adapters(tiny_model: Path) -> None:
    torch.manual_seed(1)
    _, first = adapter_files(new_adapter(load_base(tiny_model, dtype="float32"), LORA, seed=3))
    torch.manual_seed(2)
    _, again = adapter_files(new_adapter(load_base(tiny_model, dtype="float32"), LORA, seed=3))
    _, other = adapter_files(new_adapter(load_base(tiny_model, dtype="float32"), LORA, seed=4))
    assert first == again != other


def test_reference_copy_is_not_saved(tiny_model: Path, tmp_path: Path) -> None:
    peft_model = trained_adapter(tiny_model)
    alone = save_adapter(peft_model, tmp_path / "alone")
    peft_model.add_adapter("ref", peft_model.peft_config["default"])
    assert save_adapter(peft_model, tmp_path / "with_reference") == alone
    with safe_open(tmp_path / "with_reference" / WEIGHTS_FILE, "pt") as saved:
        names = set(saved.keys())
    assert names
    assert not any("ref" in name or "default" in name for name in names)


def test_save_replaces_what_a_broken_run_left_and_leaves_no_scratch(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "half_written").write_text("x")
    save_adapter(trained_adapter(tiny_model), tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {WEIGHTS_FILE, CONFIG_FILE}
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_missing_adapter_is_named(tiny_model: Path, tmp_path: Path) -> None:
    save_adapter(trained_adapter(tiny_model), tmp_path / "adapter")
    (tmp_path / "adapter" / WEIGHTS_FILE).unlink()
    with pytest.raises(RunError, match=WEIGHTS_FILE):
        adapter_sha256(tmp_path / "adapter")
    shutil.rmtree(tmp_path / "adapter")
    with pytest.raises(RunError, match="no adapter there"):
        load_trainable(tiny_model, tmp_path / "adapter", dtype="float32", lora=LORA, seed=0)


def test_completion_logprobs_are_those_of_the_full_logits(tiny_model: Path) -> None:
    peft_model = trained_adapter(tiny_model)
    ids = torch.tensor([[*CANARY.prompt_ids, *CANARY.completion_ids]])
    with torch.no_grad():
        logprobs = peft_model.eval()(input_ids=ids).logits[0].log_softmax(-1)
    expected = [float(logprobs[position - 1, ids[0, position]]) for position in (4, 5, 6)]
    peft_model.train()
    assert completion_logprobs(peft_model, CANARY) == pytest.approx(expected, abs=1e-5)
    assert peft_model.training  # left as it was


def test_merged_model_has_the_adapter_in_its_weights(tiny_model: Path, tmp_path: Path) -> None:
    peft_model = trained_adapter(tiny_model)
    save_adapter(peft_model, tmp_path / "adapter")
    write_merged(tiny_model, tmp_path / "adapter", tmp_path / "merged")

    merged = completion_logprobs(load_base(tmp_path / "merged", dtype="float32"), CANARY)
    base = completion_logprobs(load_base(tiny_model, dtype="float32"), CANARY)
    with_adapter = completion_logprobs(peft_model, CANARY)
    assert merged == pytest.approx(with_adapter, abs=0.05)  # bfloat16 weights
    assert base != pytest.approx(with_adapter, abs=0.05)
