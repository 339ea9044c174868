"""Scripted users and chatbots of the lab, and their true rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advsim.config import load_section
from advsim.errors import ConfigError
from advsim.lab.chatbots import MODES, draw_chatbots, draw_failures
from advsim.lab.config import LabConfig
from advsim.lab.population import DrawnDialogues, Population, draw_dialogues, population_of, shown_in, simulator_of
from advsim.lab.study import draw_study
from advsim.lab.transcripts import example_dialogues
from advsim.lab.truth import compute_truth, state_frequencies, true_mode_shares, true_rates
from advsim.rates.outcomes import tally
from advsim.records import Speaker

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "lab.yaml"


@pytest.fixture(scope="module")
def config() -> LabConfig:
    return load_section(LabConfig, CONFIG, ["num_truth_users=20000", "num_truth_chatbots=500", "num_users=30"])


def users(config: LabConfig, simulator: str = "right") -> Population:
    population = population_of(config.population, spread=config.spread)
    return simulator_of(population, config.simulators[simulator])


def drawn(population: Population, num_users: int = 3000, seed: int = 0) -> DrawnDialogues:
    return draw_dialogues(population, num_users=num_users, max_user_turns=12, rng=np.random.default_rng(seed))


def share_showing(dialogues: DrawnDialogues, name: str) -> float:
    return float(shown_in(dialogues.states[dialogues.present], name).mean())


def frequencies(population: Population) -> np.ndarray:
    return state_frequencies(population, num_users=20_000, max_user_turns=12, seed=0)


def test_the_same_seed_draws_the_same_study_and_another_repetition_a_different_one(config: LabConfig) -> None:
    first, again, other = (draw_study(config, repetition=repetition) for repetition in (0, 0, 1))
    assert first.real == again.real and first.simulated == again.simulated
    assert first.chatbots.names == again.chatbots.names
    assert (first.chatbots.on_occasion != other.chatbots.on_occasion).all()


def test_real_and_right_simulated_users_are_different_people(config: LabConfig) -> None:
    study = draw_study(config, repetition=0)
    name = study.chatbots.names[0]
    assert study.real[name] != study.simulated["right"][name]


@pytest.mark.parametrize(
    ("simulator", "shown", "low", "high"),
    [
        ("too_polite", "courteous", 0.94, 1.0),
        ("too_short", "brief", 0.92, 1.0),
        ("never_in_crisis", "crisis", 0.0, 0.0),
        ("repeats_itself", "repeats", 0.5, 0.8),
    ],
)
def test_a_wrong_simulator_is_wrong_in_what_its_name_says(
    config: LabConfig, simulator: str, shown: str, low: float, high: float
) -> None:
    assert low <= share_showing(drawn(users(config, simulator)), shown) <= high
    assert not low <= share_showing(drawn(users(config)), shown) <= high


def test_one_kind_of_user_has_only_that_kind(config: LabConfig) -> None:
    assert len(np.unique(drawn(users(config, "one_kind")).kind)) == 1
    assert len(np.unique(drawn(users(config)).kind)) == len(config.population)


def test_users_of_one_kind_differ_from_each_other_more_than_chance(config: LabConfig) -> None:
    dialogues = drawn(users(config, "one_kind"))
    courteous = shown_in(dialogues.states, "courteous") & dialogues.present
    share = courteous.sum(axis=1) / dialogues.present.sum(axis=1)
    mean, length = share.mean(), dialogues.present.sum(axis=1)
    assert share.var() > 1.2 * (mean * (1 - mean) / length).mean()


def test_a_turn_that_repeats_shows_what_the_one_before_showed(config: LabConfig) -> None:
    dialogues = drawn(users(config, "repeats_itself"), num_users=50)
    content = dialogues.states & 0b111111  # without the bit "repeats" and the phase
    repeats = shown_in(dialogues.states, "repeats")
    assert not repeats[:, 0].any()
    assert (content[:, 1:] == content[:, :-1])[repeats[:, 1:]].all()


def test_there_are_at_least_twenty_chatbots_whose_true_rates_differ(config: LabConfig) -> None:
    assert config.num_chatbots >= 20
    chatbots = draw_chatbots(config.num_chatbots, rng=np.random.default_rng(0))
    rates = true_rates(frequencies(users(config)), chatbots)
    assert len(set(chatbots.names)) == config.num_chatbots
    assert len(np.unique(rates.round(4))) == config.num_chatbots and rates.max() > 2 * rates.min()


def test_the_true_rate_is_what_a_large_sample_of_drawn_failures_shows(config: LabConfig) -> None:
    population, rng = users(config), np.random.default_rng(5)
    chatbots = draw_chatbots(2, rng=rng)
    dialogues = drawn(population, num_users=20_000, seed=7)
    failing = draw_failures(dialogues, chatbots, 1, rng=rng)
    num_messages = dialogues.present.sum()
    state = frequencies(population)
    assert failing.any(axis=2).sum() / num_messages == pytest.approx(true_rates(state, chatbots)[1], abs=0.006)
    for number, mode in enumerate(MODES):
        expected = true_rates(state, chatbots, mode=mode)[1]
        assert failing[:, :, number].sum() / num_messages == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("simulator", ["too_polite", "too_short", "never_in_crisis", "one_kind", "repeats_itself"])
def test_a_wrong_population_gives_chatbots_wrong_rates(config: LabConfig, simulator: str) -> None:
    chatbots = draw_chatbots(20, rng=np.random.default_rng(0))
    right = true_rates(frequencies(users(config)), chatbots)
    wrong = true_rates(frequencies(users(config, simulator)), chatbots)
    assert np.abs(wrong - right).max() > 0.03


def test_without_crises_no_chatbot_misses_a_risk(config: LabConfig) -> None:
    chatbots = draw_chatbots(20, rng=np.random.default_rng(0))
    wrong = frequencies(users(config, "never_in_crisis"))
    assert (true_rates(wrong, chatbots, mode="missed_risk") == 0).all()
    assert (true_rates(frequencies(users(config)), chatbots, mode="missed_risk") > 0).all()


def test_shares_of_modes_add_up_to_one(config: LabConfig) -> None:
    shares = true_mode_shares(frequencies(users(config)), draw_chatbots(20, rng=np.random.default_rng(0)))
    assert shares.sum() == pytest.approx(1) and (shares > 0).all()


def test_a_simulator_equal_to_the_population_agrees_perfectly_and_the_others_do_not(config: LabConfig) -> None:
    agreement = compute_truth(config).agreement
    assert agreement["right"].pearson == pytest.approx(1) and agreement["right"].concordance == pytest.approx(1)
    assert all(found.concordance < 0.99 for name, found in agreement.items() if name != "right")


def test_rows_are_one_a_message_with_users_over_several_sessions(config: LabConfig) -> None:
    study = draw_study(config, repetition=0)
    rows = next(iter(study.real.values()))
    counts = tally(rows)
    assert counts.num_messages == len(rows) and counts.num_clusters == config.num_users < counts.num_dialogues


def test_dialogues_in_words_alternate_and_show_the_failures(config: LabConfig) -> None:
    chatbots = draw_chatbots(3, rng=np.random.default_rng(0))
    dialogues = example_dialogues(users(config), chatbots, 0, num_users=30, max_user_turns=12, seed=0)
    for dialogue in dialogues:
        assert [turn.speaker for turn in dialogue.turns[:2]] == [Speaker.USER, Speaker.CHATBOT]
        assert all(turn.text for turn in dialogue.turns)
    assert any(turn.labels.get("modes") for dialogue in dialogues for turn in dialogue.turns)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("num_chatbot=3", "num_chatbot"),
        ("population.sharer.crisis=1.5", "crisis"),
        ("simulators.one_kind.only=x", "only"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_section(LabConfig, CONFIG, [override])
