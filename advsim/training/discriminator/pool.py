"""Pool of discriminator actors: one trains, all of them score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from advsim.config import Config
from advsim.models.embedder import FloatArray
from advsim.records import ScoredTurn
from advsim.rollout.choice.spec import PromptShape
from advsim.rollout.choice.turn_reader import TurnTexts
from advsim.runtime.actors import actor_failures
from advsim.runtime.kept_actors import ActorPlan, KeptActors
from advsim.runtime.placement import Pools, pool_requests, start_actor
from advsim.runtime.trace import SpanRecorder
from advsim.training.discriminator.actors import DiscriminatorActor
from advsim.training.discriminator.inputs import ScoringRequest, UserView
from advsim.training.metrics import DiscriminatorMetrics

_TURNS_AT_ONCE = 4
"""Prefixes of one request to a scorer: a few seconds of work on a small machine."""
_REMEDY = (
    "Give it more memory or lower what it needs (discriminator.scoring_batch_size), or raise "
    "resources.max_restarts. Finished stages are kept: the same command resumes"
)


class ScorerPool:
    """The discriminator: the first scorer trains it, all of them score with it.

    A scorer that dies is started again, loads the discriminator that the others have, and what it had in hand is
    repeated.

    Args:
        config: the run's.
        pools: where the scorers are placed.
        log_dir: folder for full tracebacks; empty where there is none.
        notice: is told of every scorer that died and is started again, in one sentence.
        trace: of what the scorers do; None keeps none.
    """

    def __init__(
        self,
        config: Config,
        pools: Pools,
        *,
        log_dir: str = "",
        notice: Callable[[str], None] = lambda said: None,
        trace: SpanRecorder | None = None,
    ) -> None:
        request = next(request for request in pool_requests(config) if request.pool == "scorer")
        group = pools.place(request)
        arguments = (
            config.discriminator.model or config.model,
            config.discriminator,
            config.resources.scorer.num_gpus > 0,
        )
        self._loaded: dict[str, bytes] | None = None
        self._prompt = PromptShape(instructions=config.prompt.instructions, budget_tokens=config.prompt_budget_tokens)
        self._log_dir = log_dir
        self._scorers = KeptActors(
            ActorPlan(
                what="scorer",
                num_actors=request.num_bundles,
                start=lambda i: start_actor(DiscriminatorActor, request, group, i, arguments, concurrency=1),
                prepare=self._prepare,
                max_restarts=config.resources.max_restarts,
                log_dir=log_dir,
                notice=notice,
                trace=trace,
                remedy=_REMEDY,
            )
        )

    def train(
        self, *, real: Sequence[UserView], simulated: Sequence[UserView], seed: int
    ) -> tuple[DiscriminatorMetrics, dict[str, bytes]]:
        """Train a fresh discriminator; returns its metrics and its files."""
        self._loaded = None
        self._scorers.begin()
        metrics, files = next(
            self._scorers.map(lambda actor, views: actor.train.remote(*views, seed), [(real, simulated)], in_flight=1)
        )
        return metrics, files

    def load(self, files: dict[str, bytes]) -> None:
        """Give all scorers the same trained discriminator."""
        import ray

        self._scorers.begin()
        self._loaded = files
        shared = ray.put(files)
        self._scorers.each(lambda actor: actor.load.remote(shared))

    def release(self) -> None:
        """Let all scorers drop their discriminator and its memory, for the stages that do not score."""
        self._scorers.begin()
        self._loaded = None
        self._scorers.each(lambda actor: actor.release.remote())

    def score(self, views: Sequence[UserView], *, batch_size: int) -> Iterator[list[list[ScoredTurn]]]:
        """Scored user turns of each view, a batch at a time as they finish."""
        self._scorers.begin()
        batches = [views[i : i + batch_size] for i in range(0, len(views), batch_size)]
        yield from self._scorers.map(lambda actor, batch: actor.score.remote(batch), batches, in_flight=2)

    def read(self, turns: Sequence[TurnTexts]) -> Iterator[tuple[TurnTexts, FloatArray]]:
        """Features of the texts of each turn, shape (texts, features), as they finish."""
        self._scorers.begin()
        batches = [turns[i : i + _TURNS_AT_ONCE] for i in range(0, len(turns), _TURNS_AT_ONCE)]
        for batch in self._scorers.map(
            lambda actor, batch: actor.read.remote(batch, self._prompt), batches, in_flight=2
        ):
            yield from batch

    def score_candidates(self, requests: Sequence[ScoringRequest]) -> Iterator[tuple[ScoringRequest, list[float]]]:
        """p(real) of each candidate text of each request, as they finish."""
        self._scorers.begin()
        yield from self._scorers.map(
            lambda actor, request: actor.score_candidates.remote(request), requests, in_flight=2
        )

    def _prepare(self, actor: Any, index: int) -> None:
        import ray

        with actor_failures(f"scorer-{index}", log_dir=self._log_dir):
            if self._loaded is not None:
                ray.get(actor.load.remote(self._loaded))
            else:
                ray.get(actor.ping.remote())
