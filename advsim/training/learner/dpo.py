"""Direct preference optimisation of the simulator: TRL's DPOTrainer on token ids, run by the learner (METHOD, stage 5).

The reference policy is a frozen copy of the adapter that training starts from, not the bare base model: in every round
the first step's implicit rewards are 0, and its loss is ln 2 where ``dpo.loss`` is sigmoid and nothing is added.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advsim.config import DpoConfig, LearnerConfig, LoraConfig, ModelConfig
from advsim.errors import RunError
from advsim.models.adapter import TRAINED_ADAPTER, Canary, adapter_files, completion_logprobs, load_trainable
from advsim.models.base import load_tokenizer, resolve_model
from advsim.models.gpu_memory import lower_if_full
from advsim.models.precision import training_precision
from advsim.records import PreferencePair
from advsim.training.learner.shared_prompt import can_share_prompts, share_prompts
from advsim.training.learner.workers import (
    OnStep,
    TrainedAdapter,
    Workers,
    quiet_libraries,
    run_on_workers,
    train_steps,
    trainer_settings,
)
from advsim.training.metrics import DpoMetrics

if TYPE_CHECKING:
    from peft import PeftModel
    from trl import DPOTrainer

_MAX_MARGIN = 20.0
"""Log-odds beyond which a pair is certain; a probability of exactly 0 has no logarithm."""
REFERENCE_ADAPTER = "ref"
"""TRL's name of the frozen copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    pairs: tuple[PreferencePair, ...]
    model: ModelConfig
    adapter: Mapping[str, bytes]
    config: DpoConfig
    learner: LearnerConfig
    dtype: Literal["auto", "float32", "bfloat16"]  # of the base model; auto until a worker knows its machine
    seed: int
    canary: Canary
    log_dir: Path


def train_dpo(
    pairs: Sequence[PreferencePair],
    *,
    model: ModelConfig,
    adapter: Mapping[str, bytes],
    config: DpoConfig,
    workers: Workers,
    seed: int,
    canary: Canary,
    on_step: OnStep,
) -> TrainedAdapter[DpoMetrics]:
    """Train the current adapter on preference pairs.

    Args:
        pairs: exact token ids of prompts and completions. Never truncated.
        model: base model, resolved on each worker's own machine.
        adapter: files of the current adapter: where training starts, and the reference.
        config: of the stage.
        workers: to train on.
        seed: of the order of the pairs. There is no dropout.
        canary: scored with the final weights.
        on_step: called in the driver after each optimizer step.

    Raises:
        RunError: there are no pairs, an empty completion, no adapter, a worker failed, or the loss is not finite.
    """
    if not pairs:
        raise RunError(
            "dpo: got no preference pairs, expected at least one; raise preference.num_candidates or lower the margin "
            "that pairs must have"
        )
    for pair in pairs:
        if not (pair.prompt_ids and pair.chosen_ids and pair.rejected_ids):
            raise RunError(
                f"dpo: conversation {pair.conversation_id}, turn {pair.turn}: got a pair with an empty prompt or "
                "completion, expected tokens in all three; leave empty candidates out"
            )
    job = _Job(
        pairs=tuple(pairs),
        model=model,
        adapter=adapter,
        config=config,
        learner=workers.config,
        dtype=model.dtype,
        seed=seed,
        canary=canary,
        log_dir=workers.log_dir.resolve(),
    )
    return run_on_workers(train_on_worker, job, name="dpo", workers=workers, on_step=on_step)


@lower_if_full("dpo", "dpo.batch_size (and raise dpo.gradient_accumulation as much)", "engine.max_model_len", "lora.r")
def train_on_worker(job: _Job, on_step: OnStep) -> TrainedAdapter[DpoMetrics] | None:
    """One worker's part of :func:`train_dpo`; rank 0 returns the result."""
    started_s = time.monotonic()
    quiet_libraries()
    job = replace(job, dtype=training_precision(job.dtype, on_gpu=job.learner.num_gpus > 0))
    with tempfile.TemporaryDirectory(prefix="advsim-adapter-") as scratch:
        folder = Path(scratch)
        for name, content in job.adapter.items():
            (folder / name).write_bytes(content)
        base = resolve_model(job.model)
        peft_model = load_trainable(base, folder, dtype=job.dtype, lora=LoraConfig(), seed=job.seed)
    trainer = build_trainer(job, peft_model)
    steps = train_steps(trainer, on_step)
    if not trainer.is_world_process_zero():
        return None
    files, sha256 = adapter_files(peft_model)
    last_quarter = steps[-max(1, len(steps) // 4) :]
    return TrainedAdapter(
        files=files,
        adapter_sha256=sha256,
        metrics=DpoMetrics(
            first_step_loss=steps[0]["loss"],
            last_step_loss=steps[-1]["loss"],
            first_step_margin=steps[0]["rewards/margins"],
            reward_accuracy=sum(step["rewards/accuracies"] for step in last_quarter) / len(last_quarter),
            reward_margin=sum(step["rewards/margins"] for step in last_quarter) / len(last_quarter),
            num_steps=len(steps),
            num_pairs=len(job.pairs),
            dtype=job.dtype,
            seconds=time.monotonic() - started_s,
        ),
        canary_logprobs=completion_logprobs(peft_model, job.canary),
    )


def build_trainer(job: _Job, peft_model: PeftModel) -> DPOTrainer:
    """TRL's trainer on the token ids as they are, with the starting adapter as reference.

    Raises:
        RunError: TRL did not keep the starting adapter as reference.
    """
    import torch
    from datasets import Dataset
    from trl import DPOConfig as TrlDpoConfig
    from trl import DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    class TokenPairsTrainer(DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
        """Takes token ids. TRL tokenises texts again, which can give other tokens than those that were sampled.

        Where the loss is calibrated each pair has its own probability of being the wrong way round, which TRL takes as
        label smoothing.
        """

        def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
            return dataset

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            if job.config.loss == "calibrated":
                self.label_smoothing = inputs["p_wrong"].tolist()
            return super()._compute_loss(model, {k: v for k, v in inputs.items() if k != "p_wrong"}, return_outputs)

    @dataclass
    class PairsOfTurns(DataCollatorForPreference):  # type: ignore[misc]
        """A row is a pair, or a turn with all its pairs."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            pairs = [pair for row in examples for pair in row["pairs"]]
            return {**super().torch_call(pairs), "p_wrong": torch.tensor([pair["p_wrong"] for pair in pairs])}

    tokenizer = load_tokenizer(resolve_model(job.model))
    settings = trainer_settings(job.config, job.learner, dtype=job.dtype, seed=job.seed, log_dir=job.log_dir)
    trainer = TokenPairsTrainer(
        model=peft_model,
        # Without dropout, or the policy's and the reference's first passes would differ.
        args=TrlDpoConfig(**settings, **_loss_settings(job.config), disable_dropout=True, remove_unused_columns=False),
        train_dataset=Dataset.from_dict({"pairs": _rows(job.pairs, together=_shares_prompts(job.learner))}),
        processing_class=tokenizer,
        data_collator=PairsOfTurns(pad_token_id=tokenizer.pad_token_id),
    )
    check_reference(peft_model)
    base_model = peft_model.get_base_model()
    if trainer.args.per_device_train_batch_size == 1 and can_share_prompts(base_model):
        share_prompts(base_model)
    return trainer


def _shares_prompts(learner: LearnerConfig) -> bool:
    """Whether all pairs of a turn are one row: several workers want equal numbers of pairs of each other."""
    return learner.num_workers == 1 and learner.num_gpus == 0


def _rows(pairs: Sequence[PreferencePair], *, together: bool) -> list[list[dict[str, Any]]]:
    """The pairs in TRL's form, those of one turn in one row where they are to be ``together``."""
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number, pair in enumerate(pairs):
        rows.setdefault((pair.conversation_id, pair.turn) if together else number, []).append(
            {
                "prompt_ids": list(pair.prompt_ids),
                "chosen_ids": list(pair.chosen_ids),
                "rejected_ids": list(pair.rejected_ids),
                "p_wrong": 1.0 / (1.0 + math.exp(min(pair.margin, _MAX_MARGIN))),
            }
        )
    return list(rows.values())


def _loss_settings(config: DpoConfig) -> dict[str, Any]:
    """TRL's names; ``exo_pair`` fits sigmoid(beta x log-ratio) to the odds that a pair is the right way round."""
    losses: dict[str, float] = {"exo_pair" if config.loss == "calibrated" else config.loss: 1.0}
    if config.sft_weight:
        losses["sft"] = config.sft_weight
    return {
        "beta": config.beta,
        "loss_type": list(losses),
        "loss_weights": list(losses.values()),
        "label_smoothing": 0.5 if config.loss == "calibrated" else 0.0,  # of each pair its own, see above
    }


def check_reference(peft_model: PeftModel) -> None:
    """Make sure that the reference policy is the adapter that training starts from.

    Raises:
        RunError: there is no reference adapter, or it differs from the trained one.
    """
    import torch

    weights = dict(peft_model.named_parameters())
    trained = {name: weight for name, weight in weights.items() if f".{TRAINED_ADAPTER}." in name}
    copies = {name: weights.get(name.replace(f".{TRAINED_ADAPTER}.", f".{REFERENCE_ADAPTER}.")) for name in trained}
    differing = [
        name for name, weight in trained.items() if (copy := copies[name]) is None or not torch.equal(weight, copy)
    ]
    if differing or not trained:
        raise RunError(
            f"dpo: the reference policy is not the adapter that training starts from ({len(differing)} of "
            f"{len(trained)} weights differ or are missing): this version of TRL keeps no frozen copy; install the "
            "versions of the constraints file"
        )
