"""Rounds beside SFT at every temperature: which point they are compared with, and what is said of it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from made_up_run import diversity, held_out

from advsim.report.run.curve import best_sft_point, sft_points
from advsim.report.run.headline import make_headline
from advsim.report.run.metrics import read_metrics
from advsim.report.run.page import render_run
from advsim.training.metrics import ClassifierMetrics


def at(surface: float, context: float, scale: float) -> dict:
    return {"held_out": held_out(surface, context), "diversity": {"simulated": diversity(scale, 20.0)}}


@pytest.fixture
def run_of(manifest, baseline, rounds):
    def made(context_difference=(-0.08, -0.13, -0.03), *, curve=None):
        manifest["config"]["held_out"]["sampling"] = {"temperature": 1.0}
        # MTLD of people 71; SFT at 1.0 has .84 of it, at .9 .8, at .8 .5; the rounds .9 and .95 of it.
        baseline["sft"]["curve"] = {"0.9": at(0.6, 0.6, 1.05), "0.8": at(0.7, 0.5, 0.5)} if curve is None else curve
        told = copy.deepcopy(rounds)
        value, low, high = context_difference
        told[-1]["diversity"]["simulated"] = diversity(0.9, 20.0)
        told[-1]["against_sft"] = {
            t: {
                "surface": {"value": 0.01, "low": -0.02, "high": 0.04},
                "context": {"value": value, "low": low, "high": high},
            }
            for t in ("0.8", "0.9", "1")
        }
        return read_metrics(manifest=manifest, baseline=baseline, rounds=told)

    return made


def test_points_stand_from_cold_to_warm_with_the_own_temperature_among_them(run_of):
    assert [point.temperature for point in sft_points(run_of())] == ["0.8", "0.9", "1"]


def test_a_round_is_compared_with_the_best_point_of_equal_or_better_variety(run_of):
    run = run_of()
    best = best_sft_point(run, run.rounds[-1], "context")
    assert best is not None and best.temperature == "0.9"  # 0.8 is better by context, but poorer in words


def test_what_the_paired_difference_shows_is_said(run_of):
    headline = make_headline(run_of())
    (said,) = [text for text in headline.moved if "best temperature" in text]
    assert "by context, round 2" in said and "(0.9)" in said and "-0.08 [-0.13, -0.03]" in said
    assert any("by surface, round 2" in text for text in headline.unmoved)


def test_choosing_among_draws_is_compared_with_sft_as_a_round_is(run_of):
    run = run_of()
    against = {
        t: {
            family: {"value": v, "low": v - 0.05, "high": v + 0.05}
            for family, v in (("surface", 0.01), ("context", -0.1))
        }
        for t in ("0.8", "0.9", "1")
    }
    draws = {"num_draws": 8, "best": {**at(0.6, 0.5, 0.95), "against_sft": against}}
    headroom = read_metrics(manifest={}, baseline={}, rounds=[{"round": 2, "headroom": draws}]).rounds[0].headroom
    run = replace(run, rounds=(run.rounds[0], replace(run.rounds[-1], headroom=headroom)))
    headline = make_headline(run)
    (said,) = [text for text in headline.moved if "the best of 8 draws before round 2" in text]
    assert "by context" in said and "(0.9)" in said and "-0.10 [-0.15, -0.05]" in said
    assert any("by surface, the best of 8 draws" in text for text in headline.unmoved)
    page = render_run(run, conversations={}, reals={})
    assert "context, best draw, less SFT at 0.9" in page and "context, less SFT at 0.9" in page
    assert "best draw, less SFT" not in render_run(run_of(), conversations={}, reals={})


def test_a_difference_that_reaches_zero_has_not_moved(run_of):
    headline = make_headline(run_of((-0.03, -0.09, 0.03)))
    assert not [text for text in headline.moved if "best temperature" in text]


def test_no_point_of_equal_variety_is_said(run_of):
    headline = make_headline(run_of(curve={"0.8": at(0.7, 0.5, 0.5), "0.7": at(0.7, 0.5, 0.4)}))
    assert sum("no temperature of SFT is as near to people" in text for text in headline.unmoved) == 2


def test_each_family_is_compared_with_its_own_best_point(run_of):
    run = run_of(curve={"0.9": at(0.7, 0.5, 1.05), "1.1": at(0.5, 0.7, 1.05)})
    points = {family: best_sft_point(run, run.rounds[-1], family) for family in ("surface", "context")}
    assert {family: point.temperature for family, point in points.items()} == {"surface": "1.1", "context": "0.9"}


def test_nothing_is_said_of_a_family_that_misses_its_control(run_of):
    run = run_of()
    blind = {**run.rounds[-1].held_out, "context": ClassifierMetrics(accuracy=0.6, auc=0.6, measurable=False)}
    run = replace(run, rounds=(run.rounds[0], replace(run.rounds[-1], held_out=blind)))
    headline = make_headline(run)
    assert not [
        text for text in (*headline.moved, *headline.unmoved) if "context" in text and "best temperature" in text
    ]


def test_the_page_draws_the_curve_and_a_run_without_one_has_none(run_of, manifest, baseline, rounds):
    page = render_run(run_of(), conversations={}, reals={})
    assert "Rounds against SFT at every temperature" in page and "SFT 0.9: surface" in page
    plain = read_metrics(manifest=manifest, baseline={**baseline, "sft": {}}, rounds=rounds)
    assert "Rounds against SFT" not in render_run(plain, conversations={}, reals={})
