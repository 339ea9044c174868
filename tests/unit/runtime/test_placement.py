"""Which Ray is joined or started."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from advsim.errors import ConfigError
from advsim.runtime.placement import join_ray


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ``ray.init`` is asked for, in place of starting anything."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr("advsim.runtime.local_ray._check_closed", lambda: None)
    return calls


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
