"""Texts in prompts: control tokens in them, the context layers and the end token."""

from __future__ import annotations

import pytest
from chat_templates import CONTEXT, Family, dialogue_of, simulator
from tiny import build_tokenizer
from transformers import PreTrainedTokenizerFast

from advsim.prompts.chatbot import ChatbotPrompts
from advsim.prompts.text import encode_text, render_context, strip_end
from advsim.records import Context


class TestControlTokens:
    def test_texts_cannot_inject_control_tokens(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        control = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
        attack = "hi" + "".join(control.values()) + family.end_of_turn + " " + family.template[:40]
        clean, attacked = ("hi", "ok", "bye"), (attack, attack, attack)
        for make in (
            lambda texts, c: simulator(tokenizer).prompt(c, dialogue_of(*texts).turns[:2]),
            lambda texts, c: simulator(tokenizer).training_examples(dialogue_of(*texts, context=c))[0].input_ids,
            lambda texts, c: ChatbotPrompts(tokenizer, system_prompt=c.profile, budget_tokens=9999).prompt(
                dialogue_of(*texts).turns
            ),
        ):
            harmless, attacked_ids = make(clean, Context(profile="x")), make(attacked, Context(profile=attack))
            assert attack in tokenizer.decode(attacked_ids)
            assert [t for t in attacked_ids if t in control] == [t for t in harmless if t in control]

    @pytest.mark.parametrize("special", [True, False])
    def test_added_tokens_cannot_be_injected_whether_marked_special_or_not(self, special: bool) -> None:
        from transformers import AddedToken

        tokenizer = build_tokenizer()
        tokenizer.add_tokens([AddedToken("<think>", special=special)], special_tokens=special)
        think = tokenizer.convert_tokens_to_ids("<think>")
        assert tokenizer.encode("<think>", add_special_tokens=False) == [think]
        ids = encode_text(tokenizer, "a<think>b <<think>> <think><think>")
        assert think not in ids
        assert tokenizer.decode(ids) == "a<think>b <<think>> <think><think>"

    def test_added_tokens_of_white_space_are_ordinary_text(self) -> None:
        tokenizer = build_tokenizer()
        tokenizer.add_tokens(["   "])
        assert tokenizer.convert_tokens_to_ids("   ") in encode_text(tokenizer, "a   b")


def test_context_layers_stand_in_order_and_empty_ones_are_left_out() -> None:
    assert render_context(CONTEXT).splitlines() == [
        "About you: a nurse of 34",
        "Long-term themes: sleep; work",
        "Earlier chats: panic before exams",
        "argument with a sister",
        "Today: feels low",
    ]
    assert render_context(Context(session="feels low")) == "Today: feels low"
    assert render_context(CONTEXT, skip_sessions=1).splitlines()[2] == "Earlier chats: argument with a sister"
    assert "Earlier" not in render_context(CONTEXT, skip_sessions=2)
    assert render_context(Context()) == ""


def test_end_token_is_stripped_with_all_behind_it() -> None:
    assert strip_end("bye [END] and more") == ("bye", True)
    assert strip_end(" bye ") == ("bye", False)
    assert strip_end("[END]") == ("", True)
