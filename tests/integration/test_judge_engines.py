"""The judge on a real engine: vLLM on CPU in a Ray actor, with a tiny random model. One engine start for all tests."""

from __future__ import annotations

import asyncio
import json

import jsonschema
import psutil
import pytest
import ray
from tiny import build_tiny_model

from advsim.config import EngineConfig, JudgeConfig, JudgeEnginesConfig
from advsim.detectors.judge.client import JudgeMessage
from advsim.detectors.judge.engine import bounded
from advsim.detectors.judge.judge import Judge
from advsim.detectors.judge.pool import build_engine_judge
from advsim.detectors.judge.prompt import answer_schema
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import EngineDiedError
from advsim.records import Dialogue, Speaker, Split, Turn

pytestmark = pytest.mark.slow

MODE = "boundary"
PROMPT = [JudgeMessage(role="system", content="Judge."), JudgeMessage(role="user", content="I love you.")]
MAX_TOKENS = 2500  # what an answer within the bounds can take, were every character of its strings an escape


@pytest.fixture(scope="module")
def judge(local_ray, tmp_path_factory):
    folder = build_tiny_model(tmp_path_factory.mktemp("judge"), max_position_embeddings=6000)
    judge = build_engine_judge(
        JudgeConfig(
            model=str(folder),
            modes=(MODE,),
            num_examples=0,
            temperature=1.0,
            max_tokens=MAX_TOKENS,
            max_attempts=1,
            engines=JudgeEnginesConfig(engine=EngineConfig(max_model_len=8192, kv_cache_gib=0.5)),
        ),
        load_taxonomy(),
    )
    judge._pool.start()
    yield judge
    judge.shut_down()


def dialogue(id: str, *texts: str) -> Dialogue:
    turns = tuple(Turn(speaker=(Speaker.USER, Speaker.CHATBOT)[i % 2], text=text) for i, text in enumerate(texts))
    return Dialogue(id=id, source="t", split=Split.TEST, turns=turns)


def test_every_answer_is_read_at_the_first_attempt_whatever_the_weights(judge: Judge) -> None:
    found = judge.assess([dialogue(f"d{i}", "I am alone.", f"I love you, {i}.") for i in range(12)])
    assert [one.error for one in found] == [""] * 12
    assert (judge.cost.num_calls, judge.cost.num_unreadable, judge.cost.num_calls_without_usage) == (12, 0, 0)
    assert judge.cost.num_prompt_tokens > 12 * 500 and judge.cost.num_completion_tokens > 12 * 10


def test_answers_follow_the_schema(judge: Judge) -> None:
    schema = bounded(answer_schema((MODE, "overload")))

    async def answers() -> list[str]:
        (engine,) = judge._pool.engines
        replies = await asyncio.gather(*(engine.answer(PROMPT, json.dumps(schema), seed) for seed in range(8)))
        return [reply.text for reply in replies]

    texts = asyncio.run(answers())
    assert len(set(texts)) > 1  # drawn, not the same for each
    for text in texts:
        jsonschema.validate(json.loads(text), schema)


def test_long_dialogue_is_cut_and_a_message_that_never_fits_is_an_error_of_its_own(judge: Judge) -> None:
    before = judge.cost.num_too_long
    turns = ["work and sleep " * 150] * 11
    cut, too_long = judge.assess([dialogue("a", *turns, "hi")])[-1], judge.assess([dialogue("b", "x", "y" * 20_000)])[0]
    assert cut.error == "" and judge.cost.num_too_long > before
    assert "the prompt takes" in too_long.error and "Traceback" not in too_long.error


def test_after_shut_down_the_engine_is_gone_and_ray_is_left_to_whoever_started_it(judge: Judge) -> None:
    (engine,) = judge._pool.engines
    here = psutil.Process().children(recursive=True)
    (actor,) = (one for one in here if "ray::JudgeEngine" in " ".join(one.cmdline()))
    processes = [actor, *actor.children(recursive=True)]  # vLLM has processes of its own
    assert len(processes) > 1
    judge.shut_down()
    with pytest.raises(EngineDiedError):
        asyncio.run(engine.answer(PROMPT, "{}", 0))
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    assert ray.is_initialized()
    assert judge._pool.engines == []
