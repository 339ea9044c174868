"""What a user says of danger: how openly, and what only looks like it."""

import pytest

from advsim.detectors.rules.lexicon import plain
from advsim.detectors.rules.risk import Risk, RiskWatch, signal


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


ANNOUNCEMENTS = [
    "I am going to do it tonight, back in my old room.",
    "I'm going to do it when my brother is back in town.",
    "I already did it, I used to be scared.",
]


@pytest.mark.parametrize("text", ANNOUNCEMENTS)
def test_an_announcement_is_acute_where_risk_was_spoken_of_whatever_words_of_the_past(text):
    watch = RiskWatch()
    watch.hear(signal(plain("I want to die.")))
    watch.hear(signal(plain(text)))
    assert watch.state().open is Risk.ACUTE


@pytest.mark.parametrize("text", ANNOUNCEMENTS)
def test_an_announcement_alone_may_be_of_anything(text):
    watch = RiskWatch()
    watch.hear(signal(plain("I want to ask for a raise.")))
    watch.hear(signal(plain(text)))
    assert watch.state().open is Risk.NONE


def test_risk_stays_open_for_two_user_turns_and_what_was_taken_up_stays_closed():
    watch = RiskWatch()
    watch.hear(signal(plain("I want to die.")))
    watch.hear(signal(plain("and the flat is cold")))
    assert watch.state().open is Risk.EXPLICIT
    watch.hear(signal(plain("it rains in")))
    assert watch.state().open is Risk.NONE
    watch.hear(signal(plain("I want to die, I said.")))
    watch.reply("Are you thinking of suicide?")
    watch.hear(signal(plain("yes, I want to die")))
    assert watch.state().open is Risk.NONE
    watch.hear(signal(plain("I took all the pills an hour ago, I want to die")))
    assert watch.state().open is Risk.ACUTE


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


def test_others_who_are_well_again_say_nothing_of_the_users_own_risk():
    assert signal(plain("My brother said he wants to kill himself. He's fine now.")).level is Risk.PAST
    assert signal(plain("I want to kill myself. My brother is home, he's fine now.")).level is Risk.EXPLICIT


def test_a_year_counts_for_the_statement_that_it_stands_in():
    assert signal(plain("Ten years ago I wanted to die, and I got through it.")).level is Risk.PAST
    assert signal(plain("She left me ten years ago and I want to die.")).level is Risk.EXPLICIT


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("I'm not suicidal, but I am tired of the job.", True),
        ("I don't want to die, but I do feel low.", True),
        ("I'm not suicidal but I lied about it before", False),
        ("I never wanted to die this badly", False),
    ],
)
def test_a_denial_holds_unless_its_sentence_takes_it_back(text, denied):
    said = signal(plain(text))
    assert said.denied is denied
    assert (said.level >= Risk.EXPLICIT) is not denied


@pytest.mark.parametrize("text", ["i wnat to die", "i wana die", "i want 2 d!e", "i want too dieee"])
def test_spelling_of_chat_is_read_as_it_is_meant(text):
    assert signal(plain(text)).level >= Risk.EXPLICIT
