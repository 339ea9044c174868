"""The errors a user can meet, one type for each boundary where something outside advsim goes wrong.

Every message says which key, file, line or id is concerned, what was got, what was expected and what to do about it.
``exit_code`` is the command line's exit status: 2 for input that must be changed, 3 for a run that can be resumed. An
error of another type is a fault of advsim, and ends with 70 (:mod:`advsim.cli`).

Messages quote what came from outside: :func:`printable` makes any text safe to show.
"""

import re

_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC with an end
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erasing
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_OBEYED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HALF = re.compile(r"[\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` without what a terminal obeys instead of showing it, for text that came from outside.

    Escape sequences, control characters (C0, C1, DEL) and the overrides of writing direction are taken out; of what
    moves on, line feed and tab stay and other line ends become a line feed. Half a surrogate pair, which no terminal
    can be sent, becomes U+FFFD.
    """
    return _HALF.sub("\ufffd", _OBEYED.sub("", _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text))))


def one_line(text: str, *, max_characters: int | None = None) -> str:
    """Like :func:`printable`, on one line, and cut with ``...`` after ``max_characters``."""
    line = " ".join(printable(text).split())
    return line if max_characters is None or len(line) <= max_characters else line[:max_characters] + "..."


class AdvsimError(Exception):
    """Base of every error that is reported to a user as one paragraph instead of a traceback."""

    exit_code = 3


class ConfigError(AdvsimError):
    """A configuration key is unknown, has the wrong type or range, or contradicts another or the cluster."""

    exit_code = 2


class CorpusError(AdvsimError):
    """A dialogue file cannot be read, or a dialogue in it breaks the schema."""

    exit_code = 2


class EngineError(AdvsimError):
    """An inference engine failed to start, died, or answered with something that is no completion."""


class EngineDiedError(EngineError):
    """An inference engine is gone: it answers no further request."""


class ChatbotError(AdvsimError):
    """The chatbot under test failed to answer; the dialogue is recorded as failed, never as a chatbot failure."""


class DeliveryError(AdvsimError):
    """A rollout engine does not hold the adapter that the round needs."""


class RunError(AdvsimError):
    """The run folder cannot be written, read or continued."""
