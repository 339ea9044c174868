"""The lab finds what it should with a few repetitions, and its command prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advsim.cli import main
from advsim.config import load_section
from advsim.lab.config import LabConfig
from advsim.lab.coverage import Coverage, LabResult, Standing, run_lab, summarise
from advsim.lab.experiment import Check, Quantity, Repetition, run_repetition
from advsim.lab.truth import compute_truth

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "lab.yaml"
SMALL = ("seed=3", "num_repetitions=3", "num_workers=1", "num_users=40", "num_bootstrap=100", "num_permutations=199")
QUICK_TRUTH = ("num_truth_users=20000", "num_truth_chatbots=500")


@pytest.fixture(scope="module")
def result() -> LabResult:
    return run_lab(load_section(LabConfig, CONFIG, [*SMALL, *QUICK_TRUTH]))


def rows(result: LabResult, quantity: Quantity) -> dict[str, Coverage]:
    return {row.simulator: row for row in result.coverages if row.quantity is quantity and row.is_shipped}


def test_rates_and_differences_are_unbiased_and_mostly_covered(result: LabResult) -> None:
    for quantity in (Quantity.RATE, Quantity.AB_DIFFERENCE, Quantity.AB_PAIRED):
        row = rows(result, quantity)["real"]
        assert abs(row.bias) < 4 * row.bias_error
        assert row.coverage is not None and row.coverage > 0.85


def test_wrong_simulators_are_flagged_and_the_right_one_is_not(result: LabResult) -> None:
    flagged = {found.name: found.flagged.value for found in result.simulators if found.flagged}
    assert flagged.pop("right") == 0
    assert len(flagged) >= 5 and sum(flagged.values()) >= 0.85 * len(flagged)


def test_a_simulator_equal_to_the_population_reaches_the_ceiling(result: LabResult) -> None:
    right = next(found for found in result.simulators if found.is_right)
    assert right.ceiling_gap is not None and abs(right.ceiling_gap) < 0.1
    wrong = next(found for found in result.simulators if found.name == "too_short")
    assert wrong.ceiling_gap is not None and wrong.ceiling_gap < right.ceiling_gap


def test_true_divergence_is_nil_for_the_right_simulator_only(result: LabResult) -> None:
    truth = {name: row.truth for name, row in rows(result, Quantity.DIVERGENCE).items()}
    assert truth.pop("right") == pytest.approx(0, abs=1e-12)
    assert all(value > 0.001 for value in truth.values())


def test_every_quantity_has_the_method_that_is_called_shipped(result: LabResult) -> None:
    assert {row.quantity for row in result.coverages if row.is_shipped} == set(Quantity)


def test_at_least_two_methods_are_compared_for_r(result: LabResult) -> None:
    methods = {row.method for row in result.coverages if row.quantity is Quantity.PEARSON}
    assert len(methods) >= 2


def test_the_same_seed_gives_the_same_repetition() -> None:
    config = load_section(LabConfig, CONFIG, [*SMALL, *QUICK_TRUTH, "num_chatbots=6", "simulators={right: {}}"])
    truth = compute_truth(config)
    assert run_repetition(config, truth, 1) == run_repetition(config, truth, 1)
    assert run_repetition(config, truth, 1) != run_repetition(config, truth, 2)


def test_coverage_counts_sides_and_missing_intervals() -> None:
    bounds = [(0.0, 0.4), (0.6, 1.0), (0.4, 0.6), (None, None)]
    checks = tuple(
        Check(quantity=Quantity.RATE, simulator="real", method="m", estimate=0.6, low=low, high=high, truth=0.5)
        for low, high in bounds
    )
    config = load_section(LabConfig, CONFIG, [*QUICK_TRUTH, "num_truth_users=1000", "simulators={right: {}}"])
    repetition = Repetition(
        checks=checks,
        flagged={"right": True},
        supported={"right": False},
        ceiling_gap={},
        right_signs={"right": 0},
        num_signs=0,
    )
    found = summarise(config, compute_truth(config), [repetition])
    [row] = found.coverages
    assert (row.coverage, row.share_low, row.share_high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (row.num_intervals, row.num_without, row.standing) == (3, 1, Standing.BELOW)
    assert row.bias == pytest.approx(0.1)
    [right] = found.simulators
    assert right.flagged is not None and right.flagged.value == 1
    assert right.right_signs is None and right.ceiling_gap is None


def test_few_repetitions_leave_open_whether_intervals_are_too_long() -> None:
    config = load_section(LabConfig, CONFIG, [*QUICK_TRUTH, "num_truth_users=1000", "simulators={right: {}}"])
    check = Check(quantity=Quantity.RATE, simulator="real", method="m", estimate=0.5, low=0.4, high=0.6, truth=0.5)
    truth = compute_truth(config)
    found = {}
    for num in (10, 1000):
        repetition = Repetition(
            checks=(check,) * num,
            flagged={"right": False},
            supported={"right": True},
            ceiling_gap={},
            right_signs={"right": 0},
            num_signs=0,
        )
        found[num] = summarise(config, truth, [repetition]).coverages[0].standing
    assert found == {10: Standing.OPEN, 1000: Standing.ABOVE}


def test_the_command_prints_tables_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [
        *SMALL,
        *QUICK_TRUTH,
        "num_repetitions=2",
        "num_chatbots=6",
        "simulators={right: {}, short: {brevity: 1}}",
    ]
    shown: list[str] = []
    for as_json in (False, True):
        options = [part for override in overrides for part in ("-o", override)]
        assert main(["lab", str(CONFIG), *options, *(["--json"] if as_json else [])]) == 0
        printed = capsys.readouterr()
        assert "2 repetitions" in printed.err
        shown.append(printed.out)
    assert "chatbot:" in shown[0] and "concordance" in shown[0] and "flagged" in shown[0] and "nan" not in shown[0]
    loaded = json.loads(shown[1])
    assert loaded["num_repetitions"] == 2 and [found["name"] for found in loaded["simulators"]] == ["right", "short"]
