"""Prompts and training sequences of the simulator, over re-creations of the chat templates in use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chat_templates import (
    CHATBOT_OPENS,
    CONTEXT,
    FAMILIES,
    INSTRUCTIONS,
    USER_OPENS,
    Family,
    labelled_runs,
    rendered,
    simulator,
    system_text,
    tokenizer_of,
)
from transformers import PreTrainedTokenizerFast

from advsim.prompts.simulator import OPENING_CUE
from advsim.prompts.text import END_TOKEN, IGNORED_LABEL, encode_text
from advsim.records import Context, Dialogue, Speaker, Turn


class TestPrompts:
    def test_prompt_is_the_templates_own_rendering_with_roles_flipped(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        turns = USER_OPENS.turns[:4]
        expected = rendered(
            tokenizer,
            family,
            system_text(),
            [
                ("user", OPENING_CUE),
                *(("user" if t.speaker is Speaker.CHATBOT else "assistant", t.text) for t in turns),
            ],
            is_simulator=True,
        )
        assert tokenizer.decode(simulator(tokenizer).prompt(CONTEXT, turns)) == expected

    def test_a_chatbot_that_opens_needs_no_cue(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        expected = rendered(
            tokenizer, family, system_text(), [("user", CHATBOT_OPENS.turns[0].text)], is_simulator=True
        )
        assert tokenizer.decode(simulator(tokenizer).prompt(CONTEXT, CHATBOT_OPENS.turns[:1])) == expected

    def test_without_turns_the_user_is_told_to_open(self, tokenizer: PreTrainedTokenizerFast, family: Family) -> None:
        expected = rendered(tokenizer, family, INSTRUCTIONS, [("user", OPENING_CUE)], is_simulator=True)
        assert tokenizer.decode(simulator(tokenizer).prompt(Context(), ())) == expected

    def test_bos_is_printed_once(self) -> None:
        tokenizer = tokenizer_of(FAMILIES["llama3"])
        prompt = simulator(tokenizer).prompt(CONTEXT, USER_OPENS.turns[:2])
        assert prompt.count(tokenizer.bos_token_id) == 1 and prompt[0] == tokenizer.bos_token_id


class TestTrainingExamples:
    @pytest.mark.parametrize("dialogue", [USER_OPENS, CHATBOT_OPENS], ids=["user-opens", "chatbot-opens"])
    def test_loss_is_on_user_turns_their_end_and_the_last_end_token_only(
        self, tokenizer: PreTrainedTokenizerFast, family: Family, dialogue: Dialogue
    ) -> None:
        (example,) = simulator(tokenizer).training_examples(dialogue)
        assert len(example.labels) == len(example.input_ids)
        texts = [turn.text for turn in dialogue.turns if turn.speaker is Speaker.USER]
        texts[-1] += f" {END_TOKEN}"
        assert [tokenizer.decode(tokens) for _, tokens in labelled_runs(example)] == [
            text + family.end_of_turn for text in texts
        ]

    def test_chatbot_turns_carry_no_loss(self, tokenizer: PreTrainedTokenizerFast) -> None:
        for dialogue in (USER_OPENS, CHATBOT_OPENS):
            (example,) = simulator(tokenizer).training_examples(dialogue)
            unlabelled = tokenizer.decode(
                [t for t, label in zip(example.input_ids, example.labels, strict=True) if label == IGNORED_LABEL]
            )
            last_user = max(i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER)
            for turn in dialogue.turns[:last_user]:
                assert (turn.text in unlabelled) is (turn.speaker is Speaker.CHATBOT)

    @pytest.mark.parametrize("dialogue", [USER_OPENS, CHATBOT_OPENS], ids=["user-opens", "chatbot-opens"])
    def test_tokens_trained_on_are_tokens_generated_on(
        self, tokenizer: PreTrainedTokenizerFast, dialogue: Dialogue
    ) -> None:
        prompts = simulator(tokenizer)
        (example,) = prompts.training_examples(dialogue)
        starts = [start for start, _ in labelled_runs(example)]
        positions = [i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER]
        assert len(starts) == len(positions)
        for start, position in zip(starts, positions, strict=True):
            assert example.input_ids[:start] == prompts.prompt(dialogue.context, dialogue.turns[:position])

    def test_training_sequence_is_the_templates_own_rendering(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        (example,) = simulator(tokenizer).training_examples(USER_OPENS)
        flipped = [("user" if t.speaker is Speaker.CHATBOT else "assistant", t.text) for t in USER_OPENS.turns]
        whole = rendered(
            tokenizer,
            family,
            system_text(),
            [("user", OPENING_CUE), *flipped[:-1], ("assistant", f"{flipped[-1][1]} {END_TOKEN}"), ("user", "x")],
            is_simulator=True,
        )
        assert whole.startswith(tokenizer.decode(example.input_ids))

    def test_simulated_turns_keep_their_sampled_tokens(
        self, tokenizer: PreTrainedTokenizerFast, family: Family
    ) -> None:
        text = "exams, mostly"
        sampled = tuple(token for letter in text for token in encode_text(tokenizer, letter))
        assert tokenizer.decode(sampled) == text and sampled != encode_text(tokenizer, text)
        turns = list(USER_OPENS.turns)
        turns[2] = replace(turns[2], token_ids=sampled)
        prompts = simulator(tokenizer)
        prefix = prompts.prompt(CONTEXT, turns[:2])
        later = prompts.prompt(CONTEXT, turns[:4])
        finished = prompts.completion(sampled, finished=True)
        assert later[: len(prefix) + len(finished)] == prefix + finished
        (example,) = prompts.training_examples(replace(USER_OPENS, turns=tuple(turns)))
        assert labelled_runs(example)[1][1] == finished
        assert tokenizer.decode(finished) == text + family.end_of_turn

    def test_a_sampled_space_before_the_end_is_not_doubled(self) -> None:
        tokenizer = tokenizer_of(FAMILIES["llama2"])
        prompts = simulator(tokenizer)
        sampled = encode_text(tokenizer, "exams") + prompts.frames.end_of_turn[:-1]
        assert tokenizer.decode(prompts.completion(sampled, finished=True)) == "exams </s>"
        turns = [
            *USER_OPENS.turns[:2],
            Turn(speaker=Speaker.USER, text="exams", token_ids=sampled),
            USER_OPENS.turns[3],
        ]
        assert "exams </s>" in tokenizer.decode(prompts.prompt(CONTEXT, turns))

    def test_token_ids_of_chatbot_turns_are_not_used(self, chatml: PreTrainedTokenizerFast) -> None:
        turn = Turn(speaker=Speaker.CHATBOT, text="Hi", token_ids=(1, 2, 3))
        assert simulator(chatml).turn_ids(turn) == encode_text(chatml, "Hi")

    def test_a_cut_turn_is_not_closed(self, tokenizer: PreTrainedTokenizerFast) -> None:
        assert simulator(tokenizer).completion((5, 6), finished=False) == (5, 6)

    def test_end_token_is_behind_the_last_user_turn_even_if_the_chatbot_speaks_last(
        self, chatml: PreTrainedTokenizerFast
    ) -> None:
        (example,) = simulator(chatml).training_examples(CHATBOT_OPENS)
        assert chatml.decode(example.input_ids).endswith(f"my boss {END_TOKEN}<|im_end|>")
