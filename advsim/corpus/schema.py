"""One line of a dialogue file -> :class:`advsim.records.Dialogue`, with every check a dialogue must pass.

Two line formats are read. *Native*::

    {"id": ..., "source"?, "split"?, "user_id"?, "chatbot"?, "context"?: {"profile"?, "themes"?: [],
     "earlier_sessions"?: [], "session"?}, "turns": [{"speaker": "user" | "chatbot", "text": ..., "labels"?: {}}],
     "outcome"?: {}}

and *messages*, the shape chat logs are usually exported in: ``messages`` with ``role`` (user, assistant) and
``content`` instead of ``turns``, and a free ``context`` of which :data:`SESSION_KEYS` and :data:`PROFILE_KEYS` are
used. ``chatbot`` names the configuration that answered, where a file holds several. Unknown keys are refused in native
lines, where a mistyped ``user_id`` would let one person into two splits; in messages, whose exports hold more, those
that look like a mistyped key. A *ShareGPT* line (``conversations`` with ``from`` and ``value``) is read as messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from advsim.config import CorpusConfig
from advsim.corpus.identity import content_id, is_missing, key_meant, plain_id, present
from advsim.corpus.split import assign_split
from advsim.corpus.turns import RawTurn, calls_tool, checked_text, checked_turns, is_dropped, listed, value_text
from advsim.errors import CorpusError
from advsim.records import Context, Dialogue, Split, Turn

SESSION_KEYS = ("situation", "goal_text")
"""Context keys of a messages line that say what brings the user today; the first one present is the session layer."""

PROFILE_KEYS = {
    "emotion": "Emotion",
    "problem_type": "Problem",
    "experience_type": "Experience",
    "initial_emotion_intensity": "Initial emotion intensity",
}
"""Context keys of a messages line that make the profile layer, with the word each is introduced by."""

KNOWN_SPLITS = ("train", "validation", "test")
OTHER_SPLITS = ("valid", "val", "dev", "eval", "training")
"""Names of splits in other data sets. No misspellings: a messages line's split is not used."""

_IN_PYTHON = re.compile(r" or instance of \w+")
"""What pydantic says of Python's types, which no file has."""

OptionalId = Annotated[str | None, BeforeValidator(plain_id)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            return present(values)
        return values


class _NativeContext(_Part):
    profile: str = ""
    themes: tuple[str, ...] = ()
    earlier_sessions: tuple[str, ...] = ()
    session: str = ""


_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of content parts that are text, and the key that holds it."""


def _joined_parts(content: Any) -> Any:
    """The text of a list of content parts, as ``[{"type": "text", "text": ...}]``; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = []
    for index, part in enumerate(content):
        text = part.get(_TEXT_PARTS.get(str(part.get("type", "text")), "")) if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise PydanticCustomError(
                "content_part",
                "Input should be text (part {index} is {kind}; write what it shows, for a picture: [picture])",
                {"index": index, "kind": str(kind)[:40]},
            )
        texts.append(text)
    return "\n".join(texts)


Text = Annotated[str, BeforeValidator(_joined_parts)]


def _says_nothing(content: Any) -> bool:
    return is_missing(content) or content == [] or (isinstance(content, str) and not content.strip())


class _AnyTurn(_Part):
    """A turn of either format. A chatbot may call a tool and say nothing; a refusal is what it says."""

    labels: dict[str, Any] = {}
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None

    @model_validator(mode="before")
    @classmethod
    def _text_may_be_absent(cls, values: Any) -> Any:
        key = "text" if "text" in cls.model_fields else "content"
        if not isinstance(values, Mapping) or not _says_nothing(values.get(key)):
            return values
        if isinstance(values.get("refusal"), str):
            return {**values, key: values["refusal"]}
        return {**values, key: ""} if calls_tool(values) else values

    def _raw(self, role: str, text: str) -> RawTurn:
        is_call = bool(self.tool_calls or self.function_call)  # NaN is none: what is missing was taken out
        return RawTurn(role=role, text=None if is_call and not text.strip() else text, labels=self.labels)


class _NativeTurn(_AnyTurn):
    speaker: str
    text: Text

    def raw(self) -> RawTurn:
        return self._raw(self.speaker, self.text)


class _Message(_AnyTurn):
    model_config = ConfigDict(extra="ignore")

    role: str
    content: Text

    def raw(self) -> RawTurn:
        return self._raw(self.role, self.content)


class _Line(_Part):
    id: OptionalId = None
    source: str = ""
    split: str = ""
    user_id: OptionalId = None
    chatbot: OptionalId = None
    outcome: dict[str, Any] = {}


class _NativeLine(_Line):
    context: _NativeContext = _NativeContext()
    turns: list[_NativeTurn]


class _MessagesLine(_Line):
    model_config = ConfigDict(extra="ignore")

    context: dict[str, Any] = {}
    messages: list[_Message]


def plain_line(values: Mapping[str, Any]) -> dict[str, Any]:
    """A line without the keys that are missing, ShareGPT as messages, and turns in a JSON text as a list.

    Raises:
        CorpusError: it holds two dialogues.
    """
    line = present(values)
    kinds = [key for key in ("turns", "messages", "conversations") if key in line]
    if len(kinds) > 1:
        raise CorpusError(f"got {' and '.join(kinds)}, expected one of them; take out what is not the dialogue")
    for key in kinds:
        line[key] = listed(line[key])
    return _from_sharegpt(line) if "conversations" in line else line


def parse_dialogue(
    values: Mapping[str, Any], config: CorpusConfig, *, source: str, merge: bool = False, keep_one_sided: bool = False
) -> Dialogue:
    """One parsed line as a dialogue, its texts stripped, with its split.

    Args:
        values: the line's JSON object, native or messages, see :func:`plain_line`.
        config: fractions of the split, and whether turns are merged.
        source: the dialogue's source where the line names none.
        merge: join consecutive turns of one speaker with a newline, whatever the config says.
        keep_one_sided: but not those of a dialogue in which only the user speaks.

    Raises:
        CorpusError: the line breaks the schema; the message does not yet say which line it is.
    """
    try:
        if "messages" in values:
            _check_messages_keys(values)
            messages = _MessagesLine.model_validate(_emptied(values, "messages", config))
            return _from_messages(messages, config, source=source, merge=merge, keep_one_sided=keep_one_sided)
        native = _NativeLine.model_validate(_emptied(values, "turns", config))
        return _from_native(native, config, source=source, merge=merge, keep_one_sided=keep_one_sided)
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
    if is_missing(value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise CorpusError(
            f"{where}: got {_short(value)}, expected a text or a number; write it as text, or leave it out"
        )
    return checked_text(str(value), where=where)


def _from_native(
    line: _NativeLine, config: CorpusConfig, *, source: str, merge: bool, keep_one_sided: bool
) -> Dialogue:
    context = Context(
        profile=checked_text(line.context.profile, where="context.profile"),
        themes=_texts(line.context.themes, where="context.themes"),
        earlier_sessions=_texts(line.context.earlier_sessions, where="context.earlier_sessions"),
        session=checked_text(line.context.session, where="context.session"),
    )
    raw_turns = [turn.raw() for turn in line.turns]
    merge = merge or config.merge_consecutive
    keys = {"key": "turns", "role_key": "speaker", "text_key": "text"}
    turns = checked_turns(raw_turns, config, **keys, merge=merge, keep_one_sided=keep_one_sided)
    if line.split and line.split not in KNOWN_SPLITS:
        raise _wrong_split(line.split)
    return _dialogue(line, config, context, turns, source=source, split=line.split)


def _from_messages(
    line: _MessagesLine, config: CorpusConfig, *, source: str, merge: bool, keep_one_sided: bool
) -> Dialogue:
    named = [(name, line.context.get(key)) for key, name in PROFILE_KEYS.items()]
    sessions = (plain_text(line.context.get(key), where=f"context.{key}") for key in SESSION_KEYS)
    raw_turns = [message.raw() for message in line.messages]
    merge = merge or config.merge_consecutive
    keys = {"key": "messages", "role_key": "role", "text_key": "content"}
    turns = checked_turns(raw_turns, config, **keys, merge=merge, keep_one_sided=keep_one_sided)
    if line.split not in (*KNOWN_SPLITS, *OTHER_SPLITS) and key_meant(line.split, KNOWN_SPLITS):
        raise _wrong_split(line.split)
    context = Context(profile=describe(named), session=next((text for text in sessions if text), ""))
    return _dialogue(line, config, context, turns, source=source, split="")


def _dialogue(
    line: _Line, config: CorpusConfig, context: Context, turns: tuple[Turn, ...], *, source: str, split: str
) -> Dialogue:
    """The dialogue, in the split that the line names or that its user or id decides."""
    for key, value in (("id", line.id), ("user_id", line.user_id), ("chatbot", line.chatbot)):
        checked_text(value or "", where=key)
    if line.chatbot is not None and not line.chatbot.isprintable():
        raise CorpusError(
            f"chatbot: got {_short(line.chatbot)}, expected a name of printable characters on one line; rename it"
        )
    dialogue_id = line.id or content_id([{"speaker": turn.speaker, "text": turn.text} for turn in turns])
    fractions = {"validation_fraction": config.validation_fraction, "test_fraction": config.test_fraction}
    return Dialogue(
        id=dialogue_id,
        source=line.source or source,
        split=Split(split) if split else assign_split(dialogue_id, line.user_id, **fractions),
        user_id=line.user_id,
        chatbot=line.chatbot,
        context=context,
        turns=turns,
        outcome={key: value_text(value) for key, value in line.outcome.items() if not is_missing(value)},
    )


def _emptied(values: Mapping[str, Any], key: str, config: CorpusConfig) -> Mapping[str, Any]:
    """The line with nothing in the turns that are left out but whose they are, so that nothing else is held to it."""
    turns = values.get(key)
    if not config.drop_roles or not isinstance(turns, list):
        return values
    role_key, text_key = ("role", "content") if key == "messages" else ("speaker", "text")

    def is_left_out(turn: Any) -> bool:
        return isinstance(turn, Mapping) and is_dropped(str(turn.get(role_key)), config)

    emptied = [{role_key: turn[role_key], text_key: ""} if is_left_out(turn) else turn for turn in turns]
    return {**values, key: emptied}


def _from_sharegpt(values: Mapping[str, Any]) -> dict[str, Any]:
    """A ShareGPT line as a messages line."""
    turns = values["conversations"]
    names = {"from": "role", "value": "content"}
    if isinstance(turns, list):
        turns = [
            {names.get(key, key): value for key, value in turn.items()} if isinstance(turn, Mapping) else turn
            for turn in turns
        ]
    return {**{key: value for key, value in values.items() if key != "conversations"}, "messages": turns}


def _check_messages_keys(values: Mapping[str, Any]) -> None:
    """Refuse a key that looks like a mistyped one: its nearest valid key is not in the line."""
    valid = tuple(_MessagesLine.model_fields)
    for key in values:
        near = None if key in valid else key_meant(key, valid)
        if near is not None and is_missing(values.get(near)):
            raise CorpusError(f"unknown key {_short(key)}: did you mean {near}? Rename it, or take it out")


def _wrong_split(split: str) -> CorpusError:
    near = key_meant(split, KNOWN_SPLITS)
    hint = f"did you mean {near}?" if near else "correct it, or leave it out"
    return CorpusError(f"split: got {_short(split)}, expected train, validation or test; {hint}")


def _texts(texts: Iterable[str], *, where: str) -> tuple[str, ...]:
    checked = (checked_text(text, where=f"{where}[{index}]") for index, text in enumerate(texts))
    return tuple(text for text in checked if text)


def _explain(detail: Any) -> str:
    """Explain one defect that pydantic reports: where, what was got, what was expected, what to do."""
    location: Sequence[str | int] = detail["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    if detail["type"] == "missing":
        also = " or messages" if key == "turns" else ""
        return f"{key}{also}: missing; add it"
    if detail["type"] == "extra_forbidden":
        valid = _keys_at(location[:-1])
        near = key_meant(str(location[-1]), valid, cutoff=0.6)
        hint = f"did you mean {near}?" if near in valid else f"expected one of {', '.join(valid)}"
        return f"unknown key {key}: {hint}"
    expected = _IN_PYTHON.sub("", detail["msg"].removeprefix("Input should ").removeprefix("be "))
    expected = expected.replace("valid dictionary", "JSON object").replace("valid tuple", "valid list")
    remedy = "rename it" if detail["type"] == "enum" else "correct it"
    return f"{key or 'line'}: got {_short(detail['input'])}, expected {expected}; {remedy}"


def _keys_at(location: Sequence[str | int]) -> tuple[str, ...]:
    parts: dict[str, type[BaseModel]] = {"context": _NativeContext, "turns": _NativeTurn}
    part = parts.get(str(location[0]), _NativeLine) if location else _NativeLine
    return tuple(part.model_fields)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
