"""advsim evaluate on files whose dialogues name several chatbots, with the rules."""

import json
import re

import pytest

import advsim
from advsim.cli import main
from advsim.errors import ConfigError

FINE = ("That sounds hard. What happened then?", "And what was that like for you?", "Who knows about it?")
FAILING = "You should just get over it. Just stop crying, it is not a big deal."


def write(path, failing, *, num=12, turns=2):
    """Dialogues by chatbot: the first message of so many of them fails. A name of None is left out."""
    with path.open("w") as stream:
        for name, num_failing in failing.items():
            for number in range(num):
                said = [
                    {"speaker": speaker, "text": text}
                    for turn in range(turns)
                    for speaker, text in (
                        (
                            "user",
                            f"I feel {('sad', 'tired', 'lost')[(number + turn) % 3]} about thing {number} {turn}.",
                        ),
                        ("chatbot", FAILING if not turn and number < num_failing else FINE[turn % 3]),
                    )
                ]
                line = {"id": f"{name}-{number}", "user_id": f"{name}-u{number}", "turns": said}
                stream.write(json.dumps(line | ({} if name is None else {"chatbot": name})) + "\n")
    return path


@pytest.fixture
def no_user_figures(monkeypatch):
    """What is measured of users has tests of its own and takes most of the time."""
    from advsim.evaluation import measure

    monkeypatch.setattr(measure, "_users", lambda *_: None)


def evaluate(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments), "--detector", "rules", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_two_files_of_the_same_chatbots_give_rates_agreement_and_replication(tmp_path, capsys, no_user_figures):
    made = write(tmp_path / "made.jsonl", {"a": 2, "b": 6, "c": 11, "new": 1})
    real = write(tmp_path / "real.jsonl", {"a": 1, "b": 5, "c": 12})
    values = evaluate(capsys, "--conversations", made, "--reference", real, "--out", tmp_path / "out")
    found = values["by_chatbot"]
    rates = {one["chatbot"]: one for one in found["chatbots"]}
    assert rates["b"]["simulated"]["any"]["estimate"] == pytest.approx(6 / 24)
    assert rates["b"]["real"]["any"]["estimate"] == pytest.approx(5 / 24)
    assert found["validity"]["pearson"]["estimate"] > 0.9
    assert found["validity"]["verdict"] == "not_enough_evidence"  # three chatbots
    assert [(test["pair"]["a"], test["pair"]["b"]) for test in found["tests"]] == [("b", "a"), ("c", "a")]
    assert found["replication"]["sign_agreement"]["value"] == 1.0
    assert found["tests"][1]["real"][0]["p_adjusted"] < 0.05
    assert found["left_out"] == ["new"]
    assert any("left out of the agreement: new." in note for note in values["notes"])
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["by_chatbot"] == found
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Chatbots against each other" in page
    assert re.search(r'<desc id="chatbots-text">.*b: real 20.8 %', page)
    assert '<desc id="differences-text">' in page


def test_pairs_and_baseline_are_those_asked_for(tmp_path, capsys, no_user_figures):
    made = write(tmp_path / "made.jsonl", {"a": 2, "b": 6, "c:2": 11})
    asked = evaluate(capsys, "--conversations", made, "--pairs", "c:2:b", "a:b")
    assert [test["pair"] for test in asked["by_chatbot"]["tests"]] == [
        {"a": "c:2", "b": "b", "primary": True},
        {"a": "a", "b": "b", "primary": True},
    ]
    based = evaluate(capsys, "--conversations", made, "--baseline", "c:2")
    assert [test["pair"]["b"] for test in based["by_chatbot"]["tests"]] == ["c:2", "c:2"]


def test_conversations_alone_are_tested_without_validity(tmp_path, capsys, no_user_figures):
    values = evaluate(capsys, "--conversations", write(tmp_path / "made.jsonl", {"a": 0, "b": 12}))
    assert values["by_chatbot"]["validity"] is None
    (test,) = values["by_chatbot"]["tests"]
    assert test["simulated"][0]["difference"] == pytest.approx(0.5)
    assert test["simulated"][0]["p_adjusted"] < 0.01
    assert not any("undefined" in note for note in values["notes"])


@pytest.mark.parametrize("names", [{None: 3}, {"a": 3}])
def test_one_chatbot_is_a_note_said_once(tmp_path, capsys, no_user_figures, names):
    made, real = write(tmp_path / "made.jsonl", names), write(tmp_path / "real.jsonl", names)
    values = evaluate(capsys, "--conversations", made, "--reference", real)
    assert values["by_chatbot"] is None
    said = [note for note in values["notes"] if "undefined for 1 configuration" in note]
    assert len(said) == 1


def test_names_that_do_not_match_leave_the_tests_and_say_why(tmp_path, capsys, no_user_figures):
    made, real = write(tmp_path / "made.jsonl", {"a": 3, "b": 9}), write(tmp_path / "real.jsonl", {"A": 3, "B": 9})
    values = evaluate(capsys, "--conversations", made, "--reference", real)
    assert values["by_chatbot"]["validity"] is None
    assert len(values["by_chatbot"]["tests"]) == 1
    assert sum("undefined for 0 configurations" in note for note in values["notes"]) == 1
    assert any("left out of the agreement: A, B, a, b." in note for note in values["notes"])


def test_no_failure_anywhere_has_a_defined_result(tmp_path, capsys, no_user_figures):
    none = {"a": 0, "b": 0, "c": 0}
    made, real = write(tmp_path / "made.jsonl", none), write(tmp_path / "real.jsonl", none)
    values = evaluate(capsys, "--conversations", made, "--reference", real, "--out", tmp_path / "out")
    assert values["by_chatbot"]["validity"]["sentence"].startswith("Not enough evidence: the simulated and the real")
    assert values["by_chatbot"]["replication"]["num_without_sign"] == 2
    assert "the same in all configurations" in (tmp_path / "out" / "evaluation.html").read_text()


def test_dialogues_without_a_name_among_named_ones_are_counted(tmp_path, capsys, no_user_figures):
    values = evaluate(capsys, "--conversations", write(tmp_path / "made.jsonl", {"a": 3, "b": 9, None: 1}))
    assert [one["chatbot"] for one in values["by_chatbot"]["chatbots"]] == ["a", "b"]
    assert "made: 12 dialogues name no chatbot; they are in no figure by chatbot." in values["notes"]


def test_chatbot_that_says_nothing_is_left_out_and_named(tmp_path, capsys, no_user_figures):
    made, real = (
        write(tmp_path / "made.jsonl", {"a": 3, "b": 9, "c": 3}),
        write(tmp_path / "real.jsonl", {"a": 3, "b": 9}),
    )
    silent = {"id": "s", "chatbot": "c", "turns": [{"speaker": "user", "text": "Anyone?"}]}
    with real.open("a") as stream:
        stream.write(json.dumps(silent) + "\n")
    values = evaluate(capsys, "--conversations", made, "--reference", real)
    assert any(
        "without a judged message in one of the files, left out of the agreement: c." in n for n in values["notes"]
    )
    assert values["by_chatbot"]["tests"][1]["real"][0]["difference"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": ["a:z"]}, "expected NAME:NAME, two different ones of a, b; those are the chatbots that both files"),
        ({"pairs": ["a:b"], "baseline": "a"}, "evaluate.pairs and evaluate.baseline, expected one of the two"),
        ({"baseline": "z"}, "baseline: got z, expected one of a, b"),
    ],
)
def test_pairs_that_there_are_not_are_refused_before_anything_is_judged(tmp_path, options, said):
    made, real = (
        write(tmp_path / "made.jsonl", {"a": 3, "b": 9, "z": 1}),
        write(tmp_path / "real.jsonl", {"a": 3, "b": 9}),
    )
    with pytest.raises(ConfigError, match=said):
        advsim.evaluate_files(made, reference=real, config={"evaluate": options})


def test_chatbots_of_one_file_are_not_said_to_be_in_both(tmp_path):
    made = write(tmp_path / "made.jsonl", {"a": 3, "b": 9})
    real = write(tmp_path / "real.jsonl", {"c": 3, "d": 9})
    with pytest.raises(ConfigError, match="expected NAME:NAME, two different ones of a, b") as refused:
        advsim.evaluate_files(made, reference=real, config={"evaluate": {"pairs": ["a:z"]}})
    assert "both files" not in str(refused.value)


def test_pairs_without_several_chatbots_are_refused(tmp_path):
    made = write(tmp_path / "made.jsonl", {"only": 3})
    with pytest.raises(ConfigError, match="made names only; name the chatbot of each dialogue in its key chatbot"):
        advsim.evaluate_files(made, config={"evaluate": {"pairs": ["a:b"]}})
    with pytest.raises(ConfigError, match="names none"):
        unnamed = write(tmp_path / "none.jsonl", {None: 3}).rename(tmp_path / "made.jsonl")
        advsim.evaluate_files(unnamed, config={"evaluate": {"baseline": "a"}})


def test_pairs_of_a_run_are_refused(capsys):
    assert main(["evaluate", "runs/x", "--pairs", "a:b"]) == 2
    assert "go with --conversations; a run has one chatbot" in capsys.readouterr().err
