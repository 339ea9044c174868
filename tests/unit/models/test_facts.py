"""What a model's folder says of it, read without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from advsim.config import ModelConfig
from advsim.errors import ConfigError
from advsim.models.base import check_model, resolve_model
from advsim.models.facts import EMBEDDED_FACTS, read_facts


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_facts_of_a_folder_are_those_of_its_files(folder: Path) -> None:
    facts = read_facts(folder, key="model.path")
    fields = json.loads((folder / "config.json").read_text())
    assert facts.max_positions == fields["max_position_embeddings"]
    assert {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} <= facts.linear_modules
    head_dim = fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
    expected = 2 * fields["num_hidden_layers"] * fields["num_key_value_heads"] * head_dim * 2
    assert facts.kv_bytes_a_token == expected


@pytest.mark.slow
def test_facts_of_the_embedded_model_are_those_of_its_converted_folder() -> None:
    facts = read_facts(resolve_model(ModelConfig()), key="model.path")
    assert facts.max_positions == EMBEDDED_FACTS.max_positions
    assert facts.kv_bytes_a_token == EMBEDDED_FACTS.kv_bytes_a_token
    assert facts.linear_modules >= EMBEDDED_FACTS.linear_modules


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return edit


def cut_weights(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])


def empty_weights(folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_bytes(b"")


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    file = folder / "tokenizer_config.json"
    fields = json.loads(file.read_text())
    fields.pop("chat_template", None)
    file.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "holds a list, expected a JSON object"),
        (edit_config(architectures=None), "names no architecture"),
        (edit_config(architectures=["BertForMaskedLM"]), "BertForMaskedLM, which the installed transformers does not"),
        (edit_config(architectures=["FrobForCausalLM"]), "FrobForCausalLM, which the installed transformers does not"),
        (
            edit_config(architectures=["FrobForCausalLM"], auto_map={"AutoModel": "x.Y"}),
            "needs code from its own folder",
        ),
        (cut_weights, "damaged or no safetensors"),
        (empty_weights, "damaged or no safetensors"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "lost.safetensors"}}'
            ),
            r"lacks lost\.safetensors",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), r"tokenizer\.json cannot be read as JSON"),
        (no_template, "no chat template"),
    ],
)
def test_a_broken_folder_is_refused_with_key_and_reason(
    folder: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(folder)
    with pytest.raises(ConfigError, match=rf"model\.path: .*{said}"):
        check_model(ModelConfig(path=str(folder)))


@pytest.mark.parametrize(
    "path", ["not a hub id!!", "a/../../b", "https://evil.example/model", "~nosuchuser/x", "", "a\0b", "${HOME}/model"]
)
def test_what_is_neither_folder_nor_hub_id_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.path: got "):
        check_model(ModelConfig(path=path))


def test_a_revision_of_a_local_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.revision: got 'abc', which has an effect on hub models only"):
        check_model(ModelConfig(path=str(folder), revision="abc"))


PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@pytest.mark.parametrize(
    ("template", "for_chatbot", "for_simulator"),
    [
        (PLAIN, None, None),
        ("{{ messages|length }} messages\n" + PLAIN, None, "renders a message differently"),
        (PLAIN.replace("<|im_end|>", "").replace("<|im_start|>", "# "), None, "no control token"),
        ("{{ raise_exception('tools only') }}", "tools only", "tools only"),
        ("{% for m in messages %}{{ m.content }", "no valid Jinja", "no valid Jinja"),
    ],
    ids=["plain", "counts", "no-end", "refuses", "broken"],
)
def test_a_chat_template_is_held_against_its_use(
    folder: Path, template: str, for_chatbot: str | None, for_simulator: str | None
) -> None:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    for use, reason in (("chatbot", for_chatbot), ("simulator", for_simulator)):
        if reason is None:
            check_model(ModelConfig(path=str(folder)), use=use)
            continue
        with pytest.raises(ConfigError, match=f"model.path: .* cannot be used as a {use}: .*{reason}"):
            check_model(ModelConfig(path=str(folder)), use=use)
