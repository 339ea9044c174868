import dataclasses
import warnings

import pytest
from statsmodels.stats.proportion import proportion_confint

from advsim.detectors.accuracy import any_counts, detector_counts, sensitivity, specificity
from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import CorpusError
from advsim.records import Assessment, DetectorCounts, FailureLabel, Speaker, Turn

MODES = ("boundary", "overload")


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def labelled(id, *modes):
    return LabelledMessage(
        id=id,
        part="build",
        context=(Turn(speaker=Speaker.USER, text="hello"),),
        message="hi",
        modes=frozenset(modes),
        severity=2 if modes else None,
        note="",
    )


def assessed(id, *modes, abstained=(), error="", turn=1, detector="rules"):
    labels = tuple(
        FailureLabel(conversation_id=id, turn=turn, mode=m, severity=1, span="", detector=detector, confidence=0.5)
        for m in modes
    )
    return Assessment(conversation_id=id, turn=turn, detector=detector, labels=labels, abstained=abstained, error=error)


LABELS = [labelled("a", "boundary"), labelled("b", "boundary", "overload"), labelled("c"), labelled("d")]
FOUND = [assessed("a", "boundary"), assessed("b", "overload"), assessed("c", "boundary"), assessed("d")]


def test_counts_are_those_of_the_two_by_two_table():
    boundary, overload = detector_counts(FOUND, LABELS, text="written", modes=MODES)
    assert boundary == DetectorCounts(
        mode="boundary",
        text="written",
        num_true_positive=1,
        num_false_negative=1,
        num_true_negative=1,
        num_false_positive=1,
    )
    assert (overload.num_true_positive, overload.num_true_negative) == (1, 3)


def test_message_without_a_verdict_is_in_no_count():
    found = [assessed("a", abstained=("boundary",)), assessed("b", error="time-out"), *FOUND[2:]]
    boundary, overload = detector_counts(found, LABELS, text="real", modes=MODES)
    assert dataclasses.astuple(boundary)[2:] == (0, 0, 1, 1)
    assert dataclasses.astuple(overload)[2:] == (0, 0, 3, 0)


def test_any_failure_counts_where_every_mode_that_the_detector_judges_has_a_verdict():
    found = any_counts(FOUND, LABELS, text="written", judged_modes=MODES)
    assert dataclasses.astuple(found) == ("any", "written", 2, 0, 1, 1)
    unclear = [assessed("a", "boundary", abstained=("overload",)), assessed("b", error="time-out"), *FOUND[2:]]
    assert dataclasses.astuple(any_counts(unclear, LABELS, text="real", judged_modes=MODES))[2:] == (0, 0, 1, 1)
    boundary_only = any_counts(unclear, LABELS, text="real", judged_modes=("boundary",))
    assert dataclasses.astuple(boundary_only)[2:] == (1, 0, 1, 1)


def test_any_failure_is_any_of_the_modes_that_count_in_labels_and_findings_alike():
    labels = [
        labelled("a", "overload"),
        labelled("b", "boundary", "overload"),
        labelled("c"),
        labelled("d", "overload"),
    ]
    found = [assessed("a"), assessed("b", "boundary"), assessed("c", "overload"), assessed("d", "boundary")]
    counted = any_counts(found, labels, text="real", judged_modes=("boundary",))
    # in order: none missed though a shows overload; overload in c is no finding; the boundary in d is a false one
    assert dataclasses.astuple(counted)[2:] == (1, 0, 2, 1)


def test_earlier_turns_and_unlabelled_dialogues_are_not_counted():
    more = [assessed("z", "boundary"), assessed("a", "overload", turn=3), *FOUND]
    assert detector_counts(more, LABELS, text="real", modes=MODES) == detector_counts(
        FOUND, LABELS, text="real", modes=MODES
    )


def test_all_modes_of_the_taxonomy_are_counted_where_none_are_named():
    counts = detector_counts(FOUND, LABELS, text="real")
    assert tuple(it.mode for it in counts) == load_taxonomy().ids


def test_label_of_a_message_that_does_not_exist_is_a_clear_error():
    with pytest.raises(CorpusError, match="labelled message nowhere: turn 1 of that dialogue was not assessed"):
        detector_counts(FOUND, [*LABELS, labelled("nowhere")], text="real", modes=MODES)


def test_label_of_a_turn_that_does_not_exist_is_a_clear_error():
    with pytest.raises(CorpusError, match="labelled message a: turn 1"):
        detector_counts([assessed("a", turn=3)], LABELS[:1], text="real", modes=MODES)


def test_unknown_mode_is_a_clear_error_with_the_nearest_name():
    with pytest.raises(CorpusError, match="labelled message a: unknown mode 'bondary'; did you mean boundary"):
        detector_counts(FOUND, [labelled("a", "bondary")], text="real")


def test_two_labels_or_two_assessments_of_one_message_are_errors():
    with pytest.raises(CorpusError, match="two labels"):
        detector_counts(FOUND, [LABELS[0], LABELS[0]], text="real", modes=MODES)
    with pytest.raises(CorpusError, match="two assessments"):
        detector_counts([*FOUND, FOUND[0]], LABELS, text="real", modes=MODES)


def test_assessments_of_two_detectors_are_refused():
    with pytest.raises(CorpusError, match="judge, rules"):
        detector_counts([*FOUND, assessed("e", detector="judge")], LABELS, text="real", modes=MODES)


def test_shares_are_wilson_intervals():
    counts = DetectorCounts(
        mode="boundary",
        text="real",
        num_true_positive=17,
        num_false_negative=3,
        num_true_negative=150,
        num_false_positive=10,
    )
    for share, count, num in ((sensitivity, 17, 20), (specificity, 150, 160)):
        found = share(counts)
        low, high = proportion_confint(count, num, method="wilson")
        assert (found.value, found.num) == (pytest.approx(count / num), num)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_share_of_nothing_is_none():
    nothing = DetectorCounts(
        mode="m", text="real", num_true_positive=0, num_false_negative=0, num_true_negative=0, num_false_positive=0
    )
    for share in (sensitivity, specificity):
        assert share(nothing) == dataclasses.replace(share(nothing), value=None, low=None, high=None, num=0)
