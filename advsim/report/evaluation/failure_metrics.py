"""Failures of chatbots as an evaluation wrote them to JSON: any figure may be missing or null."""

from __future__ import annotations

from pydantic import Field

from advsim.report.run.metrics import Figure, Part


class RatePart(Part):
    """A failure rate with its interval and both n."""

    estimate: Figure = None
    low: Figure = None
    high: Figure = None
    num_messages: int = 0
    num_dialogues: int = 0
    num_not_judged: int = 0


class DifferencePart(Part):
    """A failure rate less the reference's; ``mode`` None is any mode."""

    mode: str | None = None
    difference: Figure = None
    low: Figure = None
    high: Figure = None
    p_value: Figure = None
    p_adjusted: Figure = None
    equivalence_p: Figure = None
    margin: Figure = None


class DivergencePart(Part):
    """Divergence of the distribution over modes from the reference's."""

    jensen_shannon: Figure = None
    low: Figure = None
    high: Figure = None
    kl_real_simulated: Figure = None
    kl_simulated_real: Figure = None
    null_mean: Figure = None
    null_high: Figure = None
    p_value: Figure = None
    num_simulated_messages: int = 0
    num_real_messages: int = 0
    reason: str = ""


class BlamePart(Part):
    """Conversations by attribution."""

    num_by_blame: dict[str, int] = Field(default_factory=dict)
    num_by_fault: dict[str, int] = Field(default_factory=dict)
    rate_without_simulator_faults: RatePart = RatePart()


class CorrectedPart(Part):
    """A failure rate without the detector's errors."""

    estimate: Figure = None
    low: Figure = None
    high: Figure = None
    text: str = ""
    reason: str = ""


class PopulationTestPart(Part):
    """Whether simulated failures differ from the real ones beyond chance."""

    flagged: bool = False
    p_value: Figure = None


class FailuresPart(Part):
    """How the chatbot of a group fails."""

    rates: dict[str, RatePart] = Field(default_factory=dict)
    severities: dict[str, int] = Field(default_factory=dict)
    visibilities: dict[str, dict[str, int]] = Field(default_factory=dict)
    num_messages: int = 0
    num_errors: int = 0
    differences: tuple[DifferencePart, ...] = ()
    divergence: DivergencePart | None = None
    divergence_with_none: DivergencePart | None = None
    population_test: PopulationTestPart | None = None
    blame: BlamePart | None = None
    corrected: dict[str, CorrectedPart] = Field(default_factory=dict)
