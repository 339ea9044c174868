"""The rules detector: finds failures with word lists and structure, offline and deterministic."""

from __future__ import annotations

from advsim.detectors.rules.detector import RulesDetector

__all__ = ["RulesDetector"]
