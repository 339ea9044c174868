"""How a pool hands its work out. Deaths and restarts are tried on real actors in the integration tests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import ray

from advsim.runtime.kept_actors import ActorPlan, KeptActors


def pool_of(num_actors: int) -> KeptActors:
    return KeptActors(
        ActorPlan(
            what="worker",
            num_actors=num_actors,
            start=lambda index: f"worker-{index}",
            prepare=lambda actor, index: None,
            max_restarts=0,
            remedy="",
        )
    )


@pytest.fixture
def answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference is what it stands for, and the oldest one is answered first."""

    def wait(references: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", lambda reference: reference)


@pytest.mark.usefixtures("answered_at_once")
@pytest.mark.parametrize(("num_items", "in_flight"), [(12, 64), (12, 2), (3, 64)])
def test_items_are_spread_evenly_over_the_actors(num_items: int, in_flight: int) -> None:
    pool = pool_of(3)
    results = list(pool.map(lambda actor, item: (actor, item), range(num_items), in_flight=in_flight))
    assert sorted(item for _, item in results) == list(range(num_items))
    assert Counter(actor for actor, _ in results) == {f"worker-{index}": num_items // 3 for index in range(3)}


@pytest.mark.usefixtures("answered_at_once")
def test_no_actor_has_more_in_hand_than_it_may() -> None:
    pool, in_hand, most = pool_of(2), Counter[str](), 0

    def call(actor: str, item: int) -> tuple[str, int]:
        nonlocal most
        in_hand[actor] += 1
        most = max(most, in_hand[actor])
        return actor, item

    for actor, _ in pool.map(call, range(20), in_flight=3):
        in_hand[actor] -= 1
    assert most == 3
