"""A made-up run in the shape that a run folder has it."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_run import conversation, diversity, held_out, make_round, turns

from advsim.records import Context, Conversation, Dialogue, Split


@pytest.fixture
def manifest() -> dict[str, Any]:
    return {
        "name": "support-chat-2026-11",
        "config": {
            "name": "support-chat-2026-11",
            "seed": 7,
            "model": {"path": "embedded:smollm2-135m", "dtype": "auto"},
            "chatbot": {"name": "warm-brief", "system_prompt": "You are a warm, brief support chatbot."},
            "held_out": {"min_control_auc": 0.85},
            "stop": {"max_rounds": 2, "chance_margin": 0.05},
        },
        "versions": {"advsim": "0.1.0", "torch": "2.13.0", "vllm": "0.32.0", "ray": "2.60.0", "trl": "1.16.0"},
        "seed": 7,
        "corpus": {
            "num_dialogues": 1184,
            "sha256": "9f2c" * 16,
            "splits": {"train": 829, "validation": 237, "test": 118},
        },
        "started_at": "2026-11-23T09:12:40+00:00",
    }


@pytest.fixture
def baseline() -> dict[str, Any]:
    return {
        "real": {"diversity": diversity(1.0, 21.7)},
        "zero_shot": {"diversity": diversity(0.78, 44.3), "held_out": held_out(0.86, 0.78)},
        "sft": {
            "diversity": diversity(0.84, 27.7),
            "held_out": held_out(0.66, 0.74),
            "train_loss_first": 3.41,
            "train_loss_last": 2.52,
            "seconds": 455.0,
        },
    }


@pytest.fixture
def rounds() -> list[dict[str, Any]]:
    return [
        make_round(1, accuracy=0.93, surface=0.60, context=0.73, scale=0.9),
        make_round(2, accuracy=0.74, surface=0.54, context=0.71, scale=0.95),
    ]


@pytest.fixture
def conversations() -> dict[int, list[Conversation]]:
    return {1: [conversation(1, "d-2"), conversation(1, "d-1")], 2: [conversation(2, "d-2"), conversation(2, "d-9")]}


@pytest.fixture
def reals() -> dict[str, Dialogue]:
    context = Context(
        profile="Moved to a new city for work three months ago.", session="Cannot sleep; fears dismissal."
    )
    return {
        name: Dialogue(id=name, source="sample", split=Split.TRAIN, context=context, turns=turns())
        for name in ("d-1", "d-2")
    }
