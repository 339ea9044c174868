"""Realism on held-out prefixes, and when the rounds end."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advsim.config.base import Count, CountOrZero, Fraction, Section
from advsim.config.engine import SamplingConfig


class HeldOutConfig(Section):
    """Realism measured by classifiers that were never trained against, on next turns for real held-out prefixes."""

    num_prefixes: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = 64
    """Real validation prefixes on which the simulator writes the next user turn, each stage anew."""
    sampling: SamplingConfig = SamplingConfig()
    num_folds: Annotated[int, Field(ge=2, le=1_000, strict=True)] = 5
    num_bootstrap: Count = 500
    num_permutations: CountOrZero = 99
    """Of labels, to fit the classifiers without any difference; p is at least 1 / (1 + this), 0 gives no p. On a small
    machine 99 cost about 5 s a round with 300 prefixes, 50 s with 1,000."""
    min_control_auc: Fraction = 0.85
    """A classifier counts only where it finds its controls with at least this AUC a turn."""


class StopConfig(Section):
    """When the rounds end."""

    max_rounds: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 2
    """0 trains the SFT simulator only."""
    chance_margin: Fraction = 0.05
    """Stop when a measurable held-out classifier's interval ends below 0.5 + this margin."""
    divergence_margin: Fraction = 0.1
    """Stop when the trained-against discriminator's accuracy has fallen by at least this since the first round while a
    held-out classifier's has risen by at least this: over-optimisation."""
