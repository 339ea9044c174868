"""The rule on repeating oneself.

It looks back at the last ``LOOK_BACK`` turns of the chatbot, so that it finds no more late in a dialogue than early;
only a long sentence that comes back word for word is found at any distance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from advsim.detectors.rules.finding import Finding, finding
from advsim.detectors.rules.lexicon import lexicon
from advsim.detectors.rules.said import WORD, Trigram, content_stems, trigrams
from advsim.detectors.rules.view import SENTENCE, MessageView, Sentence
from advsim.records import Visibility

LOOK_BACK = 3
"""Earlier turns of the chatbot that a message is compared with."""

OPENINGS_BACK = 5
"""Earlier turns among which the same opening counts."""

SAME_WORDS = 0.6
"""Share of word trigrams of the longer of two sentences that both have, from which they are the same."""

SAME_CONTENT = 0.6
"""The same for stems of content words."""

SAME_TOLD = 0.8
"""Share of the content of a sentence that two earlier ones have, from which the sentence tells nothing new."""

MIN_WORDS_TO_REPEAT = 5
MIN_TRIGRAMS_TO_REPEAT = 3
MIN_STEMS_TO_REPEAT = 3
MIN_NEW_STEMS = 3
WORDS_WORD_FOR_WORD = 8
"""Words of a sentence that is looked for in all earlier turns."""

FRAME_WORDS = 4
"""Words at the start of two sentences that are the same, from which they have the same frame."""

MAX_WORDS_OF_LEAVE = 14
"""A user turn of no more words brings nothing new after which "anything else?" would be asked anew."""

_QUESTION = re.compile(r"[^.!?\n]+\?")
_QUOTED = re.compile(r'"[^"]{12,}"')


def repetition(view: MessageView) -> list[Finding]:
    """The same sentence, tip, question or frame as in one of its own last turns, or twice within the message."""
    within = _within(view)
    if not view.num_own or _is_wanted(view):
        return within
    found = (_sentence(view), _question(view), _closing(view), _frame(view), _opening_again(view))
    return [one for one in found if one is not None] + within


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spoken:
    """A sentence as it is compared."""

    words: tuple[str, ...]
    trigrams: frozenset[Trigram]
    content: frozenset[str]


@lru_cache(maxsize=4096)
def _spoken(text: str) -> _Spoken:
    return _Spoken(words=tuple(WORD.findall(text)), trigrams=trigrams(text), content=content_stems(text))


@lru_cache(maxsize=1024)
def _sentences_of(text: str) -> tuple[_Spoken, ...]:
    spoken = (_spoken(match.group()) for match in SENTENCE.finditer(text))
    return tuple(one for one in spoken if one.words)


def _last_turns(view: MessageView, num: int) -> tuple[str, ...]:
    return view.own.texts[max(0, view.num_own - num) : view.num_own]


def _is_wanted(view: MessageView) -> bool:
    """The user asked for it once more, or for a text; or the chatbot takes back or sums up what it said."""
    lists = lexicon("repetition")
    asked = any(lists["wanted"].search(turn) for turn in view.recent_user(2))
    return asked or lists["corrects"].search(view.text) is not None


def _own_sentences(view: MessageView) -> Iterator[Sentence]:
    """Sentences of the message that are long enough, no courtesy and no quotation."""
    courtesy = lexicon("repetition")["courtesy"]
    quoted = [match.span() for match in _QUOTED.finditer(view.text)]
    for sentence in view.sentences:
        start, end = sentence.span
        middle = (start + end) // 2
        free = not _in_table(sentence) and not any(left < middle < right for left, right in quoted)
        long_enough = len(_spoken(sentence.text).words) >= MIN_WORDS_TO_REPEAT
        if free and long_enough and not courtesy.search(sentence.text):
            yield sentence


def _in_table(sentence: Sentence) -> bool:
    return sentence.text.lstrip().startswith(("|", ">"))


def _sentence(view: MessageView) -> Finding | None:
    last_turns = _last_turns(view, LOOK_BACK)
    recent = [_sentences_of(text) for text in last_turns]
    first_said = view.own.derived(_first_turns)
    for sentence in _own_sentences(view):
        mine = _spoken(sentence.text)
        turn = first_said.get(mine.words, view.num_own)
        word_for_word = len(mine.words) >= WORDS_WORD_FOR_WORD and turn < view.num_own
        same = any(_is_same(mine, other, view) for turn_said in recent for other in turn_said)
        if word_for_word or same or any(_is_told_anew(mine, turn_said, view) for turn_said in recent):
            whole = view.text.strip() in {text.strip() for text in last_turns}
            severity = 3 if whole else 2
            return finding("repetition.sentence", severity, sentence.span, visibility=Visibility.TRAJECTORY)
    return None


def _first_turns(texts: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Sentences with the first turn in which each stands."""
    first: dict[tuple[str, ...], int] = {}
    for turn, text in enumerate(texts):
        for one in _sentences_of(text):
            first.setdefault(one.words, turn)
    return first


def _is_same(mine: _Spoken, other: _Spoken, view: MessageView) -> bool:
    same = mine.trigrams & other.trigrams
    if len(same) >= SAME_WORDS * max(len(mine.trigrams), len(other.trigrams)):
        return len(same - view.user_trigrams) >= MIN_TRIGRAMS_TO_REPEAT
    both = mine.content & other.content
    enough = len(both) >= max(MIN_STEMS_TO_REPEAT, SAME_CONTENT * max(len(mine.content), len(other.content)))
    return enough and len(both - view.user_content) >= 2


def _is_told_anew(mine: _Spoken, turn: Sequence[_Spoken], view: MessageView) -> bool:
    """Nearly all that a sentence says stands in two sentences in a row of an earlier turn, and not in the user's.

    Two, because a whole turn has any word if only it is long enough.
    """
    for before, after in pairwise((_spoken(""), *turn)):
        both = mine.content & (before.content | after.content)
        if len(both - view.user_content) >= MIN_NEW_STEMS and len(both) >= SAME_TOLD * len(mine.content):
            return True
    return False


def _question(view: MessageView) -> Finding | None:
    """A question of the last turns in the same words, be more added or left out, after the user has answered."""
    lists = lexicon("repetition")
    if "?" in view.last_user or lists["no_answer"].search(view.last_user) or not view.last_user.strip():
        return None
    asked = [_spoken(match.group()) for text in _last_turns(view, 2) for match in _QUESTION.finditer(text)]
    for sentence in _own_sentences(view):
        mine = _spoken(sentence.text)
        if not sentence.is_question or lists["greeting"].search(sentence.text):
            continue
        for other in asked:
            same, fewer = mine.trigrams & other.trigrams, min(len(mine.trigrams), len(other.trigrams))
            if len(same) >= max(MIN_TRIGRAMS_TO_REPEAT, fewer):
                return finding("repetition.question", 2, sentence.span, visibility=Visibility.TRAJECTORY)
    return None


def _closing(view: MessageView) -> Finding | None:
    """Asks once more whether there is anything else, of a user who has said no."""
    closing = lexicon("repetition")["closing"]
    asked = next((one for one in view.questions if closing.search(one.text)), None)
    if asked is None or len(WORD.findall(view.last_user)) > MAX_WORDS_OF_LEAVE or "?" in view.last_user:
        return None
    had_enough = any(lexicon("repetition")["had_enough"].search(turn) for turn in view.recent_user(LOOK_BACK))
    if not had_enough or not any(closing.search(text) for text in _last_turns(view, LOOK_BACK)):
        return None
    return finding("repetition.closing", 1, asked.span, visibility=Visibility.TRAJECTORY)


def _frame(view: MessageView) -> Finding | None:
    """Two sentences begin like two of the turn before: a template of which other words are changed."""
    (before,) = _last_turns(view, 1)
    starts = Counter(one.words[:FRAME_WORDS] for one in _sentences_of(before) if len(one.words) >= FRAME_WORDS)
    same = []
    for sentence in view.sentences:
        start = _spoken(sentence.text).words[:FRAME_WORDS]
        if starts[start]:
            starts[start] -= 1
            same.append(sentence)
    if len(same) < 2:
        return None
    return finding("repetition.frame", 1, same[0].span, visibility=Visibility.TRAJECTORY)


def _opening_again(view: MessageView) -> Finding | None:
    """The same formula opens the message for the third time."""
    start = _opening(view.text)
    if len(view.words) <= len(start) or len(start) < 3 or not lexicon("repetition")["formula"].match(" ".join(start)):
        return None
    if sum(_opening(text) == start for text in _last_turns(view, OPENINGS_BACK)) < 2:
        return None
    return finding("repetition.opening", 1, view.sentences[0].span, visibility=Visibility.TRAJECTORY)


def _opening(text: str) -> tuple[str, ...]:
    return tuple(WORD.findall(text)[:3])


def _within(view: MessageView) -> list[Finding]:
    """A sentence that stands twice in the message."""
    seen: list[_Spoken] = []
    for sentence in view.sentences:
        mine = _spoken(sentence.text)
        for other in seen:
            same = mine.trigrams & other.trigrams
            doubled = len(mine.words) >= 2 and mine.words == other.words and sentence.is_question
            if doubled or len(same) >= max(MIN_TRIGRAMS_TO_REPEAT, 0.8 * max(len(mine.trigrams), len(other.trigrams))):
                return [finding("repetition.within", 1, sentence.span)]
        if not _in_table(sentence):
            seen.append(mine)
    return []
