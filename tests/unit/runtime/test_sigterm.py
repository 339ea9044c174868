"""SIGTERM ends work as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from advsim.runtime.sigterm import sigterm_as_interrupt


def test_sigterm_is_an_interrupt_within_and_what_it_was_behind() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_changes_nothing() -> None:
    seen = []

    def enter() -> None:
        with sigterm_as_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
