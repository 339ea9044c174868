"""An engine that says fixed lines: for tests, demonstrations and chatbots with known behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advsim.engine.protocol import Completion, GenerationRequest
from advsim.errors import EngineError
from advsim.records import AdapterRef


class ScriptedEngine:
    """Answers with ``replies`` in turn, starting from one that depends on the prompt and seed alone.

    The same request always gets the same answer, whatever was asked before, so runs with it are repeatable.
    """

    def __init__(self, *, replies: Sequence[str]) -> None:
        if not replies:
            raise EngineError("a scripted engine got no replies, expected at least one; set chatbot.replies")
        self._replies = tuple(replies)
        self.adapter: AdapterRef | None = None

    async def start(self) -> None:
        """Nothing to load."""

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """``num_samples`` replies; token ids are the UTF-8 bytes of the text."""
        first = sum(request.prompt_ids) + (request.seed or 0)
        texts = [self._replies[(first + i) % len(self._replies)] for i in range(request.num_samples)]
        return [Completion(text=text, token_ids=tuple(text.encode()), finished=True) for text in texts]

    async def load_adapter(self, adapter: AdapterRef, folder: Path) -> None:
        """Remember the adapter."""
        self.adapter = adapter

    async def logprobs(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, use_adapter: bool
    ) -> list[float]:
        """Certainty: a scripted engine has no distribution."""
        return [0.0] * len(completion_ids)

    async def check_alive(self) -> None:
        """It cannot die."""

    def close(self) -> None:
        """Nothing to free."""
