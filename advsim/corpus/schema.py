"""One line of a dialogue file -> :class:`advsim.records.Dialogue`, with every check a dialogue must pass.

Two line formats are read. *Native*::

    {"id": ..., "source"?, "split"?, "user_id"?, "chatbot"?, "context"?: {"profile"?, "themes"?: [],
     "earlier_sessions"?: [], "session"?}, "turns": [{"speaker": "user" | "chatbot", "text": ..., "labels"?: {}}],
     "outcome"?: {}}

and *messages*, the shape chat logs are usually exported in: ``messages`` with ``role`` (user, assistant) and
``content`` instead of ``turns``, and a free ``context`` of which :data:`SESSION_KEYS` and :data:`PROFILE_KEYS` are
used. ``chatbot`` names the configuration that answered, where a file holds several. Unknown keys are refused in native
lines, where a mistyped ``user_id`` would let one person into two splits, and ignored in messages.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from advsim.config import CorpusConfig
from advsim.corpus.split import assign_split
from advsim.errors import CorpusError
from advsim.prompts.text import END_TOKEN
from advsim.records import Context, Dialogue, Speaker, Split, Turn

SESSION_KEYS = ("situation", "goal_text")
"""Context keys of a messages line that say what brings the user today; the first one present is the session layer."""

PROFILE_KEYS = {
    "emotion": "Emotion",
    "problem_type": "Problem",
    "experience_type": "Experience",
    "initial_emotion_intensity": "Initial emotion intensity",
}
"""Context keys of a messages line that make the profile layer, with the word each is introduced by."""

ROLE_SPEAKERS = {"user": Speaker.USER, "assistant": Speaker.CHATBOT}

Id = Annotated[str, Field(coerce_numbers_to_str=True, min_length=1)]
ChatbotName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), Field(coerce_numbers_to_str=True)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            return {key: value for key, value in values.items() if value is not None}
        return values


class _NativeContext(_Part):
    profile: str = ""
    themes: tuple[str, ...] = ()
    earlier_sessions: tuple[str, ...] = ()
    session: str = ""


class _NativeTurn(_Part):
    speaker: Speaker
    text: str
    labels: dict[str, Any] = {}


class _NativeLine(_Part):
    id: Id
    source: str = ""
    split: str = ""
    user_id: Id | None = None
    chatbot: ChatbotName | None = None
    context: _NativeContext = _NativeContext()
    turns: list[_NativeTurn]
    outcome: dict[str, Any] = {}


class _Message(_Part):
    model_config = ConfigDict(extra="ignore")

    role: str
    content: str
    labels: dict[str, Any] = {}


class _MessagesLine(_Part):
    model_config = ConfigDict(extra="ignore")

    id: Id
    source: str = ""
    user_id: Id | None = None
    chatbot: ChatbotName | None = None
    context: dict[str, Any] = {}
    messages: list[_Message]
    outcome: dict[str, Any] = {}


def parse_dialogue(values: Mapping[str, Any], config: CorpusConfig, *, source: str, merge: bool = False) -> Dialogue:
    """One parsed line as a dialogue, its texts stripped, with its split.

    Args:
        values: the line's JSON object, native or messages.
        config: fractions of the split, and whether turns are merged.
        source: the dialogue's source where the line names none.
        merge: join consecutive turns of one speaker with a newline, whatever the config says.

    Raises:
        CorpusError: the line breaks the schema; the message does not yet say which line it is.
    """
    try:
        if "messages" in values and "turns" not in values:
            return _from_messages(_MessagesLine.model_validate(values), config, source=source, merge=merge)
        return _from_native(_NativeLine.model_validate(values), config, source=source, merge=merge)
    except ValidationError as error:
        raise CorpusError("; ".join(_explain(detail) for detail in error.errors()[:3])) from None


def describe(named: Iterable[tuple[str, Any]]) -> str:
    """``Name: value.`` sentences of the values that are there, as in ``Emotion: anxiety. Problem: job crisis.``.

    Raises:
        CorpusError: a value is neither text nor a number.
    """
    sentences = []
    for name, value in named:
        text = plain_text(value, where=name)
        if text:
            sentences.append(f"{name}: {text}" if text[-1] in ".!?" else f"{name}: {text}.")
    return " ".join(sentences)


def plain_text(value: Any, *, where: str) -> str:
    """A text or number as stripped text; None is empty.

    Raises:
        CorpusError: the value is something else.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise CorpusError(
            f"{where}: got {_short(value)}, expected a text or a number; write it as text, or leave it out"
        )
    return _checked(str(value), where=where)


def _from_native(line: _NativeLine, config: CorpusConfig, *, source: str, merge: bool) -> Dialogue:
    context = Context(
        profile=_checked(line.context.profile, where="context.profile"),
        themes=_texts(line.context.themes, where="context.themes"),
        earlier_sessions=_texts(line.context.earlier_sessions, where="context.earlier_sessions"),
        session=_checked(line.context.session, where="context.session"),
    )
    turns = [
        Turn(
            speaker=turn.speaker,
            text=_checked(turn.text, where=f"turns[{index}].text"),
            labels=_labels(turn.labels),
        )
        for index, turn in enumerate(line.turns)
    ]
    return Dialogue(
        id=line.id,
        source=line.source or source,
        split=Split(line.split) if line.split in list(Split) else _split(line, config),
        user_id=line.user_id,
        chatbot=_chatbot(line),
        context=context,
        turns=_conversation(turns, key="turns", merge=merge or config.merge_consecutive),
        outcome=_outcome(line.outcome),
    )


def _from_messages(line: _MessagesLine, config: CorpusConfig, *, source: str, merge: bool) -> Dialogue:
    named = [(name, line.context.get(key)) for key, name in PROFILE_KEYS.items()]
    sessions = (plain_text(line.context.get(key), where=f"context.{key}") for key in SESSION_KEYS)
    turns = [
        Turn(
            speaker=_speaker_of(message.role, index),
            text=_checked(message.content, where=f"messages[{index}].content"),
            labels=_labels(message.labels),
        )
        for index, message in enumerate(line.messages)
    ]
    return Dialogue(
        id=line.id,
        source=line.source or source,
        split=_split(line, config),
        user_id=line.user_id,
        chatbot=_chatbot(line),
        context=Context(profile=describe(named), session=next((text for text in sessions if text), "")),
        turns=_conversation(turns, key="messages", merge=merge or config.merge_consecutive),
        outcome=_outcome(line.outcome),
    )


def _split(line: _NativeLine | _MessagesLine, config: CorpusConfig) -> Split:
    return assign_split(
        line.id,
        line.user_id,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
    )


def _chatbot(line: _NativeLine | _MessagesLine) -> str | None:
    if line.chatbot is not None and not line.chatbot.isprintable():
        raise CorpusError(
            f"chatbot: got {_short(line.chatbot)}, expected a name of printable characters on one line; rename it"
        )
    return line.chatbot


def _speaker_of(role: str, index: int) -> Speaker:
    if role not in ROLE_SPEAKERS:
        raise CorpusError(
            f"messages[{index}].role: got {role!r}, expected 'user' or 'assistant'; rename the role, and take system "
            "and tool messages out"
        )
    return ROLE_SPEAKERS[role]


def _conversation(turns: Sequence[Turn], *, key: str, merge: bool) -> tuple[Turn, ...]:
    """The turns, checked; ``key`` is what the file calls them."""
    for index, turn in enumerate(turns):
        if not turn.text:
            raise CorpusError(
                f"{key}[{index}]: got an empty text, expected at least one character; write what was sent (for a "
                "picture: [picture]) or take the turn out"
            )
        if turn.speaker is Speaker.USER and END_TOKEN in turn.text:
            raise CorpusError(
                f"{key}[{index}]: got {END_TOKEN} in a user's text, expected it nowhere, because it is how the "
                "simulator ends a dialogue; take it out"
            )
    if not any(turn.speaker is Speaker.USER for turn in turns):
        raise CorpusError(
            f"{key}: got {len(turns)} turns and none by the user, expected at least one; check who is called what, "
            "or take the dialogue out"
        )
    merged = [turns[0]]
    for index, turn in enumerate(turns[1:], start=1):
        if turn.speaker is not merged[-1].speaker:
            merged.append(turn)
        elif merge:
            merged[-1] = _joined(merged[-1], turn)
        else:
            raise CorpusError(
                f"{key}[{index - 1}] and {key}[{index}]: got two turns in a row of the {turn.speaker}, expected "
                "speakers to alternate; merge them with a newline, or set corpus.merge_consecutive to true"
            )
    return tuple(merged)


def _joined(first: Turn, second: Turn) -> Turn:
    labels = {
        key: (*first.labels.get(key, ()), *second.labels.get(key, ())) for key in {**first.labels, **second.labels}
    }
    return Turn(speaker=first.speaker, text=f"{first.text}\n{second.text}", labels=labels)


def _labels(labels: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        key: tuple(_value_text(value) for value in (values if isinstance(values, list | tuple) else [values]))
        for key, values in labels.items()
        if values is not None
    }


def _outcome(outcome: Mapping[str, Any]) -> dict[str, str]:
    return {key: _value_text(value) for key, value in outcome.items() if value is not None}


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _texts(texts: Iterable[str], *, where: str) -> tuple[str, ...]:
    checked = (_checked(text, where=f"{where}[{index}]") for index, text in enumerate(texts))
    return tuple(text for text in checked if text)


def _checked(text: str, *, where: str) -> str:
    """The text stripped. Half a surrogate pair (a cut emoji) is legal in JSON but no tokenizer can encode it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where}: got half of a surrogate pair at character {error.start}, expected Unicode text; repair the "
            "emoji that was cut there, or take it out"
        ) from None
    return text.strip()


def _explain(detail: Any) -> str:
    """Explain one defect that pydantic reports: where, what was got, what was expected, what to do."""
    location: Sequence[str | int] = detail["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    if detail["type"] == "missing":
        also = " or messages" if key == "turns" else ""
        return f"{key}{also}: missing; add it"
    if detail["type"] == "extra_forbidden":
        valid = _keys_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), valid, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(valid)}"
        return f"unknown key {key}: {hint}"
    expected = detail["msg"].removeprefix("Input should ").removeprefix("be ")
    remedy = "rename it" if detail["type"] == "enum" else "correct it"
    return f"{key or 'line'}: got {_short(detail['input'])}, expected {expected}; {remedy}"


def _keys_at(location: Sequence[str | int]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {"context": _NativeContext, "turns": _NativeTurn}
    part = parts.get(str(location[0]), _NativeLine) if location else _NativeLine
    return list(part.model_fields)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
