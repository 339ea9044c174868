"""What a frozen model makes of turns: the same of a text whatever stands beside it, and what a plain pass gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from advsim.models.adapter import load_base
from advsim.models.base import load_tokenizer
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import Context, Speaker, Turn
from advsim.rollout.choice.spec import PromptShape
from advsim.rollout.choice.turn_reader import STATISTICS, TurnReader, TurnTexts

INSTRUCTIONS = "You write as the user."
PREFIX = (Turn(speaker=Speaker.USER, text="hello there"), Turn(speaker=Speaker.CHATBOT, text="How are you today?"))


@pytest.fixture(scope="module")
def reader(tiny_model):
    prompt = PromptShape(instructions=INSTRUCTIONS, budget_tokens=512)
    return TurnReader(base=tiny_model, prompt=prompt, dtype="float32", max_texts=2)


def turn(*texts: str) -> TurnTexts:
    return TurnTexts(dialogue_id="d", context=Context(profile="sad about work"), prefix=PREFIX, texts=texts)


def test_features_of_a_text_do_not_hang_on_the_texts_beside_it(reader):
    together = reader.read(turn("I feel sad", "today", "thanks and hello there, I feel happy about work today", "sad"))
    assert len(together) == 4
    for row, text in zip(together, ("I feel sad", "today"), strict=False):
        np.testing.assert_allclose(row, reader.read(turn(text))[0], atol=1e-4)


def test_an_end_token_in_a_text_is_no_cue(reader):
    plain, ended = reader.read(turn("thanks", "thanks [END]"))
    np.testing.assert_allclose(plain, ended, atol=1e-5)


def test_statistics_are_those_of_a_plain_pass(reader, tiny_model):
    prompts = SimulatorPrompts(load_tokenizer(tiny_model), instructions=INSTRUCTIONS, budget_tokens=512)
    asked = turn("I feel happy today")
    prompt = prompts.prompt(asked.context, asked.prefix)
    said = prompts.text_ids("I feel happy today")
    ids = torch.tensor([[*prompt, *said, prompts.frames.end_of_turn[0]]])
    with torch.inference_mode():
        output = load_base(tiny_model, dtype="float32")(ids, output_hidden_states=True)
    logprobs = output.logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    of_tokens = logprobs[torch.arange(len(said) + 1), ids[0, len(prompt) :]]
    row = reader.read(asked)[0]
    found = dict(zip(STATISTICS, row[-len(STATISTICS) :], strict=True))
    assert found["mean log-probability"] == pytest.approx(float(of_tokens[:-1].mean()), abs=1e-4)
    assert found["log-probability of the end"] == pytest.approx(float(of_tokens[-1]), abs=1e-4)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    assert found["mean log-probability plus entropy"] == pytest.approx(
        float((of_tokens + entropy)[:-1].mean()), abs=1e-4
    )
    last = output.hidden_states[-1][0, len(prompt) + len(said) - 1].numpy()
    np.testing.assert_allclose(row[-len(STATISTICS) - len(last) : -len(STATISTICS)], last, atol=1e-4)


def test_the_first_user_turn_has_a_prefix_too(reader):
    opening = TurnTexts(dialogue_id="d", context=Context(), prefix=(), texts=("hello there",))
    assert np.isfinite(reader.read(opening)).all()
