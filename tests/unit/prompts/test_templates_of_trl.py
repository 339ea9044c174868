"""The chat templates that TRL carries: which a chatbot and which a simulator can have."""

from __future__ import annotations

import importlib.util
import re
import time
from functools import cache
from pathlib import Path

import pytest
from tiny import build_tokenizer

from advsim.errors import ConfigError
from advsim.prompts.chatbot import ChatbotPrompts
from advsim.prompts.chatbot_frames import check_chatbot_template
from advsim.prompts.frames import template_pieces
from advsim.prompts.rendering import ChatTemplate, check_limits
from advsim.prompts.simulator import SimulatorPrompts
from advsim.prompts.thoughts import separate_thoughts
from advsim.records import Context, Speaker, Turn

TOKENS = (("bos_token", "<bos>"), ("eos_token", "<eos>"))
DIALOGUE = [
    Turn(speaker=Speaker.CHATBOT if i % 2 else Speaker.USER, text=text, thought="a thought" if i % 2 else "")
    for i, text in enumerate(
        ("I can't sleep.", "What is on your mind?", "exams </think> mostly", "Hard.", "<think> yes")
    )
]


def templates() -> dict[str, str]:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jinja"))}


NAMES = sorted(templates())


@cache
def template_of(name: str) -> ChatTemplate:
    return ChatTemplate(source=templates()[name], tokens=TOKENS)


def tokenizer_of(name: str):
    layout = check_chatbot_template(template_of(name))
    printed = "".join(template_of(name).gaps(layout, num_user_turns=2))
    control = tuple(dict.fromkeys(re.findall(r"<[^<>\s]{2,40}>|\[gMASK\]", printed)))
    return build_tokenizer(
        (*control, "<eos>", "<bos>"), chat_template=templates()[name], eos_token="<eos>", pad_token="<eos>",
        bos_token="<bos>", vocab_size=700,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_chatbot_can_have_every_template_of_trl(name: str) -> None:
    check_chatbot_template(template_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_simulator_can_have_every_template_of_trl_and_does_not_think(name: str) -> None:
    frame = template_pieces(template_of(name)).user_to_assistant
    said = separate_thoughts(frame + "Hello.")
    assert not said.is_unclosed
    assert said.text.endswith("Hello.")


@pytest.mark.parametrize("name", NAMES)
def test_templates_are_rendered_as_transformers_renders_them(name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = template_of(name)
    layout = check_chatbot_template(template)
    gaps = template.gaps(layout, num_user_turns=2)
    texts = ["system", "one", "two", "three"] if layout.has_system_role else ["one", "two", "three"]
    roles = ["system", "user", "assistant", "user"][-len(texts) :]
    contents = [[{"type": "text", "text": text}] if layout.has_parts else text for text in texts]
    chat = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    rendered, _ = render_jinja_template(
        [chat], chat_template=template.source, add_generation_prompt=True, date_string="01 Jan 2026",
        strftime_now=lambda form: time.strftime(form, (2026, 1, 1, 0, 0, 0, 3, 1, 0)), enable_thinking=False,
        thinking=False, **dict(TOKENS),
    )  # fmt: skip
    assert rendered[0] == "".join(text for pair in zip(gaps, [*texts, ""], strict=True) for text in pair)


@pytest.mark.parametrize("name", ["gptoss", "glm4moe", "deepseekv3", "qwen3_5_think", "nemotron_3_super", "gemma"])
def test_a_prompt_of_a_chatbot_is_what_its_template_prints(name: str) -> None:
    tokenizer = tokenizer_of(name)
    prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=4000)
    template, layout = template_of(name), check_chatbot_template(template_of(name))
    texts = (["Be kind."] if layout.has_system_role else []) + [turn.text for turn in DIALOGUE]
    if not layout.has_system_role:
        texts[0] = f"Be kind.\n\n{texts[0]}"
    gaps = template.gaps(layout, num_user_turns=3)
    expected = "".join(text for pair in zip(gaps, [*texts, ""], strict=True) for text in pair)
    assert tokenizer.decode(prompts.prompt(DIALOGUE)) == expected
    assert "a thought" not in expected


@pytest.mark.parametrize("name", ["gptoss", "deepseekv3", "qwen3_5_think", "glm4moe"])
def test_a_simulator_is_trained_on_the_tokens_it_generates_behind(name: str) -> None:
    prompts = SimulatorPrompts(tokenizer_of(name), instructions="Play the user.", budget_tokens=4000)
    whole = prompts.prompt(Context(), DIALOGUE[:4])
    assert whole[: len(prompts.prompt(Context(), DIALOGUE[:2]))] == prompts.prompt(Context(), DIALOGUE[:2])


def test_a_model_with_channels_is_not_stopped_at_the_end_of_its_thought() -> None:
    tokenizer = tokenizer_of("gptoss")
    prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=4000)
    assert prompts.stop_token_ids == (tokenizer.eos_token_id,)
    generated = "<|channel|>analysis<|message|>he whines<|end|><|start|>assistant<|channel|>final<|message|>Hello."
    ids = tokenizer.encode(generated, add_special_tokens=False)
    without = tokenizer.decode(ids, skip_special_tokens=True)
    assert separate_thoughts(prompts.reply_text(without, ids)).text == "Hello."
    assert prompts.reply_text("A scripted line.", ids) == "A scripted line."


def test_a_reply_that_begins_inside_a_thought_and_ends_in_it_is_unclosed() -> None:
    tokenizer = tokenizer_of("deepseekv3")
    prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=4000)
    ids = tokenizer.encode("he whines and", add_special_tokens=False)
    assert separate_thoughts(prompts.reply_text("he whines and", ids)).is_unclosed


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}{{ m.content }", "no valid Jinja"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "within 5 s"),
        ("{{ 'a' * 3000000000 }}", "within 5 s and 1 GiB .MemoryError"),
        ("{{ raise_exception('only tools') }}", "only tools"),
        ("{% for i in range(999999) %}{% endfor %}", "Range too big"),
        ("{{ messages[0].content }}", "does not print the texts"),
        ("{{ 1 // 0 }}", "cannot render"),
    ],
)
def test_a_template_that_cannot_work_is_refused_in_one_sentence(source: str, reason: str) -> None:
    def use() -> None:
        check_limits(ChatTemplate(source=source))
        template_pieces(ChatTemplate(source=source))

    with pytest.raises(ConfigError, match=f"the chat template .*({reason})") as refused:
        use()
    assert "\n" not in str(refused.value)
