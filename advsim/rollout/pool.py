"""The rollout pool of a run: its simulator engines and chatbot engines."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from advsim.chatbots.actor import ChatbotActor, ChatbotSpec
from advsim.chatbots.caller import CallerActor, CallerSpec
from advsim.chatbots.load import check_named_chatbots
from advsim.config import ChatbotConfig, Config
from advsim.engine.protocol import EngineSpec
from advsim.errors import DeliveryError, EngineError
from advsim.records import AdapterRef, Candidate, Conversation, NextTurn
from advsim.rollout.delivery import Delivery, check_acknowledgements
from advsim.rollout.replay import ReplayedReply, ReplayRequest
from advsim.rollout.simulator_actor import CandidateRequest, DrawRequest, NextTurnRequest, SimulatorActor, SimulatorSpec
from advsim.rollout.turn_loop import RolloutTask
from advsim.runtime.actors import actor_failures
from advsim.runtime.kept_actors import ActorPlan, KeptActors
from advsim.runtime.placement import PoolRequest, Pools, caller_request, colocated, pool_requests, start_actor
from advsim.runtime.trace import SpanRecorder

_CLOSE_TIMEOUT_S = 20.0
_REMEDY = (
    "Give it more memory or lower what it needs (engine.kv_cache_gib, engine.max_num_seqs, rollout.max_concurrent, "
    "resources.*.num_replicas), or raise resources.max_restarts. Finished stages are kept: the same command resumes"
)


Spoken = TypeVar("Spoken", RolloutTask, CandidateRequest, DrawRequest, NextTurnRequest)
"""What an engine speaks with an adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """An adapter that every engine has acknowledged; None where the version that made a run did not measure it yet."""

    version: int | None = None
    sha256: str | None = None
    num_engines: int | None = None
    max_ms: float | None = None
    max_canary_difference: float | None = None  # nats a token, against the learner's log-probabilities


class RolloutPool:
    """The simulator engines, and the chatbot engines where they are not colocated.

    Args:
        config: the run's.
        pools: where the engines are placed.
        log_dir: folder of the engines' logs; empty leaves them to Ray.
        chatbots: serve these, by name, in place of ``config.chatbot``: each is called, or a system prompt and a
            sampling on the model that the chatbot's engines hold.
        notice: is told of every engine that died and is started again, in one sentence.
        trace: of what the engines do; None keeps none.
        has_model: False where users speak in fixed lines and no chatbot needs the engines: none is then started.

    Raises:
        ConfigError: a chatbot of ``chatbots`` needs another model or does not fit the engines, or a pool has no place.
    """

    def __init__(
        self,
        config: Config,
        pools: Pools,
        *,
        log_dir: str,
        chatbots: Sequence[ChatbotConfig] = (),
        notice: Callable[[str], None] = lambda said: None,
        trace: SpanRecorder | None = None,
        has_model: bool = True,
    ) -> None:
        check_named_chatbots(chatbots, config)
        is_own = not chatbots  # without it there is no run; one of several may fail beside the others
        served = chatbots or [config.chatbot]
        called = [chatbot for chatbot in served if chatbot.is_called]
        chatbots = [chatbot for chatbot in chatbots if not chatbot.is_called]
        self._config = config
        self._log_dir = log_dir
        self._chatbot_names = [chatbot.name for chatbot in chatbots]
        self._called_names = [chatbot.name for chatbot in called]
        self._delivery: Delivery | None = None
        self.last_push: PushResult | None = None
        requests = {request.pool: request for request in pool_requests(config)}
        group = pools.place(requests["simulator"])
        has_engines = len(called) < len(served) and not colocated(config)
        chatbot_group = pools.place(requests["chatbot"]) if has_engines else None
        calling = caller_request(config)
        caller_group = pools.place(calling) if called else None
        concurrency = max(config.rollout.max_concurrent, config.engine.max_num_seqs) + 8

        def plan(
            request: PoolRequest,
            group: Any,
            actor_class: type,
            arguments: Callable[[int], tuple[Any, ...]],
            prepare: Callable[[Any, int], None],
        ) -> ActorPlan:
            pool = request.pool
            return ActorPlan(
                what=pool,
                num_actors=request.num_bundles,
                start=lambda i: start_actor(actor_class, request, group, i, arguments(i), concurrency=concurrency),
                prepare=prepare,
                max_restarts=config.resources.max_restarts,
                log_files=[_log_file(log_dir, f"{pool}-{i}") for i in range(request.num_bundles)],
                log_dir=log_dir,
                notice=notice,
                trace=trace,
                remedy=_REMEDY,
            )

        self._simulators = KeptActors(
            plan(
                requests["simulator"],
                group,
                SimulatorActor,
                lambda index: (
                    _simulator_spec(config, index, log_dir, chatbots, has_model=has_model),
                    f"simulator-{index}",
                ),
                self._prepare_simulator,
            )
        )
        self._chatbots: KeptActors | None = None
        if chatbot_group is not None:
            self._chatbots = KeptActors(
                plan(
                    requests["chatbot"],
                    chatbot_group,
                    ChatbotActor,
                    lambda index: (_chatbot_spec(config, index, log_dir, chatbots),),
                    self._prepare_chatbot,
                )
            )
        self._callers: KeptActors | None = None
        if caller_group is not None:
            concurrency *= requests["simulator"].num_bundles  # each simulator's conversations may wait in one caller
            self._callers = KeptActors(
                plan(
                    calling,
                    caller_group,
                    CallerActor,
                    lambda index: (_caller_spec(calling, index, log_dir, called, must_answer=is_own),),
                    self._prepare_chatbot,
                )
            )
        self._starting = [actor.start.remote() for actor in self._actors()]

    def wait_until_ready(self) -> None:
        """Block until every engine has started.

        Raises:
            EngineError: one did not, or not within ``engine.startup_timeout_s``.
        """
        if not self._starting:
            return
        self._wait(self._starting, "engine")
        self._starting = []
        if self._remote_chatbots():
            self._begin()
            self._use_chatbots()

    def close(self) -> None:
        """End the engines and remove the adapters that they keep on their machines' disks."""
        import ray
        from ray.exceptions import RayError

        closing = [actor.close.remote() for actor in self._actors()]
        with contextlib.suppress(RayError):  # those that died are gone anyway
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_TIMEOUT_S)

    def push(self, delivery: Delivery) -> None:
        """Send an adapter to every engine and check every acknowledgement. Engines that hold it already load it again.

        Raises:
            DeliveryError: an engine does not hold it afterwards; no rollout may start.
            EngineError: engines died again and again.
        """
        import ray

        self._begin()
        self._delivery = self.last_push = None
        started = time.monotonic()
        shared = ray.put(delivery)
        acknowledgements = self._simulators.each(lambda simulator: simulator.load_adapter.remote(shared))
        difference = check_acknowledgements(delivery, acknowledgements, engines=self._simulators.names)
        self._delivery = delivery
        self.last_push = PushResult(
            version=delivery.adapter.version,
            sha256=delivery.adapter.sha256,
            num_engines=len(acknowledgements),
            max_ms=round(1000 * max([time.monotonic() - started, *(a.seconds for a in acknowledgements)]), 1),
            max_canary_difference=round(difference, 4),
        )

    @property
    def pushed(self) -> AdapterRef | None:
        """The adapter that all engines hold."""
        return None if self._delivery is None else self._delivery.adapter

    def simulate(self, tasks: Iterable[RolloutTask]) -> Iterator[Conversation]:
        """Conversations as they finish; the next task is taken once there is a place for it."""
        yield from self._map(lambda actor, task: actor.simulate.remote(task), self._checked(tasks))

    def candidates(self, requests: Sequence[CandidateRequest]) -> Iterator[list[Candidate]]:
        """Candidates of each request as they finish."""
        yield from self._map(lambda actor, request: actor.candidates.remote(request), self._checked(requests))

    def draws(self, requests: Iterable[DrawRequest]) -> Iterator[list[Candidate]]:
        """Draws on each real prefix as they finish; a request without any text gives an empty list."""
        yield from self._map(lambda actor, request: actor.draws.remote(request), self._checked(requests))

    def next_turns(self, requests: Iterable[NextTurnRequest]) -> Iterator[NextTurn]:
        """Next user turns on real prefixes as they finish."""
        yield from self._map(lambda actor, request: actor.next_turn.remote(request), self._checked(requests))

    def replay(self, requests: Iterable[ReplayRequest]) -> Iterator[ReplayedReply]:
        """Chatbots' replies to real prefixes as they finish."""
        yield from self._map(lambda actor, request: actor.replay.remote(request), requests)

    def _checked(self, items: Iterable[Spoken]) -> Iterator[Spoken]:
        """Items whose adapter all engines hold.

        Raises:
            DeliveryError: an item wants another.
        """
        for item in items:
            wanted, pushed = item.adapter, self.pushed
            if wanted is not None and (
                pushed is None or (pushed.version, pushed.sha256) != (wanted.version, wanted.sha256)
            ):
                raise DeliveryError(
                    f"rollout wants adapter version {wanted.version}, but the engines have acknowledged "
                    f"{'none' if pushed is None else f'version {pushed.version}'}; push it first"
                )
            yield item

    def _map(self, call: Callable[[Any, Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        self._begin()
        in_flight = self._config.rollout.max_concurrent
        yield from self._simulators.map(call, items, in_flight=in_flight, mend=self._mend)

    def _actors(self) -> list[Any]:
        return [*self._simulators.actors, *(actor for pool in self._remote_chatbots() for actor in pool.actors)]

    def _remote_chatbots(self) -> list[KeptActors]:
        """The pools of chatbots that are not on the simulators' engines."""
        return [pool for pool in (self._chatbots, self._callers) if pool is not None]

    def _begin(self) -> None:
        for pool in (self._simulators, *self._remote_chatbots()):
            pool.begin()
        if self._callers is not None:
            self._callers.each(lambda caller: caller.begin.remote())

    def _mend(self, index: int, error: BaseException) -> None:
        """Replace what died when a simulator's request did: the simulator, or the chatbot it was talking to."""
        dead_chatbots = [(pool, chatbot) for pool in self._remote_chatbots() for chatbot in pool.dead()]
        for pool, chatbot in dead_chatbots:
            pool.replace(chatbot, error)
        if dead_chatbots:
            self._use_chatbots()
        if not dead_chatbots or index in self._simulators.dead():
            self._simulators.replace(index, error)

    def _use_chatbots(self) -> None:
        if self._chatbots is not None:
            self._simulators.each(self._ask_to_use_chatbots)
        if self._callers is not None:
            self._simulators.each(self._ask_to_use_callers)

    def _ask_to_use_chatbots(self, simulator: Any) -> Any:
        assert self._chatbots is not None, "simulators are told of chatbot engines where there are some"
        return simulator.use_chatbots.remote(self._chatbots.actors, self._chatbot_names)

    def _ask_to_use_callers(self, simulator: Any) -> Any:
        assert self._callers is not None, "simulators are told of callers where there are some"
        return simulator.use_callers.remote(self._callers.actors, self._called_names)

    def _prepare_chatbot(self, actor: Any, index: int) -> None:
        self._wait([actor.start.remote()], f"chatbot-{index}")

    def _prepare_simulator(self, actor: Any, index: int) -> None:
        import ray

        name = f"simulator-{index}"
        self._wait([actor.start.remote()], name)
        with actor_failures(name, log_dir=self._log_dir):
            if self._chatbots is not None:
                ray.get(self._ask_to_use_chatbots(actor))
            if self._callers is not None:
                ray.get(self._ask_to_use_callers(actor))
            if self._delivery is not None:
                acknowledgement = ray.get(actor.load_adapter.remote(self._delivery))
                check_acknowledgements(self._delivery, [acknowledgement], engines=[name])

    def _wait(self, starting: Sequence[Any], what: str) -> None:
        import ray
        from ray.exceptions import GetTimeoutError

        try:
            with actor_failures(what, log_dir=self._log_dir):
                ray.get(list(starting), timeout=self._config.engine.startup_timeout_s)
        except GetTimeoutError:
            raise EngineError(
                f"{what}: did not start within {self._config.engine.startup_timeout_s:g} s; see "
                f"{self._log_dir or 'the logs of Ray'}, or raise engine.startup_timeout_s"
            ) from None


def _simulator_spec(
    config: Config, index: int, log_dir: str, named: Sequence[ChatbotConfig], *, has_model: bool
) -> SimulatorSpec:
    return SimulatorSpec(
        engine=EngineSpec(
            kind="vllm" if has_model else "scripted",
            replies=() if has_model else ("",),
            config=config.engine,
            model=config.model,
            max_lora_rank=config.lora.r,
            num_gpus=config.resources.simulator.num_gpus,
            seed=config.seed + index,
        ),
        instructions=config.prompt.instructions,
        budget_tokens=config.prompt_budget_tokens,
        rollout=config.rollout,
        chatbot=config.chatbot if colocated(config) else None,
        log_file=_log_file(log_dir, f"simulator-{index}"),
        named_chatbots=tuple(named) if colocated(config) else (),
    )


def _chatbot_spec(config: Config, index: int, log_dir: str, named: Sequence[ChatbotConfig]) -> ChatbotSpec:
    return ChatbotSpec(
        engine=EngineSpec(
            kind="vllm" if config.chatbot.kind == "model" else "scripted",
            config=config.engine.model_copy(update={"adapter_serving": "lora"}),
            model=config.chatbot.model or config.model,
            num_gpus=config.resources.chatbot.num_gpus,
            seed=config.seed + 1000 + index,
            replies=config.chatbot.replies,
        ),
        chatbot=config.chatbot,
        budget_tokens=config.engine.max_model_len - config.chatbot.sampling.max_tokens,
        log_file=_log_file(log_dir, f"chatbot-{index}"),
        named_chatbots=tuple(named),
    )


def _caller_spec(
    calling: PoolRequest, index: int, log_dir: str, called: Sequence[ChatbotConfig], *, must_answer: bool
) -> CallerSpec:
    return CallerSpec(
        chatbots=tuple(called),
        folder=os.getcwd(),
        num_callers=calling.num_bundles,
        must_answer=must_answer,
        log_file=_log_file(log_dir, f"{calling.pool}-{index}"),
    )


def _log_file(log_dir: str, name: str) -> str:
    return f"{log_dir}/{name}.log" if log_dir else ""
