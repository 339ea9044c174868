"""What stands between a caller and the engines: lets in, reads, asks, counts and answers. Knows no Ray.

request -> key -> size -> JSON -> Chat -> an engine -> Spoken -> answer, whole or as a stream
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from advsim.config import Config
from advsim.errors import AdvsimError
from advsim.models.adapter import Canary
from advsim.records import Scenario
from advsim.rollout.delivery import Acknowledgement, Delivery, delivery_of
from advsim.run_folder.reader import load_run
from advsim.serve.answer import Answer, Served, Spoken, answer_of
from advsim.serve.chat import Chat, Defaults, read_chat
from advsim.serve.errors import RequestError, invalid
from advsim.serve.metrics import ServeMetrics
from advsim.serve.plan import served_choice, simulator_of
from advsim.serve.speaking import not_served


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSettings:
    """What a server is started with.

    Attributes:
        location: the run folder.
        name: of the run; what requests call the model.
        at: the simulator to begin with.
        scenarios: that may be asked for, by id.
        canary: of the run's training.
        defaults: of what a request does not say.
        key_sha256: of the key that lets in.
        timeout_s: for one message, waiting included.
        best_of: draws of each message, of which one is chosen.
        config: the run's, with overrides.
        max_body_bytes: of one request.
    """

    location: str
    name: str
    at: str
    scenarios: Mapping[str, Scenario]
    canary: Canary
    defaults: Defaults
    key_sha256: bytes
    timeout_s: float
    config: Config
    best_of: int = 1
    max_body_bytes: int = 2**20


class Engines(Protocol):
    """The engines behind the server, however many."""

    async def speak(self, chat: Chat, served: Served, *, pinned: str | None) -> Spoken:
        """Let one of them write the person's next message.

        Raises:
            RequestError: it cannot be answered.
            AdvsimError: the engines failed.
        """

    async def hold(self, served: Served, delivery: Delivery | None) -> Sequence[Acknowledgement | None]:
        """Let all of them serve this simulator; those that start later are told with their first message.

        Raises:
            AdvsimError: one does not speak with it.
        """

    async def held(self) -> Sequence[Served | None]:
        """What each of them serves."""

    async def num_ready(self) -> int:
        """How many of them can be asked."""


class Front:
    """The server's part that is one: which simulator is served, and what was counted."""

    def __init__(self, settings: FrontSettings, engines: Engines) -> None:
        self.settings = settings
        self.metrics = ServeMetrics()
        self._engines = engines
        self._served: Served | None = None
        self._changing = asyncio.Lock()

    @property
    def models(self) -> list[str]:
        """Names that a request may give as its model: the run, and the simulator that is served."""
        name = self.settings.name
        return [name] if self._served is None else [name, f"{name}/{self._served.name}"]

    async def chat(self, values: dict[str, Any]) -> tuple[Chat, Answer]:
        """Answer a chat request.

        Raises:
            RequestError: there is no message, and why.
        """
        settings = self.settings
        chat = read_chat(values, scenarios=settings.scenarios, defaults=settings.defaults)
        served = await self.served()
        pinned = self._pinned(chat.model, served)
        try:
            async with asyncio.timeout(settings.timeout_s):
                spoken = await self._engines.speak(chat, served, pinned=pinned)
        except TimeoutError:
            raise RequestError(
                504, f"no message within {settings.timeout_s:g} s; the engines have too much to do", code="timeout"
            ) from None
        self.metrics.drawn(spoken.turn, spoken.served.name)
        return chat, answer_of(chat, spoken)

    async def served(self) -> Served:
        """The simulator that is served; after a restart the one that the engines hold, else the first.

        Raises:
            AdvsimError: the engines cannot serve it.
        """
        if self._served is None:
            async with self._changing:
                if self._served is None:
                    await self._begin()
        assert self._served is not None, "set above, or an error was raised"
        return self._served

    async def change(self, at: str) -> Served:
        """Serve another simulator of the run from now on. Messages under way keep the one that they began with.

        Args:
            at: its name; see :func:`advsim.serve.plan.simulator_of`.

        Raises:
            AdvsimError: the run has none of that name, or an engine does not speak with it; the one before is kept.
        """
        before = await self.served()
        async with self._changing:
            try:
                await self._serve(at, epoch=before.epoch + 1)
            except AdvsimError:
                self.metrics.changed("refused")
                raise
            self.metrics.changed("done")
            return self._served or before

    async def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether somebody can be answered, and the figures of that."""
        num_ready = await self._engines.num_ready()
        served = self._served
        is_ok = num_ready > 0 and served is not None
        said = {"status": "ok" if is_ok else "starting", "num_engines": num_ready}
        return is_ok, {**said, "simulator": served.name if served else None}

    async def _begin(self) -> None:
        held = [each for each in await self._engines.held() if each is not None]
        newest = max(held, key=lambda each: each.epoch, default=None)
        if newest is None:
            await self._serve(self.settings.at, epoch=1)
        else:
            await self._serve(newest.name, epoch=newest.epoch + 1)

    async def _serve(self, name: str, *, epoch: int) -> None:
        served, delivery = await asyncio.to_thread(self._load, name, epoch)
        before = self._served
        try:
            await self._engines.hold(served, delivery)
        except AdvsimError:
            if before is not None:  # some may have changed already: back, as a later change
                self._served = None
                await self._serve(before.name, epoch=epoch + 1)
            raise
        self._served = served
        self.metrics.serves(served.name, served.adapter.sha256 if served.adapter else "")

    def _load(self, name: str, epoch: int) -> tuple[Served, Delivery | None]:
        run = load_run(self.settings.location)
        best_of = self.settings.best_of
        found, adapter = simulator_of(run, name)
        choice = served_choice(run, found, adapter, self.settings.config, best_of=best_of)
        probe_sha256 = "" if choice is None else choice.sha256
        served = Served(name=found, adapter=adapter, epoch=epoch, best_of=best_of, probe_sha256=probe_sha256)
        return served, delivery_of(run, adapter.version, self.settings.canary, choice) if adapter else None

    def _pinned(self, model: str, served: Served) -> str | None:
        name = self.settings.name
        if model == name:
            return None
        simulator = model.removeprefix(f"{name}/")
        if simulator == model:
            raise RequestError(
                404,
                f"model: there is no {model[:100]!r}, expected {' or '.join(self.models)}",
                code="model_not_found",
                param="model",
            )
        if simulator != served.name:
            raise not_served(simulator[:100], served.name)
        return simulator


def wanted_simulator(values: dict[str, Any]) -> str:
    """The simulator that a request for a change names.

    Raises:
        RequestError: it names none.
    """
    at = values.get("at")
    if not isinstance(at, str) or not at or len(values) > 1:
        raise invalid('expected {"at": NAME} with newest, sft, round_1, ... or zero_shot', param="at")
    return at


def served_json(served: Served) -> dict[str, Any]:
    """What is served, as JSON."""
    return {"object": "advsim.adapter", **served.marks}


def scenarios_json(scenarios: Mapping[str, Scenario]) -> dict[str, Any]:
    """Ids of the scenarios and who writes first in each; nothing of what people told."""
    data = [
        {"id": each.id, "object": "advsim.scenario", "opens_with": each.opens_with.value} for each in scenarios.values()
    ]
    return {"object": "list", "data": data}
