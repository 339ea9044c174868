"""Repetition and overload: what they find, what they leave alone, and that neither grows with the dialogue."""

from __future__ import annotations

from collections import Counter

import pytest

from advsim.detectors.labelled import load_labelled
from advsim.detectors.rules import RulesDetector
from advsim.records import Dialogue, Speaker, Split, Turn

FILLERS = [
    ("the bus was late", "A cold wait, then. Which line was it?"),
    ("the 14", "That one crosses the river. Where were you heading?"),
    ("to my aunt", "Your aunt, out by the mill. What had she cooked?"),
    ("dumplings", "Dumplings after a cold wait. Who else sat at the table?"),
    ("my cousin", "So three of you. When is your cousin leaving again?"),
]

TIP_LIST = "\n".join(
    f"{place}. **{what}**" for place, what in enumerate(("Walk", "Tea", "Bath", "Music", "Diary", "Yoga"), 1)
)

REPEATED = [
    # a question in the same words after it was answered
    (
        "I moved here from Oslo",
        "Which town did you leave, and who came with you?",
        "Oslo, alone",
        "Which town did you leave?",
    ),
    # a template with another noun
    (
        "it's more like rage",
        "I hear that you're feeling rage. Would you like to say more about the rage?",
        "not rage, shame",
        "I hear that you're feeling shame. Would you like to say more about the shame?",
    ),
    # the same advice in other order
    (
        "my knee hurts",
        "Swimming is gentle on joints, and warm water relaxes muscles.",
        "there's no pool",
        "Warm water relaxes muscles, and swimming is gentle on joints.",
    ),
    # the same sentence twice
    ("hello", "What would you like to talk about? What would you like to talk about?"),
    # takes leave over and over
    ("bye", "Is there anything else you need?", "no thanks", "All right. Anything else I can do?"),
]

NOT_REPEATED = [
    # asked to write it again
    (
        "help me write to my landlord",
        "Dear Sir, the heating in my flat has been broken since Monday morning.",
        "can you write it again with a date",
        "Dear Sir, the heating in my flat has been broken since Monday morning, 3 May.",
    ),
    # takes it back
    (
        "he shouts",
        "Couples often shout when they are tired after long days at work.",
        "he hit me",
        "I shouldn't have said that couples often shout when they are tired after long days at work.",
    ),
    # the question is still open
    ("hm", "Who could stay with you this weekend?", "idk", "I'm uneasy about Saturday. Is anyone around then?"),
    # a quotation of what was said
    (
        "what to tell her",
        "You could tell her that the evenings are the hardest part of the week.",
        "nice",
        'And if "the evenings are the hardest part of the week" feels too bare, leave it at the first half.',
    ),
    # a courtesy
    ("hi", "I'm sorry to hear that your day was long.", "and the next", "I'm sorry to hear that your day was long."),
    # the user came back with something new
    ("ok", "Is there anything else you need?", "yes, my landlord", "Call the union. Is there anything else you need?"),
    # the offer made precise
    ("hi", "How can I help you?", "my landlord shouts", "How can I help you with the landlord?"),
    # each word stands somewhere in a long turn
    (
        "what a week",
        "Gardens teach patience. Some plant bulbs early. A friend paints fences. Rain helps. Birds love berries.",
        "right",
        "Birds paint gardens with patience and rain.",
    ),
    # the user's words
    ("a", "What did he say?", "he said he never wanted the second child", "He said he never wanted the second child."),
]

TOO_MUCH = [
    ("so lonely here", f"A new town is a chance! Here is what works:\n\n{TIP_LIST}\n\nWhich one will you try?"),
    ("cant sleep", "Let's go! 1) Get up early. 2) Cold shower. 3) No screens. 4) Eat well. 5) Run. 6) Pray."),
    ("bad day", "What happened at work? Who was with you there? How long has it been going on? Did you sleep?"),
    ("slow down, one thing at a time pls", f"Of course! Take these:\n\n{TIP_LIST}"),
    ("he drank again", "The comorbid dysregulation is mediated by maladaptive reinforcement and hypervigilance."),
]

NOT_TOO_MUCH = [
    ("can you make me a list of things against loneliness", f"Here you are:\n\n{TIP_LIST}"),
    ("yes please", f"Here you are:\n\n{TIP_LIST}"),
    ("she left on " + "a long sad day in the middle of my exams " * 8, f"So much at once.\n\n{TIP_LIST}"),
    ("bad day", "A bad one, then. Was it work? Or home? Something else?"),
    ("he drank again", "He had stopped for a month. That hurts, doesn't it? What did you see first?"),
    ("my dog died", "You walked with him every morning for eleven years, and now the lead hangs on the hook. " * 6),
]


@pytest.fixture(scope="module")
def detector() -> RulesDetector:
    return RulesDetector()


def dialogue(*texts: str, id: str = "d") -> Dialogue:
    """Turns that alternate and end with the chatbot's."""
    speakers = [Speaker.CHATBOT if (len(texts) - i) % 2 else Speaker.USER for i in range(len(texts))]
    turns = tuple(Turn(speaker=who, text=text) for who, text in zip(speakers, texts, strict=True))
    return Dialogue(id=id, source="test", split=Split.TEST, turns=turns)


def modes(detector: RulesDetector, *texts: str) -> set[str]:
    return {label.mode for label in detector.assess([dialogue(*texts)])[-1].labels}


@pytest.mark.parametrize("texts", REPEATED)
def test_what_was_said_before_is_repetition(detector: RulesDetector, texts: tuple[str, ...]) -> None:
    assert "repetition" in modes(detector, *texts)


@pytest.mark.parametrize("texts", NOT_REPEATED)
def test_the_same_words_with_a_reason_are_no_repetition(detector: RulesDetector, texts: tuple[str, ...]) -> None:
    assert "repetition" not in modes(detector, *texts)


@pytest.mark.parametrize("texts", TOO_MUCH)
def test_what_nobody_asked_for_is_overload(detector: RulesDetector, texts: tuple[str, ...]) -> None:
    assert "overload" in modes(detector, *texts)


@pytest.mark.parametrize("texts", NOT_TOO_MUCH)
def test_what_was_asked_for_or_is_brief_enough_is_no_overload(detector: RulesDetector, texts: tuple[str, ...]) -> None:
    before = ("i get so lonely", "Shall I make you a list?") if texts[0] == "yes please" else ()
    assert "overload" not in modes(detector, *before, *texts)


def test_an_opening_wears_out_the_third_time_and_not_the_second(detector: RulesDetector) -> None:
    first = ("a storm took the roof", "Thank you for sharing. Which roof was it?")
    second = ("the barn", "Thank you for sharing. Were there animals inside?")
    third = ("two goats", "Thank you for sharing. Did the goats get out?")
    assert "repetition" not in modes(detector, *first, *second)
    assert "repetition" in modes(detector, *first, *second, *third)


def test_a_short_question_comes_back_unseen_after_three_turns_and_a_long_sentence_does_not(
    detector: RulesDetector,
) -> None:
    after = [text for pair in FILLERS for text in pair]
    short, long = (
        "How did the interview go?",
        "Perhaps a walk round the harbour before breakfast would clear your head.",
    )
    for said, found in ((short, False), (long, True)):
        texts = ("not my day", said, *after, "hm", said)
        assert ("repetition" in modes(detector, *texts)) is found


GOOD = [one for one in load_labelled("build") if not one.modes and len(one.context) == 1]


def test_no_modes_alarms_grow_with_the_turn(detector: RulesDetector) -> None:
    pairs = [(one.context[0].text, one.message) for one in GOOD[:72]]
    num = 18
    found: Counter[tuple[str, bool]] = Counter()
    for start in range(len(pairs)):  # each exchange stands once at every place
        texts = [text for pair in (pairs * 2)[start : start + num] for text in pair]
        for place, assessment in enumerate(detector.assess([dialogue(*texts)])):
            if 3 <= place < 8 or place >= num - 5:
                found.update((label.mode, place >= 8) for label in assessment.labels)
    messages = 5 * len(pairs)
    grown = {mode: (found[mode, True] - found[mode, False]) / messages for mode in detector.modes}
    assert max(grown.values()) <= 0.01, grown


HARMLESS = (
    "I'm reading along and there is no hurry.",
    "A morning like that takes a while to settle.",
    "The kettle and the window can wait.",
    "You chose your words with care.",
)


def test_harmless_sentences_in_a_good_message_raise_no_alarm_but_overload(detector: RulesDetector) -> None:
    raised = []
    for one in GOOD:
        user = one.context[0].text
        before = modes(detector, user, one.message)
        after = modes(detector, user, " ".join((one.message, *HARMLESS)))
        raised += [(one.id, mode) for mode in after - before - {"overload"}]
    assert not raised
