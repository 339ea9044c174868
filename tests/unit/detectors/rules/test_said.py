"""What was said is asked turn by turn as if each time all was read again, at a cost that grows with the turns only."""

import re
import time

import pytest

from advsim.detectors.labelled import load_labelled
from advsim.detectors.rules import RulesDetector
from advsim.detectors.rules.said import Said, content_stems, trigrams
from advsim.records import Dialogue, Speaker, Split, Turn

TEXTS = ("my mom", "is sick and my", "mom cries. again", "", "i told you: my sister cries", "sick")
PATTERNS = [
    re.compile(p)
    for p in (r"\bmy\s+mom\b", r"\bmom\b", r"cries$", r"\bsister\b", r"\bzebra\b", r"sick\s+and\s+my\s+mom")
]


def dialogue(*texts: str, id: str = "d") -> Dialogue:
    turns = tuple(Turn(speaker=list(Speaker)[i % 2], text=text) for i, text in enumerate(texts))
    return Dialogue(id=id, source="s", split=Split.TEST, turns=turns)


@pytest.mark.parametrize("order", [range(len(TEXTS) + 1), reversed(range(len(TEXTS) + 1)), (3, 0, 6, 2, 5, 1, 4)])
def test_answers_are_those_of_reading_the_first_turns_whatever_was_asked_before(order):
    said = Said(TEXTS)
    for num in order:
        so_far = "\n".join(TEXTS[:num])
        for pattern in PATTERNS[:2] + PATTERNS[3:]:
            assert said.finds(pattern, num) == bool(pattern.search(so_far)), (pattern, num)
            assert said.any_turn(pattern, num) == any(pattern.search(text) for text in TEXTS[:num])
        for word in ("mom", "om", "cries.", "zebra", "my"):
            assert said.contains(word, num) == (word in so_far), (word, num)
        assert frozenset({"mom", "cries.", "sick", "x"}) & said.tokens(num) == {"mom", "cries.", "sick"} & set(
            so_far.split()
        )
        everything = content_stems("\n".join(TEXTS)) | {"x"}
        assert everything & said.stems(num) == everything & content_stems(so_far)
        assert everything - said.stems(num) == everything - content_stems(so_far)
        grams = trigrams("\n".join(TEXTS))
        assert grams & said.trigrams(num) == trigrams(so_far)


def test_findings_are_those_of_the_dialogue_cut_after_the_message():
    some = [example.dialogue for example in load_labelled("build")[:40]]
    turns = [turn for one in some for turn in one.turns]
    long = Dialogue(id="d", source="s", split=Split.TEST, turns=tuple(turns[:160]))
    detector = RulesDetector()
    at = [i for i, turn in enumerate(long.turns) if turn.speaker is Speaker.CHATBOT]
    whole = detector.findings(long)
    assert sum(map(bool, whole)) > 20
    for found, i in zip(whole[::5], at[::5], strict=True):
        cut = Dialogue(id="d", source="s", split=Split.TEST, turns=long.turns[: i + 1])
        assert detector.findings(cut)[-1] == found, i


@pytest.mark.parametrize("varied", [True, False])
def test_eight_times_the_turns_cost_far_less_than_sixty_four_times_the_time(varied):
    def seconds(num: int) -> float:
        texts = [
            f"i talked to my friend {i * varied} about the dog and the {i * varied * 7}th of may"
            if i % 2 == 0
            else f"I am sorry to hear that. My aunt says the {i * varied}th friend is hard to find, and he knows."
            for i in range(num)
        ]
        start = time.perf_counter()
        RulesDetector().findings(dialogue(*texts))
        return time.perf_counter() - start

    seconds(20)
    assert min(seconds(1600) for _ in range(2)) < 24 * max(min(seconds(200) for _ in range(3)), 0.005)
