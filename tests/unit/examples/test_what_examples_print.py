"""What the examples print; training and sweeping are replaced by results that are there already."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from made_up_studies import drawn_counts, rows_of

import advsim
from advsim.config import SweepConfig
from advsim.records import Rate
from advsim.validity.replication import AbPair, ab_replication
from advsim.validity.verdict import predictive_validity

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RUN = SimpleNamespace(folder=SimpleNamespace(location="runs/made_up"), rounds=[])


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed_by(name: str, monkeypatch, capsys, *arguments: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    example(name).main()
    return capsys.readouterr().out.splitlines()


def made_up_sides(rates, *, seed):
    rng = np.random.default_rng(seed)
    return {name: rows_of(name, drawn_counts(rate, rng=rng), prefix=f"{seed}-") for name, rate in rates.items()}


@pytest.fixture
def swept(monkeypatch):
    """Settings of the sweeps that were asked for; each gives one made-up result."""
    asked = []

    def run_sweep(settings):
        asked.append(SweepConfig(**settings))
        sides = [made_up_sides({"lecture": 0.6, "person_centred": 0.1}, seed=seed) for seed in (1, 2)]
        pairs = [AbPair(a="lecture", b=asked[-1].baseline)]
        return [SimpleNamespace(validity=predictive_validity(*sides), ab=ab_replication(*sides, pairs))]

    monkeypatch.setattr(advsim, "run_sweep", run_sweep)
    monkeypatch.setattr(advsim, "train", lambda config, *, overrides: RUN)
    monkeypatch.setattr(advsim, "load_run", lambda folder: RUN)
    return asked


def test_two_chatbots_are_shown_with_intervals_on_both_sides_and_the_verdict(swept, monkeypatch, capsys):
    lines = printed_by("compare_two_chatbots", monkeypatch, capsys)
    rates = [line for line in lines if line.startswith(("  lecture", "  person_centred"))]
    assert len(rates) == 4 and all(" to " in line for line in rates)
    [simulated, real] = [line for line in lines if line.startswith("  difference")]
    assert "simulated users" in simulated and "real users" in real
    assert lines[-1].startswith("Can the simulated users be trusted? Not enough evidence")


def test_the_newest_simulator_meets_the_chatbots_and_the_second_is_the_baseline(swept, monkeypatch, capsys, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nsystem_prompt: Listen.\n")
    files = [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]
    monkeypatch.setattr(RUN, "rounds", [{}, {}])
    with pytest.raises(ValueError):  # the made-up result knows other chatbots: only the settings are looked at here
        printed_by("compare_two_chatbots", monkeypatch, capsys, "--run", "runs/x", "--chatbots", *files)
    [settings] = swept
    assert (settings.run, settings.simulators, settings.baseline) == ("runs/x", ("round_2",), "two")
    assert settings.chatbots == tuple(files)


def test_share_without_bounds_says_so_and_none_is_no_zero():
    shown = example("compare_two_chatbots").shown
    assert shown(0.25, None, None) == "25.0% (too few dialogues)"
    assert shown(None, None, None) == "nothing could be judged"


@pytest.fixture
def trained(monkeypatch):
    """Overrides of the trainings that were asked for."""
    asked = []
    sure = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "measurable": True}
    unsure = {"accuracy": 0.5, "low": None, "high": None, "measurable": False}
    run = SimpleNamespace(
        folder=RUN.folder,
        baseline={"zero_shot": {"held_out": {"surface": sure}}, "sft": {"held_out": {"surface": unsure}}},
        rounds=[{"round": 1, "held_out": {"surface": sure}}],
    )
    rate = Rate(estimate=0.4, low=None, high=None, num_messages=20, num_dialogues=5)
    groups = [
        SimpleNamespace(name="real", failures=SimpleNamespace(rates={"any": rate})),
        SimpleNamespace(name="round 1", failures=None),
    ]

    def train(config, *, overrides):
        asked.append(overrides)
        return run

    monkeypatch.setattr(advsim, "train", train)
    monkeypatch.setattr(advsim, "evaluate_run", lambda run: SimpleNamespace(groups=groups))
    return asked


def test_realism_that_cannot_be_measured_is_not_shown_as_realism(trained, monkeypatch, capsys):
    lines = printed_by("train_on_your_logs", monkeypatch, capsys)
    [sft] = [line for line in lines if line.startswith("  sft")]
    assert "0.50, not measurable" in sft
    [zero_shot] = [line for line in lines if line.startswith("  zero_shot")]
    assert zero_shot.endswith("0.90 (0.80 to 0.95)")


def test_failure_rate_of_few_dialogues_has_no_interval_and_groups_without_conversations_no_rate(
    trained, monkeypatch, capsys
):
    lines = printed_by("train_on_your_logs", monkeypatch, capsys)
    assert "  real       40% of 20 (too few dialogues for an interval)" in lines
    assert not [line for line in lines if line.startswith("  round 1 ")]


def test_own_file_gets_a_run_of_its_own_name_and_own_overrides_come_last(trained, monkeypatch, capsys):
    printed_by("train_on_your_logs", monkeypatch, capsys, "logs/chats.jsonl", "-o", "sft.max_steps=1")
    [overrides] = trained
    assert overrides[:2] == ["name=example_chats", 'corpus.path="logs/chats.jsonl"']
    assert overrides[-1] == "sft.max_steps=1"
