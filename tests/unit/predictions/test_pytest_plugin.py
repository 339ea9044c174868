"""The fixture advsim_gate in a project of somebody else, as pytest itself runs it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_up_sweep import messages, write_sweep

import advsim.predictions.gate  # noqa: F401  # what is loaded before pytester runs is not loaded anew for each run

pytest_plugins = ["pytester"]

HEAVY = ("torch", "ray", "vllm", "transformers", "sklearn", "numpy", "pyarrow", "pydantic", "matplotlib", "jinja2")
GATE = 'advsim_gate("sweep", baseline="calm", candidate={candidate!r}, max_increase={points}{more})'


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a sweep in which loud fails much more often than calm, equal as often; silent cannot be judged."""
    simulated = {
        "calm": messages("calm", 12),
        "equal": messages("equal", 12),
        "loud": messages("loud", 72),
        "silent": [dataclasses.replace(row, error=True) for row in messages("silent", 0)],
    }
    write_sweep(
        Path(pytester.path) / "sweep", {"sft": simulated}, replay={name: messages(name, 12) for name in simulated}
    )
    return pytester


def ran(
    project: pytest.Pytester, candidate: str, *, points: float = 2.0, more: str = "", after: str = ""
) -> pytest.RunResult:
    call = GATE.format(candidate=candidate, points=points, more=more)
    project.makepyfile(f"def test_gate(advsim_gate):\n    found = {call}\n    {after}\n")
    return project.runpytest_inprocess("-ra", "-p", "no:hypothesispytest")  # which loads all of it anew each time


def test_a_candidate_that_is_not_worse_passes_and_its_figures_can_be_read(project: pytest.Pytester) -> None:
    ran(project, "equal", points=20.0, after="assert found.rate_candidate.estimate == 0.1").assert_outcomes(passed=1)


def test_a_worse_candidate_fails_with_the_verdicts_sentence_and_no_traceback(project: pytest.Pytester) -> None:
    result = ran(project, "loud")
    result.assert_outcomes(failed=1)
    said = result.stdout.str()
    assert "Worse: loud fails +50.0 points against calm" in said and "def test_gate" not in said


def test_without_enough_evidence_the_test_fails_with_the_number_of_further_dialogues(project: pytest.Pytester) -> None:
    result = ran(project, "equal")
    result.assert_outcomes(failed=1)
    assert "Not enough evidence" in result.stdout.str() and "more dialogues of each" in result.stdout.str()


def test_without_enough_evidence_the_test_is_skipped_where_the_call_or_the_project_says_so(
    project: pytest.Pytester,
) -> None:
    ran(project, "equal", more=", not_enough_evidence='skip'").assert_outcomes(skipped=1)
    project.makeini("[pytest]\nadvsim_not_enough_evidence = skip\n")
    result = ran(project, "silent")
    result.assert_outcomes(skipped=1)
    assert "no message of silent could be judged" in result.stdout.str()
    ran(project, "loud").assert_outcomes(failed=1)  # worse is worse
    ran(project, "equal", more=", not_enough_evidence='fail'").assert_outcomes(failed=1)


def test_what_gives_no_verdict_fails_and_says_what_to_mend(project: pytest.Pytester) -> None:
    result = ran(project, "nobody")
    result.assert_outcomes(failed=1)
    assert "no verdict: --candidate nobody: no such chatbot" in result.stdout.str()
    ran(project, "equal", more=", simulator='replay'", points=20.0).assert_outcomes(passed=1)
    project.makeini("[pytest]\nadvsim_not_enough_evidence = perhaps\n")
    assert "got 'perhaps', expected fail or skip" in ran(project, "equal").stdout.str()


def test_pytest_starts_without_loading_anything_heavy_where_advsim_is_installed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import sys

        def test_light():
            assert "advsim.predictions.pytest_plugin" in sys.modules
            assert [name for name in {HEAVY!r} if name in sys.modules] == []
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
