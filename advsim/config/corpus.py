"""Where the real dialogues come from and how they are split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from advsim.config.base import CountOrZero, Flag, Fraction, Section

PRESET_HUB_IDS = {"esconv": "thu-coai/esconv", "empathetic_dialogues": "facebook/empathetic_dialogues"}


class ColumnsConfig(Section):
    """Which columns (keys of a JSON line) hold what. Dotted names reach into structs."""

    id: str | None = None
    """None makes ids of a hash of the turns, so that a dialogue keeps its id, and with it its split, when rows move."""
    user_id: str | None = None
    chatbot: str | None = None
    """Name of the chatbot configuration that answered, where a data set holds several."""
    split: str | None = None
    """``train``, ``validation`` or ``test`` of each dialogue; None: a hash decides."""
    turns: str = "turns"
    """A list of structs (speaker and text), or of strings that alternate and start with ``first_speaker``."""
    speaker: str = "speaker"
    text: str = "text"
    first_speaker: Literal["user", "chatbot"] = "user"
    user_values: tuple[str, ...] = ("user", "usr", "seeker", "client", "customer", "human")
    """Roles that mean the user, in every format; case does not count. One that is named here is no longer among the
    default ones of the chatbot, and the other way round."""
    chatbot_values: tuple[str, ...] = (
        "assistant", "chatbot", "bot", "supporter", "agent", "helper", "counselor", "counsellor", "therapist", "gpt",
        "model", "ai",
    )  # fmt: skip
    """Roles that mean the chatbot, in every format. A role that is in no list is refused by name."""
    profile: tuple[str, ...] = ()
    session: tuple[str, ...] = ()

    @property
    def maps_lines(self) -> bool:
        """Whether it says where something stands, not only which roles are whose."""
        return self.model_copy(update=_DEFAULT_ROLES) != ColumnsConfig()

    @model_validator(mode="before")
    @classmethod
    def _named_roles_change_sides(cls, values: Any) -> Any:
        """Take roles named for one side out of the other's default, also where a run wrote that default out."""
        if not isinstance(values, dict):
            return values
        for name, other in (("user_values", "chatbot_values"), ("chatbot_values", "user_values")):
            default = _DEFAULT_ROLES[other]
            roles = values.get(name)
            if isinstance(roles, list | tuple) and values.get(other, default) in (default, list(default)):
                named = {str(role).casefold() for role in roles}
                if not named.isdisjoint(default):
                    return {**values, other: tuple(role for role in default if role not in named)}
        return values

    @model_validator(mode="after")
    def _roles_are_told_apart(self) -> ColumnsConfig:
        both = {role.casefold() for role in self.user_values} & {role.casefold() for role in self.chatbot_values}
        if both:
            raise ValueError(f"{', '.join(sorted(both))} is in user_values and in chatbot_values; leave it in one")
        return self


_DEFAULT_ROLES = {name: ColumnsConfig.model_fields[name].default for name in ("user_values", "chatbot_values")}


class CorpusConfig(Section):
    """Where the real dialogues come from and how they are split."""

    source: Literal["sample", "jsonl", "parquet", "hub"] = "sample"
    """``sample`` ships with advsim; ``jsonl`` (plain or .gz) and ``parquet`` are files; ``hub`` is a data set's id."""
    path: str | None = None
    """File of ``jsonl`` or ``parquet``; for ``hub`` the data set's id. Setting it alone on ``sample`` implies jsonl."""
    preset: Literal["esconv", "empathetic_dialogues"] | None = None
    """Row format of a known hub data set; alone it implies ``hub`` and that data set's id. Without one, ``columns``
    says it."""
    hub_split: str = "train"
    hub_subset: str | None = None
    """Subset ("config") of a hub data set that has several."""
    hub_revision: str | None = None
    """Commit, tag or branch of a hub data set; None is the preset's, else the default branch."""
    columns: ColumnsConfig = ColumnsConfig()
    merge_consecutive: Flag = False
    """Join turns of one speaker that follow each other with a newline. Off, so that a log that lost turns is noticed;
    presets always join, because their corpora keep one row a typed line."""
    drop_roles: tuple[str, ...] = ()
    """Roles whose turns are left out, such as ``[system, tool]``; ``tool`` also leaves out messages of the
    chatbot that call a tool and say nothing."""
    max_bad_dialogues: CountOrZero = 0
    """So many dialogues that break the schema may be left out, with a warning; one more is an error."""
    too_long: Literal["error", "drop", "cut"] = "error"
    """What is done with a dialogue in which a user turn has no prompt, because its context and one chatbot turn exceed
    the budget: refused, left out, or cut to the longest beginning that fits and ends with a user turn (left out where
    there is none). ``too_long.json`` in the run folder names them."""
    validation_fraction: Fraction = 0.2
    """Share of users (or dialogues, where users are unknown) kept for the held-out realism tests of the rounds."""
    test_fraction: Fraction = 0.1
    """Share kept untouched for ``advsim evaluate``."""
    max_turns: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = 10_000
    """Turns of one dialogue at most; a longer one is mostly a log of many."""
    max_dialogues: Annotated[int, Field(ge=1, le=100_000_000, strict=True)] | None = None
    """Use only so many dialogues (a stable choice by hash); None uses all."""

    @model_validator(mode="before")
    @classmethod
    def _preset_implies_hub(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("path") and values.get("source", "hub") == "hub":
            hub_id = PRESET_HUB_IDS.get(str(values.get("preset")))
            return {**values, "source": "hub", "path": hub_id} if hub_id else values
        return values

    @model_validator(mode="before")
    @classmethod
    def _path_implies_jsonl(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("path") and values.get("source", "sample") == "sample":
            parquet = str(values["path"]).endswith(".parquet")
            return {**values, "source": "parquet" if parquet else "jsonl"}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> CorpusConfig:
        if self.source != "sample" and self.path is None:
            raise ValueError(f"source {self.source} needs corpus.path")
        if self.source == "sample" and self.preset is not None:
            raise ValueError(f"preset {self.preset} does not fit source sample; set source to hub, parquet or jsonl")
        if self.source != "hub" and (self.hub_subset is not None or self.hub_revision is not None):
            raise ValueError(
                f"hub_subset and hub_revision have no effect with source {self.source}; set source to hub, or leave out"
            )
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must stay below 1, or nothing is left to train on")
        return self
