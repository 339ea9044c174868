"""Prompts of a chatbot under test, over re-creations of the chat templates in use."""

from __future__ import annotations

import random
import re

import pytest
from chat_templates import CHATBOT_OPENS, USER_OPENS, Family, numbered, rendered, shown
from transformers import PreTrainedTokenizerFast

from advsim.prompts.chatbot import CHATBOT_OPENING_CUE, ChatbotPrompts
from advsim.prompts.window import ContextOverflowError
from advsim.records import Speaker


class TestChatbotPrompts:
    def test_chatbot_prompt_is_the_templates_own_rendering(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=1000)
        roles = {Speaker.USER: "user", Speaker.CHATBOT: "assistant"}
        for turns, cue in ((USER_OPENS.turns, []), (CHATBOT_OPENS.turns[:4], [("user", CHATBOT_OPENING_CUE)])):
            expected = rendered(tokenizer, family, "Be kind.", cue + [(roles[t.speaker], t.text) for t in turns])
            assert tokenizer.decode(prompts.prompt(turns)) == expected

    def test_examples_stand_before_the_dialogue_as_the_template_renders_turns(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        examples = [("i am sad", "That hurts."), ("nobody calls", "You miss them.")]
        prompts = ChatbotPrompts(tokenizer, system_prompt="Be kind.", budget_tokens=1000, examples=examples)
        before = [(role, text) for user, reply in examples for role, text in (("user", user), ("assistant", reply))]
        said = [("user", USER_OPENS.turns[0].text)]
        assert tokenizer.decode(prompts.prompt(USER_OPENS.turns[:1])) == rendered(
            tokenizer, family, "Be kind.", before + said
        )
        messages = prompts.messages(USER_OPENS.turns[:1])[1:]
        assert [(m["role"], m["content"]) for m in messages] == before + said

    def test_chatbot_messages_start_with_the_user_even_if_the_chatbot_opened(
        self, chatml: PreTrainedTokenizerFast
    ) -> None:
        messages = ChatbotPrompts(chatml, system_prompt="S", budget_tokens=99).messages(CHATBOT_OPENS.turns[:2])
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
        assert [m["content"] for m in messages] == ["S", CHATBOT_OPENING_CUE, "Hi, how are you?", "idk... bad"]

    @pytest.mark.parametrize("seed", range(6))
    def test_chatbot_history_is_cut_to_the_budget_and_starts_with_the_user(
        self, chatml: PreTrainedTokenizerFast, seed: int
    ) -> None:
        dialogue = numbered(41, random.Random(seed), longest=10)
        prompts = ChatbotPrompts(
            chatml, system_prompt="Be kind.", budget_tokens=220, examples=[("not a number", "indeed")]
        )
        firsts = []
        for position, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.USER:
                ids = prompts.prompt(dialogue.turns[: position + 1])
                assert len(ids) <= 220
                text = chatml.decode(ids)
                assert text.count("not a number") == text.count("indeed") == 1
                numbers = shown(text)
                assert numbers == list(range(numbers[0], position + 1))
                assert re.match(r"<\|im_start\|>system\nBe kind.<\|im_end\|>\n<\|im_start\|>user\n", text)
                assert numbers[0] == 0 or dialogue.turns[numbers[0]].speaker is Speaker.USER
                firsts.append(numbers[0])
        assert firsts == sorted(firsts) and firsts[-1] > 0

    def test_a_system_prompt_over_the_budget_is_an_error(self, chatml: PreTrainedTokenizerFast) -> None:
        with pytest.raises(ContextOverflowError, match=r"chatbot\.system_prompt"):
            ChatbotPrompts(chatml, system_prompt="work " * 99, budget_tokens=50).prompt(USER_OPENS.turns[:1])
