"""The loss of supervised fine-tuning: what counts, and that the short way over labelled tokens is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from advsim.config import LearnerConfig, LoraConfig, ModelConfig, SftConfig
from advsim.models.adapter import Canary, load_base, load_trainable
from advsim.records import TrainingExample
from advsim.training.learner.sft import _Job, build_trainer, labelled_token_loss

ROWS = ([11, 12, 13, 14, 15, 16, 17, 18], [21, 22, 23, 24, 25])
LABELS = ([-100, -100, 13, 14, -100, -100, 17, 18], [-100, -100, -100, 24, 25])


def batch(rows: tuple[list[int], ...] = ROWS, labels: tuple[list[int], ...] = LABELS) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        "labels": torch.tensor([label + [-100] * (longest - len(label)) for label in labels]),
    }


def gradients_of(loss: torch.Tensor, causal_lm: torch.nn.Module) -> list[torch.Tensor]:
    causal_lm.zero_grad()
    loss.backward()
    return [weight.grad.clone() for weight in causal_lm.parameters() if weight.grad is not None]


def test_unlabelled_tokens_carry_no_loss(tiny_model: Path) -> None:
    causal_lm = load_base(tiny_model, dtype="float32")
    inputs = batch()
    expected = -sum(
        causal_lm(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)[position - 1, row[position]]
        for row, label in zip(ROWS, LABELS, strict=True)
        for position in range(1, len(row))
        if label[position] != -100
    )
    torch.testing.assert_close(labelled_token_loss(causal_lm, inputs), expected, atol=1e-4, rtol=1e-5)


def test_short_way_has_the_gradients_of_the_full_loss(tiny_model: Path) -> None:
    causal_lm = load_base(tiny_model, dtype="float32")
    inputs = batch()
    num_labels = int((inputs["labels"] != -100).sum())
    full = gradients_of(causal_lm(**inputs).loss, causal_lm)
    short = gradients_of(labelled_token_loss(causal_lm, inputs) / num_labels, causal_lm)
    for a, b in zip(full, short, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_logits_are_computed_for_labelled_tokens_only(tiny_model: Path) -> None:
    causal_lm = load_base(tiny_model, dtype="float32")
    seen: list[int] = []
    causal_lm.lm_head.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    labelled_token_loss(causal_lm, batch(ROWS[:1], LABELS[:1]))
    assert seen == [4]


def losses_of(tiny_model: Path, tmp_path: Path, *, examples: list[TrainingExample], **config: object) -> list[float]:
    job = _Job(
        examples=tuple(examples),
        model=ModelConfig(path=str(tiny_model)),
        config=SftConfig(num_epochs=2, **config),
        lora=LoraConfig(r=4, dropout=0.0),
        learner=LearnerConfig(),
        dtype="float32",
        seed=0,
        canary=Canary(prompt_ids=(1,), completion_ids=(2,)),
        log_dir=tmp_path,
    )
    trainer = build_trainer(job, load_trainable(tiny_model, None, dtype="float32", lora=job.lora, seed=0))
    trainer.train()
    assert trainer.num_label_tokens == 2 * sum(label != -100 for e in examples for label in e.labels)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_a_step_is_the_mean_over_all_its_labelled_tokens(tiny_model: Path, tmp_path: Path) -> None:
    examples = [
        TrainingExample(dialogue_id=str(i), input_ids=tuple(row), labels=tuple(label))
        for i, (row, label) in enumerate(zip(ROWS, LABELS, strict=True))
    ]
    losses = losses_of(tiny_model, tmp_path, examples=examples, batch_size=2, warmup_fraction=0.0)
    assert len(losses) == 2  # two examples are one step, though they are worked through one by one
    with torch.no_grad():
        expected = labelled_token_loss(load_base(tiny_model, dtype="float32"), batch()) / 6
    assert losses[0] == pytest.approx(float(expected), abs=1e-4)
    assert losses[1] < losses[0]
