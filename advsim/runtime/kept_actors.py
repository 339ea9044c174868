"""A pool whose actors are started again where they die, and whose work is then repeated.

    map(call, items) ──item──> actor i ──result──>
                               actor i dies: what was in its hands goes back to the waiting items,
                               a new actor takes its place, is prepared, and goes on

Requests must be such that a second answer is as good as the first: they carry their seeds, and nothing is written.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advsim.errors import AdvsimError, EngineError
from advsim.runtime.actors import failure_of, is_death, last_error_in, reason_of, size_of, write_failure
from advsim.runtime.trace import SpanRecorder

_HEALTH_TIMEOUT_S = 60.0
_CLOSE_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorPlan:
    """How the actors of a pool are made.

    Attributes:
        what: the pool, for messages: ``simulator``.
        num_actors: of them.
        start: makes the i-th.
        prepare: makes a new i-th actor ready to work; returns once it is.
        max_restarts: within one piece of work.
        log_files: of each actor; empty where there are none.
        log_dir: folder for full tracebacks; empty where there is none.
        notice: is told of every death, in one sentence.
        trace: of what the actors do; None keeps none.
        remedy: what a user can do about actors that die again and again.
    """

    what: str
    num_actors: int
    start: Callable[[int], Any]
    prepare: Callable[[Any, int], None]
    max_restarts: int
    remedy: str
    log_files: Sequence[str] = ()
    log_dir: str = ""
    notice: Callable[[str], None] = lambda said: None
    trace: SpanRecorder | None = None


class KeptActors:
    """The actors of one pool; see the module's head.

    Args:
        plan: how they are made. All are started here, and none is prepared.
    """

    def __init__(self, plan: ActorPlan) -> None:
        self._plan = plan
        self._log_sizes = [size_of(self._log_file(index)) for index in range(plan.num_actors)]
        self.actors = [plan.start(index) for index in range(plan.num_actors)]
        self.names = [f"{plan.what}-{index}" for index in range(plan.num_actors)]
        self._num_restarts = 0

    def begin(self) -> None:
        """Begin a new piece of work: restarts are counted anew."""
        self._num_restarts = 0

    def map(
        self,
        call: Callable[[Any, Any], Any],
        items: Iterable[Any],
        *,
        in_flight: int,
        mend: Callable[[int, BaseException], None] | None = None,
    ) -> Iterator[Any]:
        """Results of ``call(actor, item)`` as they come; what a dead actor had in its hands is given out again.

        The next item goes to the actor with the fewest in hand, so that few items are spread over all actors.

        Args:
            call: starts one item on one actor and returns its object reference.
            items: what to work on; the next one is taken once there is a place for it.
            in_flight: items under way on one actor at once.
            mend: what to do about the death that actor i met, in place of :meth:`replace`: it may be another's.

        Raises:
            EngineError: actors died more often than ``max_restarts``.
            AdvsimError: an actor raised it.
        """
        import ray

        mend = mend or self.replace
        coming = iter(items)
        waiting = deque(itertools.islice(coming, 1))
        # by object reference: actor, item, deaths mended before it, when it was given out
        under_way: dict[Any, tuple[Any, Any, int, float]] = {}
        num_mended = 0
        while waiting or under_way:
            in_hand = Counter(id(worker) for worker, *_ in under_way.values())
            while waiting:
                actor = min(self.actors, key=lambda each: in_hand[id(each)])
                if in_hand[id(actor)] >= in_flight:
                    break
                item = waiting.popleft()
                waiting.extend([] if waiting else itertools.islice(coming, 1))
                under_way[call(actor, item)] = (actor, item, num_mended, time.time())
                in_hand[id(actor)] += 1
            (done,), _ = ray.wait(list(under_way), num_returns=1)
            actor, item, num_mended_before, since = under_way.pop(done)
            self._trace(type(item).__name__, actor, since)
            try:
                result = ray.get(done)
            except ray.exceptions.RayError as error:
                if not is_death(error):
                    raise self._failure(error, actor) from error
                waiting.appendleft(item)
                # One death fails all that was in its hands; only what was given out since can be about another one.
                if num_mended_before == num_mended:
                    mend(self.actors.index(actor), error)
                    num_mended += 1
                continue
            yield result

    def each(self, call: Callable[[Any], Any]) -> list[Any]:
        """The answer of each actor to the same call; one that dies is replaced and asked again.

        Raises:
            EngineError: actors died more often than ``max_restarts``.
            AdvsimError: an actor raised it.
        """
        since = time.time()
        asked = [call(actor) for actor in self.actors]
        answers = []
        for index, reference in enumerate(asked):
            answers.append(self._answer(call, reference, index))
            self._trace("call to all", self.actors[index], since)
        return answers

    def replace(self, index: int, error: BaseException) -> None:
        """Put a new actor, ready to work, in the place of one that died.

        Raises:
            EngineError: one too many of this piece of work, or the new ones died as well.
        """
        while True:
            self._count(index, error)
            self._discard(self.actors[index])
            self._log_sizes[index] = size_of(self._log_file(index))
            self.actors[index] = self._plan.start(index)
            try:
                self._plan.prepare(self.actors[index], index)
                return
            except EngineError as failure:
                error = failure

    def dead(self) -> list[int]:
        """Actors that are gone, or whose engine is; those that do not answer in a minute may only be busy."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        asked = [actor.check_alive.remote() for actor in self.actors]
        ray.wait(asked, num_returns=len(asked), timeout=_HEALTH_TIMEOUT_S)
        gone = []
        for index, reference in enumerate(asked):
            try:
                ray.get(reference, timeout=0)
            except GetTimeoutError:
                continue
            except RayError as error:
                if is_death(error):
                    gone.append(index)
        return gone

    def _answer(self, call: Callable[[Any], Any], reference: Any, index: int) -> Any:
        import ray

        while True:
            try:
                return ray.get(reference)
            except ray.exceptions.RayError as error:
                if not is_death(error):
                    raise self._failure(error, self.actors[index]) from error
                self.replace(index, error)
                reference = call(self.actors[index])

    def _count(self, index: int, error: BaseException) -> None:
        plan, name = self._plan, self.names[index]
        where = write_failure(error, name, log_dir=plan.log_dir)
        logged = last_error_in(self._log_file(index), since=self._log_sizes[index])
        reason = reason_of(error)
        if logged and logged not in reason:
            reason += f"; the last error in its log: {logged}"
        self._num_restarts += 1
        if self._num_restarts > plan.max_restarts:
            see = f" The whole of it is in {where}." if where else ""
            raise EngineError(
                f"{name} died: {reason}. It was death number {self._num_restarts} of {plan.what} processes in this "
                f"piece of work, more than resources.max_restarts ({plan.max_restarts}).{see} {plan.remedy}"
            ) from error
        plan.notice(
            f"{name} died: {reason}; it is started again (restart {self._num_restarts} of at most {plan.max_restarts}) "
            "and what it had in hand is repeated"
        )

    def _trace(self, name: str, actor: Any, since: float) -> None:
        if self._plan.trace is not None and actor in self.actors:
            self._plan.trace.add(name, self.names[self.actors.index(actor)], since=since)

    def _discard(self, actor: Any) -> None:
        """End what is left of an actor: an engine's child process outlives it where nobody tells it to end."""
        import ray
        from ray.exceptions import RayError

        close = getattr(actor, "close", None)
        if close is not None:
            with contextlib.suppress(RayError):
                ray.get(close.remote(), timeout=_CLOSE_TIMEOUT_S)
        ray.kill(actor)

    def _failure(self, error: BaseException, actor: Any) -> AdvsimError:
        # One that was replaced meanwhile may still have answered.
        name = self.names[self.actors.index(actor)] if actor in self.actors else self._plan.what
        return failure_of(error, name, log_dir=self._plan.log_dir)

    def _log_file(self, index: int) -> Path | None:
        return Path(self._plan.log_files[index]) if self._plan.log_files and self._plan.log_files[index] else None
