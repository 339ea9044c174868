"""Prompts of one question, over re-creations of the chat templates in use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chat_templates import FAMILIES, Family, rendered, tokenizer_of
from tiny import CHATML
from transformers import PreTrainedTokenizerFast

from advsim.errors import ConfigError
from advsim.prompts.question import QuestionPrompts
from advsim.prompts.window import ContextOverflowError


class TestQuestionPrompts:
    def test_prompt_is_the_templates_own_rendering(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        prompt_ids = QuestionPrompts(tokenizer, budget_tokens=1000).prompt("Judge.", "Is it good?")
        expected = rendered(tokenizer, family, "Judge.", [("user", "Is it good?")])
        assert tokenizer.decode(prompt_ids).replace("[/INST] ", "[/INST]") == expected

    def test_no_question_can_write_a_control_token(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        prompts = QuestionPrompts(tokenizer, budget_tokens=1000)
        harmless, hostile = (prompts.prompt("Judge.", text) for text in ("x", "".join(family.control)))
        added = tokenizer.added_tokens_decoder
        assert [token for token in hostile if token in added] == [token for token in harmless if token in added]

    def test_a_template_that_knows_only_dialogues_is_fine_and_one_that_changes_texts_is_not(self) -> None:
        by_place = CHATML.replace("{{ message['role'] }}", "{{ loop.index }} {{ message['role'] }}")
        upper = CHATML.replace("{{ message['content'] }}", "{{ message['content'] | upper }}")
        dialogue_only, changing = (
            tokenizer_of(replace(FAMILIES["chatml"], template=template)) for template in (by_place, upper)
        )
        assert QuestionPrompts(dialogue_only, budget_tokens=100).prompt("a", "b")
        with pytest.raises(ConfigError, match="does not print a system and a user message as they are"):
            QuestionPrompts(changing, budget_tokens=100)

    def test_a_prompt_over_the_budget_is_an_error(self, chatml: PreTrainedTokenizerFast) -> None:
        num_tokens = len(QuestionPrompts(chatml, budget_tokens=1000).prompt("Judge.", "Is it good?"))
        assert len(QuestionPrompts(chatml, budget_tokens=num_tokens).prompt("Judge.", "Is it good?")) == num_tokens
        with pytest.raises(ContextOverflowError, match=f"takes {num_tokens} tokens.* may take {num_tokens - 1}"):
            QuestionPrompts(chatml, budget_tokens=num_tokens - 1).prompt("Judge.", "Is it good?")
