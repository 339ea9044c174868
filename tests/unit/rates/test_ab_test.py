import math

import numpy as np
import pytest
from made_up_studies import drawn_counts, rows_of, study
from scipy import stats
from statsmodels.stats.multitest import multipletests

from advsim.rates.ab_test import adjusted, compare, compare_modes
from advsim.rates.intervals import rate_interval
from advsim.validity.replication import AbPair, ab_replication


def test_permutation_p_value_is_that_of_scipy_for_dialogues_of_one_length():
    rng = np.random.default_rng(0)
    a, b = drawn_counts(0.3, rng=rng, num_dialogues=25), drawn_counts(0.15, rng=rng, num_dialogues=25)
    found = compare(rows_of("a", a, prefix="a"), rows_of("b", b, prefix="b"), num_permutations=4000)
    expected = stats.permutation_test(
        ([k / 6 for k, _ in a], [k / 6 for k, _ in b]),
        lambda x, y, axis: np.abs(np.mean(x, axis=axis) - np.mean(y, axis=axis)),
        alternative="greater",
        vectorized=True,
        n_resamples=4000,
        rng=1,
    )
    assert abs(found.difference) == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)
    assert found.p_greater == pytest.approx(found.p_value / 2, abs=0.03)


def test_paired_permutation_p_value_is_that_of_scipy():
    rng = np.random.default_rng(1)
    a, b = drawn_counts(0.3, rng=rng, num_dialogues=25), drawn_counts(0.2, rng=rng, num_dialogues=25)
    found = compare(rows_of("a", a), rows_of("b", b), num_permutations=4000)
    expected = stats.permutation_test(
        ([k / 6 for k, _ in a], [k / 6 for k, _ in b]),
        lambda x, y, axis: np.abs(np.mean(x - y, axis=axis)),
        alternative="greater",
        permutation_type="samples",
        vectorized=True,
        n_resamples=4000,
        rng=1,
    )
    assert found.num_paired == 25
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)


def test_the_same_people_in_both_arms_give_a_narrower_interval_than_different_people():
    own = np.random.default_rng(2).beta(0.5, 1.5, size=40)
    a, b = ([(round(6 * float(p) * f), 6) for p in own] for f in (1.0, 0.7))
    paired = compare(rows_of("a", a), rows_of("b", b), num_permutations=200)
    apart = compare(rows_of("a", a, prefix="a"), rows_of("b", b, prefix="b"), num_permutations=200)
    assert paired.difference == apart.difference
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)
    assert paired.p_value < apart.p_value


@pytest.mark.parametrize("paired", [False, True])
def test_interval_covers_and_the_test_keeps_its_level(paired):
    rng, num, covered, rejected = np.random.default_rng(3), 100, 0, 0
    for seed in range(num):
        a, b = (drawn_counts(0.1, rng=rng, num_dialogues=30, num_messages=4) for _ in range(2))
        found = compare(rows_of("a", a), rows_of("b", b, prefix="d" if paired else "e"), num_permutations=99, seed=seed)
        covered += found.low <= 0 <= found.high
        rejected += found.p_value <= 0.05
    assert covered >= 89 and rejected <= 12  # 95 and 5 expected; outside once in 200


def test_arms_that_fail_in_the_same_messages_have_a_width():
    """Ten people, of whom the same five fail with both: nothing says that no person would fail with A alone."""
    counts = [(1, 1), (0, 1)] * 5
    found = compare(rows_of("a", counts), rows_of("b", counts), num_permutations=9)
    # t(.975, 9 df); two messages more, one that fails in A alone and one in B alone; the variance over n - 1 counts 9
    half = 2.262157 * math.sqrt(2) / (9 + 2)
    assert (found.low, found.high) == pytest.approx((-half, half), rel=1e-5)


@pytest.mark.parametrize(
    ("num_people", "failing", "in_a_alone"), [(20, 0.5, 0.1), (40, 0.5, 0.06), (40, 0.5, 0.1), (100, 0.5, 0.05)]
)
def test_interval_covers_a_small_difference_of_arms_that_fail_nearly_alike(num_people, failing, in_a_alone):
    rng, num, covered, not_worse = np.random.default_rng(6), 300, 0, 0
    truth = (1 - failing) * in_a_alone
    for _ in range(num):
        b = rng.random(num_people) < failing
        a = b | (rng.random(num_people) < in_a_alone)
        arms = [rows_of(name, [(int(k), 1) for k in fails]) for name, fails in (("a", a), ("b", b))]
        found = compare(*arms, num_permutations=1)
        covered += found.low <= truth <= found.high
        not_worse += found.high <= 0.02
    assert covered / num >= 0.93 and not_worse / num <= 0.025


def test_an_ordinary_paired_interval_is_that_of_the_two_intervals_and_their_correlation():
    rng = np.random.default_rng(7)
    own = rng.beta(0.8, 3.2, size=40)
    failing = rng.binomial(6, own, size=(2, 40))
    a, b = (rows_of(name, [(int(k), 6) for k in counts]) for name, counts in zip("ab", failing, strict=True))
    found, judged = compare(a, b, num_permutations=9), np.full(40, 6.0)
    (low_a, _), (_, high_b) = (rate_interval(k.astype(float), judged) for k in failing)
    rate_a, rate_b = failing.sum(1) / 240
    rho = np.corrcoef(failing)[0, 1]
    left, right = rate_a - low_a, high_b - rate_b
    assert 0.2 < rho < 0.8
    assert found.low == pytest.approx(
        rate_a - rate_b - math.sqrt(left**2 + right**2 - 2 * rho * left * right), rel=1e-6
    )


def test_interval_covers_where_one_user_has_half_of_the_messages():
    rng, sizes, covered = np.random.default_rng(8), [6] * 29 + [174], 0
    for _ in range(60):
        a, b = (
            list(zip(rng.binomial(sizes, rng.beta(0.8, 3.2, len(sizes))).tolist(), sizes, strict=True)) for _ in "ab"
        )
        found = compare(rows_of("a", a, prefix="a"), rows_of("b", b, prefix="b"), num_permutations=1)
        covered += found.low <= 0 <= found.high
    assert covered >= 56


def test_no_failure_in_either_arm_gives_a_difference_of_zero_with_a_width():
    found = compare(rows_of("a", [(0, 6)] * 30), rows_of("b", [(0, 6)] * 30, prefix="e"))
    assert (found.difference, found.p_value, found.p_greater) == (0, 1, 0.5)
    assert -0.2 < found.low < 0 < found.high < 0.2
    all_fail = compare(rows_of("a", [(6, 6)] * 30), rows_of("b", [(0, 6)] * 30, prefix="e"))
    assert (all_fail.difference, all_fail.high) == (1, 1) and all_fail.p_value < 0.01


def test_identical_arms_and_arms_without_messages_are_defined():
    rows = rows_of("a", [(1, 6), (0, 6)] * 10)
    same = compare(rows, rows)
    assert (same.difference, same.p_value) == (0, 1) and 0 < same.equivalence_p < 1
    nothing = compare(rows, [])
    assert (nothing.difference, nothing.low, nothing.p_value, nothing.equivalence_p) == (None, None, None, None)
    few = compare(rows[:12], rows_of("b", [(1, 6)] * 20, prefix="e"))
    assert few.difference is not None and (few.low, few.equivalence_p) == (None, None) and few.p_value is not None


def test_equivalence_of_arms_alike_in_every_dialogue_does_not_hang_on_rounding():
    counts = [(5, 6), (0, 3), (5, 5), (0, 6), (0, 4), (6, 6), (0, 5), (4, 4), (0, 6), (0, 6), (7, 7), (0, 5)]
    a = rows_of("a", counts)
    alike = [rows_of("b", [(k * times, n * times) for k, n in counts]) for times in (1, 2, 3, 6, 7, 10)]
    found = [compare(a, b, num_permutations=9).equivalence_p for b in alike]
    assert found == pytest.approx([found[0]] * len(alike)) and 0.3 < found[0] < 0.5


def test_equivalence_needs_enough_dialogues_and_the_margin_asked_for():
    rng = np.random.default_rng(4)
    many = [rows_of(n, drawn_counts(0.1, rng=rng, num_dialogues=600), prefix=n) for n in "ab"]
    few = [rows[:120] for rows in many]
    assert compare(*many, margin=0.05, num_permutations=9).equivalence_p < 0.05
    assert compare(*few, margin=0.05, num_permutations=9).equivalence_p > 0.05
    assert compare(*many, margin=0.001, num_permutations=9).equivalence_p > 0.05


def test_corrections_are_those_of_statsmodels_and_skip_what_has_no_p_value():
    rows = study([0.1, 0.3, 0.5], seed=1)
    found = [compare(rows["c0"], rows[f"c{k}"], num_permutations=99) for k in (1, 2)]
    nothing = compare(rows["c0"], [])
    corrected = adjusted([found[0], nothing, found[1]], method="holm")
    expected = multipletests([d.p_value for d in found], method="holm")[1]
    assert [corrected[0].p_adjusted, corrected[2].p_adjusted] == pytest.approx(list(expected))
    assert corrected[1].p_adjusted is None
    assert adjusted([], method="holm") == ()


def test_modes_are_corrected_by_benjamini_and_hochberg():
    a = [*rows_of("a", [(3, 6)] * 20, prefix="a"), *rows_of("a", [(0, 6)] * 20, prefix="b")]
    b = rows_of("b", [(1, 6)] * 20, prefix="e", mode="overload")
    found = compare_modes(a, b, modes=["boundary", "overload", "repetition"], num_permutations=199)
    expected = multipletests([d.p_value for d in found], method="fdr_bh")[1]
    assert [d.mode for d in found] == ["boundary", "overload", "repetition"]
    assert [d.p_adjusted for d in found] == pytest.approx(list(expected))
    with pytest.raises(ValueError, match="not among boundary"):
        compare_modes(a, b, modes=["boundary"])


def test_a_right_simulator_replicates_signs_and_a_reversed_one_does_not():
    rates = [0.05, 0.15, 0.3, 0.45]
    pairs = [AbPair(a=f"c{i}", b=f"c{j}") for i in range(4) for j in range(i)]
    real = study(rates, seed=1)
    right = ab_replication(study(rates, seed=2), real, pairs, num_permutations=199)
    wrong = ab_replication(study(rates[::-1], seed=2), real, pairs, num_permutations=199)
    assert right.sign_agreement.value == 1 and wrong.sign_agreement.value == 0
    assert right.soft_pairwise_accuracy.value > 0.9 > 0.1 > wrong.soft_pairwise_accuracy.value
    assert right.sign_agreement.num_pairs == 6 and right.sign_agreement.low is None


def test_soft_pairwise_accuracy_is_one_less_the_mean_distance_of_one_sided_p_values():
    rates = [0.1, 0.15, 0.2]
    pairs = [AbPair(a="c0", b="c1"), AbPair(a="c1", b="c2", primary=False)]
    found = ab_replication(study(rates, seed=3), study(rates, seed=4), pairs, num_permutations=99)
    expected = 1 - np.mean([abs(p.simulated.p_greater - p.real.p_greater) for p in found.pairs])
    assert found.soft_pairwise_accuracy.value == pytest.approx(expected)
    assert found.pairs[1].real.p_adjusted == found.pairs[1].real.p_value  # Holm is over the primary pairs


def test_shares_have_bounds_where_ten_pairs_share_no_configuration():
    rates = [0.1, 0.4] * 10
    pairs = [AbPair(a=f"c{2 * k}", b=f"c{2 * k + 1}") for k in range(10)]
    found = ab_replication(
        study(rates, seed=1, num_dialogues=15), study(rates, seed=2, num_dialogues=15), pairs, num_permutations=99
    )
    assert found.sign_agreement.value == 1 and 0.6 < found.sign_agreement.low < 0.8


def test_pairs_without_a_sign_are_counted_and_decide_nothing():
    none = study([0, 0], seed=1)
    found = ab_replication(none, none, [AbPair(a="c0", b="c1")], num_permutations=19)
    assert found.sign_agreement.value is None and found.num_without_sign == 1
    assert ab_replication(none, none, []).soft_pairwise_accuracy.value is None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([AbPair(a="c0", b="c7")], "pair c0 / c7: no simulated and no real messages of c7"),
        ([AbPair(a="c0", b="c0")], "two configurations"),
        ([AbPair(a="c0", b="c1"), AbPair(a="c1", b="c0")], "every pair once"),
    ],
)
def test_pairs_that_make_no_sense_are_refused_by_name(pairs, message):
    some = study([0.1, 0.2], seed=1)
    with pytest.raises(ValueError, match=message):
        ab_replication(some, some, pairs)
    with pytest.raises(ValueError, match="margin 0"):
        compare(some["c0"], some["c1"], margin=0)
