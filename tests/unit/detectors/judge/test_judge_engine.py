"""The judge on engines: scripted ones in this process, so that every answer and every fault is known."""

import asyncio
import json
import shutil

import pytest
from judge_server import failure, verdict
from tiny import build_tiny_model

from advsim.config import EngineConfig, JudgeConfig, ModelConfig
from advsim.detectors.judge.client import JudgeMessage
from advsim.detectors.judge.engine import (
    MAX_STRING_CHARACTERS,
    EngineJudgeClient,
    JudgeEngine,
    JudgeEngineSpec,
    bounded,
)
from advsim.detectors.judge.judge import Judge
from advsim.detectors.judge.pool import build_engine_judge
from advsim.detectors.judge.prompt import answer_schema, read_answer
from advsim.detectors.taxonomy import load_taxonomy
from advsim.engine.protocol import EngineSpec
from advsim.errors import ConfigError, EngineDiedError, EngineError
from advsim.models.base import load_tokenizer
from advsim.records import Dialogue, Speaker, Split, Turn

TAXONOMY = load_taxonomy()
MODE = "boundary"
FAST = JudgeConfig(backoff_s=0.001, max_backoff_s=0.01, max_attempts=3, modes=(MODE,), num_examples=0)
FAILS = json.dumps(verdict(failure(MODE, span="love you")))
PASSES = json.dumps(verdict())
MAX_TOKENS = 64
CONTEXT_TOKENS = 6000  # instructions and a short dialogue, in the tiny tokenizer's small tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("judge"), max_position_embeddings=CONTEXT_TOKENS)


@pytest.fixture
def engine_of(folder):
    """Makes a started engine with scripted replies."""

    def make(*replies):
        engine = EngineSpec(
            kind="scripted",
            config=EngineConfig(max_model_len=100_000),
            model=ModelConfig(path=str(folder)),
            replies=replies,
        )
        judge_engine = JudgeEngine(JudgeEngineSpec(engine=engine, max_tokens=MAX_TOKENS, temperature=0.0))
        asyncio.run(judge_engine.start())
        return Recorder(judge_engine)

    return make


class Recorder:
    """An engine that remembers what it was asked and answered, and fails with ``fault`` where that is given."""

    def __init__(self, engine, fault=None):
        self.engine = engine
        self.fault = fault or (lambda messages: None)
        self.asked = []
        self.replies = []

    async def answer(self, messages, json_schema, seed):
        self.asked.append(messages)
        fault = self.fault(messages)
        if fault is not None:
            raise fault
        await asyncio.sleep(0)
        self.replies.append(await self.engine.answer(messages, json_schema, seed))
        return self.replies[-1]


class Pool:
    """Engines in this process."""

    def __init__(self, *engines):
        self.given = engines
        self.engines = []
        self.num_starts = 0

    def start(self):
        if not self.engines:
            self.num_starts += 1
            self.engines = list(self.given)

    def discard(self, engine):
        self.engines.remove(engine)

    def shut_down(self):
        self.engines = []


def judge_on(*engines, **changes):
    pool = Pool(*engines)
    return Judge(EngineJudgeClient(pool), TAXONOMY, FAST.model_copy(update=changes), pool=pool)


def dialogue(id, *texts):
    turns = [Turn(speaker=(Speaker.USER, Speaker.CHATBOT)[i % 2], text=text) for i, text in enumerate(texts)]
    return Dialogue(id=id, source="t", split=Split.TEST, turns=tuple(turns))


ONE = dialogue("d", "I am alone.", "I love you too.")


def test_answer_of_an_engine_becomes_a_label_and_its_tokens_are_counted(engine_of, folder):
    engine = engine_of(FAILS)
    judge = judge_on(engine)
    (assessment,) = judge.assess([ONE])
    assert [(label.mode, label.span) for label in assessment.labels] == [(MODE, "love you")]
    system, asked = engine.asked[0]
    chat = [{"role": "system", "content": system.content}, {"role": "user", "content": asked.content}]
    rendered = load_tokenizer(folder).apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    # the same text; the tokens are cut at the frames, which the tiny tokenizer's merges do not cross
    assert judge.cost.num_prompt_tokens == len(load_tokenizer(folder).encode(rendered, add_special_tokens=False))
    assert judge.cost.num_completion_tokens == len(FAILS)  # a scripted token is a byte
    assert judge.cost.num_calls_without_usage == 0


@pytest.mark.parametrize("broken", ["", "The message is fine.", PASSES[:-4], '{"failures": [{"mode": "rudeness"}]}'])
def test_broken_answer_for_ever_is_an_error_and_never_a_pass(engine_of, broken):
    engine = engine_of(broken)
    judge = judge_on(engine)
    (assessment,) = judge.assess([ONE])
    assert assessment.error.startswith("no verdict after 3 calls: the answer ")
    assert (assessment.labels, len(engine.asked)) == ((), 3)
    assert (judge.cost.num_unreadable, judge.cost.num_retries, judge.cost.num_errors) == (3, 2, 1)
    assert judge.cost.num_completion_tokens == 3 * len(broken)


def test_broken_answer_once_is_asked_again_with_a_reminder(engine_of):
    good = engine_of(FAILS)

    class OnceBroken(Recorder):
        async def answer(self, messages, json_schema, seed):
            self.engine = good if self.asked else broken
            return await super().answer(messages, json_schema, seed)

    broken = engine_of("no")
    engine = OnceBroken(None)
    (assessment,) = judge_on(engine).assess([ONE])
    assert [label.mode for label in assessment.labels] == [MODE]
    assert "could not be used" in engine.asked[1][-1].content and len(engine.asked[0]) == 2


def test_engine_that_refuses_one_message_leaves_the_others_their_verdicts(engine_of):
    engine = engine_of(FAILS)
    engine.fault = lambda messages: EngineError("refused") if "bad reply" in messages[1].content else None
    found = judge_on(engine).assess([dialogue("a", "x", "bad reply"), dialogue("b", "x", "good reply")])
    assert [one.error for one in found] == ["no verdict after 3 calls: refused", ""]


def test_calls_of_an_engine_that_dies_go_to_the_other_and_none_is_lost(engine_of):
    dying, other = engine_of(FAILS), engine_of(FAILS)
    dying.fault = lambda messages: EngineDiedError("gone") if len(dying.asked) > 2 else None
    found = judge_on(dying, other).assess([dialogue(f"d{i}", "x", f"I love you, {i}") for i in range(12)])
    assert [(one.error, len(one.labels)) for one in found] == [("", 1)] * 12
    assert (len(dying.replies), len(other.replies)) == (2, 10)


def test_when_all_engines_are_dead_every_message_says_so_and_nobody_is_asked_again(engine_of):
    engine = engine_of(PASSES)
    engine.fault = lambda messages: EngineDiedError("gone")
    judge = judge_on(engine, max_concurrency=1)
    found = judge.assess([dialogue(f"d{i}", "x", "y") for i in range(4)])
    assert {one.error for one in found} == {"no verdict after 1 call: an engine of the judge died"}
    assert len(engine.asked) == 1
    engine.fault = lambda messages: None
    assert judge.assess([ONE])[0].error == ""  # the next batch starts them anew


def test_engine_that_was_closed_says_so(engine_of):
    engine = engine_of(PASSES).engine
    engine.close()
    with pytest.raises(EngineDiedError, match="not running"):
        asyncio.run(engine.answer([JudgeMessage(role="system", content="x")], "{}", 0))


def test_calls_are_spread_over_the_engines(engine_of):
    engines = [engine_of(PASSES) for _ in range(3)]
    judge_on(*engines).assess([dialogue(f"d{i}", "x", "y") for i in range(9)])
    assert [len(engine.asked) for engine in engines] == [3, 3, 3]


def test_an_engine_that_is_done_is_asked_before_one_that_still_answers(engine_of):
    class Slow(Recorder):
        async def answer(self, messages, json_schema, seed):
            await released.wait()
            return await super().answer(messages, json_schema, seed)

    released = asyncio.Event()
    slow, quick = Slow(engine_of(PASSES).engine), engine_of(PASSES)
    pool = Pool(slow, quick)
    pool.start()
    client = EngineJudgeClient(pool)
    messages = [JudgeMessage(role="system", content="s"), JudgeMessage(role="user", content="q")]

    async def ask():
        first = asyncio.create_task(client.complete(messages, answer_schema([MODE]), seed=0))
        await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.wait_for(client.complete(messages, answer_schema([MODE]), seed=0), timeout=30)
        released.set()
        await first

    asyncio.run(ask())
    assert (len(slow.asked), len(quick.asked)) == (1, 3)


def test_engines_start_with_the_first_message_and_live_until_they_are_shut_down(engine_of):
    judge = judge_on(engine_of(PASSES))
    assert judge._pool.num_starts == 0
    judge.assess([ONE])
    judge.assess([ONE])
    assert judge._pool.num_starts == 1
    judge.shut_down()
    assert judge._pool.engines == []
    judge.assess([ONE])
    assert judge._pool.num_starts == 2


def test_long_dialogue_loses_its_oldest_turns_and_no_more_than_it_must(engine_of):
    engine = engine_of(FAILS)
    texts = [f"[turn {i}] " + "work and sleep " * 140 for i in range(11)]
    judge = judge_on(engine)
    found = judge.assess([dialogue("d", *texts, "I love you")])
    assert found[-1].error == "" and found[-1].labels
    last = [messages[1].content for messages in engine.asked if "I love you" in messages[1].content]
    answered = last[-1]
    shown = [i for i in range(11) if f"turn {i}\\u005d" in answered]
    assert shown == list(range(shown[0], 11)) and 0 < shown[0] < 10
    assert judge.cost.num_too_long == len(engine.asked) - len(engine.replies) > 0
    assert judge.cost.num_retries == 0
    assert len(last) == 2 and shown[0] == 3  # of 11 turns the oldest quarter, rounded up, was too much


def test_message_that_never_fits_is_an_error_of_that_message_alone(engine_of):
    engine = engine_of(FAILS)
    short, long = judge_on(engine).assess([dialogue("a", "x", "y"), dialogue("b", "x", "y" * 30_000)])
    assert short.error == "" and long.labels == ()
    assert "the prompt takes" in long.error and f"may take {CONTEXT_TOKENS - MAX_TOKENS}" in long.error
    assert "longer context" in long.error


def test_bounds_let_every_answer_through_that_names_each_mode_once():
    schema = bounded(answer_schema(TAXONOMY.ids))
    failures, unsure = schema["properties"]["failures"], schema["properties"]["unsure"]
    assert failures["maxItems"] == unsure["maxItems"] == len(TAXONOMY.ids)
    finding = failures["items"]["properties"]
    assert schema["properties"]["analysis"]["maxLength"] == finding["span"]["maxLength"] == MAX_STRING_CHARACTERS
    for confidence in finding["confidence"]["enum"]:
        read_answer(json.dumps(verdict(failure(MODE, confidence=confidence))), modes=(MODE,), message="hi")
    assert "maxLength" not in json.dumps(answer_schema(TAXONOMY.ids))


def test_model_without_weights_is_named_before_anything_starts(folder, tmp_path):
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ConfigError, match=r"evaluate\.judge\.model: .*no \*\.safetensors weights"):
        build_engine_judge(FAST.model_copy(update={"model": str(bare)}), TAXONOMY)


def test_model_without_room_for_an_answer_is_refused(folder):
    engine = EngineSpec(kind="scripted", config=EngineConfig(), model=ModelConfig(path=str(folder)), replies=("x",))
    with pytest.raises(ConfigError, match="can have 1024 tokens in all, of which an answer may take 1024"):
        asyncio.run(JudgeEngine(JudgeEngineSpec(engine=engine, max_tokens=1024, temperature=0.0)).start())
