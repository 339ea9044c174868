"""What the replies of a chatbot cost, by the tokens that it told and the price in its configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from advsim.config import PriceConfig
from advsim.records import Conversation, Effort, chatbot_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """An amount of money.

    Attributes:
        amount: in units of the currency, not in parts of it.
        currency: the word of the price.
    """

    amount: float
    currency: str


def tokens_cost(num_prompt_tokens: int | None, num_output_tokens: int | None, price: PriceConfig | None) -> Cost | None:
    """What so many tokens cost; None without a price, or where a count was not told."""
    if price is None or num_prompt_tokens is None or num_output_tokens is None:
        return None
    millionths = (
        num_prompt_tokens * price.per_million_prompt_tokens + num_output_tokens * price.per_million_output_tokens
    )
    return Cost(amount=millionths / 1e6, currency=price.currency)


def replies_cost(efforts: Iterable[Effort], price: PriceConfig | None) -> Cost | None:
    """What replies cost together.

    Args:
        efforts: what each reply took. Calls that were repeated or gave no reply are not in them, so that a bill can be
            higher.
        price: of the chatbot.

    Returns:
        None without a price, or where the tokens of a reply were not told.
    """
    costs = [tokens_cost(effort.num_prompt_tokens, effort.num_output_tokens, price) for effort in efforts]
    if price is None or None in costs:
        return None
    return Cost(amount=sum(cost.amount for cost in costs if cost is not None), currency=price.currency)


def conversation_cost(conversation: Conversation, price: PriceConfig | None) -> Cost | None:
    """What the chatbot's replies in a conversation cost; see :func:`replies_cost`.

    An opening from the real dialogue took nothing and is not counted.
    """
    turns = [turn for _, turn in chatbot_turns(conversation)]
    return replies_cost([turn.effort for turn in turns if turn.effort is not None], price)
