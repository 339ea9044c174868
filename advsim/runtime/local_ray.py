"""A Ray of this machine's own, which nobody else can reach: on 127.0.0.1 alone, and with a token of this run alone.

Whoever reaches a Ray can run programs in it. The token is made for one run, lives in the environment of its processes,
and is neither written nor logged.
"""

from __future__ import annotations

import importlib
import os
import secrets
import sys
from typing import Any

from advsim.errors import ConfigError, RunError, one_line

_TOKEN = "RAY_AUTH_TOKEN"
_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # no word to the outside about a run
    # Ray's own switch for a Ray of one machine: read when Ray is first imported, so that it listens to 127.0.0.1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # An engine's child process must not outlive a killed actor: it holds memory that the next one needs. Ray then has
    # the system reap children of its processes, the driver too: every exit code reads as 0 there.
    "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
}
_SECRETS = ("RAY_AUTH_MODE", _TOKEN, "RAY_AUTH_TOKEN_PATH")
_before: dict[str, str | None] = {}  # what _SECRETS were, while a local Ray runs


def ray_is_running() -> bool:
    """Whether this process has Ray; asked without importing it (see ``_ENVIRONMENT``)."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def start_local_ray(*, num_cpus: int, object_store_mib: int, **options: Any) -> None:
    """Start a Ray of this machine. Where Ray was imported before, it may listen to all networks: the token holds there.

    Args:
        num_cpus: logical CPUs that it promises.
        object_store_mib: size of its object store.
        options: further ones of ``ray.init``.

    Raises:
        ConfigError: it would be open to everybody.
        RunError: it did not start.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _before.update({name: os.environ.pop(name, None) for name in _SECRETS})
    os.environ[_TOKEN] = secrets.token_hex(32)
    _forget_token()
    try:
        _init(num_cpus=num_cpus, object_store_memory=object_store_mib * 2**20, **options)
        _check_closed()
    except BaseException:
        stop_ray()
        raise


def _init(**options: Any) -> None:
    import ray

    try:
        # "local": whatever Ray somebody else has started on this machine
        ray.init(address="local", include_dashboard=False, **options)
    except Exception as error:  # Ray raises bare ones, as where its processes are not up after 30 seconds
        raise RunError(
            f"Ray did not start on this machine ({one_line(str(error), max_characters=300)}). Mostly the machine is "
            "too busy or short of memory: end other work, or wait until it is done, and give the same command again; "
            "Ray's own logs are in session_latest/logs of its folder in the temporary folder"
        ) from error


def stop_ray() -> None:
    """Leave Ray, stop one that :func:`start_local_ray` started, and forget its token."""
    import ray

    ray.shutdown()
    if not _before:
        return
    for name, value in _before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    _before.clear()
    _forget_token()


def _check_closed() -> None:
    """Ask Ray whether it takes anybody in: a later version could read other variables."""
    raylet: Any = importlib.import_module("ray._raylet")
    if raylet.get_authentication_mode() != raylet.AuthenticationMode.TOKEN:
        raise ConfigError(
            "a Ray of this machine started without token authentication: whoever reaches its ports could run programs; "
            "expected RAY_AUTH_MODE=token. Use the version of Ray in constraints/, or start a Ray by hand and name it "
            "in RAY_ADDRESS"
        )


def _forget_token() -> None:
    """Let Ray read the token anew: it keeps the first one that it has seen in this process."""
    raylet: Any = importlib.import_module("ray._raylet")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
