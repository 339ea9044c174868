"""The figures of a run as it wrote them to JSON: any may be missing or null, none may be of another kind.

``rounds/NN/metrics.json`` of round r holds two points in time. Its rollout, discriminator and preference figures are
about the conversations of adapter r - 1; its DPO, push, held-out and diversity figures are about adapter r, which it
trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from advsim.config import HeldOutConfig, StopConfig
from advsim.errors import RunError


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _empty(value: Any) -> Any:
    return {} if value is None else value


Figure = Annotated[float | None, BeforeValidator(_finite)]
Notes = Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())]
Figures = Annotated[dict[str, Figure], BeforeValidator(_empty)]


class Part(BaseModel):
    """Base of all parts: frozen; a null part is an empty one; unknown keys are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, values: Any) -> Any:
        return _empty(values)


class AtTurn(Part):
    """Accuracy or AUC at one user turn number, with the number of turns it rests on."""

    value: Figure = None
    low: Figure = None
    high: Figure = None
    n: Figure = None


AtTurns = Annotated[dict[str, AtTurn], BeforeValidator(_empty)]


class Rollout(Part):
    """Conversations of a round."""

    num_conversations: Figure = None
    num_failed: Figure = None
    output_tokens_per_s: Figure = None
    stop_reasons: Figures = {}
    num_regenerated: Figure = None


class Discriminator(Part):
    """The discriminator that the simulator is trained against, on its own held-out scenarios."""

    accuracy: Figure = None
    auc: Figure = None
    f1: Figure = None
    mcc: Figure = None
    accuracy_at_turn: AtTurns = {}


class Classifier(Part):
    """A held-out classifier family that nothing was trained against.

    ``power`` is the AUC on each control, ``gate`` a phrase on why the family is measurable or not, ``notes`` what could
    not be measured; ``p_value`` and ``null_high`` (95 % point) are of the accuracy's permutation null.
    """

    accuracy: Figure = None
    low: Figure = None
    high: Figure = None
    auc: Figure = None
    auc_low: Figure = None
    auc_high: Figure = None
    p_value: Figure = None
    null_high: Figure = None
    auc_p_value: Figure = None
    auc_null_high: Figure = None
    num_prefixes: Figure = None
    num_dialogues: Figure = None
    power: Figures = {}
    length_only: Figure = None
    user_only: Figure = None
    measurable: bool | None = None
    gate: str | None = None
    notes: Notes = ()
    accuracy_at_turn: AtTurns = {}
    auc_at_turn: AtTurns = {}


HeldOut = Annotated[dict[str, Classifier], BeforeValidator(_empty)]


class Preference(Part):
    """Preference pairs; the margin is the reward of the chosen text less that of the rejected one."""

    num_pairs: Figure = None
    mean_margin: Figure = None


class Dpo(Part):
    """Preference optimisation; the first step's loss is ln 2 when the reference is right."""

    first_step_loss: Figure = None
    last_step_loss: Figure = None
    reward_accuracy: Figure = None
    num_steps: Figure = None


class Push(Part):
    """Delivery of the new adapter to the rollout engines."""

    version: Figure = None
    sha256: str | None = None
    num_engines: Figure = None
    max_ms: Figure = None
    max_canary_difference: Figure = None


class Diversity(Part):
    """Diversity of user turns at one token budget."""

    ttr: Figure = None
    mattr: Figure = None
    mtld: Figure = None
    distinct_1: Figure = None
    distinct_2: Figure = None
    distinct_3: Figure = None
    entropy: Figure = None
    mean_turn_words: Figure = None


class DiversityPair(Part):
    """Real and simulated turns measured alike."""

    real: Diversity = Diversity()
    simulated: Diversity = Diversity()


class Stop(Part):
    """What the stop rule said after the round."""

    reason: str | None = None
    explanation: str | None = None
    notes: Notes = ()


class RoundMetrics(Part):
    """One ``rounds/NN/metrics.json``."""

    round: int
    rollout: Rollout = Rollout()
    discriminator: Discriminator = Discriminator()
    held_out: HeldOut = {}
    preference: Preference = Preference()
    dpo: Dpo = Dpo()
    push: Push = Push()
    diversity: DiversityPair = DiversityPair()
    stop: Stop = Stop()
    seconds: Figures = {}


class Before(Part):
    """What was measured of real users, of the bare base model, or of the SFT simulator, before the first round."""

    diversity: Diversity = Diversity()
    held_out: HeldOut = {}
    train_loss_first: Figure = None
    train_loss_last: Figure = None
    seconds: Figure = None


class Baseline(Part):
    """``baseline.json``."""

    real: Before = Before()
    zero_shot: Before = Before()
    sft: Before = Before()


class Corpus(Part):
    """The corpus a run was made on."""

    num_dialogues: Figure = None
    sha256: str | None = None
    splits: Figures = {}


class Manifest(Part):
    """``manifest.json``."""

    name: str = "run"
    config: Annotated[dict[str, Any], BeforeValidator(_empty)] = {}
    versions: Annotated[dict[str, Any], BeforeValidator(_empty)] = {}
    seed: int | None = None
    corpus: Corpus = Corpus()
    started_at: str | None = None

    @property
    def chance_margin(self) -> float:
        """Distance from 0.5 within which the run's stop rule takes an accuracy for chance."""
        return self._setting("stop", "chance_margin", StopConfig().chance_margin)

    @property
    def min_control_auc(self) -> float:
        """AUC on its controls from which the run takes a held-out classifier for measurable."""
        return self._setting("held_out", "min_control_auc", HeldOutConfig().min_control_auc)

    def _setting(self, section: str, key: str, default: float) -> float:
        values = self.config.get(section)
        value = values.get(key) if isinstance(values, dict) else None
        return float(value) if isinstance(value, int | float) else default


class Run(Part):
    """All of it, rounds in order."""

    manifest: Manifest = Manifest()
    baseline: Baseline = Baseline()
    rounds: tuple[RoundMetrics, ...] = ()


def read_metrics(
    *,
    manifest: Mapping[str, object] | None = None,
    baseline: Mapping[str, object] | None,
    rounds: Sequence[Mapping[str, object]],
) -> Run:
    """Read the parsed JSON of a run's manifest, baseline and rounds.

    Raises:
        RunError: a key holds something of another kind than the run writes; the message names it.
    """
    try:
        run = Run.model_validate({"manifest": manifest, "baseline": baseline, "rounds": tuple(rounds)})
    except ValidationError as error:
        details = error.errors()
        first = details[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"metrics of the run, key {key}: got {first['input']!r:.60}; {first['msg'].lower()} "
            f"({len(details)} such keys); the file was not written by this version, run the stage again"
        ) from None
    return run.model_copy(update={"rounds": tuple(sorted(run.rounds, key=lambda metrics: metrics.round))})
