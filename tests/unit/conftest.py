"""What all unit tests share."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True)
def exit_codes() -> None:
    """Exit codes of child processes are right: a Ray that an earlier test started here lets all of them read as 0."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
