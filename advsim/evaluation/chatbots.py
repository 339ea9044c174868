"""Comparison of several chatbots in the files that are evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advsim.errors import ConfigError
from advsim.evaluation.inputs import GroupInput
from advsim.rates.outcomes import MessageOutcome
from advsim.validity.by_chatbot import (
    ByChatbot,
    comparable,
    compare_chatbots,
    pairs_with_baseline,
    parse_pairs,
    rows_by_chatbot,
)
from advsim.validity.replication import AbPair


def choose_pairs(
    conversations: GroupInput, reference: GroupInput | None, *, pairs: Sequence[str], baseline: str | None
) -> tuple[AbPair, ...] | None:
    """The pairs to compare, or None where no side names two chatbots.

    Args:
        conversations: the conversations.
        reference: the real dialogues, where there are any.
        pairs: ``a:b`` each; empty: every chatbot against the baseline.
        baseline: name of a chatbot; None: the first by name.

    Raises:
        ConfigError: pairs or a baseline are asked for that there are not, or both are.
    """
    names = [set(side.chatbots.values()) for side in (conversations, reference) if side is not None]
    if pairs and baseline is not None:
        raise ConfigError(
            "evaluate: got --pairs and --baseline, expected one of the two; pairs name both sides of each"
        )
    if max(map(len, names)) < 2:
        if pairs or baseline is not None:
            raise ConfigError(
                f"evaluate: --pairs and --baseline compare chatbots, and {conversations.name} names "
                f"{', '.join(sorted(names[0])) or 'none'}; name the chatbot of each dialogue in its key chatbot"
            )
        return None
    usable = comparable(names[0], names[1] if len(names) > 1 else None)
    try:
        return parse_pairs(pairs, usable) if pairs else pairs_with_baseline(usable, baseline)
    except ValueError as error:
        both = set(usable) <= names[-1] and reference is not None
        where = "; those are the chatbots that both files name" if both else ""
        raise ConfigError(f"evaluate: {error}{where}") from None


def measure_chatbots(
    conversations: GroupInput,
    reference: GroupInput | None,
    rows: Mapping[str, Sequence[MessageOutcome]],
    pairs: Sequence[AbPair],
    *,
    modes: Sequence[str],
    seed: int,
) -> ByChatbot:
    """Rates by chatbot, A/B tests, and where there are real dialogues the agreement of both.

    Args:
        conversations: the conversations.
        reference: the real dialogues, where there are any.
        rows: messages by name of the group.
        pairs: as :func:`choose_pairs` gives them.
        modes: ids of the taxonomy, in order.
        seed: of all draws.
    """
    sides = [side for side in (conversations, reference) if side is not None]
    by_side = [rows_by_chatbot(rows[side.name], side.chatbots) for side in sides]
    unnamed = [len(side.dialogues) - len(side.chatbots) for side in sides]
    return compare_chatbots(
        by_side[0],
        by_side[1] if len(by_side) > 1 else None,
        modes=modes,
        pairs=pairs,
        num_unnamed=(unnamed[0], unnamed[1] if len(unnamed) > 1 else 0),
        seed=seed,
    )
