"""Several chatbots side by side, as an evaluation wrote them to JSON: any figure may be missing or null."""

from __future__ import annotations

from pydantic import Field

from advsim.report.evaluation.failure_metrics import DifferencePart, PopulationTestPart, RatePart
from advsim.report.run.metrics import Figure, Part


class IntervalPart(Part):
    """Bounds by a named method, or why there are none."""

    method: str = ""
    low: Figure = None
    high: Figure = None
    reason: str = ""


class AgreementPart(Part):
    """A coefficient over chatbots, as observed and without the noise of the rates."""

    estimate: Figure = None
    disattenuated: Figure = None
    intervals: tuple[IntervalPart, ...] = ()
    reason: str = ""
    num_configurations: int = 0


class CeilingPart(Part):
    """What real rates reach against real rates."""

    pearson: Figure = None
    pearson_interval: IntervalPart = IntervalPart()
    concordance: Figure = None
    concordance_interval: IntervalPart = IntervalPart()
    reason: str = ""


class ValidityPart(Part):
    """Agreement of simulated with real rates over chatbots."""

    pearson: AgreementPart = AgreementPart()
    spearman: AgreementPart = AgreementPart()
    concordance: AgreementPart = AgreementPart()
    mean_difference: AgreementPart = AgreementPart()
    ceiling: CeilingPart = CeilingPart()
    verdict: str = ""
    sentence: str = ""
    num_configurations: int = 0
    num_simulated_dialogues: int = 0
    num_real_dialogues: int = 0


class ChatbotRatesPart(Part):
    """Rates of a chatbot by mode, on the sides that it is on."""

    chatbot: str
    simulated: dict[str, RatePart] = Field(default_factory=dict)
    real: dict[str, RatePart] = Field(default_factory=dict)


class PairPart(Part):
    """Two chatbots."""

    a: str
    b: str

    @property
    def label(self) -> str:
        """The pair as a difference."""
        return f"{self.a} \N{MINUS SIGN} {self.b}"


class AbTestPart(Part):
    """A minus B on the sides where it was tested, any mode (None) first."""

    pair: PairPart
    simulated: tuple[DifferencePart, ...] = ()
    real: tuple[DifferencePart, ...] = ()


class SharePart(Part):
    """A share of pairs."""

    value: Figure = None
    low: Figure = None
    high: Figure = None
    num_pairs: int = 0


class ReplicationPart(Part):
    """Whether A/B results replicate."""

    sign_agreement: SharePart = SharePart()
    sign_agreement_significant: SharePart = SharePart()
    soft_pairwise_accuracy: SharePart = SharePart()
    num_without_sign: int = 0
    num_equivalent: tuple[int, int] = (0, 0)


class ByChatbotPart(Part):
    """All that is said of several chatbots."""

    chatbots: tuple[ChatbotRatesPart, ...] = ()
    tests: tuple[AbTestPart, ...] = ()
    validity: ValidityPart | None = None
    validity_by_mode: dict[str, AgreementPart] = Field(default_factory=dict)
    population_test: PopulationTestPart | None = None
    replication: ReplicationPart | None = None
    left_out: tuple[str, ...] = ()
    reason: str = ""
