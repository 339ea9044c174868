"""An evaluation as it was written to JSON (``metrics.json``): any figure may be missing or null."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, ValidationError

from advsim.errors import RunError
from advsim.report.chatbots.metrics import ByChatbotPart
from advsim.report.evaluation.failure_metrics import FailuresPart
from advsim.report.run.metrics import Diversity, Figure, Figures, Notes, Part


class HabitPart(Part):
    """Distribution of a typing habit over dialogues."""

    habit: str
    mean: Figure = None
    std: Figure = None
    p10: Figure = None
    p50: Figure = None
    p90: Figure = None
    num_dialogues: int = 0


class HabitComparisonPart(Part):
    """A typing habit against the reference's users."""

    habit: str
    real: HabitPart
    simulated: HabitPart
    wasserstein: Figure = None
    ks: Figure = None
    p_value: Figure = None
    p_adjusted: Figure = None
    std_ratio: Figure = None
    std_ratio_low: Figure = None
    std_ratio_high: Figure = None
    note: str = ""


class SpreadPart(Part):
    """All habits, and at how many user turns of each dialogue they were taken."""

    habits: tuple[HabitComparisonPart, ...] = ()
    turn_budget: int = 0
    num_permutations: int = 0


class EstimatePart(Part):
    """A figure with its interval and n."""

    value: Figure = None
    low: Figure = None
    high: Figure = None
    num_turns: int = 0
    num_dialogues: int = 0


class AtUserTurnPart(Part):
    """Figures at one user turn number; without values where too few dialogues have such a turn."""

    accuracy: EstimatePart = EstimatePart()
    auc: EstimatePart = EstimatePart()


class NullPart(Part):
    """A figure against its permutation null."""

    p_value: Figure = None
    high: Figure = None
    num_permutations: int = 0


class NullsPart(Part):
    """Nulls of accuracy and AUC."""

    accuracy: NullPart = NullPart()
    auc: NullPart = NullPart()


class TwoSamplePart(Part):
    """What a family of classifiers found between a group's users and the reference's."""

    family: str
    auc: EstimatePart = EstimatePart()
    auc_dialogue: EstimatePart = EstimatePart()
    accuracy: EstimatePart = EstimatePart()
    at_turn: dict[str, AtUserTurnPart] = Field(default_factory=dict)
    nulls: NullsPart = NullsPart()
    length_only: EstimatePart = EstimatePart()
    user_only: EstimatePart = EstimatePart()
    power: dict[str, EstimatePart] = Field(default_factory=dict)
    measurable: bool = False
    gate: str = ""
    turn_budget: int = 0
    note: str = ""


class SeedsPart(Part):
    """A figure over seeds."""

    mean: Figure = None
    low: Figure = None
    high: Figure = None


class MauvePart(Part):
    """MAUVE and its real-against-real ceiling."""

    score: SeedsPart | None = None
    ceiling: SeedsPart | None = None
    embedder: str = ""
    num_turns: int = 0
    num_buckets: int | None = None
    num_seeds: int = 0
    reason: str = ""


class UsersPart(Part):
    """How the users of a group write."""

    diversity: Diversity = Diversity()
    habits: tuple[HabitPart, ...] = ()
    spread: SpreadPart | None = None
    realism: tuple[TwoSamplePart, ...] = ()
    mauve: MauvePart | None = None


class ExamplePart(Part):
    """A failure with its evidence."""

    mode: str
    severity: int = 0
    confidence: Figure = None
    dialogue_id: str = ""
    turn: int = 0
    user: str = ""
    message: str = ""
    span: str = ""


class GroupPart(Part):
    """A group of dialogues and all that is said of it."""

    name: str
    is_reference: bool = False
    num_dialogues: int = 0
    num_users: int = 0
    num_user_turns: int = 0
    num_ended_by_error: int = 0
    stop_reasons: Figures = Field(default_factory=dict)
    failures: FailuresPart | None = None
    users: UsersPart | None = None
    next_turns: UsersPart | None = None
    examples: tuple[ExamplePart, ...] = ()


class ProportionPart(Part):
    """A share of ``num`` with its interval."""

    value: Figure = None
    low: Figure = None
    high: Figure = None
    num: int = 0


class CountsPart(Part):
    """Of which mode and kind of text a calibration is."""

    mode: str
    text: str = ""


class ModeCalibrationPart(Part):
    """A detector against labelled messages, for one mode and kind of text."""

    counts: CountsPart
    sensitivity: ProportionPart = ProportionPart()
    specificity: ProportionPart = ProportionPart()
    num_not_judged: int = 0


class CalibrationPart(Part):
    """The detector's errors on labelled messages."""

    source: str = ""
    num_messages: dict[str, int] = Field(default_factory=dict)
    modes: tuple[ModeCalibrationPart, ...] = ()


class EvaluationPart(Part):
    """The whole evaluation."""

    title: str = ""
    detector: str = ""
    modes: dict[str, str] = Field(default_factory=dict)
    modes_judged: tuple[str, ...] = ()
    groups: tuple[GroupPart, ...] = ()
    by_chatbot: ByChatbotPart | None = None
    notes: Notes = ()
    seconds: Figure = None
    calibration: CalibrationPart | None = None

    @property
    def reference(self) -> GroupPart | None:
        """The real dialogues, where there are any."""
        return next((group for group in self.groups if group.is_reference), None)

    @property
    def name_of_simulated(self) -> str:
        """Name of the group whose chatbots ``by_chatbot`` is about: the last one."""
        return self.groups[-1].name if self.groups else ""

    @property
    def modes_found(self) -> tuple[str, ...]:
        """Modes that the detector found in any group, in the order of the taxonomy."""
        return tuple(
            mode
            for mode in self.modes
            if any(
                (group.failures.rates[mode].estimate or 0.0) > 0.0
                for group in self.groups
                if group.failures is not None and mode in group.failures.rates
            )
        )


def read_evaluation(metrics: Mapping[str, object]) -> EvaluationPart:
    """Read a parsed ``metrics.json``.

    Raises:
        RunError: a key holds something of another kind than the evaluation writes.
    """
    try:
        return EvaluationPart.model_validate(metrics)
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        raise RunError(f"evaluation metrics: {key}: {detail['msg']}; evaluate again") from None
