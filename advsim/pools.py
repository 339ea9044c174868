"""The pools of a run: simulator engines, chatbot engines and discriminator scorers, as the rounds see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from advsim.config import ChatbotConfig, Config
from advsim.discriminator.actors import DiscriminatorActor
from advsim.discriminator.inputs import CandidateRequest as ScoreRequest
from advsim.discriminator.inputs import UserView
from advsim.discriminator.metrics import DiscriminatorMetrics
from advsim.engine.protocol import EngineSpec
from advsim.errors import ConfigError, DeliveryError, EngineError
from advsim.placement import Pools, colocated, map_unordered, pool_requests, start_actors
from advsim.records import AdapterRef, Candidate, Conversation, NextTurn, ScoredTurn
from advsim.rollout.actors import (
    CandidateRequest,
    ChatbotActor,
    ChatbotSpec,
    NextTurnRequest,
    SimulatorActor,
    SimulatorSpec,
)
from advsim.rollout.delivery import Delivery, check_acknowledgements
from advsim.rollout.turn_loop import ReplayedReply, ReplayRequest, RolloutTask


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """An adapter that every engine has acknowledged."""

    version: int
    sha256: str
    num_engines: int
    max_ms: float
    max_canary_difference: float  # nats a token, against the learner's log-probabilities


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


class ScorerPool:
    """The discriminator: the first scorer trains it, all of them score with it."""

    def __init__(self, config: Config, pools: Pools) -> None:
        request = next(request for request in pool_requests(config) if request.pool == "scorer")
        model = config.discriminator.model or config.model

        def arguments(index: int) -> tuple[Any, ...]:
            return model, config.discriminator, config.resources.scorer.num_gpus > 0

        self._actors = start_actors(DiscriminatorActor, request, pools.place(request), arguments, concurrency=1)

    def train(
        self, *, real: Sequence[UserView], simulated: Sequence[UserView], seed: int
    ) -> tuple[DiscriminatorMetrics, dict[str, bytes]]:
        """Train a fresh discriminator; returns its metrics and its files."""
        import ray

        with engine_failures("discriminator"):
            trained = ray.get(self._actors[0].train.remote(real, simulated, seed))
        metrics, files = trained
        return metrics, files

    def load(self, files: dict[str, bytes]) -> None:
        """Give all scorers the same trained discriminator."""
        import ray

        shared = ray.put(files)
        with engine_failures("discriminator"):
            ray.get([actor.load.remote(shared) for actor in self._actors])

    def release(self) -> None:
        """Let all scorers drop their discriminator and its memory, for the stages that do not score."""
        import ray

        with engine_failures("discriminator"):
            ray.get([actor.release.remote() for actor in self._actors])

    def score(self, views: Sequence[UserView], *, batch_size: int) -> Iterator[list[list[ScoredTurn]]]:
        """Scored user turns of each view, a batch at a time as they finish."""
        batches = [views[i : i + batch_size] for i in range(0, len(views), batch_size)]
        with engine_failures("discriminator"):
            yield from map_unordered(self._actors, lambda actor, batch: actor.score.remote(batch), batches, in_flight=2)

    def score_candidates(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[ScoreRequest, list[float]]]:
        """p(real) of each candidate text of each request, as they finish."""
        with engine_failures("discriminator"):
            yield from map_unordered(
                self._actors, lambda actor, request: actor.score_candidates.remote(request), requests, in_flight=2
            )


@contextmanager
def engine_failures(what: str = "engine") -> Iterator[None]:
    """Turn the death of an actor into an EngineError; errors that actors raise come through as they are."""
    from ray.exceptions import RayActorError, RayTaskError

    try:
        yield
    except RayActorError as error:
        raise EngineError(
            f"a {what} process died ({' '.join(str(error).split())[:300]}); see logs/ in the run folder, then run the "
            "same command to resume"
        ) from error
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MemoryError | OSError | RuntimeError):
            raise EngineError(f"a {what} process failed: {type(cause).__name__}: {cause}") from error
        raise


def check_named_chatbots(chatbots: Sequence[ChatbotConfig], config: Config) -> None:
    """Check that all of them can be served by the engines of one run.

    Raises:
        ConfigError: two have one name, one needs another model, or its answers do not fit the engine.
    """
    names = [chatbot.name for chatbot in chatbots]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"two chatbots are called {doubled[0]!r}; give each its own name")
    served = config.chatbot.model or config.model
    for chatbot in chatbots:
        if chatbot.kind == "scripted":
            continue
        if config.chatbot.kind == "scripted":
            raise ConfigError(
                f"chatbot {chatbot.name} speaks through a model, but the run's own chatbot is scripted and so are its "
                "engines; choose a run with chatbot.kind model"
            )
        model = chatbot.model or served
        if (model.path, model.revision) != (served.path, served.revision):
            raise ConfigError(
                f"chatbot {chatbot.name} needs the model {model.path!r} (revision {model.revision}), but the engines "
                f"hold {served.path!r} (revision {served.revision}); leave its model out, or use other engines"
            )
        if chatbot.sampling.max_tokens >= config.engine.max_model_len:
            raise ConfigError(
                f"chatbot {chatbot.name}: a reply may take {chatbot.sampling.max_tokens} tokens, but "
                f"engine.max_model_len is {config.engine.max_model_len}; lower its sampling.max_tokens"
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


def _log_file(log_dir: str, name: str) -> str:
    return f"{log_dir}/{name}.log" if log_dir else ""
