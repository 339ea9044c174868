"""The discriminator's actors as the rounds see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from advsim.config import Config
from advsim.records import ScoredTurn
from advsim.runtime.actors import engine_failures
from advsim.runtime.placement import Pools, map_unordered, pool_requests, start_actors
from advsim.training.discriminator.actors import DiscriminatorActor
from advsim.training.discriminator.inputs import CandidateRequest as ScoreRequest
from advsim.training.discriminator.inputs import UserView
from advsim.training.metrics import DiscriminatorMetrics


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
