"""Supervised fine-tuning on real user turns: TRL's SFTTrainer on token ids, run by the learner (METHOD, stage 0)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advsim.config import LearnerConfig, LoraConfig, ModelConfig, SftConfig
from advsim.errors import RunError
from advsim.models.adapter import Canary, adapter_files, completion_logprobs, load_trainable
from advsim.models.base import load_tokenizer, resolve_model
from advsim.models.gpu_memory import lower_if_full
from advsim.models.precision import training_precision
from advsim.prompts.text import IGNORED_LABEL
from advsim.records import TrainingExample
from advsim.training.learner.temperature import most_likely_temperature
from advsim.training.learner.workers import (
    OnStep,
    TrainedAdapter,
    Workers,
    quiet_libraries,
    run_on_workers,
    train_steps,
    trainer_settings,
)
from advsim.training.metrics import SftMetrics

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from trl import SFTTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    examples: tuple[TrainingExample, ...]
    model: ModelConfig
    config: SftConfig
    lora: LoraConfig
    learner: LearnerConfig
    dtype: Literal["auto", "float32", "bfloat16"]  # of the base model; auto until a worker knows its machine
    seed: int
    canary: Canary
    log_dir: Path
    unseen: tuple[TrainingExample, ...] = ()  # real dialogues that are not trained on


def train_sft(
    examples: Sequence[TrainingExample],
    *,
    unseen: Sequence[TrainingExample] = (),
    model: ModelConfig,
    config: SftConfig,
    lora: LoraConfig,
    workers: Workers,
    seed: int,
    canary: Canary,
    on_step: OnStep,
) -> TrainedAdapter[SftMetrics]:
    """Train a fresh adapter on the examples.

    Args:
        examples: token ids; loss only where ``labels`` are not -100. Never truncated.
        unseen: others, on which the temperature of greatest likelihood is found.
        model: base model, resolved on each worker's own machine.
        config: of the stage.
        lora: shape of the adapter.
        workers: to train on.
        seed: of the adapter's weights, the order of the examples and dropout.
        canary: scored with the final weights.
        on_step: called in the driver after each optimizer step.

    Raises:
        RunError: there is nothing to train on, a worker failed, or the loss is not finite.
    """
    if not any(label != IGNORED_LABEL for example in examples for label in example.labels[1:]):
        raise RunError(
            f"sft: got {len(examples)} examples without a single token to train on; check the corpus and its splits"
        )
    job = _Job(
        examples=tuple(examples),
        unseen=tuple(unseen),
        model=model,
        config=config,
        lora=lora,
        learner=workers.config,
        dtype=model.dtype,
        seed=seed,
        canary=canary,
        log_dir=workers.log_dir.resolve(),
    )
    return run_on_workers(train_on_worker, job, name="sft", workers=workers, on_step=on_step)


@lower_if_full("sft", "sft.batch_size (and raise sft.gradient_accumulation as much)", "engine.max_model_len", "lora.r")
def train_on_worker(job: _Job, on_step: OnStep) -> TrainedAdapter[SftMetrics] | None:
    """One worker's part of :func:`train_sft`; rank 0 returns the result."""
    started_s = time.monotonic()
    quiet_libraries()
    job = replace(job, dtype=training_precision(job.dtype, on_gpu=job.learner.num_gpus > 0))
    peft_model = load_trainable(resolve_model(job.model), None, dtype=job.dtype, lora=job.lora, seed=job.seed)
    trainer = build_trainer(job, peft_model)
    steps = train_steps(trainer, on_step)
    num_tokens = trainer.accelerator.reduce(trainer.num_label_tokens.to(trainer.args.device))
    if not trainer.is_world_process_zero():
        return None
    files, sha256 = adapter_files(peft_model)
    return TrainedAdapter(
        files=files,
        adapter_sha256=sha256,
        metrics=SftMetrics(
            first_step_loss=steps[0]["loss"],
            last_step_loss=steps[-1]["loss"],
            num_steps=len(steps),
            num_tokens=int(num_tokens),
            dtype=job.dtype,
            most_likely_temperature=most_likely_temperature(peft_model, job.unseen),
            seconds=time.monotonic() - started_s,
        ),
        canary_logprobs=completion_logprobs(peft_model, job.canary),
    )


def build_trainer(job: _Job, peft_model: PeftModel) -> SFTTrainer:
    """TRL's trainer on the examples as they are. The loss is that of TRL; on CPU it is computed with less work."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig as TrlSftConfig
    from trl import SFTTrainer

    class LabelledTokensTrainer(SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
        """Counts the tokens with loss, and on CPU computes logits for them alone.

        TRL's fused head skips tokens without label only where Triton runs. On CPU it takes all through the vocabulary
        projection twice, which is most of the work of a small model with a large vocabulary.
        """

        num_label_tokens = torch.zeros((), dtype=torch.long)

        def compute_loss(
            self,
            model: torch.nn.Module,
            inputs: dict[str, torch.Tensor],
            return_outputs: bool = False,
            num_items_in_batch: torch.Tensor | None = None,
        ) -> Any:
            labels_BT = inputs["labels"][:, 1:]
            self.num_label_tokens = self.num_label_tokens + (labels_BT != IGNORED_LABEL).sum().cpu()
            if return_outputs or num_items_in_batch is None or inputs["input_ids"].device.type != "cpu":
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return labelled_token_loss(model, inputs) / num_items_in_batch * self.accelerator.num_processes

    settings = trainer_settings(job.config, job.learner, dtype=job.dtype, seed=job.seed, log_dir=job.log_dir)
    return LabelledTokensTrainer(
        model=peft_model,
        args=TrlSftConfig(**settings, weight_decay=job.config.weight_decay),
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [list(example.input_ids) for example in job.examples],
                "labels": [list(example.labels) for example in job.examples],
            }
        ),
        processing_class=load_tokenizer(resolve_model(job.model)),
    )


def labelled_token_loss(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy in nats, summed over the labelled tokens of a batch; logits only where some row has a label.

    Args:
        model: causal language model.
        inputs: ``input_ids``, ``attention_mask``, ``labels``, each [B, T]; label -100 is ignored.
    """
    import torch.nn.functional as F

    labels_BT = inputs["labels"][:, 1:]
    kept_K = (labels_BT != IGNORED_LABEL).any(dim=0).nonzero().squeeze(-1)
    logits_BKV = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        logits_to_keep=kept_K,
        use_cache=False,
    ).logits
    return F.cross_entropy(
        logits_BKV.flatten(0, 1).float(),
        labels_BT[:, kept_K].flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="sum",
    )
