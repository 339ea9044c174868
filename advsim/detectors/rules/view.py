"""Views of chatbot messages that rules read: the message and the turns before it, never those after it.

Only the language is told from the whole dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from advsim.detectors.language import ENGLISH, message_languages
from advsim.detectors.rules.lexicon import lexicon, plain, words
from advsim.detectors.rules.risk import RiskState, Signal, signal, state
from advsim.records import HasTurns, Speaker

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+|\n|$)")
_QUOTED = re.compile(r'"[^"]*"')
_REPORTED = re.compile(
    r"\b(?:worried|afraid|scared|feels?|felt|feeling|told|sounds?|seems?|fear|thinks?|believe|says?) "
    r"(?:like |that |as if |as though |you )[^.!?;\n]*"
)
_SUFFIX = re.compile(r"(?:'s|ness|ings?|ed|ies|es|s|ly|er|y|e)$")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A crude stem that brings "worried", "worries" and "worrying" together."""
    if len(word) <= 3:
        return word
    cut = _SUFFIX.sub("", _SUFFIX.sub("", word) if word.endswith("s") else word)
    return cut[:7] if len(cut) >= 3 else word


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence of the message as plain text, with its offset."""

    text: str
    start: int

    @property
    def span(self) -> tuple[int, int]:
        """Offsets in the message, surrounding white space left out."""
        left = len(self.text) - len(self.text.lstrip())
        return self.start + left, self.start + len(self.text.rstrip())

    @property
    def is_question(self) -> bool:
        """It ends with a question mark."""
        return self.text.rstrip().endswith("?")


@dataclass(frozen=True, kw_only=True)
class MessageView:
    """A chatbot message in its context. All texts but ``raw`` are plain (lower case, straight quotes)."""

    conversation_id: str
    turn: int
    language: str  # of the message together with what it answers
    raw: str
    text: str
    user: tuple[str, ...]  # user turns so far, oldest first
    user_raw: tuple[str, ...]
    own: tuple[str, ...]  # earlier chatbot turns, oldest first
    risk: RiskState
    signal: Signal | None  # of the user turn that the message answers

    @property
    def last_user(self) -> str:
        """The user turn that the message answers; empty where the chatbot opens."""
        return self.user[-1] if self.user else ""

    @cached_property
    def history(self) -> str:
        """All user turns so far."""
        return "\n".join(self.user)

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """Sentences of the message."""
        parts = (Sentence(text=match.group(), start=match.start()) for match in _SENTENCE.finditer(self.text))
        return tuple(sentence for sentence in parts if _WORD.search(sentence.text))

    @cached_property
    def unquoted(self) -> str:
        """The message with quotations and reported beliefs blanked out: what it says in its own voice."""
        return _REPORTED.sub(_blank, _QUOTED.sub(_blank, self.text))

    @cached_property
    def statements(self) -> str:
        """``unquoted`` with the sentences that ask blanked out."""
        text = self.unquoted
        for sentence in self.questions:
            end = sentence.start + len(sentence.text)
            text = text[: sentence.start] + " " * len(sentence.text) + text[end:]
        return text

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words of the message."""
        return tuple(_WORD.findall(self.text))

    @cached_property
    def content(self) -> frozenset[str]:
        """Stems of the content words of the message."""
        return content_stems(self.text)

    @cached_property
    def last_content(self) -> frozenset[str]:
        """Stems of the content words of the last user turn."""
        return content_stems(self.last_user)

    @cached_property
    def user_content(self) -> frozenset[str]:
        """Stems of the content words of all user turns."""
        return content_stems(self.history)

    @cached_property
    def questions(self) -> tuple[Sentence, ...]:
        """Sentences of the message that ask."""
        return tuple(sentence for sentence in self.sentences if sentence.is_question)

    @cached_property
    def asked_for_advice(self) -> bool:
        """The user asks what to do, for a list, an answer or an explanation, in the last two turns."""
        return any(lexicon("guidance")["asked"].search(turn) for turn in self.user[-2:])

    @property
    def is_english(self) -> bool:
        """The message and what it answers can be read with English word lists."""
        return self.language == ENGLISH


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


@lru_cache(maxsize=8192)
def content_stems(text: str) -> frozenset[str]:
    """Stems of the words that are no function words."""
    stop = words("words", "stop")
    return frozenset(stem(word) for word in _WORD.findall(text) if word not in stop and len(word) > 1)


def views(dialogue: HasTurns) -> Iterator[MessageView]:
    """A view of each chatbot turn, in order. Each user turn is searched for risk once."""
    plain_turns = [(turn.speaker, plain(turn.text)) for turn in dialogue.turns]
    signals: list[Signal | None] = [signal(text) if who is Speaker.USER else None for who, text in plain_turns]
    languages = message_languages(dialogue)
    for i, turn in enumerate(dialogue.turns):
        if turn.speaker is not Speaker.CHATBOT:
            continue
        before: Sequence[tuple[Speaker, str]] = plain_turns[:i]
        user = [k for k in range(i) if plain_turns[k][0] is Speaker.USER]
        yield MessageView(
            conversation_id=dialogue.id,
            turn=i,
            language=languages[i],
            raw=turn.text,
            text=plain_turns[i][1],
            user=tuple(plain_turns[k][1] for k in user),
            user_raw=tuple(dialogue.turns[k].text for k in user),
            own=tuple(text for who, text in before if who is Speaker.CHATBOT),
            risk=state(before, signals[:i]),
            signal=signals[user[-1]] if user else None,
        )
