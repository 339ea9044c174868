"""The rule on repeating oneself."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from advsim.detectors.rules.finding import Finding, finding
from advsim.detectors.rules.lexicon import lexicon
from advsim.detectors.rules.said import WORD, Trigram, content_stems, trigrams
from advsim.detectors.rules.view import MessageView, Sentence
from advsim.records import Visibility

SAME_SENTENCE = 0.6
"""Share of a sentence's word trigrams that one earlier turn has, from which it is the same sentence."""

MIN_TRIGRAMS_TO_REPEAT = 3
MIN_WORDS_TO_REPEAT = 5
MIN_STEMS_TO_REPEAT = 3
SAME_FRAME_WORDS = 4
"""Words at the start (or end) that two messages have in common, from which they have the same frame."""

_END = re.compile(r"[.!?\n]+")


def repetition(view: MessageView) -> list[Finding]:
    """The same sentence, tip, question or frame as in one of its own earlier turns, or twice within the message."""
    findings = []
    for sentence in view.sentences:
        if (earlier := _said_before(view, sentence)) is not None:
            severity = 3 if view.text.strip() == earlier.strip() else 2
            findings.append(finding("repetition.sentence", severity, sentence.span, visibility=Visibility.TRAJECTORY))
            break
    start = _opening(view.text)
    began_so = view.own.derived(_openings)[start] if view.num_own else []
    if len(view.words) >= SAME_FRAME_WORDS and start and bisect_left(began_so, view.num_own) >= 2:
        span = view.sentences[0].span
        findings.append(finding("repetition.opening", 1, span, visibility=Visibility.TRAJECTORY))
    return findings + _within(view)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Earlier:
    """A sentence of the chatbot."""

    trigrams: frozenset[Trigram]
    content: frozenset[str]


class _Sentences:
    """All sentences of a chatbot with their turns, found by what one that says the same must share with them."""

    def __init__(self, texts: Sequence[str]) -> None:
        by_trigram: defaultdict[Trigram, list[tuple[int, _Earlier]]] = defaultdict(list)
        by_stem: defaultdict[str, list[tuple[int, _Earlier]]] = defaultdict(list)
        known: dict[tuple[frozenset[Trigram], frozenset[str]], _Earlier] = {}
        said = [(turn, part) for turn, text in enumerate(texts) for part in _END.split(text) if part.strip()]
        counts = Counter(one for _, part in said for one in content_stems(part))
        for turn, part in said:
            key = (trigrams(part), content_stems(part))
            sentence = known.setdefault(key, _Earlier(trigrams=key[0], content=key[1]))
            for trigram in sentence.trigrams:
                by_trigram[trigram].append((turn, sentence))
            # who shares ``needed`` stems with the sentence shares one of all but its ``needed`` - 1 commonest
            needed = max(MIN_STEMS_TO_REPEAT, math.ceil(SAME_SENTENCE * len(sentence.content)))
            rare_first = sorted(sentence.content, key=lambda one: (counts[one], one))
            for one in rare_first[: max(0, len(rare_first) - needed + 1)]:
                by_stem[one].append((turn, sentence))
        self._by_trigram, self._by_stem = dict(by_trigram), dict(by_stem)

    def last_with(self, trigram: Trigram, num_turns: int) -> int:
        """The last of the first ``num_turns`` turns with these words; -1 where there is none."""
        found = self._by_trigram.get(trigram, [])
        place = bisect_left(found, (num_turns,))
        return found[place - 1][0] if place else -1

    def like_in_words(self, mine: Iterable[Trigram]) -> Iterable[Sequence[tuple[int, _Earlier]]]:
        """Sentences that may share ``MIN_TRIGRAMS_TO_REPEAT`` trigrams, through all but the commonest of mine."""
        lists = sorted((self._by_trigram.get(trigram, []) for trigram in mine), key=len)
        return lists[: max(0, len(lists) - MIN_TRIGRAMS_TO_REPEAT + 1)]

    def like_in_content(self, mine: Iterable[str]) -> Iterable[Sequence[tuple[int, _Earlier]]]:
        """Sentences that may share enough of their stems."""
        return sorted((self._by_stem.get(one, []) for one in mine), key=len)


def _said_before(view: MessageView, sentence: Sentence) -> str | None:
    """The last earlier turn of the chatbot with a sentence that says what this one says; None where there is none."""
    if not view.num_own or len(WORD.findall(sentence.text)) < MIN_WORDS_TO_REPEAT or _is_courtesy(sentence):
        return None
    known = view.own.derived(_Sentences)
    mine, mine_content = trigrams(sentence.text), content_stems(sentence.text)
    told, theirs_said = view.user_content, view.user_trigrams

    def same_words(other: _Earlier) -> bool:
        same = mine & other.trigrams
        enough = len(same) >= SAME_SENTENCE * min(len(mine), len(other.trigrams))
        return enough and len(same - theirs_said) >= MIN_TRIGRAMS_TO_REPEAT

    def same_content(other: _Earlier) -> bool:
        both = mine_content & other.content
        enough = len(both) >= MIN_STEMS_TO_REPEAT and len(both) >= SAME_SENTENCE * len(other.content)
        return enough and bool(both - told)

    last = -1
    for trigram in mine:
        turn = known.last_with(trigram, view.num_own)
        if turn > last and len(content_stems(" ".join(trigram)) - told) == len(trigram):
            last = turn
    last = _last_that(same_words, known.like_in_words(mine), view.num_own, after=last)
    last = _last_that(same_content, known.like_in_content(mine_content), view.num_own, after=last)
    return None if last < 0 else view.own.texts[last]


def _last_that(
    holds: Callable[[_Earlier], bool],
    lists: Iterable[Sequence[tuple[int, _Earlier]]],
    num_turns: int,
    *,
    after: int,
) -> int:
    """The last turn after ``after`` with a sentence of which something holds; ``after`` where there is none."""
    asked: set[_Earlier] = set()
    for sentences in lists:
        place = bisect_left(sentences, (num_turns,))
        while place and sentences[place - 1][0] > after:
            place -= 1
            turn, sentence = sentences[place]
            if sentence not in asked and holds(sentence):
                after = turn
            asked.add(sentence)
    return after


def _is_courtesy(sentence: Sentence) -> bool:
    return bool(lexicon("listening")["courtesy"].search(sentence.text))


def _within(view: MessageView) -> list[Finding]:
    seen: set[Trigram] = set()
    for sentence in view.sentences:
        mine = trigrams(sentence.text)
        again = mine & seen
        if len(mine) >= 2 and len(again) >= max(2, 0.4 * len(mine)):
            return [finding("repetition.within", 1, sentence.span)]
        seen |= mine
    return []


def _openings(texts: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Turns by their first words."""
    turns: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for turn, text in enumerate(texts):
        turns[_opening(text)].append(turn)
    return dict(turns)


def _opening(text: str) -> tuple[str, ...]:
    return tuple(WORD.findall(text)[:3])
