"""Whole labelled dialogues: joined with their text, checked, and counted by message and dialogue."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from advsim.cli import main
from advsim.detectors import whole_dialogues
from advsim.detectors.findings import find_in_labelled
from advsim.detectors.whole_dialogues import (
    LabelledDialogue,
    MessageLabel,
    WholePart,
    fingerprint,
    load_whole_dialogues,
)
from advsim.detectors.worth import worth as worth_of
from advsim.errors import CorpusError
from advsim.records import Assessment, Dialogue, FailureLabel, Speaker, Split, Turn, Visibility
from advsim.runtime.progress import Reporter

PARTS = get_args(WholePart)
TURNS = (
    Turn(speaker=Speaker.USER, text="i can't sleep"),
    Turn(speaker=Speaker.CHATBOT, text="Buy a new bed."),
    Turn(speaker=Speaker.USER, text="..."),
    Turn(speaker=Speaker.CHATBOT, text="What keeps you awake?"),
)


def write(folder: Path, *, messages: object = None, text: bool = True, **changed: object) -> Path:
    row = {
        "dialogue": "d1",
        "fingerprint": fingerprint(TURNS),
        "source": "written",
        "part": "tune",
        "messages": [
            {"turn": 1, "modes": ["premature_advice"], "severity": 1, "first": ["premature_advice"], "second": []},
            {"turn": 3, "modes": [], "severity": None, "first": [], "second": []},
        ]
        if messages is None
        else messages,
    }
    (folder / "whole_labels.jsonl").write_text(json.dumps(row | changed) + "\n", encoding="utf-8")
    turns = [{"speaker": turn.speaker.value, "text": turn.text} for turn in TURNS]
    line = json.dumps({"id": "d1", "chatbot": "listener", "turns": turns}) if text else ""
    (folder / "whole_dialogues.jsonl").write_text(line + "\n", encoding="utf-8")
    return folder


def test_labels_are_joined_with_the_text_that_ships(tmp_path: Path) -> None:
    (labelled,) = load_whole_dialogues("tune", folder=write(tmp_path))
    assert labelled.dialogue.turns == TURNS and labelled.dialogue.chatbot == "listener"
    assert labelled.labels[1].modes == {"premature_advice"} and labelled.labels[1].severity == 1
    assert labelled.labels[1].second == frozenset() and not labelled.labels[3].modes
    assert load_whole_dialogues("final", folder=tmp_path) == []


def test_a_text_that_may_not_ship_is_found_in_the_users_copy_whatever_its_id_and_white_space(tmp_path: Path) -> None:
    folder = write(tmp_path, text=False)
    assert load_whole_dialogues(folder=folder) == []
    spaced = (replace(TURNS[0], text=" i can't\nsleep "), *TURNS[1:])
    copy = Dialogue(id="another", source="esconv", split=Split.TRAIN, turns=spaced)
    (labelled,) = load_whole_dialogues(folder=folder, copy=[copy])
    assert labelled.dialogue.id == "d1" and labelled.dialogue.turns == spaced
    other = replace(copy, turns=(replace(TURNS[0], text="i can sleep"), *TURNS[1:]))
    assert load_whole_dialogues(folder=folder, copy=[other]) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fingerprint": "0" * 24}, "not the one that was labelled"),
        ({"messages": [{"turn": 1, "modes": [], "severity": None, "first": [], "second": []}]}, r"turns \[1\]"),
        ({"part": "test"}, "part"),
        (
            {
                "messages": [
                    {"turn": 1, "modes": ["rude"], "severity": 1, "first": [], "second": []},
                    {"turn": 3, "modes": [], "severity": None, "first": [], "second": []},
                ]
            },
            "unknown modes",
        ),
        (
            {
                "messages": [
                    {"turn": 1, "modes": [], "severity": 2, "first": [], "second": []},
                    {"turn": 3, "modes": [], "severity": None, "first": [], "second": []},
                ]
            },
            "severity 2 with modes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    with pytest.raises(CorpusError, match=said):
        load_whole_dialogues(folder=write(tmp_path, **changed))


class Fixed:
    """Finds what it is told to find; None abstains."""

    name = "fixed"
    modes = ("invalidation", "overload")

    def __init__(self, found: dict[tuple[str, int], tuple[str, ...] | None]) -> None:
        self.found = found

    def assess(self, dialogues, *, advance=None):  # type: ignore[no-untyped-def]
        return [self._assessment(d.id, index) for d in dialogues for index in range(1, len(d.turns), 2)]

    def _assessment(self, dialogue: str, turn: int) -> Assessment:
        found = self.found.get((dialogue, turn), ())
        labels = tuple(
            FailureLabel(
                conversation_id=dialogue,
                turn=turn,
                mode=mode,
                severity=1,
                span="",
                detector="fixed",
                confidence=1.0,
                visibility=Visibility.MESSAGE,
            )
            for mode in found or ()
        )
        abstained = self.modes if found is None else ()
        return Assessment(
            conversation_id=dialogue, turn=turn, detector="fixed", labels=labels, abstained=tuple(abstained)
        )


def find(found, dialogues):  # type: ignore[no-untyped-def]
    return find_in_labelled(Fixed(found), dialogues, modes=("invalidation", "overload"), reporter=Reporter())


def dialogue_of(name: str, *modes: tuple[str, ...]) -> LabelledDialogue:
    turns = tuple(turn for _ in modes for turn in TURNS[:2])
    return LabelledDialogue(
        dialogue=Dialogue(id=name, source="t", split=Split.TEST, turns=turns),
        part="tune",
        source="written",
        labels={
            2 * number + 1: MessageLabel(
                modes=frozenset(shown), severity=1 if shown else None, first=frozenset(), second=frozenset()
            )
            for number, shown in enumerate(modes)
        },
    )


def test_precision_recall_and_alarms_are_counted_by_mode_and_over_all_findings() -> None:
    dialogues = [dialogue_of("a", ("overload",), ("invalidation",), ()), dialogue_of("b", (), ("overload",), ())]
    found = {
        ("a", 1): ("overload", "invalidation"),
        ("a", 5): ("overload",),
        ("b", 3): None,
    }
    worth = worth_of(find(found, dialogues))
    any_failure, invalidation, overload = worth.modes
    assert (overload.precision.num_true, overload.precision.num) == (1, 2)
    assert (overload.recall.num_true, overload.recall.num, overload.num_not_judged) == (1, 1, 1)
    assert overload.f1 == pytest.approx(2 / 3)
    assert (invalidation.precision.num_true, invalidation.precision.num, invalidation.recall.num) == (0, 1, 1)
    assert invalidation.f1 == 0.0
    assert (any_failure.precision.num_true, any_failure.precision.num) == (1, 2)
    assert (worth.findings.precision.num_true, worth.findings.precision.num, worth.findings.recall.num) == (1, 3, 2)
    assert (worth.alarms.num_true, worth.alarms.num) == (1, 3)
    assert worth.macro_f1 is None  # no mode is shown five times


def test_intervals_are_over_dialogues_and_macro_f1_is_of_modes_with_enough_labels() -> None:
    dialogues = [dialogue_of(f"d{k}", ("overload",), ()) for k in range(12)]
    found = {(f"d{k}", 1): ("overload",) for k in range(12) if k % 3}
    worth = worth_of(find(found, dialogues))
    recall = worth.modes[2].recall
    assert recall.low is not None and recall.high is not None and recall.low < recall.value < recall.high < 1
    assert worth.macro_f1 == pytest.approx(2 * 8 / (8 + 12))
    assert worth.macro_f1_low is not None and worth.macro_f1_low < worth.macro_f1 < worth.macro_f1_high


def test_the_labels_that_ship_fit_their_texts_and_name_no_dialogue_twice() -> None:
    dialogues = load_whole_dialogues()
    assert len(dialogues) >= 34 and {each.part for each in dialogues} == set(PARTS)
    ids = [each.dialogue.id for each in dialogues]
    assert len(set(ids)) == len(ids)
    labels = [label for each in dialogues for label in each.labels.values()]
    assert 0.2 < sum(bool(label.modes) for label in labels) / len(labels) < 0.5
    read = {
        part: [label for each in dialogues if each.part == part for label in each.labels.values()] for part in PARTS
    }
    assert all(label.second is None for label in read["train"])
    assert all(label.second is not None for part in ("build", "tune", "final") for label in read[part])
    twice = [label for part in ("build", "tune", "final") for label in read[part]]  # in fresh the first label counts
    agreed = [label for label in twice if label.first == label.second]
    assert all(label.modes == label.first for label in agreed) and len(agreed) > 0.9 * len(twice)


def test_no_text_of_esconv_ships() -> None:
    folder = Path(whole_dialogues.__file__).with_name("labelled")
    written = [json.loads(line) for line in (folder / "whole_dialogues.jsonl").read_text("utf-8").splitlines()]
    assert all(line["id"].startswith("written-") for line in written)
    sources = {json.loads(line)["source"] for line in (folder / "whole_labels.jsonl").read_text("utf-8").splitlines()}
    assert sources == {"written", "esconv"}
    assert {each.source for each in load_whole_dialogues()} == {"written"}


def test_the_part_of_a_dialogue_hangs_on_its_text_alone() -> None:
    for each in load_whole_dialogues("build", "tune", "final"):
        digest = hashlib.sha256(f"part {fingerprint(each.dialogue.turns)}".encode()).hexdigest()
        assert each.part == ("build", "build", "tune", "final")[int(digest, 16) % 4]


def test_pairs_end_on_the_same_reply_and_not_all_of_a_pair_show_the_same_modes() -> None:
    by_reply: dict[str, list[frozenset[str]]] = {}
    for each in load_whole_dialogues("pairs"):
        last = len(each.dialogue.turns) - 1
        by_reply.setdefault(each.dialogue.turns[last].text, []).append(each.labels[last].modes)
    assert len(by_reply) > 100 and all(len(modes) in (2, 3, 4) for modes in by_reply.values())
    assert sum(len(set(modes)) > 1 for modes in by_reply.values()) > 0.9 * len(by_reply)
    trained = {each.dialogue.turns[-1].text for each in load_whole_dialogues("train", "build")}
    assert not trained & by_reply.keys()


def test_written_dialogues_are_whole_and_alternate() -> None:
    for each in load_whole_dialogues():
        speakers = [turn.speaker for turn in each.dialogue.turns]
        assert 2 <= len(speakers) <= 30 and all(a is not b for a, b in itertools.pairwise(speakers))


def test_the_command_prints_a_detectors_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "measure", "--detector", "rules", "--part", "tune", "--json"]) == 0
    (worth,) = json.loads(capsys.readouterr().out)["detectors"]
    assert worth["detector"] == "rules" and worth["modes"][0]["mode"] == "any"
    assert worth["alarms"]["num"] > 40 and worth["findings"]["precision"]["num"] > 0
