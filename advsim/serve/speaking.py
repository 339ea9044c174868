"""One engine that speaks the user, and the change of its adapter while it is asked.

A message is drawn whole by one adapter: a change waits until the messages under way are done, and those that come
meanwhile wait for the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from advsim.errors import ConfigError
from advsim.prompts.window import ContextOverflowError
from advsim.rollout.delivery import Acknowledgement, Delivery, check_acknowledgements
from advsim.rollout.simulator_actor import SimulatorActor, SimulatorSpec, UserTurnRequest
from advsim.serve.answer import Served, Spoken
from advsim.serve.chat import Chat
from advsim.serve.errors import RequestError

FetchDelivery = Callable[[], Awaitable[Delivery | None]]


class SpeakingEngine:
    """An engine with the adapter that it was told last. Callers bring what they know of the newest one.

    Args:
        spec: of the engine; no chatbot shares it.
        name: of this engine, for messages.
    """

    def __init__(self, spec: SimulatorSpec, name: str) -> None:
        self._actor = SimulatorActor(spec, name)
        self._name = name
        self._is_merged = spec.engine.config.adapter_serving == "merged"
        self._turns = _Turns()
        self.served: Served | None = None

    async def start(self) -> None:
        """Load the base model.

        Raises:
            EngineError: the engine cannot start.
        """
        await self._actor.start()

    async def check_alive(self) -> None:
        """Return where the engine answers.

        Raises:
            EngineDiedError: it does not any more.
        """
        await self._actor.check_alive()

    def close(self) -> None:
        """End the engine and remove its adapters from this machine's disk."""
        self._actor.close()

    async def hold(self, served: Served, fetch: FetchDelivery) -> Acknowledgement | None:
        """Serve this simulator from now on, unless a later one is served already; None for the base model.

        Raises:
            ConfigError: the weights were merged, so that there is no base model any more.
            DeliveryError: the engine does not speak with the adapter afterwards; it is asked to load one again by the
                next message.
            EngineError: the adapter cannot be loaded.
        """
        async with self._turns.alone():
            if self.served is not None and served.epoch <= self.served.epoch:
                return None
            if served.adapter is None:
                if self._is_merged and self.served is not None and self.served.adapter is not None:
                    raise ConfigError(
                        "engine.adapter_serving is merged: the base model alone is gone from this engine; start "
                        "'advsim serve' again with --at zero_shot"
                    )
                self.served = served
                return None
            delivery = await fetch()
            assert delivery is not None, "an adapter comes with its files"
            self.served = None  # until it is proven
            acknowledgement = await self._actor.load_adapter(delivery)
            check_acknowledgements(delivery, [acknowledgement], engines=[self._name])
            self.served = served
            return acknowledgement

    async def speak(self, chat: Chat, served: Served, fetch: FetchDelivery, *, pinned: str | None) -> Spoken:
        """The person's next message.

        Args:
            chat: what is asked.
            served: the newest simulator that the caller knows.
            fetch: its adapter, should this engine not have it yet.
            pinned: the simulator that the request names; None: whichever is served.

        Raises:
            RequestError: the prompt is too long, or the pinned simulator is not served here.
            EngineError: the engine failed.
        """
        while self.served is None or self.served.epoch < served.epoch:
            await self.hold(served, fetch)
        async with self._turns.among_others():
            held = self.served
            if held is None:
                raise RequestError(503, "the simulator is being changed; ask again", code="loading", retry_after_s=1)
            if pinned not in (None, held.name):
                raise not_served(pinned or "", held.name)
            request = UserTurnRequest(
                context=chat.context,
                turns=chat.turns,
                sampling=chat.sampling,
                adapter=held.adapter,
                seed=chat.seed,
                best_of=held.best_of,
            )
            try:
                turn = await self._actor.user_turn(request)
            except ContextOverflowError as overflow:
                raise RequestError(
                    400, f"messages: {overflow}", code="context_length_exceeded", param="messages"
                ) from None
            return Spoken(turn=turn, served=held)


def not_served(asked: str, served: str) -> RequestError:
    """The refusal of a request that names a simulator other than the one that is served."""
    return RequestError(
        409,
        f"model: the request names {asked}, but {served} is served now; name the run alone for whichever is served",
        code="simulator_changed",
        param="model",
    )


class _Turns:
    """Many speak at once, a change is alone; who comes while a change waits lets it go first."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._num_speaking = 0
        self._num_waiting_alone = 0
        self._is_alone = False

    @asynccontextmanager
    async def among_others(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_alone and not self._num_waiting_alone)
            self._num_speaking += 1
        try:
            yield
        finally:
            self._num_speaking -= 1
            await self._tell()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        self._num_waiting_alone += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._is_alone and not self._num_speaking)
                self._is_alone = True
        except BaseException:
            self._num_waiting_alone -= 1
            await self._tell()
            raise
        self._num_waiting_alone -= 1
        try:
            yield
        finally:
            self._is_alone = False
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
