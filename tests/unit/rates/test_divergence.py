import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, entropy

from advsim.rates.divergence import mode_divergence
from advsim.rates.outcomes import MessageOutcome

MODES = ("boundary", "overload", "repetition")


def rows(*dialogues):
    """A dialogue is a list of messages, a message a string of the modes' first letters; "" did not fail."""
    by_letter = {mode[0]: mode for mode in MODES}
    return [
        MessageOutcome(
            configuration="a",
            dialogue_id=f"d{i}",
            user_id=None,
            turn=2 * j + 1,
            modes=frozenset(by_letter[letter] for letter in message),
        )
        for i, messages in enumerate(dialogues)
        for j, message in enumerate(messages)
    ]


def drawn(shares, *, seed, num_dialogues=30):
    rng = np.random.default_rng(seed)
    return rows(*[[("b", "o", "r", "")[rng.choice(4, p=shares)] for _ in range(6)] for _ in range(num_dialogues)])


def test_divergences_are_those_of_scipy_on_the_same_counts():
    found = mode_divergence(rows(["b", "b", "o", ""]), rows(["b", "r", "r", "r", ""]), modes=MODES, num_draws=10)
    p, q = np.array([2, 1, 0]), np.array([1, 0, 3])
    assert found.jensen_shannon == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert found.kl_real_simulated == pytest.approx(entropy(q + 0.5, p + 0.5, base=2))
    assert found.kl_simulated_real == pytest.approx(entropy(p + 0.5, q + 0.5, base=2))
    assert found.real == {"boundary": 0.25, "overload": 0, "repetition": 0.75}
    assert (found.num_simulated_messages, found.num_real_messages, found.num_real_dialogues) == (3, 4, 1)


def test_with_none_the_messages_that_did_not_fail_are_a_category_of_their_own():
    found = mode_divergence(
        rows(["b", "", "", ""]), rows(["b", "b", "", ""]), modes=MODES, with_none=True, num_draws=10
    )
    assert found.simulated["none"] == 0.75 and found.categories[-1] == "none"
    assert found.jensen_shannon == pytest.approx(jensenshannon([1, 0, 0, 3], [2, 0, 0, 2], base=2) ** 2)
    given_failure = mode_divergence(rows(["b", "", "", ""]), rows(["b", "b", "", ""]), modes=MODES, num_draws=10)
    assert given_failure.jensen_shannon == pytest.approx(0)


def test_a_message_with_two_modes_counts_once():
    found = mode_divergence(rows(["bo", "b"]), rows(["b"]), modes=MODES, num_draws=10)
    assert found.simulated == {"boundary": 0.75, "overload": 0.25, "repetition": 0}


def test_divergence_is_one_where_nothing_is_shared_and_kl_stays_finite():
    found = mode_divergence(rows(["b"] * 5), rows(["r"] * 5), modes=MODES, num_draws=10)
    assert found.jensen_shannon == pytest.approx(1)
    assert math.isfinite(found.kl_real_simulated) and math.isfinite(found.kl_simulated_real)


def test_identical_sides_diverge_by_nothing_and_are_not_told_from_the_null():
    same = drawn((0.2, 0.2, 0.1, 0.5), seed=1)
    found = mode_divergence(same, same, modes=MODES, num_draws=200)
    assert found.jensen_shannon == 0 and found.p_value == 1 and found.low == 0


def test_null_is_rejected_at_its_rate_for_equal_populations_and_nearly_always_for_others():
    equal, other, num = 0, 0, 60
    for seed in range(num):
        real = drawn((0.2, 0.2, 0.1, 0.5), seed=seed)
        right = mode_divergence(drawn((0.2, 0.2, 0.1, 0.5), seed=500 + seed), real, modes=MODES, num_draws=99)
        wrong = mode_divergence(drawn((0.4, 0.05, 0.05, 0.5), seed=500 + seed), real, modes=MODES, num_draws=99)
        equal += right.p_value <= 0.05
        other += wrong.p_value <= 0.05
    assert equal <= 8  # binomial(60, .05) exceeds it once in 500
    assert other >= 50


def test_bootstrap_interval_covers_the_true_divergence():
    simulated, real = np.array([0.3, 0.15, 0.05, 0.5]), np.array([0.15, 0.2, 0.15, 0.5])
    truth, num, covered = jensenshannon(simulated[:3], real[:3], base=2) ** 2, 60, 0
    for seed in range(num):
        found = mode_divergence(drawn(simulated, seed=seed), drawn(real, seed=900 + seed), modes=MODES, num_draws=200)
        covered += found.low <= truth <= found.high
    assert covered >= 0.85 * num


def test_interval_ends_where_theory_puts_it_for_equal_sides():
    """Two samples of n messages over k modes: 8 ln 2 JSD n / 2 is about chi-squared with k - 1 degrees of freedom.

    So are the draws around a divergence of 0, whose mean, k - 1, is the bias; twice that is taken off the upper end.
    """
    n = 400
    same = rows(*(["b"], ["o"], ["r"], ["b"]) * (n // 4))
    found = mode_divergence(same, same, modes=MODES, num_draws=10_000)
    scale = 2 / n / (8 * math.log(2))
    assert found.low == 0
    assert found.high == pytest.approx(scale * (chi2.ppf(0.975, 2) - 2 * 2), rel=0.1)


def test_fewer_than_ten_clusters_on_a_side_give_no_bounds():
    found = mode_divergence(
        drawn((0.3, 0.3, 0.3, 0.1), seed=1, num_dialogues=9), drawn((0.25,) * 4, seed=2), modes=MODES
    )
    assert found.jensen_shannon is not None and (found.low, found.high) == (None, None)


def test_a_side_without_failures_has_no_divergence_given_failure_and_says_why():
    found = mode_divergence(rows(["", ""]), rows(["b"]), modes=MODES)
    assert (found.jensen_shannon, found.kl_real_simulated, found.p_value) == (None, None, None)
    assert found.reason == "no failing message on the simulated side" and found.simulated == {}
    both = mode_divergence([], [], modes=MODES, with_none=True)
    assert both.reason == "no judged message on the simulated and the real side"
    assert mode_divergence(rows(["", ""]), rows([""]), modes=MODES, with_none=True).jensen_shannon == 0


def test_unknown_and_repeated_mode_names_are_refused():
    with pytest.raises(ValueError, match="failures of repetition, which are not among boundary"):
        mode_divergence(rows(["r"]), rows(["b"]), modes=["boundary"])
    with pytest.raises(ValueError, match="none twice"):
        mode_divergence([], [], modes=["boundary", "boundary"])
