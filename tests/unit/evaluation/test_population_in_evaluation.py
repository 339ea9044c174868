"""The population test in an evaluation of two files: figures, notes and table say what it found."""

import io
import json

import pytest
from rich.console import Console

import advsim
from advsim.report.evaluation.tables import evaluation_tables
from advsim.run_folder.results import plain_values

FINE = "That sounds hard. What happened then?"
FINE_LATER = "And how do you feel this evening?"
FAILING = "You should just get over it. Just stop crying, it is not a big deal."


@pytest.fixture(autouse=True)
def no_user_figures(monkeypatch):
    """What is measured of users has tests of its own and takes most of the time."""
    from advsim.evaluation import measure

    monkeypatch.setattr(measure, "_users", lambda *_: None)


def write(path, failing, *, num=12):
    """Dialogues of two messages by chatbot: the first message of so many of them fails."""
    with path.open("w") as stream:
        for name, num_failing in failing.items():
            for number in range(num):
                first = FAILING if number < num_failing else FINE
                texts = (f"I feel sad about thing {number}.", first, "It was a long day.", FINE_LATER)
                turns = [{"speaker": ("user", "chatbot")[i % 2], "text": text} for i, text in enumerate(texts)]
                line = {
                    "id": f"{path.stem}-{name}-{number}",
                    "user_id": f"{path.stem}-{name}-u{number}",
                    "turns": turns,
                }
                stream.write(json.dumps(line | ({} if name is None else {"chatbot": name})) + "\n")
    return path


def evaluate(made, real):
    return advsim.evaluate_files(made, reference=real, overrides=["evaluate.detector=rules"])


def test_users_whose_failures_differ_beyond_chance_are_flagged_in_figures_notes_and_table(tmp_path):
    found = evaluate(write(tmp_path / "made.jsonl", {None: 11}), write(tmp_path / "real.jsonl", {None: 1}))
    real, made = found.groups
    assert real.failures.population_test is None
    test = made.failures.population_test
    assert test.flagged and test.p_value <= 0.05 and test.num_configurations == 1
    (said,) = [note for note in found.notes if "beyond chance" in note]
    assert said.startswith("made: The simulated users' chatbot failures differ from the real ones beyond chance")
    assert "any mode: simulated rate 41.7 points above the real one" in said
    console = Console(width=100, record=True, file=io.StringIO())
    for part in evaluation_tables(found):
        console.print(part)
    (row,) = [line for line in console.export_text().splitlines() if "population test, p" in line]
    assert f"{test.p_value:.3f}" in row and "flagged" in row


def test_users_not_told_apart_are_not_called_right(tmp_path):
    found = evaluate(write(tmp_path / "made.jsonl", {None: 5}), write(tmp_path / "real.jsonl", {None: 4}))
    test = found.groups[1].failures.population_test
    assert not test.flagged and test.p_value > 0.05
    (said,) = [note for note in found.notes if "not told apart from the real ones" in note]
    assert "that is no proof that they are right" in said


def test_population_test_is_over_the_chatbots_in_common_where_both_files_name_several(
    tmp_path, capsys, no_user_figures
):
    made = write(tmp_path / "made.jsonl", {"a": 12, "b": 0, "c": 6, "new": 1})
    real = write(tmp_path / "real.jsonl", {"a": 0, "b": 12, "c": 6})
    values = plain_values(evaluate(made, real))
    test = values["groups"][1]["failures"]["population_test"]
    assert test["flagged"] and test["num_configurations"] == 3  # taken together both files fail alike
    assert {reason.split(",")[0] for reason in test["reasons"]} >= {"configuration a", "configuration b"}
    assert values["by_chatbot"]["population_test"] == test
    assert values["groups"][0]["failures"]["population_test"] is None


def test_whole_files_are_compared_where_one_names_a_single_chatbot(tmp_path):
    made = write(tmp_path / "made.jsonl", {"a": 0, "b": 12})
    real = write(tmp_path / "real.jsonl", {None: 6})
    test = plain_values(evaluate(made, real))["groups"][1]["failures"]["population_test"]
    assert (test["num_configurations"], test["flagged"]) == (1, False)


def test_chatbots_without_a_name_in_common_are_not_tested_and_the_note_says_so(tmp_path):
    made, real = write(tmp_path / "made.jsonl", {"a": 0, "b": 9}), write(tmp_path / "real.jsonl", {"A": 9, "B": 9})
    values = plain_values(evaluate(made, real))
    assert values["groups"][1]["failures"]["population_test"]["p_value"] is None
    assert any("made: No population test" in note and "on both sides" in note for note in values["notes"])
