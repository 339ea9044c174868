"""What an evaluation returns, and its plain values for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from advsim.evaluation.calibration import Calibration
from advsim.evaluation.summary import Example, FailureSummary, UserSummary
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
    stop_reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failures: FailureSummary | None = None
    users: UserSummary | None = None
    next_turns: UserSummary | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What :func:`evaluate_run` and :func:`evaluate_files` return.

    Attributes:
        title: the run's or the file's name.
        detector: which detector found the failures.
        modes: names of the failure modes by id, in order.
        modes_judged: ids of those that the detector can judge.
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

    def to_json(self) -> dict[str, Any]:
        """Nested plain values, keys as the fields; a figure that could not be given is null."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
