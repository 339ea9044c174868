"""A detector's findings in labelled dialogues: kept in a file, and what follows for modes and rates."""

import dataclasses
import json

import pytest
from made_up_dialogues import ByLength, FindsShould, write

from advsim.cli import main
from advsim.commands.evaluate import evaluate_files, evaluation_config
from advsim.detectors.findings import Findings, FoundDialogue, FoundMessage, load_findings
from advsim.detectors.taxonomy import load_taxonomy
from advsim.detectors.worth import measurable_modes, worth
from advsim.errors import ConfigError
from advsim.evaluation.calibration import calibration_by_findings, corrected_rates
from advsim.records import Rate
from advsim.report.evaluation.page import render_evaluation
from advsim.report.evaluation.tables import headline
from advsim.runtime.progress import Reporter

MODES = load_taxonomy().ids
OTHER = '{"detector": "other", "parts": [], "modes": [], "dialogues": [{"dialogue": "d", "messages": []}]}'


def findings(*messages, num_dialogues=12, detector="should", modes=MODES):
    """The same messages in every dialogue, each as (shown, found)."""
    rows = tuple(
        FoundMessage(turn=2 * k + 1, shown=tuple(shown), found=tuple(found))
        for k, (shown, found) in enumerate(messages)
    )
    dialogues = tuple(FoundDialogue(dialogue=f"d{n}", messages=rows) for n in range(num_dialogues))
    return Findings(detector=detector, parts=("tune",), modes=modes, dialogues=dialogues)


RIGHT = (["premature_advice"], ["premature_advice"])
MISSED = (["premature_advice"], [])
WRONG = ([], ["boundary"])
FINE = ([], [])


def test_a_saved_file_is_read_back(tmp_path):
    found = findings(RIGHT, WRONG, FINE)
    found.save(tmp_path / "new" / "f.json")
    assert load_findings(str(tmp_path / "new" / "f.json"), "should") == found
    assert json.loads((tmp_path / "new" / "f.json").read_text())["detector"] == "should"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected a file of"),
        ('{"detector": "should", "parts": [], "modes": []}', "dialogues"),
        (OTHER, "findings of other, expected those of"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path, text, said):
    path = tmp_path / "f.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"{path}.*{said}"):
        load_findings(str(path), "should")


def test_only_modes_whose_precision_is_shown_to_be_high_enough_are_measured():
    assert measurable_modes(worth(findings(RIGHT, WRONG, FINE))) == ("premature_advice",)
    # 2 of 3 are right in every dialogue, but in too few dialogues for an interval
    assert measurable_modes(worth(findings(RIGHT, num_dialogues=3))) == ()
    assert measurable_modes(worth(findings(MISSED, FINE))) == (), "what is never found is not measured"


def test_rates_are_corrected_by_sensitivity_and_specificity_in_the_labelled_dialogues():
    calibration = calibration_by_findings(findings(RIGHT, MISSED, FINE, FINE), ("premature_advice",))
    rate = Rate(estimate=0.2, low=0.1, high=0.3, num_messages=100, num_dialogues=50)
    corrected = corrected_rates({"premature_advice": rate, "own_mode": rate}, calibration, "real")
    assert corrected["premature_advice"].estimate == pytest.approx(0.4)
    assert "own_mode" not in corrected, "nobody labelled it"


class FindsTwo(FindsShould):
    """Finds boundary wherever it finds advice."""

    modes = (*FindsShould.modes, "boundary")

    def assess(self, dialogues, *, advance=None):
        return [
            dataclasses.replace(
                it, labels=(*it.labels, *(dataclasses.replace(label, mode="boundary") for label in it.labels[:1]))
            )
            for it in super().assess(dialogues, advance=advance)
        ]


def evaluate(path, tmp_path, found, detector=None):
    found.save(tmp_path / "worth.json")
    return evaluate_files(
        path,
        detector=detector or FindsTwo(),
        embedder=ByLength(),
        reporter=Reporter(force_plain=True),
        config=evaluation_config({"evaluate": {"worth": str(tmp_path / "worth.json")}}),
    )


def test_a_mode_that_is_not_measurable_is_in_no_rate_and_the_reader_is_told(tmp_path):
    dialogues = write(tmp_path / "a.jsonl")
    name = FindsShould().name
    evaluation = evaluate(dialogues, tmp_path, findings(RIGHT, MISSED, WRONG, FINE, FINE, detector=name))
    (group,) = evaluation.groups
    assert evaluation.modes_judged == ("premature_advice",)
    assert "boundary" in evaluation.modes_not_measurable
    assert group.failures.rates["boundary"].estimate is None
    assert group.failures.rates["any"].estimate == group.failures.rates["premature_advice"].estimate > 0
    corrected = group.failures.corrected["premature_advice"].estimate
    assert corrected == pytest.approx(min(1.0, 2 * group.failures.rates["premature_advice"].estimate))
    assert {example.mode for example in group.examples} == {"premature_advice"}
    assert any(note.startswith("Not measurable with the detector") and "boundary" in note for note in evaluation.notes)
    page = render_evaluation(evaluation)
    assert "Not measurable" in page and "Against it: confidence" in page
    assert "of messages fail, corrected" in headline(evaluation)
    assert "11 of 12 modes have no rate of their own" in headline(evaluation)


def test_without_a_measurable_mode_there_is_no_rate_rather_than_one_of_zero(tmp_path):
    dialogues = write(tmp_path / "a.jsonl")
    evaluation = evaluate(dialogues, tmp_path, findings(WRONG, FINE, detector=FindsShould().name))
    rate = evaluation.groups[0].failures.rates["any"]
    assert rate.estimate is None and rate.num_messages == 0
    assert "No mode of this detector is shown to be right" in headline(evaluation) or "could be judged" in headline(
        evaluation
    )


def test_a_detector_that_nobody_measured_is_named(tmp_path):
    evaluation = evaluate_files(
        write(tmp_path / "a.jsonl"), detector=FindsShould(), embedder=ByLength(), reporter=Reporter(force_plain=True)
    )
    assert any("is not known" in note and "advsim detectors measure" in note for note in evaluation.notes)
    assert evaluation.modes_judged == FindsShould().modes


def test_the_command_saves_what_it_measured(tmp_path, capsys):
    path = tmp_path / "rules.json"
    assert main(["detectors", "measure", "--detector", "rules", "--part", "tune", "--save", str(path)]) == 0
    assert load_findings(str(path), "rules").parts == ("tune",)
    assert main(["detectors", "measure", "--detector", "rules", "--detector", "learned", "--save", str(path)]) == 2
    assert "expected one a file" in capsys.readouterr().err


FILE = {
    "format": "advsim-detector-findings",
    "detector": "rules",
    "parts": ["tune"],
    "modes": ["boundary"],
    "dialogues": [{"dialogue": f"d{i}", "messages": [{"turn": 1, "found": ["boundary"]}]} for i in range(3)],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modes": ["boundary", "boundary"]}, "mode 'boundary' stands there twice"),
        ({"modes": ["boundary", "any"]}, "a mode cannot be called 'any'"),
        ({"dialogues": FILE["dialogues"] * 9}, "dialogue 'd0' stands there twice"),
        ({"dialogues": [{"dialogue": "d", "messages": [{"turn": 1}, {"turn": 1}]}]}, "a turn stands there twice"),
        (
            {"dialogues": [{"dialogue": "d", "messages": [{"turn": 1, "found": ["x"]}]}]},
            "turn 1: 'x' is none of the mod",
        ),
        (
            {"dialogues": [{"dialogue": "d", "messages": [{"turn": 1, "not_judged": ["x"]}]}]},
            "'x' is none of the modes",
        ),
    ],
)
def test_findings_that_would_be_counted_twice_or_nowhere_are_refused(tmp_path, changes, said):
    path = tmp_path / "worth.json"
    path.write_text(json.dumps(FILE))
    assert load_findings(str(path), "rules").modes == ("boundary",)
    path.write_text(json.dumps({**FILE, **changes}))
    with pytest.raises(ConfigError, match=said):
        load_findings(str(path), "rules")


@pytest.mark.parametrize("source", ["/dev/zero", "/"])
def test_findings_are_read_from_a_regular_file_alone(source):
    with pytest.raises(ConfigError, match="is no file"):
        load_findings(source, "rules")
