"""Ray: start or join it, and place the pools. Names a pool that cannot be scheduled instead of waiting silently."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from advsim.config import Config
from advsim.errors import ConfigError
from advsim.runtime.local_ray import ray_is_running, start_local_ray, stop_ray
from advsim.runtime.sigterm import sigterm_as_interrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What one pool asks of the cluster: ``num_bundles`` equal bundles, each on one machine."""

    pool: str
    num_bundles: int
    num_cpus: float
    num_gpus: float
    key: str  # configuration section that says so

    @property
    def bundle(self) -> dict[str, float]:
        """Resources of one bundle in Ray's names; zero amounts left out."""
        return {name: amount for name, amount in (("CPU", self.num_cpus), ("GPU", self.num_gpus)) if amount}


def pool_requests(config: Config) -> list[PoolRequest]:
    """The pools of a run and what they would ask for. The learner's place is given back between trainings."""
    resources = config.resources
    pools = [("simulator", resources.simulator)]
    if not colocated(config):
        pools.append(("chatbot", resources.chatbot))
    pools.append(("scorer", resources.scorer))
    requests = [
        PoolRequest(
            pool=name,
            num_bundles=pool.num_replicas,
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            key=f"resources.{name}",
        )
        for name, pool in pools
    ]
    learner = resources.learner
    return [
        *requests,
        PoolRequest(
            pool="learner",
            num_bundles=learner.num_workers,
            num_cpus=learner.num_cpus,
            num_gpus=learner.num_gpus,
            key="resources.learner",
        ),
    ]


def caller_request(config: Config) -> PoolRequest:
    """The pool that calls chatbots outside of advsim.

    It has the place of the chatbot pool where the run's own chatbot is such a one. Beside engines it is one actor that
    takes no core: it waits for others.
    """
    if config.chatbot.is_called:
        return next(request for request in pool_requests(config) if request.pool == "chatbot")
    return PoolRequest(pool="caller", num_bundles=1, num_cpus=0.0, num_gpus=0.0, key="resources.chatbot")


def colocated(config: Config) -> bool:
    """Whether the chatbot shares the simulator's engines. A scripted chatbot needs no engine of its own."""
    return config.resources.colocate and config.chatbot.kind == "model"


@contextmanager
def running_ray(config: Config) -> Iterator[Pools]:
    """Join or start Ray for a run and give its pools; at the end they, and a Ray that was started here, are given back.

    A Ray that is there already (``RAY_ADDRESS``, as inside ``ray job submit``, or this process's) is joined. SIGTERM
    ends what is done with it as Ctrl-C does.
    """
    started_here = not ray_is_running()
    # Stages take turns, so that a small machine may promise more logical CPUs than it has cores.
    asked = sum(request.num_bundles * request.num_cpus for request in pool_requests(config))
    join_ray(num_cpus=asked, object_store_mib=config.resources.object_store_mib)
    pools = Pools(timeout_s=config.resources.schedule_timeout_s)
    try:
        with sigterm_as_interrupt():
            yield pools
    finally:
        pools.release_all()
        if started_here:
            stop_ray()


def join_ray(*, num_cpus: float, object_store_mib: int) -> None:
    """Join the cluster named by ``RAY_ADDRESS``, else start a local Ray; nothing where Ray is there already.

    A local one is closed to all others (:mod:`advsim.runtime.local_ray`); a cluster's security is its operator's.

    Args:
        num_cpus: logical CPUs that a local Ray promises at least, whatever the machine has.
        object_store_mib: size of a local Ray's object store.
    """
    if ray_is_running():
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    address = os.environ.get("RAY_ADDRESS", "")
    if address and address != "local":
        _check_answers(address)
        import ray

        try:
            ray.init(**quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"RAY_ADDRESS is {address!r}, but the Ray there cannot be joined "
                f"({' '.join(str(error).split())[:300]}); mend it, or unset RAY_ADDRESS to start a Ray on this machine"
            ) from error
        return
    start_local_ray(num_cpus=max(os.cpu_count() or 1, int(num_cpus) + 2), object_store_mib=object_store_mib, **quiet)


def _check_answers(address: str) -> None:
    """Check that somebody listens at a Ray address, which Ray itself would wait for much longer.

    Raises:
        ConfigError: nobody does, within ten seconds.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # "auto", or a form that Ray itself explains
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"RAY_ADDRESS is {address!r}, where nobody answers ({error}); start the cluster's head, mend the address, "
            "or unset RAY_ADDRESS to start a Ray on this machine"
        ) from None


_ANSWER_TIMEOUT_S = 10.0


class Pools:
    """Placement groups of a run, one a pool."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._groups: dict[str, Any] = {}

    def place(self, request: PoolRequest) -> Any:
        """Reserve a pool's place and return its placement group.

        Raises:
            ConfigError: the cluster has no such place within the time-out; says what was asked and what there is.
        """
        import ray
        from ray.util.placement_group import placement_group, remove_placement_group

        group = placement_group([request.bundle or {"CPU": 0.001}] * request.num_bundles, strategy="PACK")
        if not group.wait(self._timeout_s):
            remove_placement_group(group)
            raise ConfigError(
                f"the {request.pool} pool cannot be scheduled: it asks for {request.num_bundles} x "
                f"{_resources(request.bundle)} ({request.key}), the cluster has {_resources(ray.cluster_resources())}, "
                f"of which free {_resources(ray.available_resources())}; lower {request.key} or add machines"
            )
        self._groups[request.pool] = group
        return group

    def release(self, pool: str) -> None:
        """Give a pool's place back."""
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self._groups.pop(pool))

    def release_all(self) -> None:
        """Give all places back."""
        for pool in list(self._groups):
            self.release(pool)


def start_actors(
    actor_class: type,
    request: PoolRequest,
    group: Any,
    arguments: Callable[[int], tuple[Any, ...]],
    *,
    concurrency: int,
) -> list[Any]:
    """One actor in each bundle of a pool's group; ``arguments(i)`` are those of the i-th."""
    return [
        start_actor(actor_class, request, group, index, arguments(index), concurrency=concurrency)
        for index in range(request.num_bundles)
    ]


def start_actor(
    actor_class: type, request: PoolRequest, group: Any, index: int, arguments: tuple[Any, ...], *, concurrency: int
) -> Any:
    """An actor in one bundle of a pool's group; it waits for the bundle where another one is still in it."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    strategy = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=index)
    options = {
        "num_cpus": request.num_cpus,
        "num_gpus": request.num_gpus,
        "max_concurrency": concurrency,
        "scheduling_strategy": strategy,
    }
    return ray.remote(actor_class).options(**options).remote(*arguments)


def _resources(amounts: dict[str, float]) -> str:
    shown = [f"{amounts.get(name, 0):g} {name}" for name in ("CPU", "GPU")]
    return ", ".join(shown)
