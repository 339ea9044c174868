"""Views of chatbot messages that rules read: the message and the turns before it, never those after it.

Only the language is told from the whole dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from advsim.detectors.language import ENGLISH, message_languages
from advsim.detectors.rules.lexicon import lexicon, plain
from advsim.detectors.rules.risk import RiskState, RiskWatch, Signal, signal
from advsim.detectors.rules.said import WORD, Said, Seen, content_stems
from advsim.records import HasTurns, Speaker

SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+|\n|$)")
_QUOTED = re.compile(r'"[^"]*"')
_REPORTED = re.compile(
    r"\b(?:worried|afraid|scared|feels?|felt|feeling|told|sounds?|seems?|fear|thinks?|believe|says?) "
    r"(?:like |that |as if |as though |you )[^.!?;\n]*"
)


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
    user: Said  # all user turns of the dialogue
    num_user: int  # of them so far
    own: Said  # all chatbot turns of the dialogue
    num_own: int  # of them before the message
    risk: RiskState
    signal: Signal | None  # of the user turn that the message answers

    @property
    def last_user(self) -> str:
        """The user turn that the message answers; empty where the chatbot opens."""
        return self.user.texts[self.num_user - 1] if self.num_user else ""

    def recent_user(self, num: int) -> tuple[str, ...]:
        """The last ``num`` user turns so far, oldest first."""
        return self.user.texts[max(0, self.num_user - num) : self.num_user]

    def user_said(self, pattern: re.Pattern[str]) -> bool:
        """Whether a pattern matches in the user turns so far."""
        return self.user.finds(pattern, self.num_user)

    def user_wrote(self, word: str) -> bool:
        """Whether a word stands in the user turns so far, be it as part of another."""
        return self.user.contains(word, self.num_user)

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """Sentences of the message."""
        parts = (Sentence(text=match.group(), start=match.start()) for match in SENTENCE.finditer(self.text))
        return tuple(sentence for sentence in parts if WORD.search(sentence.text))

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
        return tuple(WORD.findall(self.text))

    @cached_property
    def content(self) -> frozenset[str]:
        """Stems of the content words of the message."""
        return content_stems(self.text)

    @cached_property
    def last_content(self) -> frozenset[str]:
        """Stems of the content words of the last user turn."""
        return content_stems(self.last_user)

    @property
    def user_content(self) -> Seen:
        """Stems of the content words of the user turns so far."""
        return self.user.stems(self.num_user)

    @property
    def user_tokens(self) -> Seen:
        """What stands between white space in the user turns so far."""
        return self.user.tokens(self.num_user)

    @property
    def user_trigrams(self) -> Seen:
        """Trigrams of words in the user turns so far."""
        return self.user.trigrams(self.num_user)

    @cached_property
    def questions(self) -> tuple[Sentence, ...]:
        """Sentences of the message that ask."""
        return tuple(sentence for sentence in self.sentences if sentence.is_question)

    @cached_property
    def asked_for_advice(self) -> bool:
        """The user asks what to do, for a list, an answer or an explanation, in the last two turns."""
        return any(lexicon("guidance")["asked"].search(turn) for turn in self.recent_user(2))

    @property
    def is_english(self) -> bool:
        """The message and what it answers can be read with English word lists."""
        return self.language == ENGLISH


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def views(dialogue: HasTurns) -> Iterator[MessageView]:
    """A view of each chatbot turn, in order. Each turn is searched for risk once."""
    plain_turns = [(turn.speaker, plain(turn.text)) for turn in dialogue.turns]
    user, own = (Said([text for who, text in plain_turns if who is speaker]) for speaker in Speaker)
    languages = message_languages(dialogue)
    num_user = num_own = 0
    watch = RiskWatch()
    for i, (speaker, text) in enumerate(plain_turns):
        if speaker is Speaker.USER:
            num_user += 1
            watch.hear(signal(text))
            continue
        yield MessageView(
            conversation_id=dialogue.id,
            turn=i,
            language=languages[i],
            raw=dialogue.turns[i].text,
            text=text,
            user=user,
            num_user=num_user,
            own=own,
            num_own=num_own,
            risk=watch.state(),
            signal=watch.last,
        )
        num_own += 1
        watch.reply(text)
