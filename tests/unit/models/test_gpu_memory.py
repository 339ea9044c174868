"""A full GPU names the setting to lower."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from advsim.errors import RunError
from advsim.models.gpu_memory import lower_if_full
from advsim.training.discriminator.actors import DiscriminatorActor
from advsim.training.learner import dpo, sft

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of ..")


def full(*_: Any, **__: Any) -> None:
    raise FULL


def test_the_error_names_what_was_done_and_what_to_lower_and_others_pass() -> None:
    with pytest.raises(RunError, match=r"dpo: the GPU's memory is full \(CUDA out of memory.*Lower a, or b; or give"):
        lower_if_full("dpo", "a", "b")(full)()
    with pytest.raises(ValueError, match="other"), lower_if_full("dpo", "a"):
        raise ValueError("other")


@pytest.mark.parametrize(("module", "key"), [(sft, "sft.batch_size"), (dpo, "dpo.batch_size")])
def test_a_training_that_fills_the_gpu_says_which_batch_to_lower(
    module: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "training_precision", full)  # the first thing that a worker does with its job
    empty = {field.name: None for field in dataclasses.fields(module._Job)}
    job = module._Job(**{**empty, "learner": type("Learner", (), {"num_gpus": 1.0})()})
    with pytest.raises(RunError, match=key):
        module.train_on_worker(job, lambda *_: None)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda actor: actor.score([]), "discriminator.scoring_batch_size"),
        (lambda actor: actor.score_candidates(None), "discriminator.scoring_batch_size"),
        (lambda actor: actor.read([None], None), "discriminator.scoring_batch_size"),
        (lambda actor: actor.train([], [], 0), "discriminator.micro_batch_tokens"),
    ],
)
def test_a_discriminator_that_fills_the_gpu_says_what_to_lower(
    call: Callable[[Any], Any], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advsim.training.discriminator.actors.Discriminator.train", full)
    monkeypatch.setattr("advsim.training.discriminator.actors.TurnReader", full)
    monkeypatch.setattr(DiscriminatorActor, "_ready", full)
    actor = object.__new__(DiscriminatorActor)
    actor.__dict__ |= dict.fromkeys(("_base", "_dtype", "_device", "_reader", "_discriminator"))
    actor.__dict__["_config"] = type("Config", (), {"scoring_batch_size": 4})()
    with pytest.raises(RunError, match=key):
        call(actor)
