"""Turns of a line -> checked turns that alternate: who speaks, what is left out, what is joined."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from advsim.config import CorpusConfig
from advsim.corpus.identity import is_missing
from advsim.errors import CorpusError
from advsim.prompts.text import END_TOKEN
from advsim.prompts.thoughts import separate_thoughts
from advsim.records import Speaker, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTurn:
    """A turn as the file has it. ``text`` is None where a message only calls a tool."""

    role: str
    text: str | None
    labels: Mapping[str, Any]


def checked_turns(
    raw_turns: Sequence[RawTurn],
    config: CorpusConfig,
    *,
    key: str,
    role_key: str,
    text_key: str,
    merge: bool,
    keep_one_sided: bool = False,
) -> tuple[Turn, ...]:
    """The turns of the user and the chatbot, texts stripped, alternating.

    Args:
        raw_turns: all turns of the line, in order.
        config: says which roles are whose, which are left out, whether turns are merged, and how many there may be.
        key: what the file calls its turns, for messages; ``role_key`` and ``text_key`` likewise.
        role_key: see ``key``.
        text_key: see ``key``.
        merge: join consecutive turns of one speaker with a newline.
        keep_one_sided: the turns of a dialogue in which only the user speaks stay apart.

    Raises:
        CorpusError: a role is unknown, a text is empty, nobody is the user, speakers do not alternate, or there are
            more than ``max_turns``.
    """
    if len(raw_turns) > config.max_turns:
        raise CorpusError(
            f"{key}: got {len(raw_turns)} turns, expected at most {config.max_turns}; split the dialogue, or raise "
            "corpus.max_turns"
        )
    turns: list[tuple[int, Turn]] = []
    for index, raw in enumerate(raw_turns):
        speaker = _speaker_of(raw.role, config, where=f"{key}[{index}].{role_key}")
        if speaker is None:
            continue
        if raw.text is None:
            if is_dropped("tool", config):
                continue
            raise CorpusError(
                f"{key}[{index}]: got a message that calls a tool and says nothing; set corpus.drop_roles to [tool], "
                "which leaves out such messages and those of tools"
            )
        turn = _turn(speaker, checked_text(raw.text, where=f"{key}[{index}].{text_key}"), labels=raw.labels)
        _check_text(turn, where=f"{key}[{index}]")
        turns.append((index, turn))
    if not any(turn.speaker is Speaker.USER for _, turn in turns):
        raise CorpusError(
            f"{key}: got {len(turns)} turns and none by the user, expected at least one; check who is called what "
            "(corpus.columns.user_values), or take the dialogue out"
        )
    if keep_one_sided and all(turn.speaker is Speaker.USER for _, turn in turns):
        return tuple(turn for _, turn in turns)
    return _alternating(turns, key=key, merge=merge)


def checked_text(text: str, *, where: str) -> str:
    """The text stripped. Half a surrogate pair (a cut emoji) is legal in JSON but no tokenizer can encode it.

    Raises:
        CorpusError: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where}: got half of a surrogate pair at character {error.start}, expected Unicode text; repair the "
            "emoji that was cut there, or take it out"
        ) from None
    return text.strip()


def value_text(value: Any) -> str:
    """A label or outcome as text: JSON where it is none."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_dropped(role: str, config: CorpusConfig) -> bool:
    """Whether turns of a role are left out."""
    return role.strip().casefold() in {dropped.casefold() for dropped in config.drop_roles}


def calls_tool(turn: Mapping[str, Any]) -> bool:
    """Whether a turn calls a tool, in the words of OpenAI's logs, which many others have."""
    return any(turn.get(key) and not is_missing(turn[key]) for key in ("tool_calls", "function_call"))


def listed(turns: Any) -> Any:
    """Turns that stand in a text as a JSON array, as a list; anything else as it is."""
    if isinstance(turns, str) and turns.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(turns)
    return turns


def num_dropped_turns(line: Mapping[str, Any], config: CorpusConfig) -> int:
    """How many turns of a line that was read are left out by ``drop_roles``; 0 where it is not set."""
    if not config.drop_roles:
        return 0
    turns = next((line[key] for key in ("turns", "messages") if key in line), ())
    return sum(_is_left_out(turn, config) for turn in turns)


def _is_left_out(turn: Mapping[str, Any], config: CorpusConfig) -> bool:
    role = next((turn[key] for key in ("speaker", "role") if key in turn), "")
    says = any(turn.get(key) and str(turn[key]).strip() for key in ("text", "content", "refusal"))
    return is_dropped(str(role), config) or (calls_tool(turn) and not says and is_dropped("tool", config))


def _speaker_of(role: str, config: CorpusConfig, *, where: str) -> Speaker | None:
    """Who speaks; None for a role that is left out."""
    plain = role.strip().casefold()
    columns = config.columns
    if is_dropped(role, config):
        return None
    if plain in {value.casefold() for value in columns.user_values}:
        return Speaker.USER
    if plain in {value.casefold() for value in columns.chatbot_values}:
        return Speaker.CHATBOT
    if plain in list(Speaker):  # the names of advsim's own format, whatever else the lists say
        return Speaker(plain)
    raise CorpusError(
        f"{where}: got {role[:60]!r}, expected one of {', '.join(columns.user_values)} for the user or of "
        f"{', '.join(columns.chatbot_values)} for 'chatbot'; name it in corpus.columns.user_values or "
        "corpus.columns.chatbot_values, or leave its turns out by corpus.drop_roles, as in [system, tool]"
    )


def _turn(speaker: Speaker, text: str, *, labels: Mapping[str, Any]) -> Turn:
    """A turn with its thought kept apart; a chatbot's may be all there is: a failed reply.

    A person may write such markup too: of a user's text only closed thoughts with a message beside them are apart.
    """
    separated = separate_thoughts(text)
    if speaker is Speaker.USER and (separated.is_unclosed or not separated.text):
        return Turn(speaker=speaker, text=text, labels=_labels(labels))
    return Turn(speaker=speaker, text=separated.text, labels=_labels(labels), thought=separated.thought)


def _check_text(turn: Turn, *, where: str) -> None:
    if not turn.thought and not any(map(_can_be_seen, turn.text)):
        raise CorpusError(
            f"{where}: got an empty text, expected at least one character; write what was sent (for a picture: "
            "[picture]) or take the turn out"
        )
    if turn.speaker is Speaker.USER and END_TOKEN in turn.text:
        raise CorpusError(
            f"{where}: got {END_TOKEN} in a user's text, expected it nowhere, because it is how the simulator ends a "
            "dialogue; take it out"
        )


def _can_be_seen(character: str) -> bool:
    """Whether a character is more than white space, a control or a format character (zero width, direction)."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _alternating(turns: Sequence[tuple[int, Turn]], *, key: str, merge: bool) -> tuple[Turn, ...]:
    before, first = turns[0]
    merged = [first]
    for index, turn in turns[1:]:
        if turn.speaker is not merged[-1].speaker:
            merged.append(turn)
        elif merge:
            merged[-1] = _joined(merged[-1], turn)
        else:
            raise CorpusError(
                f"{key}[{before}] and {key}[{index}]: got two turns in a row of the {turn.speaker}, expected "
                "speakers to alternate; merge them with a newline, or set corpus.merge_consecutive to true"
            )
        before = index
    return tuple(merged)


def _joined(first: Turn, second: Turn) -> Turn:
    labels = {
        key: (*first.labels.get(key, ()), *second.labels.get(key, ())) for key in {**first.labels, **second.labels}
    }
    return Turn(
        speaker=first.speaker,
        text="\n".join(text for text in (first.text, second.text) if text),
        labels=labels,
        thought="\n".join(thought for thought in (first.thought, second.thought) if thought),
    )


def _labels(labels: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        key: tuple(value_text(value) for value in (values if isinstance(values, list | tuple) else [values]))
        for key, values in labels.items()
        if not is_missing(values)
    }
