"""What every Ray actor around an engine does: start it, answer for it, end it."""

from __future__ import annotations

import time

from advsim.engine.protocol import Engine


class EngineActor:
    """Base of the actors that hold one engine; a subclass sets ``_engine`` when it is made."""

    _engine: Engine

    async def start(self) -> float:
        """Start the engine; returns the seconds it took."""
        started = time.monotonic()
        await self._engine.start()
        return time.monotonic() - started

    async def check_alive(self) -> None:
        """Answer, so that the driver knows that this process and its engine are there.

        Raises:
            EngineDiedError: the engine is gone.
        """
        await self._engine.check_alive()

    def close(self) -> None:
        """End the engine and its processes."""
        self._engine.close()
