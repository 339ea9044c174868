"""The probe finds what tells real turns from simulated ones on the same prefix, and nothing of the prefix."""

from __future__ import annotations

import numpy as np
import pytest

from advsim.rollout.choice.probe import Probe, Turns, calibrated_slope

OPTIONS = {"num_components": 6, "inverse_penalty": 1.0}


def turns(num_prefixes: int, *, shift: float, seed: int = 0, num_draws: int = 3) -> Turns:
    """Features whose first column is higher in real turns, and whose others are large and differ by prefix alone."""
    rng = np.random.default_rng(seed)
    prefix = np.repeat(np.arange(num_prefixes), 1 + num_draws)
    is_real = np.tile(np.arange(1 + num_draws) == 0, num_prefixes)
    situation = 10.0 * rng.normal(size=(num_prefixes, 6))[prefix]
    features = situation + rng.normal(size=(len(prefix), 6))
    features[is_real, 0] += shift
    return Turns(features=features, prefix=prefix, is_real=is_real)


def share_right(probe: Probe, judged: Turns) -> float:
    scores = probe.score(judged.features)
    real, simulated = judged.pairs()
    return float((scores[real] > scores[simulated]).mean())


def test_a_difference_is_found_on_prefixes_never_seen_however_much_prefixes_differ():
    probe = Probe.fit(turns(300, shift=2.0), **OPTIONS)
    assert share_right(probe, turns(300, shift=2.0, seed=1)) > 0.85  # the best there is: Phi(2 / sqrt 2) = .92


def test_without_a_difference_nothing_is_found():
    probe = Probe.fit(turns(300, shift=0.0), **OPTIONS)
    assert share_right(probe, turns(300, shift=0.0, seed=1)) == pytest.approx(0.5, abs=0.06)


def test_differences_of_scores_are_the_log_odds_of_pairs():
    probe = Probe.fit(turns(2000, shift=1.0), **OPTIONS)
    judged = turns(2000, shift=1.0, seed=1)
    real, simulated = judged.pairs()
    scores = probe.score(judged.features)
    log_odds = scores[real] - scores[simulated]
    # Each pair both ways: of those that are told with p, a share of p is right.
    said = 1.0 / (1.0 + np.exp(-np.concatenate([log_odds, -log_odds])))
    right = np.repeat([True, False], len(log_odds))
    for low, high in [(0.5, 0.65), (0.65, 0.8), (0.8, 0.95)]:
        there = (low <= said) & (said < high)
        assert right[there].mean() == pytest.approx(said[there].mean(), abs=0.05)


def test_every_prefix_weighs_the_same_however_many_draws_it_has():
    few, many = turns(50, shift=2.0, num_draws=1), turns(50, shift=2.0, num_draws=1)
    again = np.flatnonzero(~many.is_real)
    repeated = Turns(
        features=np.concatenate([many.features, many.features[again]]),
        prefix=np.concatenate([many.prefix, many.prefix[again]]),
        is_real=np.concatenate([many.is_real, many.is_real[again]]),
    )
    options = {**OPTIONS, "num_components": 1_000}
    ratio = Probe.fit(repeated, **options).score(few.features) - Probe.fit(few, **options).score(few.features)
    assert np.abs(ratio).max() < 0.2


def test_the_slope_makes_scores_of_others_the_log_odds_they_are():
    judged = turns(2000, shift=1.0, seed=1)
    scores = Probe.fit(turns(2000, shift=1.0), **OPTIONS).score(judged.features)
    assert calibrated_slope(scores, judged) == pytest.approx(1.0, abs=0.1)
    assert calibrated_slope(4.0 * scores, judged) == pytest.approx(0.25, abs=0.03)
    assert calibrated_slope(-scores, judged) == 0.0


def test_files_give_the_same_scores():
    probe = Probe.fit(turns(40, shift=1.0), **OPTIONS)
    features = turns(5, shift=1.0, seed=2).features
    np.testing.assert_array_equal(Probe.of_files(probe.files()).score(features), probe.score(features))


def test_turns_without_a_pair_are_refused():
    alone = turns(10, shift=1.0)
    with pytest.raises(ValueError, match="no real and simulated turn on one prefix"):
        Probe.fit(alone.only(alone.is_real), **OPTIONS)
