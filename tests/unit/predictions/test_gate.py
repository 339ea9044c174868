"""The gate's exit codes are its verdicts, and it compares on the same scenarios."""

import dataclasses
import json

import pytest
from made_up_sweep import messages, write_sweep

from advsim.cli import main
from advsim.rates.ab_test import compare


@pytest.fixture
def folder(tmp_path):
    """A sweep in which loud fails much more often than calm, equal as often, and silent cannot be judged."""
    simulated = {
        "calm": messages("calm", 12),
        "equal": messages("equal", 12),
        "loud": messages("loud", 72),
        "silent": [dataclasses.replace(row, error=True) for row in messages("silent", 0)],
    }
    other = {name: messages(name, 72) for name in simulated}
    return write_sweep(tmp_path / "sweep", {"sft": other, "round_1": simulated}, replay=other)


def gate(folder, candidate, *more, points="2"):
    return main(["gate", folder, "--baseline", "calm", "--candidate", candidate, "--max-increase", points, *more])


def test_exit_codes_say_not_worse_worse_and_not_enough_evidence(folder, capsys):
    assert gate(folder, "loud") == 1
    said = capsys.readouterr().out
    assert said.startswith("Worse: loud fails +50.0 points against calm") and "40 scenarios with both" in said
    assert gate(folder, "equal", points="20") == 0
    assert capsys.readouterr().out.startswith("Not worse")
    assert gate(folder, "silent") == 4
    said = capsys.readouterr().out
    assert "no message of silent could be judged" in said and "120 messages of silent" in said


def test_json_has_verdict_difference_and_how_many_more_dialogues_would_decide(tmp_path, capsys):
    rows = {"calm": messages("calm", 12), "new": messages("new", 18)}
    folder = write_sweep(tmp_path / "s", {"sft": rows})
    assert gate(folder, "new", "--json") == 4
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "not_enough_evidence" and found["increase"]["num_more_dialogues"] > 40
    expected = compare(rows["new"], rows["calm"])
    assert found["increase"]["difference"]["difference"] == pytest.approx(0.05)
    assert found["increase"]["difference"]["high"] == expected.high
    assert found["increase"]["difference"]["num_paired"] == 40


def test_pairing_on_the_same_scenarios_narrows_the_interval(tmp_path, capsys):
    calm, new = (messages(name, 60, num_messages=6) for name in ("calm", "new"))  # the same people fail with both
    strangers = [dataclasses.replace(row, user_id=f"x{row.user_id}") for row in new]
    widths = []
    for number, rows in enumerate((new, strangers)):
        assert gate(write_sweep(tmp_path / f"s{number}", {"sft": {"calm": calm, "new": rows}}), "new", "--json") in (
            0,
            4,
        )
        found = json.loads(capsys.readouterr().out)
        widths.append(found["increase"]["difference"]["high"])
        assert bool(found["notes"]) is bool(number)
    assert widths[0] < widths[1]


def test_one_mode_or_another_simulator_can_be_asked_for(folder):
    assert gate(folder, "loud", "--mode", "boundary") == 1
    assert gate(folder, "loud", "--simulator", "sft", points="20") == 0
    assert gate(folder, "loud", "--simulator", "replay", points="20") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calm"], "is the baseline itself"),
        (["nobody"], "--candidate nobody: no such chatbot"),
        (["loud", "--mode", "repetition"], "measures boundary"),
        (["loud", "--simulator", "round_7"], "sft, round_1, replay"),
    ],
)
def test_names_that_are_not_there_are_refused_with_those_that_are(folder, capsys, arguments, said):
    assert gate(folder, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("points", ["-1", "100", "nan", "inf"])
def test_an_impossible_limit_is_refused(folder, capsys, points):
    assert main(["gate", folder, "--baseline", "calm", "--candidate", "loud", f"--max-increase={points}"]) == 2
    assert "--max-increase" in capsys.readouterr().err


def test_a_folder_without_a_sweep_is_refused_and_not_taken_for_a_verdict(tmp_path, capsys):
    assert gate(str(tmp_path), "loud") == 2
    assert "sweep.json" in capsys.readouterr().err
