"""Ray actor through which the driver gets the steps of a training worker; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step, from 1, and the figures logged for it."""

    step: int
    num_steps: int
    figures: Mapping[str, float]


class StepBoard:
    """Holds the steps that the driver has not seen."""

    def __init__(self) -> None:
        """An empty board."""
        self._steps: list[Step] = []

    def post(self, step: Step) -> None:
        """Add a step."""
        self._steps.append(step)

    def drain(self) -> list[Step]:
        """All steps since the last call."""
        steps, self._steps = self._steps, []
        return steps
