"""What a model's folder says of it, read without torch: a wrong folder is refused in a second, not after an hour."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from advsim.config.paths import read_file
from advsim.errors import ConfigError
from advsim.prompts.chatbot_frames import check_chatbot_template
from advsim.prompts.frames import NO_END_OF_TURN, template_pieces
from advsim.prompts.rendering import ChatTemplate, check_limits

_MAX_JSON_BYTES = 200 * 2**20
_BYTES_A_VALUE = 2  # engines serve bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a causal language model before it is loaded.

    Attributes:
        max_positions: tokens of one sequence; None where config.json does not say.
        linear_modules: last names of the weight matrices inside the decoder's layers, such as ``q_proj``.
        kv_bytes_a_token: size of one token in the KV cache, all layers together; None where config.json does not say.
    """

    max_positions: int | None
    linear_modules: frozenset[str]
    kv_bytes_a_token: int | None


EMBEDDED_FACTS = ModelFacts(
    max_positions=8192,
    linear_modules=frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
    kv_bytes_a_token=2 * 30 * 3 * 64 * _BYTES_A_VALUE,
)
"""Of the embedded model, which is converted only when it is first used; a test holds them against the converted one."""


Use = Literal["simulator", "chatbot"]
"""What a model is to do with its chat template."""


def read_facts(folder: Path, *, key: str, is_chat: bool = True, use: Use | None = None) -> ModelFacts:
    """Facts of a local model folder; reads the headers of the weights, not the weights.

    Args:
        folder: with config.json, tokenizer and safetensors.
        key: configuration key that names it, for errors.
        is_chat: whether it needs a chat template.
        use: what the chat template is held against; None: not looked into.

    Raises:
        ConfigError: config.json is broken or of an architecture that is no causal language model or not known here,
            weights are cut or missing, the tokenizer cannot be read or has no chat template, or its chat template is
            not fit for its use.
    """
    fields = _read_json(folder / "config.json", key)
    _check_architecture(fields, folder, key)
    names = _weight_names(folder, key)
    _check_tokenizer(folder, key, is_chat=is_chat)
    if use is not None:
        _check_template(folder, key, use)
    text = fields.get("text_config")
    inner = text if isinstance(text, dict) else fields
    return ModelFacts(
        max_positions=_number(inner, "max_position_embeddings"),
        linear_modules=frozenset(
            parts[-2] for name in names if (parts := name.split(".")) and len(parts) > 3 and parts[-1] == "weight"
        ),
        kv_bytes_a_token=_kv_bytes(inner),
    )


def _read_json(file: Path, key: str) -> dict[str, Any]:
    content = read_file(file, max_bytes=_MAX_JSON_BYTES, where=f"{key}: {file}")
    try:
        loaded = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{key}: {file} cannot be read as JSON ({str(error)[:200]}); save the model again") from None
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{key}: {file} holds a {type(loaded).__name__}, expected a JSON object; save the model again"
        )
    return loaded


def _check_architecture(fields: dict[str, Any], folder: Path, key: str) -> None:
    listed = fields.get("architectures")
    architectures = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if not architectures:
        raise ConfigError(f"{key}: {folder / 'config.json'} names no architecture; save the model with save_pretrained")
    known = [name for name in architectures if _is_known(name)]
    if known:
        return
    name = architectures[0]
    if "auto_map" in fields:
        raise ConfigError(
            f"{key}: {folder} is a {name}, which needs code from its own folder; such code is never run here: choose a "
            "model whose architecture transformers has"
        )
    raise ConfigError(
        f"{key}: {folder} is a {name}, which the installed transformers does not have as a causal language model; "
        "choose a chat model, or a version of transformers and vLLM that knows it"
    )


@lru_cache(maxsize=1)
def _known_architectures() -> str:
    # As text: importing transformers' lists loads torch, which takes longer than the whole check may.
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return ""
    return (Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py").read_text(encoding="utf-8")


def _is_known(architecture: str) -> bool:
    generates = architecture.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel"))
    listed = _known_architectures()
    return generates and (not listed or f'"{architecture}"' in listed)


def _weight_names(folder: Path, key: str) -> list[str]:
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _read_json(index, key).get("weight_map")
        named = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
        lost = sorted(name for name in named if not (folder / name).is_file())
        if lost:
            raise ConfigError(f"{key}: {folder} lacks {', '.join(lost[:3])}, which {index.name} names; copy all shards")
    names: list[str] = []
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                names += weights.keys()
        except (SafetensorError, OSError, ValueError) as error:
            raise ConfigError(
                f"{key}: {file} is damaged or no safetensors file ({str(error)[:200]}); copy or save it again"
            ) from None
    if not names:
        raise ConfigError(f"{key}: the *.safetensors of {folder} hold no weights; save the model again")
    return names


def _check_tokenizer(folder: Path, key: str, *, is_chat: bool) -> None:
    settings = folder / "tokenizer_config.json"
    fields = _read_json(settings, key) if settings.is_file() else {}
    tokenizer = folder / "tokenizer.json"
    if tokenizer.is_file():
        _read_json(tokenizer, key)
    has_template = bool(fields.get("chat_template")) or any(
        (folder / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    )
    if is_chat and not has_template:
        raise ConfigError(
            f"{key}: the tokenizer in {folder} has no chat template; use an instruction-tuned (chat) model, or add a "
            "chat_template.jinja"
        )


def _check_template(folder: Path, key: str, use: Use) -> None:
    settings = folder / "tokenizer_config.json"
    fields = _read_json(settings, key) if settings.is_file() else {}
    source = _template_source(folder, fields)
    if source is None:
        return  # several, or in a form that only transformers reads: looked at when the tokenizer is loaded
    tokens = {name: _token_text(fields.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    named = tuple((name, text) for name, text in tokens.items() if text)
    template = ChatTemplate(source=source, tokens=named)
    try:
        check_limits(template)
        if use == "chatbot":
            check_chatbot_template(template)
            return
        pieces = template_pieces(template)
    except ConfigError as error:
        raise ConfigError(f"{key}: {folder} cannot be used as a {use}: {error}") from None
    control = _control_texts(folder, fields, key)
    if control and not any(text in pieces.assistant_to_user for text in control):
        raise ConfigError(f"{key}: {folder} cannot be used as a {use}: {NO_END_OF_TURN}")


def _template_source(folder: Path, fields: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
    source = fields.get("chat_template")
    return source if isinstance(source, str) else None


def _control_texts(folder: Path, fields: dict[str, Any], key: str) -> set[str]:
    """The control tokens that the tokenizer's files name."""
    file = folder / "tokenizer.json"
    added = _read_json(file, key).get("added_tokens") if file.is_file() else None
    listed = [*(added if isinstance(added, list) else []), fields.get("eos_token")]
    decoder = fields.get("added_tokens_decoder")
    listed += list(decoder.values()) if isinstance(decoder, dict) else []
    return {text for token in listed if (text := _token_text(token).strip())}


def _token_text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""


def _number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _kv_bytes(fields: dict[str, Any]) -> int | None:
    """Two values (key and value) a layer, KV head and dimension."""
    layers, heads = _number(fields, "num_hidden_layers"), _number(fields, "num_attention_heads")
    kv_heads = _number(fields, "num_key_value_heads") or heads
    hidden = _number(fields, "hidden_size")
    head_dim = _number(fields, "head_dim") or (hidden // heads if hidden and heads else None)
    if not (layers and kv_heads and head_dim):
        return None
    return 2 * layers * kv_heads * head_dim * _BYTES_A_VALUE
