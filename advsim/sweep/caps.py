"""What a sweep has used in one call of the command, and whether that is as much as it may."""

from __future__ import annotations

import time

from advsim.chatbots.cost import tokens_cost
from advsim.config import ChatbotConfig, SweepConfig
from advsim.records import Conversation, chatbot_turns
from advsim.sweep.shards import Said, has_failed


class Meter:
    """Counts what is asked for and what comes back.

    Args:
        settings: of the sweep, with its caps.
        chatbots: with their prices.
    """

    def __init__(self, settings: SweepConfig, chatbots: tuple[ChatbotConfig, ...]) -> None:
        self._caps = settings.caps
        self._prices = {chatbot.name: chatbot.price for chatbot in chatbots}
        self._currency = next((price.currency for price in self._prices.values() if price is not None), "")
        self._started = time.monotonic()
        self._num_asked = self._num_failed = self._num_tokens = 0
        self._cost = 0.0
        self.stopped_by = ""  # the cap, in words

    def take(self) -> bool:
        """Whether one more item may be asked for; counts it."""
        if self.stops():
            return False
        self._num_asked += 1
        return True

    def stops(self) -> bool:
        """Whether work that is there is left undone, because a cap is reached; remembered in :attr:`stopped_by`."""
        self.stopped_by = self.stopped_by or self._reached()
        return bool(self.stopped_by)

    def add(self, said: Said) -> None:
        """Count what came back. What is not told costs nothing here: a bill can be higher."""
        price = self._prices.get(said.chatbot)
        if isinstance(said, Conversation):
            efforts = [turn.effort for _, turn in chatbot_turns(said) if turn.effort is not None]
            counts = [(effort.num_prompt_tokens, effort.num_output_tokens) for effort in efforts]
        else:
            counts = [(said.num_prompt_tokens or None, said.num_output_tokens or None)]
        costs = [tokens_cost(num_read, num_written, price) for num_read, num_written in counts]
        self._cost += sum(cost.amount for cost in costs if cost is not None)
        self._num_tokens += said.num_output_tokens
        self._num_failed += has_failed(said)

    def _reached(self) -> str:
        """The cap that is reached, in words; empty while none is."""
        caps = self._caps
        if caps.max_dialogues is not None and self._num_asked >= caps.max_dialogues:
            return f"caps.max_dialogues ({caps.max_dialogues})"
        if caps.max_minutes is not None and time.monotonic() - self._started >= 60 * caps.max_minutes:
            return f"caps.max_minutes ({caps.max_minutes:g})"
        if caps.max_cost is not None and self._cost >= caps.max_cost:
            return f"caps.max_cost ({caps.max_cost:g} {self._currency})"
        return ""

    @property
    def note(self) -> str:
        """Failures, speed and cost so far, for the progress line."""
        seconds = time.monotonic() - self._started
        parts = [f"{self._num_tokens / seconds:.0f} tokens/s" if seconds > 0 else ""]
        parts.append(f"{self._num_failed} failed" if self._num_failed else "")
        parts.append(f"{self._cost:.2f} {self._currency}" if self._currency else "")
        return ", ".join(part for part in parts if part)
