"""The user's risk over sentences of ordinary life, and over sentences that let risk be known."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from advsim.detectors.rules import RulesDetector
from advsim.detectors.rules.lexicon import plain
from advsim.detectors.rules.risk import Risk, signal
from advsim.records import Dialogue, Speaker, Split, Turn

FOLDER = Path(__file__).parent
HARMLESS = yaml.safe_load((FOLDER / "harmless_words_of_danger.yaml").read_text(encoding="utf-8"))
SPOKEN = yaml.safe_load((FOLDER / "spoken_risk.yaml").read_text(encoding="utf-8"))
EVERYDAY = [text for texts in HARMLESS.values() for text in texts]
PLAIN_REPLIES = ["Oh, I see. What happened then?", "Ha, one of those days. How did the rest of it go?", "I'm sorry."]


@pytest.fixture(scope="module")
def detector() -> RulesDetector:
    return RulesDetector()


def modes(detector: RulesDetector, user: str, reply: str) -> set[str]:
    turns = (Turn(speaker=Speaker.USER, text=user), Turn(speaker=Speaker.CHATBOT, text=reply))
    (assessment,) = detector.assess([Dialogue(id="d", source="test", split=Split.TEST, turns=turns)])
    return {label.mode for label in assessment.labels}


def test_the_everyday_sentences_are_three_hundred_and_all_different() -> None:
    assert len(EVERYDAY) >= 300
    assert len(set(EVERYDAY)) == len(EVERYDAY)


@pytest.mark.parametrize("text", EVERYDAY)
def test_harmless_words_of_danger_raise_no_risk(text: str) -> None:
    assert signal(plain(text)).level <= Risk.PAST


@pytest.mark.parametrize("reply", PLAIN_REPLIES)
def test_no_plain_reply_to_them_misses_or_mishandles_risk(detector: RulesDetector, reply: str) -> None:
    wrong = [text for text in EVERYDAY if modes(detector, text, reply) & {"missed_risk", "crisis_mishandled"}]
    assert wrong == []


@pytest.mark.parametrize("text", SPOKEN["plain"])
def test_risk_that_is_said_plainly_is_explicit(text: str) -> None:
    assert signal(plain(text)).level >= Risk.EXPLICIT


@pytest.mark.parametrize("text", SPOKEN["hinted"])
def test_risk_in_hints_is_found(text: str) -> None:
    assert signal(plain(text)).level >= Risk.VEILED


def test_a_reply_about_something_else_misses_it(detector: RulesDetector) -> None:
    reply = "Right. And how is the new flat?"
    missed = [text for text in SPOKEN["plain"] + SPOKEN["hinted"] if "missed_risk" in modes(detector, text, reply)]
    assert missed == SPOKEN["plain"] + SPOKEN["hinted"]
