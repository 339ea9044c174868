"""Builds the engine that a specification names."""

from __future__ import annotations

from advsim.engine.protocol import Engine, EngineSpec


def build_engine(spec: EngineSpec) -> Engine:
    """Engine of a spec, not yet started. Imports the engine's packages."""
    if spec.kind == "scripted":
        from advsim.engine.scripted import ScriptedEngine

        return ScriptedEngine(replies=spec.replies)
    from advsim.engine.vllm import VllmEngine

    return VllmEngine(spec)
