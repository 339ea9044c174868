"""What an evaluation returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from advsim.detectors.judge.counts import JudgeUse
from advsim.detectors.worth import ModeWorth, Worth
from advsim.evaluation.calibration import Calibration
from advsim.evaluation.summary import FailureExample, FailureSummary, UserSummary
from advsim.validity.by_chatbot import ByChatbot


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of dialogues or conversations, or only next turns, with all that is said of it.

    Attributes:
        name: for example ``real``, ``SFT``, ``round 1``, or a file's name.
        is_reference: real dialogues that the others are compared with.
        num_dialogues: dialogues or conversations; 0 where there are only next turns.
        num_users: known users.
        num_user_turns: in the dialogues.
        num_ended_by_error: conversations that a failing chatbot or engine ended: infrastructure, no chatbot failure.
        num_with_thought: chatbot messages that held a thought, which was kept apart and not judged.
        num_silent: of these, messages that were nothing else: failed replies, in no rate.
        num_cut: chatbot messages that were cut (token limit, or an endpoint's filter), as far as it is known.
        stop_reasons: conversations by why they ended; empty for real dialogues.
        failures: None where there are only next turns.
        users: user turns of the dialogues.
        next_turns: user turns written on real held-out prefixes (for the reference: the real ones).
        examples: failures with their evidence.
    """

    name: str
    is_reference: bool
    num_dialogues: int
    num_users: int
    num_user_turns: int
    num_ended_by_error: int = 0
    num_with_thought: int = 0
    num_silent: int = 0
    num_cut: int = 0
    stop_reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failures: FailureSummary | None = None
    users: UserSummary | None = None
    next_turns: UserSummary | None = None
    examples: tuple[FailureExample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What :func:`evaluate_run` and :func:`evaluate_files` return.

    Attributes:
        title: the run's or the file's name.
        detector: which detector found the failures.
        modes: names of the failure modes by id, in order.
        modes_judged: ids of those with a rate of their own: the detector judges them, and is shown to get them right.
        worth: the detector's precision and recall in labelled whole dialogues, all modes; None where not measured.
        judge: what a judge's verdicts took, and how far its votes agree; None for other detectors.
        worth_counted: the same on the modes that count in any failure; ``any`` is any of these.
        groups: the reference first, where there is one.
        by_chatbot: chatbots side by side, where files name several.
        notes: what a reader must know to read the figures.
        seconds: it took.
        calibration: the detector's errors on labelled messages; None where there are none.
    """

    title: str
    detector: str
    modes: Mapping[str, str]
    modes_judged: tuple[str, ...]
    groups: tuple[Group, ...]
    by_chatbot: ByChatbot | None = None
    notes: tuple[str, ...]
    seconds: float
    calibration: Calibration | None = None
    worth: Worth | None = None
    worth_counted: Worth | None = None
    judge: JudgeUse | None = None

    def worth_of(self, mode: str) -> ModeWorth | None:
        """Precision and recall of a mode, ``any`` among those that count; None where nobody measured it."""
        worths = [each for each in (self.worth_counted, self.worth) if each is not None]
        return next((it for each in worths for it in each.modes if it.mode == mode), None)

    @property
    def modes_not_measurable(self) -> tuple[str, ...]:
        """Modes of which the detector's precision was measured and not shown to be high enough."""
        known = [] if self.worth is None else [mode.mode for mode in self.worth.modes]
        return tuple(mode for mode in self.modes if mode in known and mode not in self.modes_judged)

    @property
    def reference(self) -> Group | None:
        """The real dialogues, where there are any."""
        return next((group for group in self.groups if group.is_reference), None)

    @property
    def name_of_simulated(self) -> str:
        """Name of the group whose chatbots ``by_chatbot`` is about: the last one."""
        return self.groups[-1].name if self.groups else ""

    @property
    def modes_found(self) -> tuple[str, ...]:
        """Modes that the detector found in any group, in the order of the taxonomy."""
        rates = [group.failures.rates for group in self.groups if group.failures is not None]
        return tuple(
            mode
            for mode in self.modes
            if any(mode in by_mode and (by_mode[mode].estimate or 0.0) > 0.0 for by_mode in rates)
        )
