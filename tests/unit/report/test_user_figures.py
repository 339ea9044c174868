"""What the table of an evaluation says of classifiers that try to tell users apart."""

from __future__ import annotations

import pytest

from advsim.realism.families import Family
from advsim.realism.free_dialogues import TwoSample
from advsim.realism.permutation import Null, Nulls
from advsim.records import Estimate
from advsim.report.evaluation.user_figures import what_it_says

NOTHING = Estimate(value=None, low=None, high=None, num_turns=0, num_dialogues=0)


def classifier(*, p_value: float | None, measurable: bool = True, auc: float | None = 0.55) -> TwoSample:
    null = None if p_value is None else Null(p_value=p_value, high=0.56, num_permutations=99)
    return TwoSample(
        family=Family.SURFACE,
        auc=Estimate(value=auc, low=0.51, high=0.59, num_turns=200, num_dialogues=40),
        auc_dialogue=NOTHING,
        accuracy=NOTHING,
        at_turn={},
        nulls=None if null is None else Nulls(accuracy=null, auc=null),
        length_only=NOTHING,
        user_only=None,
        power={},
        measurable=measurable,
        gate="",
        turn_budget=5,
    )


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (classifier(p_value=0.01), "told apart"),
        (classifier(p_value=0.05, measurable=False), "told apart"),
        (classifier(p_value=0.06), "not told apart"),
        (classifier(p_value=0.06, measurable=False), "cannot tell"),
        (classifier(p_value=None), ""),
        (classifier(p_value=0.01, auc=None), ""),
    ],
)
def test_users_are_told_apart_where_p_says_so_and_nothing_is_said_without_power(measured: TwoSample, said: str) -> None:
    assert what_it_says(measured) == said
