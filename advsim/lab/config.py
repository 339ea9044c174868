"""The lab's configuration: who the users are, which simulators are tried, how large a study is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from advsim.config import Fraction, Section, Seed

TRAITS = ("courtesy", "brevity", "disclosure", "crisis", "advice", "absolutes", "leaving", "repeating")
"""What a user is described by, all of them probabilities; each is documented in :class:`KindConfig`."""


class KindConfig(Section):
    """A kind of user. Traits are means over the users of the kind, who differ from each other (``spread``)."""

    share: Annotated[float, Field(gt=0.0, le=1e9, strict=True)]
    """Weight of the kind among users; weights need not add up to 1."""
    courtesy: Fraction
    """Probability that a turn is courteous; the other turns are curt or irritated."""
    brevity: Fraction
    """Probability that a turn is a few words only."""
    disclosure: Fraction
    """Probability that a turn shows distress."""
    crisis: Fraction
    """Probability that a session comes to thoughts of suicide; they show from some turn on, with gaps."""
    advice: Fraction
    """Probability that a turn asks for advice."""
    absolutes: Fraction
    """Probability that a turn states a belief in absolutes: always, never, everyone."""
    leaving: Annotated[float, Field(gt=0.0, le=1.0, strict=True)]
    """Probability of leaving after each turn from the second on."""
    repeating: Fraction
    """Probability that a turn says the previous one again."""


class SimulatorConfig(Section):
    """A simulator: the population with some traits set to another mean. With nothing set it equals the population."""

    only: str | None = None
    """Keep one kind of user; None keeps all."""
    courtesy: Fraction | None = None
    brevity: Fraction | None = None
    disclosure: Fraction | None = None
    crisis: Fraction | None = None
    advice: Fraction | None = None
    absolutes: Fraction | None = None
    leaving: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] | None = None
    repeating: Fraction | None = None

    @property
    def is_right(self) -> bool:
        """Whether it equals the population."""
        return not self.model_dump(exclude_none=True)


class LabConfig(Section):
    """Everything of ``configs/lab.yaml``."""

    seed: Seed = 0
    num_repetitions: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = 40
    """Studies to repeat. The benchmark takes at least 500; these are enough for a first look."""
    num_workers: Annotated[int, Field(ge=1, le=1_024, strict=True)] = 2
    """Processes that share the repetitions; results do not depend on it."""
    num_chatbots: Annotated[int, Field(ge=2, le=1_000, strict=True)] = 24
    """Chatbot configurations a study, drawn anew in each from the same population of chatbots."""
    num_users: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 60
    """Users who meet one chatbot, real and simulated each; everyone has one to three sessions."""
    max_user_turns: Annotated[int, Field(ge=2, le=1_000, strict=True)] = 12
    """Longest dialogue."""
    num_bootstrap: Annotated[int, Field(ge=100, le=1_000_000, strict=True)] = 300
    """Bootstrap samples an interval."""
    num_permutations: Annotated[int, Field(ge=39, le=1_000_000, strict=True)] = 399
    """Permutations of the test that flags a simulator."""
    alpha: Annotated[float, Field(ge=0.01, lt=1.0, strict=True)] = 0.025
    """Level of that test: the share of right simulators that it may flag."""
    num_truth_users: Annotated[int, Field(ge=1000, le=100_000_000, strict=True)] = 200_000
    """Users of the sample that true rates come from."""
    num_truth_chatbots: Annotated[int, Field(ge=100, le=100_000_000, strict=True)] = 20_000
    """Chatbots of the sample that the true correlation comes from."""
    spread: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] = 8.0
    """How alike users of one kind are: a trait is drawn from a beta distribution of this concentration (a + b)."""
    population: dict[str, KindConfig]
    """The kinds of users there are."""
    simulators: dict[str, SimulatorConfig]
    """Simulators to try. Those that differ from the population should be flagged, one that equals it should not."""

    @model_validator(mode="after")
    def _kinds_exist(self) -> LabConfig:
        if not self.population or not self.simulators:
            raise ValueError("population and simulators: expected at least one entry each")
        for name, simulator in self.simulators.items():
            if simulator.only is not None and simulator.only not in self.population:
                raise ValueError(
                    f"simulators.{name}.only: got {simulator.only!r}, expected one of {', '.join(self.population)}"
                )
        return self
