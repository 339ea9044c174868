"""The temperature of greatest likelihood is found where the model's own odds were stretched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from advsim.models.adapter import load_base
from advsim.records import TrainingExample
from advsim.training.learner.temperature import most_likely_temperature

PROMPT = (3, 14, 15, 92, 65)


def drawn(causal_lm, *, temperature: float, num: int) -> list[TrainingExample]:
    """Completions of the model itself at a temperature: people who speak so."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([PROMPT] * num)
    with torch.inference_mode():
        for _ in range(24):
            odds = (causal_lm(ids).logits[:, -1].float() / temperature).softmax(-1)
            ids = torch.cat([ids, torch.multinomial(odds, 1, generator=generator)], dim=1)
    labels = (-100,) * len(PROMPT)
    return [
        TrainingExample(dialogue_id="d", input_ids=tuple(row), labels=(*labels, *row[len(PROMPT) :]))
        for row in ids.tolist()
    ]


@pytest.mark.parametrize("temperature", [0.75, 1.0, 1.25])
def test_the_temperature_at_which_turns_were_drawn_is_found(tiny_model: Path, temperature: float) -> None:
    causal_lm = load_base(tiny_model, dtype="float32")
    head = torch.randn(causal_lm.lm_head.weight.shape, generator=torch.Generator().manual_seed(1))
    causal_lm.lm_head.weight = torch.nn.Parameter(0.3 * head)  # a model with opinions
    examples = drawn(causal_lm, temperature=temperature, num=60)
    assert most_likely_temperature(causal_lm, examples) == pytest.approx(temperature, abs=0.1)


def test_without_labels_there_is_none(tiny_model: Path) -> None:
    causal_lm = load_base(tiny_model, dtype="float32").train()
    assert most_likely_temperature(causal_lm, []) is None
    nothing = TrainingExample(dialogue_id="d", input_ids=(1, 2, 3), labels=(-100, -100, -100))
    assert most_likely_temperature(causal_lm, [nothing]) is None
    assert causal_lm.training
