"""Agreement of two detectors, and of one detector with itself, on messages that need no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa

from advsim.errors import CorpusError
from advsim.failures.calibrate import Proportion, by_message, modes_or_shipped, verdict, wilson
from advsim.records import Assessment

MIN_MESSAGES_FOR_KAPPA_BOUNDS = 10
"""The interval of kappa is asymptotic; on fewer messages it is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two detectors on the messages that both judged, for one mode.

    Attributes:
        mode: id of the mode.
        agreement: share of messages with the same verdict; Wilson interval.
        kappa: Cohen's kappa; None where it is undefined: no message, or neither detector's verdict ever varies. Its
            interval is asymptotic, and None on few messages or where the agreement is perfect.
        num_first: messages in which the first found the mode.
        num_second: likewise, the second.
        num_not_judged: messages that one of the two did not judge.
    """

    mode: str
    agreement: Proportion
    kappa: Proportion
    num_first: int
    num_second: int
    num_not_judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfAgreement:
    """One detector asked several times, for one mode, on the messages judged every time.

    Attributes:
        mode: id of the mode.
        disagreement: share of messages whose verdicts are not all the same; Wilson interval.
        pairwise: share of pairs of repeats that differ, mean over the messages; None without a message.
        kappa: Fleiss' kappa; None where it is undefined: no message, or all verdicts the same.
        num_repeats: how often each message was judged.
        num_not_judged: messages that at least one repeat did not judge.
    """

    mode: str
    disagreement: Proportion
    pairwise: float | None
    kappa: float | None
    num_repeats: int
    num_not_judged: int


def agreement(
    first: Sequence[Assessment], second: Sequence[Assessment], *, modes: Sequence[str] | None = None
) -> list[Agreement]:
    """How far two detectors agree on the messages that both were given.

    Raises:
        CorpusError: they share no message, or one assesses a message twice.
    """
    one, other = by_message(first), by_message(second)
    shared = [message for message in one if message in other]
    if not shared:
        raise CorpusError("agreement of detectors: got no message that both assessed; assess the same dialogues")
    return [_agreement(mode, [(one[it], other[it]) for it in shared]) for mode in modes_or_shipped(modes)]


def self_agreement(
    repeats: Sequence[Sequence[Assessment]], *, modes: Sequence[str] | None = None
) -> list[SelfAgreement]:
    """How far a detector that is asked again (with another seed) says the same.

    Args:
        repeats: at least two runs over the same messages.
        modes: ids; None: those of the taxonomy that ships.

    Raises:
        CorpusError: there are fewer than two repeats, or a message is not in all of them.
    """
    if len(repeats) < 2:
        raise CorpusError(f"disagreement with itself: got {len(repeats)} repeats, expected >= 2")
    runs = [by_message(repeat) for repeat in repeats]
    for run in runs[1:]:
        if missing := runs[0].keys() ^ run.keys():
            dialogue, turn = min(missing)
            raise CorpusError(f"disagreement with itself: turn {turn} of {dialogue} is not in every repeat")
    return [
        _self_agreement(mode, [[run[message] for run in runs] for message in runs[0]])
        for mode in modes_or_shipped(modes)
    ]


def _agreement(mode: str, pairs: Sequence[tuple[Assessment, Assessment]]) -> Agreement:
    verdicts = [(verdict(first, mode), verdict(second, mode)) for first, second in pairs]
    both = np.array([pair for pair in verdicts if None not in pair], dtype=bool).reshape(-1, 2)
    return Agreement(
        mode=mode,
        agreement=wilson(int((both[:, 0] == both[:, 1]).sum()), len(both)),
        kappa=_kappa(both),
        num_first=int(both[:, 0].sum()),
        num_second=int(both[:, 1].sum()),
        num_not_judged=len(verdicts) - len(both),
    )


def _kappa(both_N2: npt.NDArray[np.bool_]) -> Proportion:
    num = len(both_N2)
    if len(np.unique(both_N2)) < 2:  # no message, or one and the same verdict everywhere
        return Proportion(value=None, low=None, high=None, num=num)
    value = float(cohen_kappa_score(both_N2[:, 0], both_N2[:, 1]))
    table = np.zeros((2, 2))
    np.add.at(table, (both_N2[:, 0].astype(int), both_N2[:, 1].astype(int)), 1)
    varies = all(len(np.unique(both_N2[:, side])) == 2 for side in (0, 1))
    if num < MIN_MESSAGES_FOR_KAPPA_BOUNDS or not varies or (both_N2[:, 0] == both_N2[:, 1]).all():
        return Proportion(value=value, low=None, high=None, num=num)
    found = cohens_kappa(table)
    return Proportion(
        value=value, low=max(-1.0, float(found.kappa_low)), high=min(1.0, float(found.kappa_upp)), num=num
    )


def _self_agreement(mode: str, messages: Sequence[Sequence[Assessment]]) -> SelfAgreement:
    num_repeats = len(messages[0]) if messages else 0
    verdicts = [[verdict(assessment, mode) for assessment in repeats] for repeats in messages]
    judged = np.array([row for row in verdicts if None not in row], dtype=int).reshape(-1, num_repeats)
    differing = [np.mean([a != b for a, b in combinations(row, 2)]) for row in judged]
    varies = len(np.unique(judged)) == 2
    return SelfAgreement(
        mode=mode,
        disagreement=wilson(sum(share > 0 for share in differing), len(judged)),
        pairwise=float(np.mean(differing)) if differing else None,
        kappa=float(fleiss_kappa(aggregate_raters(judged)[0])) if varies else None,
        num_repeats=num_repeats,
        num_not_judged=len(verdicts) - len(judged),
    )
