"""What draws are chosen by, as it travels: nothing here loads a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from advsim.config import ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptShape:
    """The simulator's prompt: a turn is read as the answer to it."""

    instructions: str
    budget_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceSpec:
    """What draws are chosen by.

    Attributes:
        probe: its files.
        model: whose features it reads.
        prompt: in which turns are read.
        max_texts: that are read in one pass.
    """

    probe: Mapping[str, bytes]
    model: ModelConfig
    prompt: PromptShape
    max_texts: int

    @property
    def sha256(self) -> str:
        """Of the probe's files: with another one the same draws make another simulator."""
        digest = hashlib.sha256()
        for name, content in sorted(self.probe.items()):
            digest.update(f"{name}\n{len(content)}\n".encode() + content)
        return digest.hexdigest()
