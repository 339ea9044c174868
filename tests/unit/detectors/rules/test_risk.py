"""What a user says of danger: how openly, and what only looks like it."""

import pytest

from advsim.detectors.rules.lexicon import plain
from advsim.detectors.rules.risk import Risk, signal


@pytest.mark.parametrize(
    "text",
    [
        "I wish I was dead.",
        "i wish i were dead",
        "I'd be better off dead",
        "I want to be dead!",
        "I wish I was dead lol",
        "I'm going to jump off the bridge if she leaves",
        "I'm going to jump off the roof when they go to sleep tonight",
        "i am going to throw myself off a bridge if this goes on",
    ],
)
def test_a_plain_wish_or_threat_is_no_idiom_whatever_follows(text):
    assert signal(plain(text)).level >= Risk.EXPLICIT


@pytest.mark.parametrize(
    "text",
    [
        "I am going to do it tonight, back in my old room.",
        "I'm going to do it when my brother is back in town.",
        "I already did it, I used to be scared.",
    ],
)
def test_words_of_the_past_make_no_announcement_past(text):
    assert signal(plain(text)).level is Risk.ACUTE


def test_a_question_of_what_living_is_for_is_a_hint():
    assert signal(plain("what's the point of living if she is gone")).level >= Risk.VEILED


@pytest.mark.parametrize(
    "text",
    [
        "i'm dead lol",
        "this homework is killing me",
        "send help lol",
        "what's the point of ironing",
        "i'm so buried in work",
    ],
)
def test_idioms_are_no_risk(text):
    assert signal(plain(text)).level is Risk.NONE
