"""The pools of a run: simulator engines, chatbot engines and discriminator scorers, as the rounds see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from advsim.chatbots.actor import ChatbotActor, ChatbotSpec
from advsim.chatbots.load import check_named_chatbots
from advsim.config import ChatbotConfig, Config
from advsim.engine.protocol import EngineSpec
from advsim.errors import DeliveryError, EngineError
from advsim.records import AdapterRef, Candidate, Conversation, NextTurn
from advsim.rollout.delivery import Delivery, check_acknowledgements
from advsim.rollout.replay import ReplayedReply, ReplayRequest
from advsim.rollout.simulator_actor import CandidateRequest, NextTurnRequest, SimulatorActor, SimulatorSpec
from advsim.rollout.turn_loop import RolloutTask
from advsim.runtime.actors import engine_failures
from advsim.runtime.placement import Pools, colocated, map_unordered, pool_requests, start_actors


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
        chatbots: serve these, by name, in place of ``config.chatbot``: each a system prompt and a sampling on the model
            that the chatbot's engines hold.

    Raises:
        ConfigError: a chatbot of ``chatbots`` needs another model or does not fit the engines, or a pool has no place.
    """

    def __init__(self, config: Config, pools: Pools, *, log_dir: str, chatbots: Sequence[ChatbotConfig] = ()) -> None:
        check_named_chatbots(chatbots, config)
        self._config = config
        self._chatbot_names = [chatbot.name for chatbot in chatbots]
        requests = {request.pool: request for request in pool_requests(config)}
        self._pushed: AdapterRef | None = None
        self.last_push: PushResult | None = None
        self._names = [f"simulator-{i}" for i in range(requests["simulator"].num_bundles)]
        group = pools.place(requests["simulator"])
        chatbot_group = None if colocated(config) else pools.place(requests["chatbot"])
        shared_chatbot = config.chatbot if colocated(config) else None

        def simulator_arguments(index: int) -> tuple[SimulatorSpec, str]:
            spec = SimulatorSpec(
                engine=EngineSpec(
                    kind="vllm",
                    config=config.engine,
                    model=config.model,
                    max_lora_rank=config.lora.r,
                    num_gpus=config.resources.simulator.num_gpus,
                    seed=config.seed + index,
                ),
                instructions=config.prompt.instructions,
                budget_tokens=config.prompt_budget_tokens,
                rollout=config.rollout,
                chatbot=shared_chatbot,
                log_file=_log_file(log_dir, self._names[index]),
                named_chatbots=tuple(chatbots) if colocated(config) else (),
            )
            return spec, self._names[index]

        concurrency = max(config.rollout.max_concurrent, config.engine.max_num_seqs) + 8
        self._simulators = start_actors(
            SimulatorActor, requests["simulator"], group, simulator_arguments, concurrency=concurrency
        )
        self._chatbots: list[Any] = []
        if chatbot_group is not None:

            def chatbot_arguments(index: int) -> tuple[ChatbotSpec]:
                return (_chatbot_spec(config, index, log_dir, chatbots),)

            self._chatbots = start_actors(
                ChatbotActor, requests["chatbot"], chatbot_group, chatbot_arguments, concurrency=concurrency
            )
        self._starting = [actor.start.remote() for actor in (*self._simulators, *self._chatbots)]

    def wait_until_ready(self) -> None:
        """Block until every engine has started.

        Raises:
            EngineError: one did not, or not within ``engine.startup_timeout_s``.
        """
        import ray
        from ray.exceptions import GetTimeoutError

        if not self._starting:
            return
        with engine_failures():
            try:
                ray.get(self._starting, timeout=self._config.engine.startup_timeout_s)
            except GetTimeoutError:
                raise EngineError(
                    f"an engine did not start within {self._config.engine.startup_timeout_s:g} s; see logs/ in the run "
                    "folder, or raise engine.startup_timeout_s"
                ) from None
            if self._chatbots:
                ray.get(
                    [
                        simulator.use_chatbots.remote(self._chatbots, self._chatbot_names)
                        for simulator in self._simulators
                    ]
                )
        self._starting = []

    def push(self, delivery: Delivery) -> None:
        """Send an adapter to every engine and check every acknowledgement. Engines that hold it already load it again.

        Raises:
            DeliveryError: an engine does not hold it afterwards; no rollout may start.
        """
        import ray

        self._pushed = self.last_push = None
        started = time.monotonic()
        shared = ray.put(delivery)
        with engine_failures():
            acknowledgements = ray.get([simulator.load_adapter.remote(shared) for simulator in self._simulators])
        difference = check_acknowledgements(delivery, acknowledgements, engines=self._names)
        self._pushed = delivery.adapter
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
        return self._pushed

    def simulate(self, tasks: Sequence[RolloutTask]) -> Iterator[Conversation]:
        """Conversations as they finish."""
        self._require([task.adapter for task in tasks])
        yield from self._map(lambda actor, task: actor.simulate.remote(task), tasks)

    def candidates(self, requests: Sequence[CandidateRequest]) -> Iterator[list[Candidate]]:
        """Candidates of each request as they finish."""
        self._require([request.adapter for request in requests])
        yield from self._map(lambda actor, request: actor.candidates.remote(request), requests)

    def next_turns(self, requests: Sequence[NextTurnRequest]) -> Iterator[NextTurn]:
        """Next user turns on real prefixes as they finish."""
        self._require([request.adapter for request in requests])
        yield from self._map(lambda actor, request: actor.next_turn.remote(request), requests)

    def replay(self, requests: Sequence[ReplayRequest]) -> Iterator[ReplayedReply]:
        """Chatbots' replies to real prefixes as they finish."""
        yield from self._map(lambda actor, request: actor.replay.remote(request), requests)

    def _require(self, adapters: Sequence[AdapterRef | None]) -> None:
        wanted = {(a.version, a.sha256) for a in adapters if a is not None}
        held = self._pushed and (self._pushed.version, self._pushed.sha256)
        if wanted - {held}:
            raise DeliveryError(
                f"rollout wants adapter versions {sorted(v for v, _ in wanted)}, but the engines have acknowledged "
                f"{'none' if self._pushed is None else f'version {self._pushed.version}'}; push it first"
            )

    def _map(self, call: Callable[[Any, Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        with engine_failures():
            yield from map_unordered(self._simulators, call, items, in_flight=self._config.rollout.max_concurrent)


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


def _log_file(log_dir: str, name: str) -> str:
    return f"{log_dir}/{name}.log" if log_dir else ""
