"""The judge's model on advsim's own engines: one engine that answers, and the client that spreads calls over them.

    Judge ── messages, schema ──> EngineJudgeClient ──> the engine with the fewest calls under way ──> ChatAnswer

Ray is not known here: :mod:`advsim.detectors.judge.pool` makes an actor of each engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from advsim.detectors.judge.client import JudgeMessage
from advsim.engine.build import build_engine
from advsim.engine.endpoint.completions import CallError, CallFault, ChatAnswer
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest
from advsim.errors import ConfigError, EngineDiedError, EngineError
from advsim.models.base import context_tokens, load_tokenizer, resolve_model
from advsim.prompts.question import QuestionPrompts
from advsim.prompts.window import ContextOverflowError

MAX_STRING_CHARACTERS = 200
"""Of an analysis or a span. All twelve modes found, with spans of this length, are about 1,000 tokens."""

MODEL_KEY = "evaluate.judge.model"
"""What an error about the model calls it."""

_TENTHS = [tenth / 10 for tenth in range(11)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeEngineSpec:
    """What an actor needs to answer a judge's questions. The engine's context is cut to what the model can have."""

    engine: EngineSpec
    max_tokens: int  # of an answer
    temperature: float


class AnsweringEngine(Protocol):
    """An engine that answers a judge's prompts, in this process or elsewhere."""

    async def answer(self, messages: Sequence[JudgeMessage], json_schema: str, seed: int) -> ChatAnswer:
        """The answer to one prompt, the first message of which is the system's.

        Raises:
            ContextOverflowError: the prompt is longer than the model can take.
            EngineDiedError: the engine is gone.
            EngineError: the engine refused the request.
        """


class EnginePool(Protocol):
    """Engines that are started for a judge and stopped after it."""

    @property
    def engines(self) -> Sequence[AnsweringEngine]:
        """The engines that are running."""

    def start(self) -> None:
        """Start the engines and wait until they answer; does nothing where some are running.

        Raises:
            EngineError: one did not start.
            ConfigError: there is no such model, or no place for the engines.
        """

    def discard(self, engine: AnsweringEngine) -> None:
        """Stop asking an engine that has died."""

    def shut_down(self) -> None:
        """Stop the engines and free their place; does nothing where none is running."""


class JudgeEngine:
    """One engine with a judge's model; Ray makes an actor of this class."""

    def __init__(self, spec: JudgeEngineSpec) -> None:
        self._spec = spec
        self._engine: Engine | None = None
        self._prompts: QuestionPrompts | None = None

    async def start(self) -> None:
        """Find the model, read its tokenizer and load its weights.

        Raises:
            ConfigError: the model cannot be had, has no chat template or one that changes messages, or has no room for
                an answer.
            EngineError: the engine does not start.
        """
        spec = self._spec.engine
        folder = resolve_model(spec.model, key=MODEL_KEY)
        max_model_len = min(spec.config.max_model_len, context_tokens(folder) or spec.config.max_model_len)
        budget_tokens = max_model_len - self._spec.max_tokens
        if budget_tokens <= 0:
            raise ConfigError(
                f"{MODEL_KEY}: {spec.model.path} can have {max_model_len} tokens in all, of which an answer may take "
                f"{self._spec.max_tokens}; use a model with a longer context"
            )
        self._prompts = QuestionPrompts(load_tokenizer(folder), budget_tokens=budget_tokens)
        config = spec.config.model_copy(update={"max_model_len": max_model_len})
        self._engine = build_engine(replace(spec, config=config))
        await self._engine.start()

    async def answer(self, messages: Sequence[JudgeMessage], json_schema: str, seed: int) -> ChatAnswer:
        """See :class:`AnsweringEngine`."""
        if self._engine is None or self._prompts is None:
            raise EngineDiedError("the judge's engine is not running")
        system, *asked = messages
        # one user message: many templates refuse two in a row
        question = "\n\n".join(message.content for message in asked)
        prompt_ids = self._prompts.prompt(system.content, question)
        (completion,) = await self._engine.generate(
            GenerationRequest(
                prompt_ids=prompt_ids,
                temperature=self._spec.temperature,
                max_tokens=self._spec.max_tokens,
                seed=seed,
                json_schema=json_schema,
            )
        )
        return ChatAnswer(
            text=completion.text,
            num_prompt_tokens=len(prompt_ids),
            num_completion_tokens=len(completion.token_ids),
        )

    def close(self) -> None:
        """Free the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


class EngineJudgeClient:
    """Client that asks the engines of a pool; see :class:`advsim.detectors.judge.client.JudgeClient`."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool
        self._under_way: Counter[int] = Counter()  # calls by id of the engine

    async def complete(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], *, seed: int) -> ChatAnswer:
        """One answer of the engine with the fewest calls under way."""
        if not self._pool.engines:
            raise CallError("no engine of the judge is alive", fault=CallFault.ENDPOINT)
        engine = min(self._pool.engines, key=lambda engine: self._under_way[id(engine)])
        self._under_way[id(engine)] += 1
        try:
            return await engine.answer(messages, json.dumps(bounded(schema)), seed)
        except ContextOverflowError as error:
            reason = f"{error}; ask mode by mode (evaluate.judge.scope=mode), or use a model with a longer context"
            raise CallError(reason, fault=CallFault.TOO_LONG) from None
        except EngineDiedError:
            self._pool.discard(engine)
            fault = CallFault.TRANSIENT if self._pool.engines else CallFault.ENDPOINT
            raise CallError("an engine of the judge died", fault=fault) from None
        except EngineError as error:
            raise CallError(str(error), fault=CallFault.TRANSIENT) from None
        finally:
            self._under_way[id(engine)] -= 1

    async def close(self) -> None:
        """Do nothing: the engines live from batch to batch, until the pool is shut down."""


def bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with a maximum length of every string and list, so that a rambling model's answer ends too.

    Strings have at most :data:`MAX_STRING_CHARACTERS`, lists as many items as there are modes to name, and numbers (the
    confidence) are tenths from 0 to 1. Endpoints get the schema without: strict structured output there knows no
    ``maxLength``.
    """
    bounds: dict[str, Any] = {}
    if "enum" in schema:
        return dict(schema)
    if schema["type"] == "string":
        bounds = {"maxLength": MAX_STRING_CHARACTERS}
    elif schema["type"] == "number":
        bounds = {"enum": _TENTHS}
    elif schema["type"] == "array":
        bounds = {"items": bounded(schema["items"]), "maxItems": _num_choices(schema["items"])}
    elif schema["type"] == "object":
        bounds = {"properties": {name: bounded(inner) for name, inner in schema["properties"].items()}}
    return {**schema, **bounds}


def _num_choices(schema: Mapping[str, Any]) -> int:
    """Members of the longest list of choices in a schema of an item."""
    if "enum" in schema:
        return len(schema["enum"])
    return max((_num_choices(inner) for inner in schema.get("properties", {}).values()), default=1)
