"""Rates without the detector's errors: advsim evaluate with labelled messages."""

import dataclasses
import json
import re

import pytest
from made_up_dialogues import ByLength, FindsShould, write

from advsim.cli import main
from advsim.commands.evaluate import evaluate_files, evaluation_config
from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import ConfigError
from advsim.evaluation.calibration import SHIPPED, LabelledSet, calibrate, corrected_rates, load_calibration
from advsim.evaluation.results import Evaluation
from advsim.records import Rate, Speaker, Turn
from advsim.report.evaluation.calibration import calibration_table
from advsim.report.evaluation.figures import evaluation_table, missing_notes
from advsim.report.evaluation.page import render_evaluation
from advsim.report.evaluation.tables import evaluation_tables, headline
from advsim.run_folder.results import read_values
from advsim.runtime.progress import Reporter

TAXONOMY = load_taxonomy()
QUIET = Reporter(force_plain=True)


def labelled(num, *, says, shows, text=None, start=0):
    """Messages in which FindsShould finds advice if ``says`` holds "should", whatever they show."""
    return [
        LabelledMessage(
            id=f"{text}-{says}-{shows}-{start + i}",
            part="held_out",
            context=(Turn(speaker=Speaker.USER, text="I am tired."),),
            message=f"{says} {i}",
            modes=frozenset({shows} if shows else ()),
            severity=2 if shows else None,
            note="",
            text=text,
        )
        for i in range(num)
    ]


def of_advice(found, missed, right, wrong, text=None):
    """Labelled messages with these counts for premature advice."""
    return [
        *labelled(found, says="You should rest.", shows="premature_advice", text=text),
        *labelled(missed, says="Rest.", shows="premature_advice", text=text),
        *labelled(right, says="What happened?", shows=None, text=text),
        *labelled(wrong, says="What should I know?", shows=None, text=text),
    ]


def calibrated(messages, *texts):
    given = LabelledSet(source="mine.jsonl", messages=tuple(messages))
    return calibrate(given, detector=FindsShould(), taxonomy=TAXONOMY, texts=texts, reporter=QUIET)


def shares(calibration, mode, text):
    (one,) = [it for it in calibration.modes if (it.counts.mode, it.counts.text) == (mode, text)]
    return one.sensitivity.value, one.specificity.value


def figures_of(page):
    """Values of the page's key figures."""
    return re.findall(r'<p class="value">([^<]*)</p>', page)


def row_of(message):
    return {
        "id": message.id,
        "context": [{"speaker": turn.speaker, "text": turn.text} for turn in message.context],
        "message": message.message,
        "modes": sorted(message.modes),
        "severity": message.severity,
        **({"text": message.text} if message.text else {}),
    }


def file_of(path, messages):
    path.write_text("".join(json.dumps(row_of(message)) + "\n" for message in messages))
    return path


def evaluate(conversations, *, calibration=None, **options):
    config = evaluation_config({"evaluate": {"calibration": str(calibration)}} if calibration else None)
    return evaluate_files(
        conversations, detector=FindsShould(), embedder=ByLength(), reporter=QUIET, config=config, **options
    )


def rate(estimate):
    return Rate(estimate=estimate, low=estimate - 0.1, high=estimate + 0.1, num_messages=100, num_dialogues=50)


def test_sensitivity_and_specificity_are_counted_by_mode_and_for_any_failure():
    messages = [*of_advice(8, 2, 20, 5), *labelled(10, says="I am human too.", shows="boundary")]
    found = calibrated(messages, "")
    assert shares(found, "premature_advice", "unstated") == (0.8, 30 / 35)
    # boundary, which the detector does not judge, is in no rate of any failure, and so in none of its errors
    assert shares(found, "any", "unstated") == (8 / 10, 30 / 35)
    assert shares(found, "boundary", "unstated") == (0.0, 1.0)
    assert found.num_messages == {"unstated": 45}


def test_labelled_messages_without_a_verdict_are_in_no_count_and_counted_beside():
    class FailsAtRest(FindsShould):
        def assess(self, dialogues, *, advance=None):
            return [
                dataclasses.replace(found, error="no answer") if dialogue.turns[-1].text.startswith("Rest.") else found
                for dialogue, found in zip(dialogues, super().assess(dialogues), strict=True)
            ]

    given = LabelledSet(source="mine.jsonl", messages=tuple(of_advice(8, 2, 20, 5)))
    found = calibrate(given, detector=FailsAtRest(), taxonomy=TAXONOMY, texts=[""], reporter=QUIET)
    judged = {it.counts.mode: it for it in found.modes}["premature_advice"]
    assert (judged.sensitivity.value, judged.sensitivity.num, judged.num_not_judged) == (1.0, 8, 2)


def test_modes_that_the_detector_never_judges_have_no_row_of_errors(tmp_path):
    class NeverOnBoundary(FindsShould):
        def assess(self, dialogues, *, advance=None):
            found = super().assess(dialogues, advance=advance)
            return [dataclasses.replace(one, abstained=("boundary",)) for one in found]

    labels = file_of(tmp_path / "labels.jsonl", of_advice(8, 2, 20, 5))
    conversations = write(tmp_path / "a.jsonl", num=2)
    options = {
        "config": evaluation_config({"evaluate": {"calibration": str(labels)}}),
        "embedder": ByLength(),
        "reporter": QUIET,
    }
    found = [evaluate_files(conversations, detector=one, **options) for one in (FindsShould(), NeverOnBoundary())]
    shown = [calibration_table(one).groups[0].rows for one in found]
    every, judged = ([row.label for row in rows] for rows in shown)
    assert set(every) - set(judged) == {TAXONOMY.mode("boundary").name.lower()}


def test_real_and_simulated_text_are_calibrated_apart_where_the_labels_say_which():
    messages = [*of_advice(9, 1, 10, 0, "real"), *of_advice(5, 5, 10, 0, "simulated")]
    found = calibrated(messages, "real", "simulated")
    assert shares(found, "premature_advice", "real")[0] == 0.9
    assert shares(found, "premature_advice", "simulated")[0] == 0.5
    rates = {"premature_advice": rate(0.3)}
    assert corrected_rates(rates, found, "real")["premature_advice"].estimate == pytest.approx(0.3 / 0.9)
    assert corrected_rates(rates, found, "simulated")["premature_advice"].estimate == pytest.approx(0.3 / 0.5)


def test_a_group_whose_kind_of_text_nobody_labelled_is_served_by_all_labels():
    messages = of_advice(9, 1, 10, 0, "real")
    assert calibrated(messages, "real", "simulated").text_for("simulated") == "real"
    both = [*messages, *of_advice(5, 5, 10, 0, "simulated")]
    assert calibrated(both, "").text_for("") == "mixed"
    assert shares(calibrated(both, ""), "premature_advice", "mixed")[0] == 0.7


def test_one_label_of_another_kind_does_not_take_the_warning_about_composed_messages_away(tmp_path):
    messages = [*of_advice(8, 2, 20, 5, "written"), *labelled(1, says="Mhm.", shows=None, text="real", start=99)]
    found = evaluate(write(tmp_path / "a.jsonl"), calibration=file_of(tmp_path / "labels.jsonl", messages))
    assert list(found.calibration.num_messages) == ["mixed"] and found.calibration.num_written == 35
    assert any("35 labelled messages were composed for calibration" in note for note in found.notes)


def test_corrected_rates_stand_beside_the_raw_ones_in_json_tables_and_page(tmp_path):
    labels = file_of(tmp_path / "labels.jsonl", of_advice(16, 4, 38, 2))
    found = evaluate(write(tmp_path / "a.jsonl", advice=1 / 3), calibration=labels, out=tmp_path / "out")
    failures = found.groups[0].failures
    corrected = failures.corrected["any"]
    assert corrected.estimate == pytest.approx((1 / 3 - 0.05) / 0.75)
    assert corrected.low < failures.rates["any"].low and corrected.high > failures.rates["any"].high
    assert any("labels.jsonl (60 unstated)" in note for note in found.notes)
    assert any("one calibration with all labelled messages" in note for note in found.notes)
    values = json.loads((tmp_path / "out" / "metrics.json").read_text())
    part = read_values(Evaluation, values, where="metrics.json", remedy="evaluate again")
    (rows,) = [group.rows for group in evaluation_table(part).groups if group.title.startswith("Corrected")]
    assert rows[0].cells[0].value == "37.8"
    (errors,) = calibration_table(part).groups
    rows = {row.label: [cell.value for cell in row.cells] for row in errors.rows}
    assert rows["any failure"] == rows["premature advice"] == ["80.0", "20", "95.0", "40"]
    assert "a: 37.8 % [" in headline(part) and "of messages fail, corrected" in headline(part)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "How the detector errs on labelled messages" in page and "37.8" in page
    assert page == render_evaluation(found)
    assert len(evaluation_tables(found)) == 4


def test_a_rate_within_the_false_alarms_is_not_headed_as_none(tmp_path):
    labels = file_of(tmp_path / "labels.jsonl", of_advice(16, 4, 20, 20))
    found = evaluate(write(tmp_path / "a.jsonl", advice=1 / 3), calibration=labels)
    assert found.groups[0].failures.corrected["any"].estimate == 0
    said = headline(found)
    assert said.startswith("a: at most ") and "of messages fail, no more than false alarms explain" in said
    assert "0.0 %" not in said
    page = render_evaluation(found)
    assert said.split(";")[0].removeprefix("a: ").split(" of messages")[0] in figures_of(page)[0]


def test_without_a_finding_false_alarms_explain_nothing(tmp_path):
    labels = file_of(tmp_path / "labels.jsonl", of_advice(16, 4, 40, 0))
    found = evaluate(write(tmp_path / "a.jsonl", advice=0), calibration=labels)
    said = headline(found)
    assert said.startswith("a: at most ") and "of messages fail;" in said and "false alarms" not in said


def test_where_the_labels_errors_do_not_hold_the_headline_is_what_the_detector_finds(tmp_path):
    labels = file_of(tmp_path / "labels.jsonl", of_advice(160, 40, 200, 200))
    found = evaluate(write(tmp_path / "a.jsonl", advice=0), calibration=labels)
    assert found.groups[0].failures.corrected["any"].estimate is None
    assert headline(found).startswith("a: finds-should finds a failure in 0.0 %")
    assert figures_of(render_evaluation(found))[0] == "0.0 %"
    assert any("the labels' error rates do not hold here" in note for note in missing_notes(found))


def test_without_calibration_nothing_is_corrected(tmp_path):
    found = evaluate(write(tmp_path / "a.jsonl"))
    assert found.calibration is None and not found.groups[0].failures.corrected
    page = render_evaluation(found)
    assert "Corrected for detector errors" not in page and "labelled messages" not in page


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ((5, 5, 10, 10), "sensitivity 0.50 + specificity 0.50 <= 1"),
        ((2, 2, 20, 0), "got 4 judged failing messages with labels, expected 5 or more"),
    ],
)
def test_where_no_correction_is_possible_the_reason_stands_in_its_place(tmp_path, cells, reason):
    labels = file_of(tmp_path / "labels.jsonl", of_advice(*cells))
    part = evaluate(write(tmp_path / "a.jsonl"), calibration=labels)
    (rows,) = [group.rows for group in evaluation_table(part).groups if group.title.startswith("Corrected")]
    assert rows[0].cells[0].value == "see notes"
    assert any(reason in note for note in missing_notes(part))


def test_files_with_a_reference_are_real_against_simulated(tmp_path):
    labels = file_of(
        tmp_path / "labels.jsonl", [*of_advice(9, 1, 20, 0, "real"), *of_advice(10, 10, 20, 0, "simulated")]
    )
    found = evaluate(write(tmp_path / "a.jsonl"), reference=write(tmp_path / "b.jsonl"), calibration=labels)
    real, simulated = (group.failures.corrected["premature_advice"] for group in found.groups)
    assert (real.sensitivity, simulated.sensitivity) == (0.9, 0.5)
    assert (real.text, simulated.text) == ("real", "simulated")


def test_shipped_labels_are_the_held_out_part_and_said_to_be_composed(tmp_path):
    given = load_calibration(SHIPPED, TAXONOMY)
    assert {message.part for message in given.messages} == {"held_out"}
    found = evaluate(write(tmp_path / "a.jsonl"), calibration=SHIPPED)
    assert dict(found.calibration.num_messages) == {"written": len(given.messages)}
    assert any("were composed for calibration" in note for note in found.notes)


def test_bad_labels_are_refused_before_anything_is_judged(tmp_path, capsys):
    dialogues = write(tmp_path / "a.jsonl", num=1)
    with pytest.raises(ConfigError, match=r"calibration: .*none\.jsonl: cannot be read"):
        evaluate(dialogues, calibration=tmp_path / "none.jsonl")
    empty = file_of(tmp_path / "empty.jsonl", [])
    with pytest.raises(ConfigError, match="got no labelled message"):
        evaluate(dialogues, calibration=empty)
    row = row_of(labelled(1, says="Hm.", shows="premature_advice")[0])
    unknown = tmp_path / "unknown.jsonl"
    unknown.write_text(json.dumps({**row, "modes": ["premature_advise"]}))
    with pytest.raises(ConfigError, match=r"unknown\.jsonl, line 1: modes: .*premature_advise"):
        evaluate(dialogues, calibration=unknown)
    no_message = tmp_path / "message.jsonl"
    no_message.write_text(json.dumps({**row, "message": " "}))
    with pytest.raises(ConfigError, match="line 1: message"):
        evaluate(dialogues, calibration=no_message)
    kind = tmp_path / "kind.jsonl"
    kind.write_text(json.dumps({**row, "text": "synthetic"}))
    assert main(["evaluate", "--conversations", str(dialogues), "--calibration", str(kind)]) == 2
    assert "text: Input should be 'real', 'simulated' or 'written'" in capsys.readouterr().err
