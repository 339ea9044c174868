from __future__ import annotations

from typing import Any

import made_up_run as made

from advsim.report.run.headline import Headline, make_headline
from advsim.report.run.metrics import read_metrics


def headline(baseline: Any, rounds: Any) -> Headline:
    return make_headline(read_metrics(manifest={"name": "x"}, baseline=baseline, rounds=rounds))


def test_overlapping_intervals_are_no_movement(baseline: Any, rounds: Any) -> None:
    said = headline(baseline, rounds)
    assert any("context, SFT to round 2" in text for text in said.unmoved)
    assert not any("context" in text for text in said.moved)


def test_disjoint_intervals_are_movement_with_its_direction(baseline: Any, rounds: Any) -> None:
    nearer = headline(baseline, rounds)
    assert any("surface, SFT to round 2: nearer to real users" in text for text in nearer.moved)
    rounds[1]["held_out"] = made.held_out(0.9, 0.71)
    further = headline(baseline, rounds)
    assert any("surface, SFT to round 2: further from real users" in text for text in further.moved)


def test_near_chance_needs_the_whole_interval(baseline: Any, rounds: Any) -> None:
    rounds[1]["held_out"] = made.held_out(0.5, 0.71, half=0.2)
    assert "it is now near chance" not in headline(baseline, rounds).sentence
    rounds[1]["held_out"] = made.held_out(0.5, 0.71, half=0.04)
    assert "it is now near chance" in headline(baseline, rounds).sentence


def test_accuracy_without_interval_makes_no_claim(baseline: Any, rounds: Any) -> None:
    for measured in (baseline["zero_shot"], baseline["sft"], *rounds):
        for family in measured["held_out"].values():
            family["low"] = family["high"] = None
    said = headline(baseline, rounds)
    assert not said.moved
    assert not said.unmoved
    assert any("too few dialogues for an interval" in text for text in said.unknown)
    assert "near chance" not in said.sentence


def test_unknown_measurability_counts_as_not_measurable(baseline: Any, rounds: Any) -> None:
    for family in rounds[1]["held_out"].values():
        family["measurable"] = None
    said = headline(baseline, rounds)
    assert "not measurable" in said.sentence
    assert not said.moved


def test_discriminator_trained_against_is_never_evidence(baseline: Any, rounds: Any) -> None:
    said = headline(baseline, rounds)
    assert any("0.93 → 0.74" in text for text in said.unknown)
    assert not any("trained against" in text for text in (*said.moved, *said.unmoved, said.sentence))


def test_family_that_could_not_be_measured_says_why(baseline: Any) -> None:
    baseline["sft"]["held_out"]["context"] = {"accuracy": None, "measurable": False, "notes": ["only one user"]}
    said = headline(baseline, [])
    assert any("context: not measurable" in text for text in said.unknown)
    assert any("context: only one user" in text for text in said.unknown)


def test_adapter_without_rounds_is_read_from_sft(baseline: Any) -> None:
    said = headline(baseline, [])
    assert "By surface, the simulator was compared with real users and it is still told apart" in said.sentence
    assert "No round is finished yet" in said.sentence
