"""Agreement of two detectors, on messages that need no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from advsim.detectors.accuracy import Proportion, by_message, modes_or_shipped, proportion, verdict
from advsim.errors import CorpusError
from advsim.rates.intervals import MIN_CLUSTERS_FOR_BOUNDS
from advsim.records import Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorAgreement:
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


def agreement(
    first: Sequence[Assessment], second: Sequence[Assessment], *, modes: Sequence[str] | None = None
) -> list[DetectorAgreement]:
    """How far two detectors agree on the messages that both were given.

    Raises:
        CorpusError: they share no message, or one assesses a message twice.
    """
    by_first, by_second = by_message(first), by_message(second)
    shared = [message for message in by_first if message in by_second]
    if not shared:
        raise CorpusError("agreement of detectors: got no message that both assessed; assess the same dialogues")
    return [_agreement(mode, [(by_first[it], by_second[it]) for it in shared]) for mode in modes_or_shipped(modes)]


def _agreement(mode: str, pairs: Sequence[tuple[Assessment, Assessment]]) -> DetectorAgreement:
    verdicts = [(verdict(first, mode), verdict(second, mode)) for first, second in pairs]
    both = np.array([pair for pair in verdicts if None not in pair], dtype=bool).reshape(-1, 2)
    return DetectorAgreement(
        mode=mode,
        agreement=proportion(int((both[:, 0] == both[:, 1]).sum()), len(both)),
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
    if num < MIN_CLUSTERS_FOR_BOUNDS or not varies or (both_N2[:, 0] == both_N2[:, 1]).all():
        return Proportion(value=value, low=None, high=None, num=num)
    asymptotic = cohens_kappa(table)
    return Proportion(
        value=value, low=max(-1.0, float(asymptotic.kappa_low)), high=min(1.0, float(asymptotic.kappa_upp)), num=num
    )
