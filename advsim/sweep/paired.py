"""Paired replay: how much of the gap between simulated and real rates is due to the simulator's turns?

Chatbots answer the same real prefixes twice, once with the real last user turn and once with the simulator's. Nothing
else differs, so the difference of the two rates is the simulator's error in one turn. What is left of the gap between
simulated conversations and replay is the design: later turns, and contexts that the chatbot itself has made.

    free - replay  =  (paired - replay)  +  (free - paired)
    gap               the user's turn       the design
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.rates.ab_test import Difference, compare
from advsim.rates.outcomes import MessageOutcome
from advsim.rates.rates import failure_rate
from advsim.records import Rate
from advsim.validity.verdict import Validity, predictive_validity

Rows = Mapping[str, Sequence[MessageOutcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRates:
    """One chatbot, any mode.

    Attributes:
        chatbot: its name.
        real: rate of its replies to real prefixes.
        paired: rate of its replies to the same prefixes with the simulator's last turn.
        free: rate in simulated conversations; None where there are none.
        turn_effect: paired minus real, over the same people.
    """

    chatbot: str
    real: Rate
    paired: Rate
    free: Rate | None
    turn_effect: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedReplay:
    """All chatbots.

    Attributes:
        chatbots: in order.
        validity: of the paired rates against the real ones; None with fewer than two chatbots.
        num_faulty_turns: prefixes without a user turn of the simulator: it was empty or out of role.
        gap: mean over chatbots of the rate in simulated conversations less the real one; None without conversations.
        turn_effect: mean over chatbots of the paired rate less the real one.
        design_effect: what is left of the gap.
        sentence: these in words.
    """

    chatbots: tuple[PairedRates, ...]
    validity: Validity | None
    num_faulty_turns: int
    gap: float | None
    turn_effect: float | None
    design_effect: float | None
    sentence: str


def paired_replay(paired: Rows, real: Rows, free: Rows | None, *, num_faulty_turns: int, seed: int) -> PairedReplay:
    """Compare paired replay with replay, and with simulated conversations where there are some.

    Args:
        paired: messages by chatbot.
        real: of the replay, of the same chatbots.
        free: of simulated conversations.
        num_faulty_turns: prefixes without a user turn of the simulator.
        seed: of the permutations.
    """
    answered = {name: {(row.dialogue_id, row.turn) for row in rows} for name, rows in paired.items()}
    same = {name: [row for row in rows if (row.dialogue_id, row.turn) in answered[name]] for name, rows in real.items()}
    chatbots = tuple(
        PairedRates(
            chatbot=name,
            real=failure_rate(same[name]),
            paired=failure_rate(rows),
            free=None if free is None else failure_rate(free[name]),
            turn_effect=compare(rows, same[name], num_permutations=1000, seed=seed),
        )
        for name, rows in paired.items()
    )
    turn_effect = _mean([_less(each.paired, each.real) for each in chatbots])
    gap = None if free is None else _mean([_less(each.free, each.real) for each in chatbots])
    design_effect = None if gap is None or turn_effect is None else gap - turn_effect
    return PairedReplay(
        chatbots=chatbots,
        validity=predictive_validity(paired, same, seed=seed) if len(paired) > 1 else None,
        num_faulty_turns=num_faulty_turns,
        gap=gap,
        turn_effect=turn_effect,
        design_effect=design_effect,
        sentence=_sentence(gap, turn_effect, design_effect, len(chatbots)),
    )


def _less(a: Rate | None, b: Rate) -> float | None:
    return None if a is None or a.estimate is None or b.estimate is None else a.estimate - b.estimate


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _sentence(gap: float | None, turn: float | None, design: float | None, num_chatbots: int) -> str:
    if turn is None:
        return "Paired replay: a chatbot has no judged message on a side, so nothing can be compared."
    over = f"mean of {num_chatbots} chatbots" if num_chatbots > 1 else "one chatbot"
    more = "more" if turn >= 0 else "fewer"
    said = (
        f"Paired replay ({over}, without an interval): with the simulator's turn in place of the real one "
        f"{100 * abs(turn):.1f} points {more} fail"
    )
    if gap is None or design is None:
        return f"{said}."
    return (
        f"{said}; the gap between simulated conversations and replay is {100 * gap:+.1f} points, which leaves "
        f"{100 * design:+.1f} to the design (later turns, and contexts of the chatbot's own making)."
    )
