"""The discriminator itself: a causal language model with a token-classification head and LoRA adapters.

It is trained as in the reference code of arXiv 2512.20773 (github slingshot-ai/dial): binary cross entropy at the last
token of each user turn, 1 real and 0 simulated. Shapes: B sequences, T tokens, N labelled positions, C candidates.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForTokenClassification, DynamicCache, get_cosine_schedule_with_warmup

from advsim.config import DiscriminatorConfig
from advsim.errors import RunError
from advsim.models.adapter import save_adapter
from advsim.models.base import load_tokenizer
from advsim.models.batching import length_bucketed_batches, padded_groups
from advsim.records import ScoredTurn, Speaker
from advsim.training.discriminator.dataset import LabelledView, split_by_scenario
from advsim.training.discriminator.inputs import (
    DiscriminatorInput,
    ScoringRequest,
    UserView,
    build_candidate_inputs,
    build_inputs,
)
from advsim.training.discriminator.metrics import JudgedTurn, measure
from advsim.training.metrics import DiscriminatorMetrics

OnStep = Callable[[int, int, float], None]
"""Called after each optimizer step with step (from 1), number of steps, and the step's loss."""

_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    sequence: DiscriminatorInput
    label: int


class Discriminator:
    """Tells real user turns from simulated ones. Made by :meth:`train` or :meth:`load`."""

    def __init__(
        self, *, classifier: Any, tokenizer: Any, config: DiscriminatorConfig, dtype: str, device: str
    ) -> None:
        """Wrap a PEFT token classifier with one label.

        Args:
            classifier: PEFT model around an ``AutoModelForTokenClassification`` with ``num_labels=1``.
            tokenizer: tokenizer of the base model.
            config: what is visible, lengths and batch sizes.
            dtype: ``float32`` or ``bfloat16``, of the base; bfloat16 computes under autocast, adapters are float32.
            device: torch device, ``cpu`` or ``cuda``.
        """
        self._device = torch.device(device)
        self._classifier = classifier.to(self._device)
        self._tokenizer = tokenizer
        self._config = config
        self._dtype = dtype
        self._classifier.eval()

    @classmethod
    def train(
        cls,
        *,
        base: Path,
        real: Sequence[UserView],
        simulated: Sequence[UserView],
        config: DiscriminatorConfig,
        dtype: str = "float32",
        device: str = "cpu",
        seed: int,
        output_dir: Path,
        on_step: OnStep | None = None,
    ) -> tuple[Discriminator, DiscriminatorMetrics]:
        """Train a fresh discriminator, measure it on held-out scenarios and save adapter and head to ``output_dir``.

        The views are split by :func:`~advsim.training.discriminator.dataset.split_by_scenario`. Seeds torch's global
        generator.

        Args:
            base: folder of the base model.
            real: views of real dialogues, cut to the simulated ones' number of user turns.
            simulated: views of simulated conversations on the same scenarios.
            config: hyperparameters.
            dtype: ``float32`` or ``bfloat16``, of the frozen base model.
            device: ``cpu`` or ``cuda``.
            seed: of the head, the adapters, the split, the order and the dropout.
            output_dir: gets ``adapter_model.safetensors`` (adapters and head) and ``adapter_config.json``.
            on_step: progress.

        Raises:
            RunError: there are no real or no simulated user turns to train on, or the loss is not finite.
        """
        started = time.monotonic()
        split = split_by_scenario(real, simulated, held_out_fraction=config.held_out_fraction, seed=seed)
        torch.manual_seed(seed)
        lora = config.lora
        peft_config = LoraConfig(
            task_type=TaskType.TOKEN_CLS,
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
        )
        discriminator = cls(
            classifier=get_peft_model(_base_classifier(base, dtype), peft_config),
            tokenizer=load_tokenizer(base),
            config=config,
            dtype=dtype,
            device=device,
        )
        examples = [
            _Example(sequence=sequence, label=item.label)
            for item in split.train
            for sequence in discriminator._inputs(item.view)
        ]
        if {example.label for example in examples} != {0, 1}:
            raise RunError(
                f"discriminator: got {len(real)} real and {len(simulated)} simulated views, {len(split.train)} of "
                "them to train on; expected user turns of both kinds there; give more scenarios or lower "
                "discriminator.held_out_fraction"
            )
        discriminator._fit(examples, seed=seed, on_step=on_step)
        discriminator.save(output_dir)
        judged = discriminator._judge(split.held_out)
        metrics = measure(
            judged,
            num_train_turns=sum(len(example.sequence.turns) for example in examples),
            num_held_out_scenarios=len({item.view.scenario_id for item in split.held_out}),
            seconds=time.monotonic() - started,
        )
        return discriminator, metrics

    @classmethod
    def load(
        cls, path: Path, *, base: Path, config: DiscriminatorConfig, dtype: str = "float32", device: str = "cpu"
    ) -> Discriminator:
        """Load what :meth:`train` saved; ``base`` and ``config`` must be those of the training."""
        return cls(
            classifier=PeftModel.from_pretrained(_base_classifier(base, dtype), str(path)),
            tokenizer=load_tokenizer(base),
            config=config,
            dtype=dtype,
            device=device,
        )

    def save(self, path: Path) -> None:
        """Write adapters and head, atomically; see :func:`advsim.models.adapter.save_adapter`."""
        save_adapter(self._classifier, path)

    def score(self, views: Sequence[UserView]) -> list[list[ScoredTurn]]:
        """Probability of being real for every user turn, one list a view, in the order of the turns.

        ``reward`` is NaN: it is the preference stage that makes rewards of probabilities.
        """
        owners, inputs = [], []
        for number, view in enumerate(views):
            for sequence in self._inputs(view):
                owners.append(number)
                inputs.append(sequence)
        p_real_of: list[dict[int, float]] = [{} for _ in views]
        groups = padded_groups(
            [len(sequence.input_ids) for sequence in inputs],
            max_sequences=self._config.scoring_batch_size,
        )
        for group in groups:
            with self._inference():
                logits_N = self._position_logits([inputs[i] for i in group])
            places = [(owners[i], turn) for i in group for turn in inputs[i].turns]
            for (owner, turn), p_real in zip(places, _probabilities(logits_N), strict=True):
                p_real_of[owner][turn] = p_real
        return [_scored_turns(view, p_real) for view, p_real in zip(views, p_real_of, strict=True)]

    def score_candidates(self, request: ScoringRequest) -> list[float]:
        """Probability of being real for each candidate text of one user turn, in the order of the texts.

        The prefix is computed once and its key-value cache repeated for the candidates. No candidate is marked with
        ``[END]`` (see :func:`advsim.training.discriminator.inputs.build_candidate_inputs`).
        """
        if not request.texts:
            return []
        inputs = build_candidate_inputs(
            self._tokenizer,
            request,
            visible_turns=self._config.visible_turns,
            max_tokens=self._config.max_tokens,
        )
        num_prefix = len(inputs.prefix_ids)
        with self._inference():
            prefix_cache = DynamicCache(config=self._classifier.config)
            if num_prefix:
                prefix_1T = torch.tensor([inputs.prefix_ids], device=self._device)
                self._classifier(input_ids=prefix_1T, past_key_values=prefix_cache, use_cache=True)
            p_real: dict[int, float] = {}
            groups = padded_groups(
                [num_prefix + len(ids) for ids in inputs.candidate_ids],
                max_sequences=self._config.scoring_batch_size,
            )
            for group in groups:
                candidates = [inputs.candidate_ids[i] for i in group]
                ids_CT, mask_CT = self._pad(candidates)
                cache = copy.deepcopy(prefix_cache)
                if num_prefix:
                    cache.batch_repeat_interleave(len(group))
                prefix_mask = mask_CT.new_ones((len(group), num_prefix))
                logits_CT = self._classifier(
                    input_ids=ids_CT,
                    attention_mask=torch.cat([prefix_mask, mask_CT], dim=1),
                    past_key_values=cache,
                    use_cache=True,
                ).logits.squeeze(-1)
                last = torch.tensor([len(ids) - 1 for ids in candidates], device=self._device)
                logits_C = logits_CT[torch.arange(len(group), device=self._device), last]
                p_real.update(zip(group, _probabilities(logits_C), strict=True))
        return [p_real[i] for i in range(len(request.texts))]

    def _fit(self, examples: Sequence[_Example], *, seed: int, on_step: OnStep | None) -> None:
        config = self._config
        lengths = [len(example.sequence.input_ids) for example in examples]
        num_steps = max(1, math.ceil(math.ceil(len(examples) / config.batch_size) * config.num_epochs))
        parameters = [parameter for parameter in self._classifier.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = get_cosine_schedule_with_warmup(
            optimizer,
            num_warmup_steps=math.ceil(config.warmup_fraction * num_steps),
            num_training_steps=num_steps,
        )
        self._classifier.train()
        batches = _endless_batches(lengths, batch_size=config.batch_size, rng=random.Random(seed))
        for step in range(1, num_steps + 1):
            loss = self._accumulate([examples[i] for i in next(batches)])
            torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT_NORM)
            if not math.isfinite(loss):
                raise RunError(
                    f"discriminator: the loss of step {step} of {num_steps} is {loss}, expected a finite number; lower "
                    "discriminator.learning_rate"
                )
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            if on_step is not None:
                on_step(step, num_steps, loss)
        self._classifier.eval()

    def _accumulate(self, batch: Sequence[_Example]) -> float:
        """Add the gradients of the batch's mean loss over its labelled positions, in parts that fit into memory."""
        num_positions = sum(len(example.sequence.positions) for example in batch)
        groups = padded_groups(
            [len(example.sequence.input_ids) for example in batch],
            max_sequences=len(batch),
            max_padded_tokens=self._config.micro_batch_tokens,
        )
        total = 0.0
        for group in groups:
            part = [batch[i] for i in group]
            with self._autocast():
                logits_N = self._position_logits([example.sequence for example in part])
            labels = [float(example.label) for example in part for _ in example.sequence.positions]
            labels_N = torch.tensor(labels, device=self._device)
            loss = binary_cross_entropy_with_logits(logits_N, labels_N, reduction="sum") / num_positions
            loss.backward()
            total += float(loss.detach())
        return total

    def _judge(self, held_out: Sequence[LabelledView]) -> list[JudgedTurn]:
        scored = self.score([item.view for item in held_out])
        return [
            JudgedTurn(user_turn=turn.user_turn, label=item.label, p_real=turn.p_real)
            for item, turns in zip(held_out, scored, strict=True)
            for turn in turns
        ]

    def _inputs(self, view: UserView) -> list[DiscriminatorInput]:
        return build_inputs(
            self._tokenizer, view, visible_turns=self._config.visible_turns, max_tokens=self._config.max_tokens
        )

    def _position_logits(self, sequences: Sequence[DiscriminatorInput]) -> Any:
        """Logits at the labelled positions [N], sequence after sequence, in float32."""
        ids_BT, mask_BT = self._pad([sequence.input_ids for sequence in sequences])
        logits_BT = self._classifier(input_ids=ids_BT, attention_mask=mask_BT).logits.squeeze(-1)
        rows = [row for row, sequence in enumerate(sequences) for _ in sequence.positions]
        columns = [position for sequence in sequences for position in sequence.positions]
        return logits_BT[rows, columns].float()

    def _pad(self, sequences: Sequence[tuple[int, ...]]) -> tuple[Any, Any]:
        """Token ids [B, T] padded on the right, and their mask [B, T]."""
        ids = [torch.tensor(sequence, device=self._device) for sequence in sequences]
        ids_BT = pad_sequence(ids, batch_first=True)
        mask_BT = pad_sequence([torch.ones_like(sequence) for sequence in ids], batch_first=True)
        return ids_BT, mask_BT

    def _autocast(self) -> Any:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._dtype == "bfloat16")

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        with torch.inference_mode(), self._autocast():
            yield


def _base_classifier(base: Path, dtype: str) -> Any:
    classifier = AutoModelForTokenClassification.from_pretrained(
        base, num_labels=1, dtype=getattr(torch, dtype), trust_remote_code=False
    )
    for name in ("score", "classifier"):
        if hasattr(classifier, name):
            # AdamW's small steps would be rounded away in bfloat16; PEFT keeps its adapters in float32 by itself.
            getattr(classifier, name).float()
    return classifier


def _endless_batches(lengths: Sequence[int], *, batch_size: int, rng: random.Random) -> Iterator[list[int]]:
    while True:
        yield from length_bucketed_batches(lengths, batch_size=batch_size, rng=rng)


def _probabilities(logits: Any) -> list[float]:
    # In float32 a sigmoid is 1 from a logit of about 17; the reward needs the logit back.
    return [float(p) for p in torch.sigmoid(logits.double()).tolist()]


def _scored_turns(view: UserView, p_real: dict[int, float]) -> list[ScoredTurn]:
    indices = [i for i, turn in enumerate(view.turns) if turn.speaker is Speaker.USER]
    return [
        ScoredTurn(
            conversation_id=view.conversation_id,
            turn=index,
            user_turn=user_turn,
            p_real=p_real[index],
            reward=math.nan,
        )
        for user_turn, index in enumerate(indices, start=1)
    ]
