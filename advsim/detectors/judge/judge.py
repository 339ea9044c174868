"""The judge: a language model that reads each chatbot message with the rubric of the taxonomy.

    message ── one question with the whole rubric, or one a mode ──> votes (another seed each) ──> Assessment
                    │ rate limit, server error, time-out, unreadable answer: asked again, a bounded number of times
                    │ prompt longer than the model's context: asked again without the oldest turns
                    └ still no answer: the mode is abstained from; no answer at all: the assessment's ``error``

A message that could not be judged is never a pass. The model's answers are measured against labelled messages like
every detector's (:mod:`advsim.detectors.accuracy`); they are no ground truth.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from advsim.config import JudgeConfig
from advsim.detectors.findings import Setting
from advsim.detectors.judge.client import JudgeClient, JudgeMessage, OpenAIJudgeClient
from advsim.detectors.judge.counts import AgreementCounter, JudgeCost, JudgeUse, agreement_note, words_note
from advsim.detectors.judge.engine import EnginePool
from advsim.detectors.judge.prompt import (
    UnreadableAnswerError,
    Verdict,
    answer_schema,
    instructions,
    question,
    read_answer,
    reminder,
)
from advsim.detectors.judge.votes import Decision, decide
from advsim.detectors.taxonomy import Taxonomy
from advsim.engine.endpoint.completions import CallError, CallFault, ChatAnswer
from advsim.errors import ConfigError, one_line
from advsim.records import Assessment, FailureLabel, HasTurns, chatbot_turns

NO_VERDICT = "Why messages got no verdict of the judge: "
"""Begins the note with the reasons."""
_MAX_REASONS = 3
_SETTINGS = (
    "model", "scope", "num_votes", "min_agreement", "temperature", "max_tokens", "num_examples", "max_context_turns",
)  # fmt: skip


Question: TypeAlias = tuple[str, ...]
"""Ids of the modes that one call asks for."""


class Judge:
    """A detector that asks a language model.

    It is safe against what the messages say: see :mod:`advsim.detectors.judge.prompt`.

    Args:
        client: the model; :class:`OpenAIJudgeClient`, or anything that satisfies :class:`JudgeClient`.
        taxonomy: the rubric.
        config: how to ask; of the keys that describe an endpoint only ``timeout_s`` is read here.
        pool: the engines that the client asks, where it asks any; started when the first message is judged.

    Raises:
        ConfigError: ``config.modes`` names a mode that the taxonomy lacks.
    """

    def __init__(
        self, client: JudgeClient, taxonomy: Taxonomy, config: JudgeConfig, *, pool: EnginePool | None = None
    ) -> None:
        chosen = frozenset(taxonomy.mode(id).id for id in config.modes) or frozenset(taxonomy.ids)
        self._client = client
        self._pool = pool
        self._config = config
        self._modes = tuple(id for id in taxonomy.ids if id in chosen)
        self._never = tuple(id for id in taxonomy.ids if id not in chosen)
        self._visibility = {mode.id: mode.visibility for mode in taxonomy.modes}
        questions = [self._modes] if config.scope == "rubric" else [(id,) for id in self._modes]
        self._questions: Mapping[Question, tuple[JudgeMessage, dict[str, Any]]] = {
            ids: (
                JudgeMessage(
                    role="system",
                    content=instructions([taxonomy.mode(id) for id in ids], num_examples=config.num_examples),
                ),
                answer_schema(ids),
            )
            for ids in questions
        }
        self._omissions = frozenset(mode.id for mode in taxonomy.modes if mode.is_omission)
        self._counts: Counter[str] = Counter()
        self._fallen: Counter[str] = Counter()  # findings without words of the message, by mode
        self._agreement = AgreementCounter(config.num_votes)
        self._reasons: Counter[str] = Counter()  # why messages got no verdict

    @property
    def name(self) -> str:
        """Name of the judge, from its configuration."""
        return self._config.name

    @property
    def modes(self) -> tuple[str, ...]:
        """Ids of the modes it judges."""
        return self._modes

    @property
    def cost(self) -> JudgeCost:
        """Messages, calls, tokens and errors so far."""
        return JudgeCost(**{field.name: self._counts[field.name] for field in dataclasses.fields(JudgeCost)})

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What its verdicts hang on: the model, how it is asked, and the rubric."""
        rubric = "\n\n".join(system.content for system, _ in self._questions.values())
        return {
            **{key: getattr(self._config, key) for key in _SETTINGS},
            "revision": self._config.engines.revision,
            "extra_body": json.dumps(self._config.extra_body, sort_keys=True),
            "rubric_sha256": hashlib.sha256(rubric.encode()).hexdigest(),
        }

    @property
    def use(self) -> JudgeUse:
        """What the verdicts so far took, and how far the votes agree."""
        return JudgeUse(cost=self.cost, self_agreement=self._agreement.result)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the answers.

        Keys that the endpoint refused, findings without words, self-agreement, and why messages got no verdict.
        """
        most_common = self._reasons.most_common(_MAX_REASONS)
        why = "; ".join(f"{reason} ({num} {'message' if num == 1 else 'messages'})" for reason, num in most_common)
        more = len(self._reasons) - len(most_common)
        rest = f"; and {more} other reasons" if more else ""
        refused = self._client.notes if isinstance(self._client, OpenAIJudgeClient) else ()
        return (
            *refused,
            *words_note(self.cost, self._fallen),
            *agreement_note(self._agreement.result),
            *([f"{NO_VERDICT}{why}{rest}."] if why else []),
        )

    def assess(
        self, dialogues: Sequence[HasTurns], *, advance: Callable[[int], None] | None = None
    ) -> list[Assessment]:
        """Judge every chatbot turn; see :class:`advsim.detectors.protocol.Detector`. Not for use in an event loop.

        Raises:
            EngineError: the judge has engines of its own, and they do not start.
            ConfigError: likewise, because of the model or because the cluster has no place for them.
        """
        return asyncio.run(self.assess_async(dialogues, advance=advance))

    async def assess_async(
        self, dialogues: Sequence[HasTurns], *, advance: Callable[[int], None] | None = None
    ) -> list[Assessment]:
        """Like :meth:`assess`, in a running event loop."""
        batch = _Batch(slots=asyncio.Semaphore(self._config.max_concurrency))
        if not isinstance(self._client, OpenAIJudgeClient):
            batch.called.set()  # engines refuse nothing that could be learned
        if self._pool is not None:
            self._pool.start()  # blocks: a Ray that is started in a thread dies with that thread

        async def judge_dialogue(dialogue: HasTurns) -> list[Assessment]:
            turns = [index for index, _ in chatbot_turns(dialogue)]
            assessments = await asyncio.gather(*(self._judge(dialogue, index, batch) for index in turns))
            if advance is not None:
                advance(1)
            return assessments

        try:
            judged = await asyncio.gather(*(judge_dialogue(dialogue) for dialogue in dialogues))
            return [assessment for of_dialogue in judged for assessment in of_dialogue]
        finally:
            await self._client.close()

    def shut_down(self) -> None:
        """Stop the engines, where the judge has any of its own; it starts them again where it is used again."""
        if self._pool is not None:
            self._pool.shut_down()

    async def _judge(self, dialogue: HasTurns, index: int, batch: _Batch) -> Assessment:
        self._counts["num_messages"] += 1
        votes: dict[Question, list[Verdict]] = {ids: [] for ids in self._questions}
        errors: list[str] = []
        if dialogue.turns[index].text.strip():
            asked = [(ids, vote) for ids in self._questions for vote in range(self._config.num_votes)]
            answers = await asyncio.gather(*(self._ask(ids, vote, dialogue, index, batch) for ids, vote in asked))
            for (ids, _), answer in zip(asked, answers, strict=True):
                if isinstance(answer, Verdict):
                    votes[ids].append(answer)
                else:
                    errors.append(answer)
        else:
            errors.append("the message is empty")
        return self._combine(dialogue, index, votes, errors)

    async def _ask(self, ids: Question, vote: int, dialogue: HasTurns, index: int, batch: _Batch) -> Verdict | str:
        """The verdict of one vote, or why there is none."""
        config = self._config
        retrying = AsyncRetrying(
            stop=stop_after_attempt(config.max_attempts),
            wait=self._wait_s,
            retry=retry_if_exception(_worth_repeating),
            reraise=True,
        )
        unreadable: UnreadableAnswerError | None = None
        number = 0
        try:
            async for attempt in retrying:
                with attempt:
                    number = attempt.retry_state.attempt_number
                    try:
                        return await self._call(ids, vote, number, unreadable, dialogue, index, batch)
                    except UnreadableAnswerError as error:
                        unreadable = error
                        raise
        except (CallError, UnreadableAnswerError) as error:
            return f"no verdict after {number} {'call' if number == 1 else 'calls'}: {error}"
        raise AssertionError("the retries ended without an answer and without an error")

    async def _call(
        self,
        ids: Question,
        vote: int,
        number: int,
        unreadable: UnreadableAnswerError | None,
        dialogue: HasTurns,
        index: int,
        batch: _Batch,
    ) -> Verdict:
        config = self._config
        system, schema = self._questions[ids]
        async with batch.slots:
            # attempts differ in seed, or a server that repeats itself would repeat its mistake
            seed = config.seed + 1000 * (number - 1) + vote
            self._counts["num_retries"] += number > 1
            num_shown = min(index, config.max_context_turns)
            while True:
                text = question(dialogue.turns, index, max_context_turns=num_shown)
                messages = [system, JudgeMessage(role="user", content=text)]
                if unreadable is not None:
                    messages.append(reminder(unreadable))
                try:
                    async with batch.alone_at_first():
                        reply = await self._complete(messages, schema, seed, batch)
                    break
                except CallError as error:
                    if error.fault is not CallFault.TOO_LONG:
                        raise
                    self._counts["num_too_long"] += 1
                    if not num_shown:
                        raise
                    num_shown -= math.ceil(num_shown / 4)  # the oldest go
        if reply.num_prompt_tokens is None or reply.num_completion_tokens is None:
            self._counts["num_calls_without_usage"] += 1
        self._counts["num_prompt_tokens"] += reply.num_prompt_tokens or 0
        self._counts["num_completion_tokens"] += reply.num_completion_tokens or 0
        try:
            if reply.why_empty:
                raise UnreadableAnswerError(reply.why_empty, reminder="it was empty")
            return read_answer(
                reply.text,
                modes=ids,
                message=dialogue.turns[index].text,
                omissions=self._omissions,
                before=[turn.text for turn in dialogue.turns[index - num_shown : index]],
            )
        except UnreadableAnswerError:
            self._counts["num_unreadable"] += 1
            raise

    async def _complete(
        self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], seed: int, batch: _Batch
    ) -> ChatAnswer:
        if batch.closed:  # the endpoint refuses everything: one refusal is enough
            raise CallError(batch.closed, fault=CallFault.ENDPOINT)
        self._counts["num_calls"] += 1
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await self._client.complete(messages, schema, seed=seed)
        except CallError as error:
            if error.fault is CallFault.ENDPOINT:
                batch.closed = batch.closed or str(error)
            raise
        except TimeoutError:
            reason = f"no answer within {self._config.timeout_s:g} s"
            raise CallError(reason, fault=CallFault.TRANSIENT) from None
        except Exception as error:  # whatever a client raises, the other messages keep their verdicts
            reason = one_line(f"{type(error).__name__}: {error}", max_characters=200)
            raise CallError(reason, fault=CallFault.TRANSIENT) from error

    def _wait_s(self, state: RetryCallState) -> float:
        config = self._config
        wait_s = wait_random_exponential(multiplier=config.backoff_s, max=config.max_backoff_s)(state)
        error = state.outcome.exception() if state.outcome is not None else None
        asked_s = error.retry_after_s if isinstance(error, CallError) else None
        return min(max(wait_s, asked_s or 0.0), config.max_backoff_s)

    def _combine(
        self, dialogue: HasTurns, index: int, votes: Mapping[Question, Sequence[Verdict]], errors: Sequence[str]
    ) -> Assessment:
        if not any(votes.values()):
            self._counts["num_errors"] += 1
            self._reasons[errors[0]] += 1
            return Assessment(conversation_id=dialogue.id, turn=index, detector=self.name, error=errors[0])
        labels: list[FailureLabel] = []
        abstained = set(self._never)
        for ids, verdicts in votes.items():
            decisions = decide(
                verdicts, ids, num_votes=self._config.num_votes, min_agreement=self._config.min_agreement
            )
            labels += [self._label(dialogue, index, decision) for decision in decisions.present]
            abstained |= decisions.abstained
            self._agreement.add(dialogue.id, verdicts, ids)
            for verdict in verdicts:
                self._counts["num_misquoted"] += len(verdict.misquoted)
                self._counts["num_unquoted"] += len(verdict.unquoted)
                self._fallen.update(verdict.misquoted | verdict.unquoted)
                self._counts["num_findings"] += len(verdict.findings) + len(verdict.misquoted | verdict.unquoted)
        return Assessment(
            conversation_id=dialogue.id,
            turn=index,
            detector=self.name,
            labels=tuple(labels),
            abstained=tuple(id for id in self._visibility if id in abstained),
        )

    def _label(self, dialogue: HasTurns, index: int, decision: Decision) -> FailureLabel:
        return FailureLabel(
            conversation_id=dialogue.id,
            turn=index,
            mode=decision.mode,
            severity=decision.severity,
            span=decision.span,
            detector=self.name,
            confidence=decision.confidence,
            visibility=self._visibility[decision.mode],
        )


@dataclass(slots=True)
class _Batch:
    """State that the calls of one batch share."""

    slots: asyncio.Semaphore
    closed: str = ""  # why the endpoint refuses every call
    called: asyncio.Event = field(default_factory=asyncio.Event)
    first_call: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def alone_at_first(self) -> AsyncIterator[None]:
        """Let the first call of all go alone: what the endpoint refuses is learned once, and not by every call."""
        async with AsyncExitStack() as stack:
            if not self.called.is_set():
                await stack.enter_async_context(self.first_call)
            if self.called.is_set():
                await stack.aclose()  # the others go together
            else:
                stack.callback(self.called.set)
            yield


def build_judge(config: JudgeConfig, taxonomy: Taxonomy) -> Judge:
    """The judge of a configuration at its endpoint.

    Raises:
        ConfigError: no model is named, a mode is unknown, or the key's environment variable is not set.
    """
    if not config.model:
        raise ConfigError(f"evaluate.judge.model: got nothing, expected the name of a model at {config.base_url}")
    return Judge(OpenAIJudgeClient(config), taxonomy, config)


def _worth_repeating(error: BaseException) -> bool:
    if isinstance(error, CallError):
        return error.fault is CallFault.TRANSIENT
    return isinstance(error, UnreadableAnswerError)
