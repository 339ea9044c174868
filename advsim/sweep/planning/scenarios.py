"""Scenarios of a sweep: held-out dialogues of its run, or personas and scenarios of a file."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from advsim.config import SweepConfig
from advsim.config.paths import local_path
from advsim.config.yaml_text import parse_yaml
from advsim.corpus.prefixes import Prefix, user_of
from advsim.errors import ConfigError, one_line
from advsim.records import Context, Dialogue, Scenario, Speaker
from advsim.sweep.replay import choose_replay_prefixes

_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a simulated conversation starts.

    Attributes:
        scenario: what the simulator knows, and the opening of a chatbot that spoke first.
        cluster: whose it is: what happens with one person's scenarios is no independent evidence.
    """

    scenario: Scenario
    cluster: str


class _Line(BaseModel):
    """One scenario of a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1, max_length=500)]
    user_id: str | None = None
    profile: str = ""
    themes: list[str] = []
    earlier_sessions: list[str] = []
    session: str = ""
    opening: str = ""


_LINES: TypeAdapter[list[_Line]] = TypeAdapter(list[_Line])


def read_scenarios(file: str) -> tuple[Start, ...]:
    """Scenarios of a file: a YAML list (``.yaml``), or JSON lines.

    Each has an ``id``, and at least one of ``profile`` (who writes), ``themes``, ``earlier_sessions`` and ``session``
    (what brings them today). ``opening`` is a chatbot's first message, said before the user's; ``user_id`` joins
    scenarios of one person.

    Raises:
        ConfigError: the file cannot be read, or a scenario in it is not valid.
    """
    path = local_path(file, key="scenarios")
    try:
        lines = _LINES.validate_python(_values(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        where = f"scenario {int(place[0]) + 1}, " + ".".join(map(str, place[1:])) if place else "the file"
        raise ConfigError(
            f"{file}, {where}: {first['msg']}; expected scenarios with id and some of profile, themes, "
            "earlier_sessions, session, opening, user_id"
        ) from None
    ids = [line.id for line in lines]
    doubled = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if doubled:
        raise ConfigError(f"{file}: got two scenarios with id {doubled[0]}; give each its own")
    if not lines:
        raise ConfigError(f"{file}: got no scenario, expected at least one")
    return tuple(_start(line, file) for line in lines)


def held_out_starts(order: Sequence[Dialogue]) -> tuple[Start, ...]:
    """Scenarios of the first half of the held-out dialogues: the other half is for replay, now or later."""
    return tuple(Start(scenario=dialogue.scenario, cluster=user_of(dialogue)) for dialogue in order[: len(order) // 2])


def held_out_order(held_out: Sequence[Dialogue], seed: int) -> list[Dialogue]:
    """Held-out dialogues in an order that depends on them and the seed alone."""
    order = sorted(held_out, key=lambda dialogue: dialogue.id)
    random.Random(seed).shuffle(order)
    return order


def prefixes_of_others(order: Sequence[Dialogue], starts: Sequence[Start], settings: SweepConfig) -> tuple[Prefix, ...]:
    """Prefixes of people who are never simulated: what one person brings would make both sides alike by itself.

    They do not depend on how many scenarios are used, so that a sweep can be made longer.
    """
    simulated = {start.cluster for start in starts}
    others = [dialogue for dialogue in order if user_of(dialogue) not in simulated]
    return tuple(
        choose_replay_prefixes(
            others,
            num_prefixes=settings.num_prefixes,
            seed=settings.seed,
            max_user_turn=settings.max_user_turns,
        )
    )


def _values(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: over {_MAX_BYTES // 2**20} MiB, which is no file of scenarios")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"scenarios: cannot read {path} ({one_line(str(error), max_characters=200)})") from None
    if path.suffix in (".yaml", ".yml"):
        return parse_yaml(text, where=str(path))
    values = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"{path}, line {number}: no JSON ({error!s:.100})") from None
    return values


def _start(line: _Line, file: str) -> Start:
    context = Context(
        profile=line.profile.strip(),
        themes=tuple(line.themes),
        earlier_sessions=tuple(line.earlier_sessions),
        session=line.session.strip(),
    )
    if context == Context():
        raise ConfigError(f"{file}, scenario {line.id}: says nothing of the person; give profile or session")
    opening = line.opening.strip()
    return Start(
        scenario=Scenario(
            id=line.id,
            context=context,
            opens_with=Speaker.CHATBOT if opening else Speaker.USER,
            opening=opening,
        ),
        cluster=f"user {line.user_id}" if line.user_id else f"scenario {line.id}",
    )
