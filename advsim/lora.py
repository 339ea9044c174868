"""Adapters: shared PEFT set-up, hashing, log-probabilities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A prompt and a completion on which learner and engines compare their log-probabilities."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


def adapter_sha256(folder: Path) -> str:
    """SHA-256 over the adapter's weights and configuration."""
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
