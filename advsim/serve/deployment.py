"""The server on Ray Serve: a front on this machine, and an engine in each replica behind it.

HTTP -> Serve's proxy -> FrontReplica (one, without an engine) -> EngineReplica (num_replicas of them)
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from advsim.errors import ConfigError, EngineError
from advsim.rollout.delivery import Acknowledgement, Delivery
from advsim.rollout.simulator_actor import SimulatorSpec
from advsim.runtime.actors import failure_of, is_death, last_error
from advsim.runtime.placement import pool_requests, running_ray
from advsim.serve.answer import Served, Spoken
from advsim.serve.chat import Chat
from advsim.serve.errors import RequestError
from advsim.serve.front import Front, FrontSettings
from advsim.serve.plan import ServePlan
from advsim.serve.routes import build_app
from advsim.serve.speaking import SpeakingEngine

if TYPE_CHECKING:
    from starlette.applications import Starlette

APPLICATION = "advsim"
_ENGINES = "EngineReplica"
_MAX_FRONT_REQUESTS = 10_000
_MAX_QUEUED = 1_000
"""Messages that wait for an engine; more are refused, to be asked again."""
_RETRY_S = 1.0
_QUIET = {"log_level": "WARNING", "enable_access_log": False}


class EngineReplica:
    """An engine as a replica of Serve: starts it, asks it, and tells Serve whether it lives."""

    async def __init__(self, spec: SimulatorSpec, log_dir: str) -> None:  # type: ignore[misc]  # Serve awaits it
        from ray import serve

        keep_to_this_machine()
        name = f"simulator-{serve.get_replica_context().replica_id.unique_id}"
        log_file = f"{log_dir}/{name}.log" if log_dir else ""
        self._engine = SpeakingEngine(dataclasses.replace(spec, log_file=log_file), name)
        await self._engine.start()

    async def speak(
        self, chat: Chat, served: Served, deliveries: Sequence[Any], pinned: str | None
    ) -> Spoken | RequestError:
        """The person's next message; a refusal is returned, as what is raised loses its type on the way."""

        async def fetch() -> Delivery | None:
            return await deliveries[0] if deliveries else None

        try:
            return await self._engine.speak(chat, served, fetch, pinned=pinned)
        except RequestError as refused:
            return refused

    async def hold(self, served: Served, deliveries: Sequence[Any]) -> Acknowledgement | None:
        """Serve this simulator from now on."""

        async def fetch() -> Delivery | None:
            return await deliveries[0] if deliveries else None

        return await self._engine.hold(served, fetch)

    async def held(self) -> Served | None:
        """The simulator that this engine serves."""
        return self._engine.served

    async def check_health(self) -> None:
        """Asked by Serve, which starts a dead one again."""
        await self._engine.check_alive()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()


class ReplicaEngines:
    """The engines behind a Serve handle. A message that a dying engine had in its hands is asked of another one.

    Args:
        handle: of the engines' deployment.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._deliveries: list[Any] = []

    async def speak(self, chat: Chat, served: Served, *, pinned: str | None) -> Spoken:
        """See :class:`advsim.serve.front.Engines`."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import BackPressureError, RayServeException

        while True:
            try:
                said: Spoken | RequestError = await self._handle.speak.remote(chat, served, self._deliveries, pinned)
                break
            except BackPressureError:
                raise RequestError(
                    503, "too many messages are waiting; ask again", code="overloaded", retry_after_s=1
                ) from None
            except RayServeException as error:
                raise EngineError(f"the engines cannot be asked: {last_error(str(error)) or error}") from error
            except RayError as error:
                if not is_death(error):
                    raise failure_of(error, "simulator") from error
                await asyncio.sleep(_RETRY_S)  # Serve starts it again; the caller bounds the time
        if isinstance(said, RequestError):
            raise said
        return said

    async def hold(self, served: Served, delivery: Delivery | None) -> Sequence[Acknowledgement | None]:
        """See :class:`advsim.serve.front.Engines`."""
        import ray

        deliveries = [] if delivery is None else [ray.put(delivery)]
        acknowledgements: Sequence[Acknowledgement | None] = await self._all("hold", served, deliveries)
        self._deliveries = deliveries
        return acknowledgements

    async def held(self) -> Sequence[Served | None]:
        """See :class:`advsim.serve.front.Engines`."""
        held: Sequence[Served | None] = await self._all("held")
        return held

    async def num_ready(self) -> int:
        """See :class:`advsim.serve.front.Engines`."""
        return await asyncio.to_thread(_num_ready)

    async def _all(self, method: str, *arguments: Any) -> Any:
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            return await self._handle.broadcast(method, *arguments).results_async()
        except RayServeException as error:
            raise EngineError(f"the engines cannot be asked: {last_error(str(error)) or error}") from error
        except RayError as error:
            raise failure_of(error, "simulator") from error


class FrontReplica:
    """The front as a replica of Serve."""

    def __init__(self, settings: FrontSettings, engines: Any) -> None:
        keep_to_this_machine()
        self._front = Front(settings, ReplicaEngines(engines))

    def __serve_build_asgi_app__(self) -> Starlette:
        return build_app(self._front)

    async def begin(self) -> Served:
        """Serve the first simulator; returns it once all engines speak with it."""
        return await self._front.served()


def keep_to_this_machine() -> None:
    """Let this replica's own port be on 127.0.0.1 where its Ray is.

    Serve (2.60) gives each replica a gRPC port for calls between deployments, on all networks and without a key, and
    unpickles what comes there: whoever reached it could run programs. No setting says otherwise, so the function that
    binds it is replaced before it is called. The address of a cluster's replicas is the operator's matter.

    Raises:
        ConfigError: this version of Ray has no such function, and might bind the port in another way.
    """
    import ray
    from ray.serve._private import replica

    if ray.util.get_node_ip_address() not in ("127.0.0.1", "::1"):
        return
    bind = getattr(replica, "add_port_to_grpc_server", None)
    if bind is None:
        raise ConfigError(
            f"Ray {ray.__version__} may open ports of its replicas to all networks: advsim knows how to close those of "
            "the version in constraints/ alone; install that one"
        )
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]:", "127.0.0.1:"))


@contextmanager
def serving(plan: ServePlan, settings: FrontSettings, *, host: str, port: int, log_dir: str) -> Iterator[Served]:
    """Serve a run's simulator while the ``with`` block runs; gives it once it can be asked.

    Args:
        plan: what is served.
        settings: how.
        host: address to listen at.
        port: to listen at, free.
        log_dir: for the engines' output.

    Raises:
        ConfigError: the engines have no place, or a Ray Serve runs on the cluster already.
        EngineError: an engine did not start.
        DeliveryError: an engine does not speak with the adapter.
    """
    with running_ray(plan.config) as pools:
        from ray import serve

        request = next(request for request in pool_requests(plan.config) if request.pool == "simulator")
        pools.place(request)  # names the pool that has no place; Serve would wait for ever
        pools.release(request.pool)
        if serve.status().proxies or serve.status().applications:
            raise ConfigError(
                "a Ray Serve is running on this cluster already, with an address of its own; end it with 'serve "
                "shutdown', or unset RAY_ADDRESS to start a Ray on this machine"
            )
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=_QUIET)
        try:
            yield _run(plan, settings, log_dir=log_dir)
        finally:
            serve.shutdown()


def check_serving() -> None:
    """Return while the server runs.

    Raises:
        EngineError: it does not any more.
    """
    from ray import serve
    from ray.exceptions import RayError

    try:
        is_there = APPLICATION in serve.status().applications
    except RayError as error:
        raise failure_of(error, "Ray Serve") from error
    if not is_there:
        raise EngineError("Ray Serve was shut down from outside; run 'advsim serve' again")


def _run(plan: ServePlan, settings: FrontSettings, *, log_dir: str) -> Served:
    from ray import serve
    from ray.exceptions import RayError

    try:
        handle = serve.run(_application(plan, settings, log_dir=log_dir), name=APPLICATION, logging_config=_QUIET)
        served: Served = handle.begin.remote().result()
    except RayError as error:
        raise failure_of(error, "simulator", log_dir=log_dir) from error
    except RuntimeError as error:
        raise EngineError(f"the engines did not start: {_why()}; see {log_dir}") from error
    return served


def _application(plan: ServePlan, settings: FrontSettings, *, log_dir: str) -> Any:
    import ray
    from ray import serve

    pool = plan.config.resources.simulator
    engines = serve.deployment(
        EngineReplica,
        name=_ENGINES,
        num_replicas=pool.num_replicas,
        ray_actor_options={"num_cpus": pool.num_cpus, "num_gpus": pool.num_gpus},
        max_ongoing_requests=plan.config.engine.max_num_seqs,
        max_queued_requests=_MAX_QUEUED,
        health_check_period_s=5.0,
        graceful_shutdown_timeout_s=10.0,
        max_constructor_retry_count=1,
    ).bind(plan.spec, log_dir)
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}  # the run folder is known to be here
    front = serve.deployment(
        serve.ingress()(FrontReplica),
        name="FrontReplica",
        ray_actor_options={"num_cpus": 0, "resources": here},
        max_ongoing_requests=_MAX_FRONT_REQUESTS,
        graceful_shutdown_timeout_s=10.0,
    )
    return front.bind(settings, engines)


def _num_ready() -> int:
    """Engines that Serve sends requests to."""
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    if application is None or _ENGINES not in application.deployments:
        return 0
    states = application.deployments[_ENGINES].replica_states
    return int(states.get("RUNNING", 0))


def _why() -> str:
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    messages = [] if application is None else [each.message for each in application.deployments.values()]
    return next((said for said in map(last_error, messages) if said), "Serve gives no reason")
