"""Rows of tables (parquet, hub data sets) -> native dialogue lines, by columns or by a known data set's format."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advsim.config import ColumnsConfig
from advsim.corpus.identity import content_id, is_missing, key_meant, plain_id
from advsim.corpus.schema import PROFILE_KEYS, describe, plain_text
from advsim.corpus.turns import listed
from advsim.errors import CorpusError

_LONG_NAMES = ("user_id", "split", "chatbot")
"""With ``id``, the keys of a native line that decide whose a dialogue is and where it goes."""
_INSTEAD_OF_TEXT = ("tool_calls", "function_call", "refusal")
"""Keys of a turn that may have no text, as chat logs have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One object of a source, or what kept it from being read. ``where`` is for messages: ``chats.jsonl line 3``."""

    where: str
    values: Mapping[str, Any]
    problem: str = ""


def needed_columns(columns: ColumnsConfig, present: Collection[str] = ()) -> list[str]:
    """Top-level columns that the mapping reads, without repeats.

    Args:
        columns: the mapping.
        present: names of the columns that are there: one with a dot in its name is meant before a part of a struct.
    """
    names = [
        columns.turns,
        columns.id,
        columns.user_id,
        columns.chatbot,
        columns.split,
        *columns.profile,
        *columns.session,
    ]
    return list(dict.fromkeys(name if name in present else name.partition(".")[0] for name in names if name))


def check_columns(present: Sequence[str], needed: Sequence[str], *, where: str) -> None:
    """Raises :class:`CorpusError` naming the columns that are missing or stand there twice, and those that exist."""
    if twice := [name for name in needed if present.count(name) > 1]:
        raise CorpusError(f"{where}: got two columns called {twice[0]}, expected one; rename one of them")
    missing = [name for name in needed if name not in present]
    if missing:
        raise CorpusError(
            f"{where}: got the columns {', '.join(present)}, expected also {', '.join(missing)}; say in corpus.columns "
            "what each is called here, or set corpus.preset"
        )


def unsaid_columns(present: Iterable[str], columns: ColumnsConfig) -> dict[str, str]:
    """Columns that mean something by their name and of which the mapping says nothing: ``{"userid": "user_id"}``.

    Null says that one is ignored on purpose. A configuration that spells out all older keys is one that a run wrote.

    Args:
        present: names of the columns, or of the keys of a mapped line.
        columns: the mapping.

    Returns:
        The key of ``corpus.columns`` that each of them could be, by its name; those of exactly that name first.
    """
    said = columns.model_fields_set
    if said >= type(columns).model_fields.keys() - {"split"}:
        return {}
    present = list(present)
    read = needed_columns(columns, present)
    meant = {
        name: key for name in present if name not in read and (key := key_meant(name, _LONG_NAMES)) and key not in said
    }
    return dict(sorted(meant.items(), key=lambda item: item[0] != item[1]))


def check_nothing_unsaid(row: Row, unsaid: Mapping[str, str]) -> None:
    """Refuse a table whose ids, users, chatbots or splits would be left unused without a word.

    Args:
        row: of the table, or a mapped line.
        unsaid: see :func:`unsaid_columns`.

    Raises:
        CorpusError: the row has a value of which nobody decided.
    """
    for name, key in unsaid.items():
        if plain_id(row.values.get(name)) is not None:
            likely = "" if name == key else f", and looks like {key}"
            raise CorpusError(
                f"{row.where}: key {name}: is there{likely}, but corpus.columns maps this file and does not name "
                f"it; set corpus.columns.{key} to {name} to use it, or to null to ignore it"
            )


def line_from_columns(row: Mapping[str, Any], columns: ColumnsConfig) -> dict[str, Any]:
    """A row as a native line, by the configured columns.

    Turns are a list of structs, a struct of lists (as older data set features have it) or a list of strings that
    alternate. One profile or session column is taken as it is; several become ``name: value.`` sentences.

    Raises:
        CorpusError: a column is missing, or the turns have another form.
    """
    turns = _turns_from_columns(listed(_reach(row, columns.turns)), columns)
    line: dict[str, Any] = {
        "id": _id_of_turns(turns, columns) if columns.id is None else _reach(row, columns.id),
        "context": {"profile": _layer(row, columns.profile), "session": _layer(row, columns.session)},
        "turns": turns,
    }
    if columns.user_id is not None:
        line["user_id"] = _reach(row, columns.user_id)
    if columns.chatbot is not None:
        line["chatbot"] = _reach(row, columns.chatbot)
    if columns.split is not None:
        line["split"] = plain_text(_reach(row, columns.split), where=f"column {columns.split}")
    return line


def line_from_esconv(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``thu-coai/esconv`` (Liu et al., ACL 2021) as a native line.

    The column ``text`` holds a JSON object with ``situation``, ``emotion_type``, ``problem_type``, ``experience_type``,
    ``survey_score`` and ``dialog``, one entry a typed line: consecutive ones of a speaker are one turn and must be
    merged. The data set has no ids; a hash of the turns is taken.

    Raises:
        CorpusError: the row has another form.
    """
    values = row if "dialog" in row else _parse_text_column(row)
    typed = values.get("dialog")
    if not isinstance(typed, list):
        raise CorpusError(f"dialog: got {type(typed).__name__}, expected a list of typed lines; check corpus.preset")
    turns = [_esconv_turn(entry, index) for index, entry in enumerate(typed)]
    surveys = values.get("survey_score")
    outcome = {
        f"{person}_{key}": value
        for person, survey in (surveys.items() if isinstance(surveys, Mapping) else ())
        for key, value in (survey.items() if isinstance(survey, Mapping) else ())
    }
    known = {
        "emotion": values.get("emotion_type"),
        "problem_type": values.get("problem_type"),
        "experience_type": values.get("experience_type"),
        "initial_emotion_intensity": outcome.get("seeker_initial_emotion_intensity"),
    }
    profile = describe((PROFILE_KEYS[key], value) for key, value in known.items())
    session = plain_text(values.get("situation"), where="situation")
    context = {"profile": profile, "session": session}
    return {"id": f"esconv-{content_id(turns)}", "context": context, "turns": turns, "outcome": outcome}


def lines_from_empathetic_dialogues(rows: Iterable[Row]) -> Iterator[Row]:
    """Utterance rows of ``facebook/empathetic_dialogues`` (Rashkin et al., ACL 2019) as one native line a dialogue.

    The speaker of the first utterance is the user, who was given the emotion (``context``) and wrote the situation
    (``prompt``). ``speaker_idx`` numbers the crowd workers over the whole data set. ``_comma_`` stands for a comma.
    The rows may stand in any order; a defect of one is one of its dialogue.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        conversation_id = plain_id(row.values.get("conv_id"))
        if row.problem:
            yield row
        elif not isinstance(conversation_id, str):
            yield replace(row, problem="column conv_id: missing, or neither text nor number; check corpus.preset")
        else:
            groups.setdefault(conversation_id, []).append(row)
    for conversation_id, group in groups.items():
        yield _line_from_utterances(conversation_id, group)


def _line_from_utterances(conversation_id: str, group: Sequence[Row]) -> Row:
    at = group[0]
    try:
        utterances = []
        for at in group:
            text = plain_text(_required(at, "utterance"), where="column utterance").replace("_comma_", ",")
            utterances.append((_utterance_number(at), plain_id(_required(at, "speaker_idx")), text, at))
        utterances.sort(key=lambda utterance: utterance[0])
        _, user, _, at = utterances[0]
        context = {
            "profile": describe([(PROFILE_KEYS["emotion"], at.values.get("context"))]),
            "session": plain_text(at.values.get("prompt"), where="column prompt").replace("_comma_", ","),
        }
    except CorpusError as error:
        return Row(where=f"{at.where}, conv_id {conversation_id}", values={}, problem=str(error))
    turns = [{"speaker": "user" if speaker == user else "chatbot", "text": text} for _, speaker, text, _ in utterances]
    values = {"id": conversation_id, "user_id": user, "context": context, "turns": turns}
    return Row(where=f"{at.where}, conv_id {conversation_id}", values=values)


def _turns_from_columns(turns: Any, columns: ColumnsConfig) -> list[dict[str, Any]]:
    if isinstance(turns, Mapping):
        lists = {key: value for key, value in turns.items() if isinstance(value, list)}
        if len(set(map(len, lists.values()))) > 1:
            sizes = ", ".join(f"{key} of {len(value)}" for key, value in lists.items())
            raise CorpusError(
                f"column {columns.turns}: got lists of different lengths ({sizes}), expected one entry a turn in each; "
                "correct them"
            )
        turns = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    if not isinstance(turns, list) or not turns:
        got = "an empty list" if turns == [] else type(turns).__name__
        raise CorpusError(
            f"column {columns.turns}: got {got}, expected a list of turns; name the right one in corpus.columns.turns"
        )
    if all(isinstance(turn, str) for turn in turns):
        order = ("user", "chatbot") if columns.first_speaker == "user" else ("chatbot", "user")
        return [{"speaker": order[index % 2], "text": text} for index, text in enumerate(turns)]
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise CorpusError(
                f"column {columns.turns}[{index}]: got {type(turn).__name__}, expected a struct of speaker and text, "
                "as in the other turns; correct it"
            )
    speakers = [str(_reach(turn, columns.speaker)) for turn in turns]
    users = {value.casefold() for value in columns.user_values}
    if not {speaker.strip().casefold() for speaker in speakers} & users:
        raise CorpusError(
            f"column {columns.turns}: got the speakers {', '.join(sorted(set(speakers)))}, expected one of "
            f"{', '.join(columns.user_values)} for the user; name the user's in corpus.columns.user_values"
        )
    return [_turn_from_columns(speaker, turn, columns) for speaker, turn in zip(speakers, turns, strict=True)]


def _turn_from_columns(speaker: str, turn: Mapping[str, Any], columns: ColumnsConfig) -> dict[str, Any]:
    instead = {key: turn[key] for key in _INSTEAD_OF_TEXT if turn.get(key) and not is_missing(turn[key])}
    text = None if instead and columns.text not in turn else _reach(turn, columns.text)
    return {"speaker": speaker, "text": text, **instead}


def _id_of_turns(turns: Sequence[Mapping[str, Any]], columns: ColumnsConfig) -> str:
    named = [{**turn, "speaker": "user" if turn["speaker"] in columns.user_values else "chatbot"} for turn in turns]
    return content_id(named)


def _reach(row: Mapping[str, Any], name: str) -> Any:
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise CorpusError(f"column {name}: missing; say in corpus.columns what it is called here")
        value = value[part]
    return value


def _layer(row: Mapping[str, Any], names: Sequence[str]) -> str:
    if len(names) == 1:
        return plain_text(_reach(row, names[0]), where=f"column {names[0]}")
    return describe((name.rpartition(".")[2], _reach(row, name)) for name in names)


def _parse_text_column(row: Mapping[str, Any]) -> Mapping[str, Any]:
    text = row.get("text")
    if not isinstance(text, str):
        raise CorpusError(f"column text: got {type(text).__name__}, expected a JSON string; check corpus.preset")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"column text: not valid JSON ({error}); check corpus.preset") from None
    if not isinstance(values, dict):
        raise CorpusError(f"column text: got a JSON {type(values).__name__}, expected an object; check corpus.preset")
    return values


def _esconv_turn(entry: Any, index: int) -> dict[str, Any]:
    speaker = entry.get("speaker") if isinstance(entry, Mapping) else None
    if speaker not in ("usr", "sys"):
        raise CorpusError(f"dialog[{index}].speaker: got {speaker!r}, expected 'usr' or 'sys'; check corpus.preset")
    labels = {key: entry[key] for key in ("strategy", "feedback") if entry.get(key) is not None}
    return {"speaker": "user" if speaker == "usr" else "chatbot", "text": entry.get("text"), "labels": labels}


def _utterance_number(row: Row) -> int:
    value = _required(row, "utterance_idx")
    try:
        return int(plain_id(value))
    except (TypeError, ValueError):
        raise CorpusError(
            f"column utterance_idx: got {str(value)[:60]!r}, expected a whole number; correct it"
        ) from None


def _required(row: Row, name: str) -> Any:
    value = row.values.get(name)
    if is_missing(value):
        raise CorpusError(f"column {name}: missing; check corpus.preset and corpus.path")
    return value
