"""Which turns the simulator's prompts show when not all of them fit."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace

import pytest
from chat_templates import CONTEXT, INSTRUCTIONS, dialogue_of, labelled_runs, numbered, shown, simulator, system_text
from transformers import PreTrainedTokenizerFast

from advsim.errors import CorpusError
from advsim.prompts.simulator import OPENING_CUE
from advsim.prompts.text import END_TOKEN
from advsim.prompts.window import ContextOverflowError
from advsim.records import Context, Speaker


class TestWindow:
    @pytest.mark.parametrize("seed", range(12))
    def test_long_dialogues_lose_the_oldest_history_in_blocks_and_nothing_else(
        self, chatml: PreTrainedTokenizerFast, seed: int
    ) -> None:
        sizes = random.Random(seed)
        dialogue = numbered(40, sizes, longest=sizes.choice([3, 10, 25]))
        budget = sizes.choice([200, 300, 500])
        prompts = simulator(chatml, budget)
        firsts = []
        for position, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.CHATBOT:
                continue
            ids = prompts.prompt(CONTEXT, dialogue.turns[:position])
            text = chatml.decode(ids)
            assert len(ids) <= budget
            numbers = shown(text)
            first = numbers[0] if numbers else 0
            assert numbers == list(range(first, position))
            assert system_text() in text
            assert (OPENING_CUE in text) is (dialogue.turns[first].speaker is Speaker.USER)
            assert first == 0 or dialogue.turns[first].speaker is Speaker.CHATBOT
            firsts.append(first)
        assert firsts == sorted(firsts)
        moves = [b - a for a, b in itertools.pairwise(firsts) if b > a]
        assert moves, "the dialogue was meant to be too long for the budget"
        assert sum(moves) / len(moves) > 2  # blocks: one turn of each speaker a move would mean a new prefix each time

    @pytest.mark.parametrize("seed", range(12))
    def test_every_user_turn_carries_loss_once_behind_its_own_prompt(
        self, chatml: PreTrainedTokenizerFast, seed: int
    ) -> None:
        sizes = random.Random(seed)
        dialogue = numbered(40, sizes, longest=sizes.choice([6, 10, 25]))
        prompts = simulator(chatml, sizes.choice([200, 300]))
        examples = prompts.training_examples(dialogue)
        assert len(examples) > 1
        positions = [i for i, turn in enumerate(dialogue.turns) if turn.speaker is Speaker.USER]
        runs = [(example, start, tokens) for example in examples for start, tokens in labelled_runs(example)]
        assert len(runs) == len(positions)
        for position, (example, start, tokens) in zip(positions, runs, strict=True):
            end = f" {END_TOKEN}" if position == positions[-1] else ""
            assert chatml.decode(tokens) == dialogue.turns[position].text + end + "<|im_end|>"
            assert example.input_ids[:start] == prompts.prompt(CONTEXT, dialogue.turns[:position])
        for example in examples:
            last_start, _ = labelled_runs(example)[-1]
            assert last_start <= prompts._budget_tokens

    def test_a_dialogue_that_fits_gives_one_sequence(self, chatml: PreTrainedTokenizerFast) -> None:
        dialogue = numbered(30, random.Random(0), longest=5)
        assert len(simulator(chatml, 5000).training_examples(dialogue)) == 1

    def test_a_budget_of_15000_is_used_and_kept(self, chatml: PreTrainedTokenizerFast) -> None:
        dialogue = dialogue_of(*(f"<{i}>" + " sleep" * 60 for i in range(800)))
        prompts = simulator(chatml, 15_000)
        lengths = [len(prompts.prompt(CONTEXT, dialogue.turns[:position])) for position in range(0, 800, 2)]
        assert 14_000 < max(lengths) <= 15_000

    def test_earlier_sessions_go_after_history_and_oldest_first(self, chatml: PreTrainedTokenizerFast) -> None:
        context = replace(CONTEXT, earlier_sessions=tuple(f"[s{i}]" + " work" * 40 for i in range(4)))
        turns = dialogue_of("<0> hi", "<1> yes", "<2> ok", "<3>" + " sleep" * 30).turns
        everything = len(simulator(chatml, 9999).prompt(context, turns))
        states = []
        for budget in range(everything, 0, -1):
            try:
                text = chatml.decode(simulator(chatml, budget).prompt(context, turns))
            except ContextOverflowError:
                break
            for always in (INSTRUCTIONS, CONTEXT.profile, CONTEXT.themes[0], CONTEXT.session, turns[-1].text):
                assert always in text
            states.append((len(shown(text)), re.findall(r"\[s\d\]", text)))
        sessions = [s for _, s in states]
        names = [f"[s{i}]" for i in range(4)]
        assert states[0] == (4, names)
        assert [s for i, s in enumerate(sessions) if i == 0 or s != sessions[i - 1]] == [names[i:] for i in range(5)]
        # By the time the first session goes, all history but the newest turn has gone.
        assert [n for n, s in states if s == names][-1] == 1

    def test_a_context_alone_over_the_budget_is_an_error_with_the_remedy(self, chatml: PreTrainedTokenizerFast) -> None:
        context = Context(profile="work " * 300)
        with pytest.raises(ContextOverflowError, match=r"a prompt may have 200; .* raise engine\.max_model_len"):
            simulator(chatml, 200).prompt(context, ())
        with pytest.raises(CorpusError, match=r"dialogue d1, turn 0: .*200"):
            simulator(chatml, 200).training_examples(dialogue_of("hi", "yes", context=context))

    def test_a_newest_turn_over_the_budget_is_an_error(self, chatml: PreTrainedTokenizerFast) -> None:
        turns = dialogue_of("hi", "work " * 300).turns
        with pytest.raises(ContextOverflowError, match="longest chatbot turn 314"):
            simulator(chatml, 200).prompt(CONTEXT, turns)

    def test_an_overlong_user_turn_is_dropped_once_it_is_history(self, chatml: PreTrainedTokenizerFast) -> None:
        turns = dialogue_of("<0>", "<1>", "<2>" + " sleep" * 300, "<3>", "<4>", "<5>").turns
        text = chatml.decode(simulator(chatml, 200).prompt(CONTEXT, turns))
        assert shown(text) == [3, 4, 5] and CONTEXT.earlier_sessions[0] in text
        assert len(simulator(chatml, 200).training_examples(dialogue_of(*(t.text for t in turns)))) == 2
