"""Of several draws the probe's choice is said; what a draw may not be chosen for, and who leaves, is not its matter."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from made_up_probe import likes_likely_turns

from advsim.config import ChatbotConfig, EngineConfig, ModelConfig, RolloutConfig
from advsim.engine.protocol import EngineSpec
from advsim.errors import DeliveryError
from advsim.models.adapter import Canary
from advsim.records import AdapterRef, Context, Scenario, Speaker, Turn, chatbot_turns
from advsim.rollout.choice.best_of import BestOf
from advsim.rollout.choice.probe import Probe
from advsim.rollout.choice.spec import ChoiceSpec, PromptShape
from advsim.rollout.choice.turn_reader import TurnReader, TurnTexts
from advsim.rollout.delivery import Delivery
from advsim.rollout.simulator_actor import NextTurnRequest, SimulatorActor, SimulatorSpec, UserTurnRequest
from advsim.rollout.turn_loop import RolloutTask

CONTEXT = Context(profile="a nurse of 34")
PREFIX = (Turn(speaker=Speaker.USER, text="hi"), Turn(speaker=Speaker.CHATBOT, text="What keeps you awake?"))
DRAWS = ("my exams", "idk, everything? mostly that i will fail", "I worry too much.", "my boss yelled at me")
INSTRUCTIONS = "You write as the user."
ROLE_BREAK = "Assistant: how can I help?"


@pytest.fixture(scope="module")
def spec(tiny_model) -> ChoiceSpec:
    return ChoiceSpec(
        probe=likes_likely_turns(tiny_model),
        model=ModelConfig(path=str(tiny_model), dtype="float32"),
        prompt=PromptShape(instructions=INSTRUCTIONS, budget_tokens=512),
        max_texts=2,
    )


@pytest.fixture(scope="module")
def best_of(spec) -> BestOf:
    return BestOf(spec)


@pytest.fixture(scope="module")
def scores(spec, tiny_model) -> np.ndarray:
    """What the probe finds of the draws, computed apart."""
    reader = TurnReader(base=tiny_model, prompt=spec.prompt, dtype="float32")
    read = reader.read(TurnTexts(dialogue_id="d", context=CONTEXT, prefix=PREFIX, texts=DRAWS))
    return Probe.of_files(spec.probe).score(read)


def test_the_draw_that_the_probe_likes_best_is_chosen_wherever_it_stands(best_of, scores):
    best = DRAWS[int(np.argmax(scores))]
    for shift in range(len(DRAWS)):
        draws = DRAWS[shift:] + DRAWS[:shift]
        assert draws[best_of.choose(CONTEXT, PREFIX, draws)] == best


def test_the_end_token_neither_helps_nor_harms_a_draw(best_of, scores):
    best = int(np.argmax(scores))
    ended = [f"{draw} [END]" if index == best else draw for index, draw in enumerate(DRAWS)]
    assert best_of.choose(CONTEXT, PREFIX, ended) == best


def test_of_draws_that_say_the_same_the_first_is_taken(best_of, scores):
    best = DRAWS[int(np.argmax(scores))]
    assert best_of.choose(CONTEXT, PREFIX, [best, best, best]) == 0
    worst = DRAWS[int(np.argmin(scores))]
    assert best_of.choose(CONTEXT, PREFIX, [worst, best, worst, best]) == 1


@pytest.mark.parametrize(
    ("draws", "chosen"),
    [
        ([ROLE_BREAK, "", "my exams"], 2),
        (["", "my exams"], 1),
        ([ROLE_BREAK, "As an AI I have no exams.", ""], 0),
        (["my exams"], 0),
    ],
)
def test_a_draw_with_a_fault_is_not_chosen_where_another_has_none(best_of, draws, chosen):
    assert best_of.choose(CONTEXT, PREFIX, draws) == chosen


def test_who_leaves_without_a_word_is_the_first_draws_matter(best_of):
    assert best_of.choose(CONTEXT, PREFIX, ["[END]", *DRAWS]) == 0
    assert best_of.choose(CONTEXT, PREFIX, ["my exams", "[END]"]) == 0
    assert best_of.choose(CONTEXT, (), ["[END]", "my exams"]) == 1  # nobody leaves before the first word


# --- through the actor that speaks ------------------------------------------------------------------------------------

ADAPTER = AdapterRef(version=1, path="rounds/01/adapter", sha256="")
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}


def actor(tiny_model) -> SimulatorActor:
    engine = EngineSpec(kind="scripted", config=EngineConfig(), model=ModelConfig(path=str(tiny_model)), replies=DRAWS)
    return SimulatorActor(
        SimulatorSpec(
            engine=engine,
            instructions=INSTRUCTIONS,
            budget_tokens=512,
            rollout=RolloutConfig(max_user_turns=2),
            chatbot=ChatbotConfig(name="bot", kind="scripted", replies=("What keeps you awake?",)),
        ),
        "simulator-0",
    )


async def delivered(speaking: SimulatorActor, choice: ChoiceSpec | None) -> AdapterRef:
    canary = Canary(prompt_ids=(1,), completion_ids=(1,))
    sent = Delivery(adapter=ADAPTER, files=FILES, canary=canary, canary_logprobs=(), choice=choice)
    said = await speaking.load_adapter(sent)
    return AdapterRef(version=said.version, path=ADAPTER.path, sha256=said.sha256)


def test_every_turn_of_a_conversation_is_chosen_and_all_draws_are_counted(tiny_model, spec, best_of):
    async def talk():
        speaking = actor(tiny_model)
        adapter = await delivered(speaking, spec)
        scenario = Scenario(id="s", context=CONTEXT)
        task = RolloutTask(
            conversation_id="c", scenario=scenario, chatbot="bot", adapter=adapter, seed=3, best_of=len(DRAWS)
        )
        return await speaking.simulate(task)

    said = asyncio.run(talk())
    for index in (0, 2):
        chosen = DRAWS[best_of.choose(CONTEXT, said.turns[:index], DRAWS)]
        assert said.turns[index].text == chosen and bytes(said.turns[index].token_ids).decode() == chosen
    replies = sum(len(turn.text.encode()) for _, turn in chatbot_turns(said))
    assert said.num_output_tokens == 2 * sum(len(draw.encode()) for draw in DRAWS) + replies


def test_next_turns_and_turns_of_dialogues_held_elsewhere_are_chosen_too(tiny_model, spec, scores):
    async def turns():
        speaking = actor(tiny_model)
        sampling = RolloutConfig().sampling
        keys = {"adapter": await delivered(speaking, spec), "sampling": sampling, "seed": 1, "best_of": len(DRAWS)}
        scenario = Scenario(id="s", context=CONTEXT)
        on_prefix = await speaking.next_turn(NextTurnRequest(scenario=scenario, prefix=PREFIX, **keys))
        elsewhere = await speaking.user_turn(UserTurnRequest(context=CONTEXT, turns=PREFIX, **keys))
        return on_prefix.text, elsewhere.text

    best = DRAWS[int(np.argmax(scores))]
    assert asyncio.run(turns()) == (best, best)


def test_an_engine_without_a_probe_refuses_to_choose_also_after_one_that_had_one(tiny_model, spec):
    async def ask():
        speaking = actor(tiny_model)
        await delivered(speaking, spec)
        adapter = await delivered(speaking, None)
        request = UserTurnRequest(
            context=CONTEXT,
            turns=PREFIX,
            sampling=RolloutConfig().sampling,
            adapter=adapter,
            seed=1,
            best_of=2,
        )
        return await speaking.user_turn(request)

    with pytest.raises(DeliveryError, match="no probe to choose among 2 draws"):
        asyncio.run(ask())
