"""What a chatbot's replies cost, by the tokens that it told."""

from __future__ import annotations

import pytest

from advsim.chatbots.cost import Cost, conversation_cost, replies_cost, tokens_cost
from advsim.config import PriceConfig
from advsim.records import Conversation, Effort, Speaker, StopReason, Turn
from advsim.report.page.figures import money

PRICE = PriceConfig(per_million_prompt_tokens=0.15, per_million_output_tokens=0.60, currency="EUR")


def told(num_prompt_tokens: int | None, num_output_tokens: int | None) -> Effort:
    return Effort(seconds=1.0, num_prompt_tokens=num_prompt_tokens, num_output_tokens=num_output_tokens)


def conversation(*efforts: Effort | None) -> Conversation:
    turns = [
        turn
        for effort in efforts
        for turn in (Turn(speaker=Speaker.USER, text="x"), Turn(speaker=Speaker.CHATBOT, text="y", effort=effort))
    ]
    return Conversation(
        id="c", scenario_id="s", chatbot="b", simulator_version=-1, simulator_sha256="", turns=tuple(turns),
        stop_reason=StopReason.MAX_TURNS, num_prompt_tokens=0, num_output_tokens=0, seed=0,
    )  # fmt: skip


def test_prompt_and_output_tokens_have_a_price_each() -> None:
    cost = tokens_cost(1_000_000, 500_000, PRICE)
    assert cost is not None and cost.currency == "EUR" and cost.amount == pytest.approx(0.15 + 0.30)


def test_a_cost_that_is_not_known_is_none_and_never_zero() -> None:
    assert tokens_cost(10, 5, None) is None
    assert tokens_cost(None, 5, PRICE) is None and tokens_cost(10, None, PRICE) is None
    assert replies_cost([told(10, 5), told(10, None)], PRICE) is None
    assert replies_cost([told(10, 5)], None) is None
    assert tokens_cost(0, 0, PRICE) == Cost(amount=0.0, currency="EUR")


def test_a_conversation_costs_what_its_replies_cost_and_an_opening_of_the_real_dialogue_nothing() -> None:
    cost = conversation_cost(conversation(None, told(100, 10), told(200, 20)), PRICE)
    assert cost is not None and cost.amount == pytest.approx((300 * 0.15 + 30 * 0.60) / 1e6)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (1234.5, "1,234.50 EUR"),
        (0.1, "0.10 EUR"),
        (0.0, "0.00 EUR"),
        (0.0123, "0.012 EUR"),
        (0.0000036, "0.0000036 EUR"),
    ],
)
def test_small_amounts_show_two_digits(amount: float, shown: str) -> None:
    assert money(Cost(amount=amount, currency="EUR")) == shown and money(None) == "-"
