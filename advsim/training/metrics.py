"""The figures of each stage of a run, as they stand in its JSON files: keys and their order are those of the fields.

None stands where a figure could not be measured, and where an earlier version of advsim made the run and did not
measure it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from advsim.records import Conversation, PreferencePair, StopReason, user_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMetrics:
    """``rollout.json``: conversations of a round. Failed ones are counted, never dropped."""

    num_conversations: int | None = None
    num_failed: int | None = None
    num_user_turns: int | None = None
    num_regenerated: int | None = None
    num_prompt_tokens: int | None = None
    num_output_tokens: int | None = None
    output_tokens_per_s: float | None = None
    stop_reasons: Mapping[str, int] = field(default_factory=dict)  # number of conversations by why they ended


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAccuracy:
    """Accuracy over the ``n`` user turns of one user turn number; None where there are none."""

    value: float | None = None
    n: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorMetrics:
    """``discriminator.json``: over held-out user turns, decided at p_real >= .5.

    None where a figure is undefined, never NaN. ``real_fraction`` is the share of real turns: without skill accuracy
    reaches ``max(real_fraction, 1 - real_fraction)`` and AUC .5. F1 is that of the class real. AUC and MCC need both
    classes among the held-out turns. On prefixes the held-out turns are those of the validation split, and the AUC has
    a 95 % interval over users; None on conversations.
    """

    accuracy: float | None = None
    f1: float | None = None
    mcc: float | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    real_fraction: float | None = None
    accuracy_at_turn: Mapping[int, TurnAccuracy] = field(default_factory=dict)  # by user turn number, from 1
    num_train_turns: int | None = None
    num_held_out_turns: int | None = None
    num_held_out_scenarios: int | None = None
    seconds: float | None = None  # wall-clock time of training and held-out scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEstimate:
    """Accuracy or AUC of a held-out classifier at one user turn number, with the ``n`` turns it rests on."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierMetrics:
    """A family of held-out classifiers that nothing was trained against (:mod:`advsim.realism.next_turns`).

    Attributes:
        accuracy: share of turns told right, real against simulated, with its bounds ``low`` and ``high``.
        auc: area under the ROC curve a turn, with its bounds.
        p_value: of the accuracy's permutation null.
        null_high: the value under which 95 % of the permuted accuracies stay.
        auc_p_value: as ``p_value``, of the AUC.
        auc_null_high: as ``null_high``, of the AUC.
        num_permutations: of both nulls.
        num_prefixes: prefixes with a simulated turn.
        num_dialogues: dialogues of these prefixes.
        power: AUC on each control that is known not to be real.
        length_only: accuracy by the turn's length alone.
        user_only: accuracy without the chatbot's turns.
        measurable: whether the family finds its control; None: the run does not say.
        gate: one phrase that says which control it had to find, and with which AUC it did.
        accuracy_at_turn: by user turn number, from 1.
        auc_at_turn: by user turn number, from 1.
        notes: what could not be measured, and why.
    """

    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    p_value: float | None = None
    null_high: float | None = None
    auc_p_value: float | None = None
    auc_null_high: float | None = None
    num_permutations: int | None = None
    num_prefixes: int | None = None
    num_dialogues: int | None = None
    power: Mapping[str, float | None] = field(default_factory=dict)
    length_only: float | None = None
    user_only: float | None = None
    measurable: bool | None = None
    gate: str = ""
    accuracy_at_turn: Mapping[int, TurnEstimate] = field(default_factory=dict)
    auc_at_turn: Mapping[int, TurnEstimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceMetrics:
    """Preference pairs; the margin is the reward of the chosen text less that of the rejected one."""

    num_pairs: int | None = None
    mean_margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SftMetrics:
    """What the training of adapter 0 said. Losses are means in nats over the trained tokens of a step."""

    first_step_loss: float | None = None
    last_step_loss: float | None = None
    num_steps: int | None = None  # optimizer steps
    num_tokens: int | None = None  # tokens with loss, summed over all steps and workers
    dtype: str = ""  # in which the frozen base model computed
    most_likely_temperature: float | None = None  # of turns of validation dialogues
    seconds: float | None = None  # on the worker: loading, training, saving


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoMetrics:
    """What a round of preference optimisation said. Rewards are implicit: beta x log-ratio to the reference."""

    first_step_loss: float | None = None  # ln 2 by construction where the loss is sigmoid alone
    last_step_loss: float | None = None
    first_step_margin: float | None = None  # mean chosen - rejected reward of the first step; 0 by construction
    reward_accuracy: float | None = None  # share of pairs with chosen > rejected, mean over the last quarter of steps
    reward_margin: float | None = None  # chosen - rejected reward, mean over the last quarter of the steps
    num_steps: int | None = None  # optimizer steps
    num_pairs: int | None = None
    dtype: str = ""  # in which the frozen base model computed
    seconds: float | None = None  # on the worker: loading, training, saving


class StopVerdict(StrEnum):
    """Why the rounds end, or that they go on."""

    CONTINUE = "continue"
    MAX_ROUNDS = "max_rounds"
    AT_CHANCE = "at_chance"
    OVER_OPTIMISED = "over_optimised"
    NO_SIGNAL = "no_signal"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopDecision:
    """What the stop rule decided, with one sentence of explanation, and notes on what could not be judged."""

    reason: StopVerdict
    explanation: str
    notes: tuple[str, ...] = ()

    @property
    def stop(self) -> bool:
        """Whether the rounds end here."""
        return self.reason is not StopVerdict.CONTINUE


def rollout_metrics(conversations: Sequence[Conversation], *, seconds: float) -> RolloutMetrics:
    """Counts, stop reasons and throughput of a rollout that took so many seconds."""
    num_output_tokens = sum(conversation.num_output_tokens for conversation in conversations)
    return RolloutMetrics(
        num_conversations=len(conversations),
        num_failed=sum(conversation.stop_reason is StopReason.ERROR for conversation in conversations),
        num_user_turns=sum(len(user_turns(conversation)) for conversation in conversations),
        num_regenerated=sum(conversation.num_regenerated for conversation in conversations),
        num_prompt_tokens=sum(conversation.num_prompt_tokens for conversation in conversations),
        num_output_tokens=num_output_tokens,
        output_tokens_per_s=round(num_output_tokens / seconds, 2) if seconds else None,
        stop_reasons=dict(sorted(Counter(c.stop_reason.value for c in conversations).items())),
    )


def preference_metrics(pairs: Sequence[PreferencePair]) -> PreferenceMetrics:
    """Number and mean margin of the pairs of a round, of which there is at least one."""
    return PreferenceMetrics(num_pairs=len(pairs), mean_margin=math.fsum(pair.margin for pair in pairs) / len(pairs))
