"""The failure modes and their rubric: those that ship (``taxonomy.yaml``) and the user's own, read from YAML."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StrictBool, StringConstraints, ValidationError

from advsim.config import read_yaml
from advsim.config.paths import local_path
from advsim.errors import ConfigError
from advsim.rates.rates import ANY
from advsim.records import Visibility

SHIPPED_TAXONOMY = Path(__file__).with_name("taxonomy.yaml")

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A user turn with a chatbot's reply, and why it is (or is not) a case of the mode."""

    user: str
    reply: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A way in which a chatbot's message can fail.

    Attributes:
        id: short id, as it stands in labels.
        name: for people.
        definition: what counts, what does not, and the rule for borderline cases.
        severities: what minor (1), moderate (2) and severe (3) mean here, in this order.
        visibility: whether the message and the turn it answers are enough, or earlier turns may be needed too.
        is_omission: whether it can lie in what the message leaves out; then no words of the message need show it.
        cues: what a program without a language model can look for.
        examples: exchanges that are a case of the mode; at least two.
        counter_examples: near misses that are not; at least two.
    """

    id: str
    name: str
    definition: str
    severities: tuple[str, str, str]
    visibility: Visibility
    is_omission: bool = False
    cues: tuple[str, ...]
    examples: tuple[Exchange, ...]
    counter_examples: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxonomy:
    """The modes a study knows, in the order in which they are reported."""

    modes: tuple[Mode, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the modes, in order."""
        return tuple(mode.id for mode in self.modes)

    def mode(self, id: str) -> Mode:
        """The mode with this id.

        Raises:
            ConfigError: there is none.
        """
        for mode in self.modes:
            if mode.id == id:
                return mode
        raise ConfigError(f"unknown failure mode {id!r}{_nearest(id, self.ids)}")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ExchangeSection(_Section):
    user: _Text
    reply: _Text
    why: str = ""


class _ModeSection(_Section):
    """Fields of a mode in YAML. None, in an overlay, keeps what the mode has."""

    name: _Text | None = None
    definition: _Text | None = None
    severities: tuple[_Text, _Text, _Text] | None = None
    visibility: Visibility | None = None
    is_omission: StrictBool | None = None
    cues: tuple[_Text, ...] | None = None
    examples: tuple[_ExchangeSection, ...] | None = None
    counter_examples: tuple[_ExchangeSection, ...] | None = None


class _TaxonomySection(_Section):
    modes: dict[_Id, _ModeSection]


_FIELDS = tuple(_ModeSection.model_fields)
_OPTIONAL = ("is_omission",)  # false where a new mode does not say it
MIN_EXCHANGES = 2
"""Examples, and counter-examples, that a mode needs: a boundary shown from one side only is no boundary."""


def load_taxonomy(path: str | Path | None = None) -> Taxonomy:
    """The taxonomy that ships, with a user's YAML laid over it.

    The YAML has one key, ``modes``, with a mapping from mode id to fields (those of :class:`Mode`; ``severities`` is a
    list of three texts, ``examples`` a list of ``user``, ``reply`` and, optionally, ``why``). A known id replaces the
    fields that are given and keeps the others; an unknown id adds a mode, and needs them all but ``is_omission``.

    Args:
        path: the user's YAML; None is the taxonomy that ships.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value is empty or of the wrong type, or a new mode
            lacks a field. The message names file and key.
    """
    modes = _overlay({}, SHIPPED_TAXONOMY)
    if path is not None:
        modes = _overlay(modes, local_path(str(path), key="taxonomy"))
    return Taxonomy(modes=tuple(modes.values()))


def _overlay(modes: Mapping[str, Mode], path: Path) -> dict[str, Mode]:
    values: dict[Any, Any] = read_yaml(path)
    try:
        section = _TaxonomySection.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(detail) for detail in error.errors())) from None
    merged = dict(modes)
    if ANY in section.modes:
        raise ConfigError(f"{path}: modes.{ANY}: in all tables {ANY!r} is any failure; call the mode otherwise")
    for id, fields in section.modes.items():
        merged[id] = _merge(id, modes.get(id), fields, modes, path)
    return merged


def _merge(id: str, known: Mode | None, fields: _ModeSection, modes: Mapping[str, Mode], path: Path) -> Mode:
    missing = [name for name in _FIELDS if getattr(fields, name) is None]
    lacking = [name for name in missing if name not in _OPTIONAL]
    if known is None and lacking:
        hint = _nearest(id, tuple(modes)) or "; a new mode needs every field"
        raise ConfigError(f"{path}: modes.{id} is no mode that ships, and lacks {', '.join(lacking)}{hint}")
    given: dict[str, Any] = {name: getattr(fields, name) for name in _FIELDS if name not in missing}
    for name in ("examples", "counter_examples"):
        if name in given:
            if len(given[name]) < MIN_EXCHANGES:
                raise ConfigError(
                    f"{path}: modes.{id}.{name}: got {len(given[name])}, expected >= {MIN_EXCHANGES}; "
                    "write one more exchange of user and reply"
                )
            given[name] = tuple(Exchange(user=it.user, reply=it.reply, why=it.why.strip()) for it in given[name])
    kept = {} if known is None else {name: getattr(known, name) for name in missing}
    return Mode(id=id, **kept, **given)


def _explain(detail: Any) -> str:
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    key = ".".join(location) or "(whole file)"
    if detail["type"] == "extra_forbidden":
        valid = {1: ("modes",), 3: _FIELDS}.get(len(location), tuple(_ExchangeSection.model_fields))
        return f"unknown key {key}{_nearest(location[-1], valid)}"
    if detail["type"] == "string_pattern_mismatch":
        return f"{key}: a mode id has lower-case letters, digits and underscores only, and starts with a letter"
    return f"{key}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _nearest(name: str, valid: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; valid: {', '.join(valid)}" if valid else ""
