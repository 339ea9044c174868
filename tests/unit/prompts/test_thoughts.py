import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advsim.prompts.thoughts import Separated, has_thought_markup, marks_thoughts, separate_thoughts

MARKS = (
    "<think>", "</think>", "<THINKING>", "</Thinking >", "<reasoning effort=low>", "</reasoning>", "<seed:think>",
    "</seed:think>", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷", "<|channel|>analysis<|message|>", "<|end|>",
    "<|start|>assistant<|channel|>final<|message|>", "<|return|>", "<|channel>thought\n", "<channel|>", "<think/>",
    "<|begin_of_thought|>", "<|end_of_thought|>", "<|START_THINKING|>", "<|END_THINKING|>",
)  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\nhe whines\n</think>\nThat sounds hard.",
        "<THINK>he whines</Think>That sounds hard.",
        "<thinking>he whines</thinking> That sounds hard.",
        "<think>he whines</thinking>That sounds hard.",
        '<reasoning effort="low">he whines</reasoning>\n\nThat sounds hard.',
        "<seed:think>he whines</seed:think>That sounds hard.",
        "<thought>he whines</thought>That sounds hard.",
        "[THINK]he whines[/THINK]That sounds hard.",
        "[think]he whines[/think]That sounds hard.",
        "◁think▷he whines◁/think▷That sounds hard.",
        "he whines\n</think>\n\nThat sounds hard.",
        "he whines[/THINK]That sounds hard.",
        "<|channel|>analysis<|message|>he whines<|end|><|start|>assistant<|channel|>final<|message|>"
        "That sounds hard.<|return|>",
        "<|CHANNEL|>analysis<|message|>he whines<|channel|>final<|message|>That sounds hard.",
        "analysishe whinesassistantfinalThat sounds hard.",
        "<|channel>thought\nhe whines<channel|>That sounds hard.",
        "<|START_THINKING|>he whines<|END_THINKING|><|START_RESPONSE|>That sounds hard.<|END_RESPONSE|>",
        "<|begin_of_thought|>he whines<|end_of_thought|><|begin_of_solution|>That sounds hard.<|end_of_solution|>",
        "<think>he whines</think><answer>That sounds hard.</answer>",
    ],
)
def test_what_is_thought_is_kept_apart_from_what_is_said(reply: str) -> None:
    assert separate_thoughts(reply) == Separated(text="That sounds hard.", thought="he whines")


@pytest.mark.parametrize(
    "reply",
    [
        "<think>he whines",
        "hm <think>he whines",
        "<think>he whines <analysis>a</analysis> and",
        "<think>he whines<|end|>",
        "<|channel|>analysis<|message|>he whines",
        "<|channel|>analysis",
        "analysisHe whines",
        "[THINK]he whines",
        "<think>he whines</think>Hello.<think>but",
    ],
)
def test_a_reply_that_ends_within_a_thought_says_nothing(reply: str) -> None:
    separated = separate_thoughts(reply)
    assert separated.is_unclosed
    assert separated.text == ""


@pytest.mark.parametrize(
    "reply",
    [
        "I think so.",
        "analysis paralysis, you mean?",
        "a < b > c",
        "<3 think of it",
        "<think of it",
        "Models print `<think>` and `</think>` around it.",
        "<answer>42</answer>",
        "<|end|>",
        "analysis of the assistant final exam",
    ],
)
def test_ordinary_text_is_left_as_it_is(reply: str) -> None:
    assert separate_thoughts(reply) == Separated(text=reply)


def test_a_thought_begun_twice_is_ended_once() -> None:
    assert separate_thoughts("<think>\n<think>a</think>Hello.") == Separated(text="Hello.", thought="a")


def test_several_thoughts_in_one_reply_are_all_taken_out() -> None:
    separated = separate_thoughts("<think>a</think>Hello.<think>b</think>How are you?")
    assert (separated.text, separated.thought) == ("Hello.\nHow are you?", "a\nb")


def test_an_empty_thought_leaves_the_message() -> None:
    assert separate_thoughts("<think>\n\n</think>\n\nHello.") == Separated(text="Hello.")
    assert separate_thoughts("<think/>Hello.") == Separated(text="Hello.")


@given(st.lists(st.one_of(st.sampled_from(MARKS), st.integers(0, 99).map(lambda number: f" w{number}w ")), max_size=12))
def test_no_word_of_a_reply_is_lost(parts: list[str]) -> None:
    separated = separate_thoughts("".join(parts))
    words = sorted(part.strip() for part in parts if part not in MARKS)
    kept = f"{separated.text} {separated.thought}".split()
    assert sorted(word for word in kept if word in words) == words
    assert not (separated.is_unclosed and separated.text)


@given(st.text())
def test_any_text_can_be_separated(reply: str) -> None:
    separated = separate_thoughts(reply)
    if not has_thought_markup(reply) and "analysis" not in reply:
        assert separated == Separated(text=reply.strip())


@pytest.mark.parametrize(
    "piece", ["<", "<think ", "<|channel|>", "<think a=b ", "\n", "<|start|>assistant ", "[ ", "`"]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.monotonic()
    separate_thoughts(piece * 20_000 + "x")
    separate_thoughts("<think>" + piece * 20_000)
    assert time.monotonic() - started < 2


def test_control_tokens_of_thoughts_are_known() -> None:
    assert marks_thoughts(["<s>", "[THINK]"])
    assert marks_thoughts(["<|channel|>"])
    assert not marks_thoughts(["<|im_end|>", "<|end|>", "[INST]"])
