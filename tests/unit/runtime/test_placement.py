"""Which Ray is joined or started."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from advsim.errors import ConfigError, RunError
from advsim.runtime.local_ray import stop_ray
from advsim.runtime.placement import join_ray


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What ``ray.init`` is asked for, in place of starting anything."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr("advsim.runtime.local_ray._check_closed", lambda: None)
    yield calls
    stop_ray()


def test_a_local_run_starts_a_ray_of_its_own(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    join_ray(num_cpus=3, object_store_mib=100)
    assert asked[0]["address"] == "local" and asked[0]["object_store_memory"] == 100 * 2**20


def test_an_address_where_nobody_answers_is_named_at_once(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(ConfigError, match=rf"RAY_ADDRESS is '127\.0\.0\.1:{port}', where nobody answers"):
        join_ray(num_cpus=3, object_store_mib=100)
    assert time.monotonic() - started < 11 and not asked


def test_an_address_that_answers_is_joined(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        join_ray(num_cpus=3, object_store_mib=100)
    assert "address" not in asked[0]


def test_a_ray_that_does_not_come_up_is_a_sentence_with_what_to_do(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(**_: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because some of the raylet ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", time_out)
    with pytest.raises(
        RunError, match=r"Ray did not start .*timed out during startup.*too busy.*same command"
    ) as failed:
        join_ray(num_cpus=3, object_store_mib=100)
    assert "\n" not in str(failed.value) and failed.value.exit_code == 3
    assert "RAY_AUTH_TOKEN" not in os.environ
