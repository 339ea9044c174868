"""A sweep: simulated users, and real people's messages, meet several chatbots."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from advsim.config.base import BRANCH, BestOf, Count, Flag, Seconds, Section, Seed
from advsim.config.evaluate import EvaluateConfig

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]
"""A name that names a folder too."""

DesignName = Literal["free", "replay", "paired"]
_RUN_PLACE = re.compile(r"zero_shot|sft|round_[1-9][0-9]{0,5}")
_TAKEN = ("replay", "real")


class SimulatorConfig(Section):
    """A simulator that is not one of the sweep's own run. One of ``run``, ``adapter``, ``lines`` and ``mixture``."""

    name: FolderName
    run: Annotated[str, Field(min_length=1)] | None = None
    """Folder of a run on the same base model: another one, or the sweep's own."""
    at: str | None = None
    """Which of that run's: ``zero_shot``, ``sft``, ``round_1``, ...; None: its last."""
    adapter: Annotated[str, Field(min_length=1)] | None = None
    """Folder of a LoRA adapter as PEFT writes it, of the same base model."""
    best_of: BestOf = 1
    """Of so many draws of each of its turns, the one is said that the run's probe finds most like what a person would
    say there. Needs a ``run`` that trained one (``discriminator.on: prefixes``); 8 is a good number."""
    lines: tuple[str, ...] = ()
    """Fixed words, one a user turn, begun again where they end; ``[END]`` leaves the chat. No model is needed."""
    mixture: dict[str, Annotated[float, Field(gt=0.0, le=1e6, strict=True)]] = Field(default_factory=dict)
    """Weights of other simulators of the sweep, by name. Nothing is simulated for it: of each scenario it takes the
    conversation of the one that a hash draws."""

    @model_validator(mode="after")
    def _one_kind(self) -> SimulatorConfig:
        given = [key for key in ("run", "adapter", "lines", "mixture") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"simulator {self.name}: got {' and '.join(given) or 'nothing that speaks'}, expected one of run, "
                "adapter, lines and mixture"
            )
        if self.at is not None and self.run is None:
            raise ValueError(f"simulator {self.name}: at is a place in a run, but there is no run; leave it out")
        if self.at is not None and not _RUN_PLACE.fullmatch(self.at):
            raise ValueError(f"simulator {self.name}: at is {self.at!r}, expected zero_shot, sft or round_N")
        if self.best_of > 1 and (self.run is None or self.at == "zero_shot"):
            raise ValueError(
                f"simulator {self.name}: best_of chooses by the probe of a run, which knows draws of its adapters; "
                "give run, and at: sft or round_N, or leave best_of out"
            )
        if self.name in _TAKEN:
            raise ValueError(f"simulator {self.name}: that name is of the real side; choose another")
        if not all(line.strip() for line in self.lines):
            raise ValueError(f"simulator {self.name}: got an empty line, expected text in each")
        return self


NamedOrGiven = Annotated[
    Annotated[str, Tag(f"{BRANCH}name")] | Annotated[SimulatorConfig, Tag(f"{BRANCH}given")],
    Discriminator(lambda value: f"{BRANCH}name" if isinstance(value, str) else f"{BRANCH}given"),
]
"""A simulator of the sweep's run by its name, or one that is none of that run's."""


class CapsConfig(Section):
    """Where a sweep stops for now. What it has is kept and measured; the same command with a higher cap goes on."""

    max_minutes: Annotated[float, Field(ge=0.01, le=1e6, strict=True)] | None = None
    """Minutes of simulating and replaying in one call of the command; None: no limit."""
    max_cost: Annotated[float, Field(gt=0.0, le=1e9, strict=True)] | None = None
    """Money for the chatbots' tokens in one call of the command, by their prices; None: no limit. Calls that are under
    way are still paid, and what a chatbot does not tell cannot be counted."""
    max_dialogues: Count | None = None
    """Conversations and replies in one call of the command; None: no limit."""


class SweepConfig(Section):
    """A sweep: simulated users, and real people's messages, meet several chatbots."""

    run: Annotated[str, Field(min_length=1)] | None = None
    """Folder of a finished run: its simulators, its model and engines, and its held-out dialogues. None: simulators
    with ``lines``, or of their own run or adapter, on ``scenarios`` of a file."""
    chatbots: Annotated[tuple[str, ...], Field(min_length=1)] = ("configs/chatbots",)
    """Chatbot files, or folders of them."""
    simulators: tuple[NamedOrGiven, ...] = ()
    """Some of ``zero_shot``, ``sft``, ``round_1``, ... of the run, and others; empty: all that the run has."""
    designs: Annotated[tuple[DesignName, ...], Field(min_length=1)] | None = None
    """``free``: the simulator plays the whole dialogue; ``replay``: chatbots answer real prefixes; ``paired``: they
    answer the same prefixes with the user's last turn written by the simulator, so that only that turn differs
    (``replay`` comes with it). None: ``free`` and, with a run, ``replay``."""
    scenarios: str | None = None
    """File of scenarios or personas (YAML list or JSON lines); None: the run's held-out dialogues."""
    num_conversations: Count = 16
    """Of each simulator with each chatbot; scenarios are used again, with other seeds, where there are fewer."""
    num_prefixes: Count = 80
    """Real prefixes that each chatbot answers, one message each."""
    max_user_turns: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 3
    """Of a conversation, and of a prefix."""
    baseline: str = "assistant"
    """The chatbot that A/B pairs compare with."""
    stop_early: Flag = False
    """Let a simulator talk to a chatbot no more once the sign of its difference from the baseline is decided, by a
    confidence sequence that may be looked at any time (:mod:`advsim.rates.sequential`). Looks are taken while scenarios
    are new, from 30 people on."""
    output: str | None = None
    """Folder of what was simulated and found; None: ``sweep`` in the run folder."""
    seed: Seed = 0
    evaluate: EvaluateConfig = EvaluateConfig()
    """The detector of both sides' failures, and what it is worth."""
    run_overrides: tuple[str, ...] = ()
    """``key.path=value`` each, of the run's configuration (without a run, of the default one): where its corpus lies
    now, or how its engines run here."""
    caps: CapsConfig = CapsConfig()
    shard_size: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 64
    """Dialogues in one file, and judged by one task."""
    write_every_s: Seconds = 20.0
    """Finished dialogues wait at most about so long for being written; a kill loses no more."""
    tokens_per_s: Annotated[float, Field(ge=0.01, le=1e9, strict=True)] = 300.0
    """For the estimate of the work only."""

    @field_validator("designs")
    @classmethod
    def _each_design_once(cls, value: tuple[DesignName, ...] | None) -> tuple[DesignName, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("got a design twice, expected each once")
        return value

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> SweepConfig:
        names = [each if isinstance(each, str) else each.name for each in self.simulators]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"simulators: got {doubled[0]} twice, expected names that differ")
        of_the_run = [name for name in self.simulators if isinstance(name, str)]
        if self.run is None:
            if of_the_run or not self.simulators:
                what = f"{of_the_run[0]} is one of a run" if of_the_run else "there is none"
                raise ValueError(
                    f"simulators: {what}, but the sweep has no run; name the run, for example -o run=runs/quickstart, "
                    "or give simulators with lines, adapter or a run of their own"
                )
            if self.scenarios is None:
                raise ValueError(
                    "scenarios: there is no run with held-out dialogues; give a file of scenarios, or the run"
                )
            if self.output is None:
                raise ValueError("output: there is no run to put the results beside; give a folder")
            if set(self.chosen_designs) != {"free"}:
                raise ValueError(
                    "designs: replay and paired need real dialogues, those of a run; name the run, or leave "
                    "designs: [free]"
                )
        for each in self.simulators:
            if isinstance(each, SimulatorConfig) and (unknown := sorted(set(each.mixture) - set(names) - {each.name})):
                raise ValueError(f"simulator {each.name}: mixture names {unknown[0]}, which is no simulator here")
        if self.stop_early and any(not isinstance(each, str) and each.mixture for each in self.simulators):
            raise ValueError(
                "stop_early: chatbots that are stopped after different numbers of scenarios would meet other people "
                "in a mixture; leave the mixture or stop_early out"
            )
        mixed = {each.name for each in self.simulators if isinstance(each, SimulatorConfig) and each.mixture}
        for each in self.simulators:
            if isinstance(each, SimulatorConfig) and (inner := sorted(set(each.mixture) & mixed)):
                raise ValueError(
                    f"simulator {each.name}: its mixture names {inner[0]}, which is a mixture; leave it out"
                )
        return self

    @property
    def chosen_designs(self) -> tuple[DesignName, ...]:
        """The designs in order, the default ones where none are named."""
        if self.designs is None:
            return ("free",) if self.run is None else ("free", "replay")
        order: tuple[DesignName, ...] = ("free", "replay", "paired")
        wanted = {*self.designs, *(("replay",) if "paired" in self.designs else ())}
        return tuple(name for name in order if name in wanted)
