"""The network of the reader: the embedded language model with low-rank updates, and a linear layer.

    window ──> SmolLM2-135M, each linear weight W + up @ down ──> state at a message's end, mean over its pieces
                                                                              └──> linear ──> scores (modes)

Attention is causal: nothing that is said after a message changes its scores. Only updates and linear layer are
trained, saved and shipped. It computes in bfloat16 on every machine, as it was trained, so that its scores are the same
but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from advsim.config import ModelConfig
from advsim.detectors.reader.windows import Window, windows
from advsim.detectors.saved import put_in_place
from advsim.models.base import load_tokenizer, resolve_model
from advsim.models.embedded import EMBEDDED
from advsim.models.embedder import FloatArray
from advsim.records import Turn

BASE = EMBEDDED
RANK = 16
ALPHA = 32
"""Updates are ``ALPHA / RANK * up @ down`` (LoRA, Hu et al. 2022)."""
UPDATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Layers that are updated."""

KEY = "base model of the reader (evaluate.detector: combined; learned and rules need none)"
"""What the base is called in errors."""
_STATES = 0.2
"""The states' scale before the linear layer, near that of unit vectors."""


class DialogueReader(nn.Module):  # type: ignore[misc]
    """Scores of each mode for every chatbot message of a dialogue.

    Args:
        modes: what its outputs are, in order.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # loading takes under a second, and its bar would stand between ours
        self.modes = tuple(modes)
        path = resolve_model(ModelConfig(path=BASE), key=KEY)
        self.tokenizer = load_tokenizer(path)
        self.base = AutoModel.from_pretrained(str(path), local_files_only=True, dtype=torch.bfloat16)
        self.base.config.use_cache = False
        self.head = nn.Linear(2 * self.base.config.hidden_size, len(self.modes))
        for parameter in self.base.parameters():
            parameter.requires_grad = False
        self.eval()

    def updated(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The base's weights that training updates, with their names, shape (out, in)."""
        ends = tuple(f".{kind}.weight" for kind in UPDATED)
        for name, weight in self.base.named_parameters():
            if name.endswith(ends):
                yield name, weight

    def forward(self, some: Sequence[Window]) -> Tensor:
        """Scores of the windows' messages in order, shape (messages, modes)."""
        longest = max(len(window.ids) for window in some)
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        is_there = torch.zeros_like(ids)
        for row, window in enumerate(some):
            ids[row, : len(window.ids)] = torch.tensor(window.ids)
            is_there[row, : len(window.ids)] = 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mask = is_there if len(some) > 1 else None
            states = self.base(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.float()
        pooled = [
            torch.cat([states[row, place.last], states[row, place.first : place.last + 1].mean(dim=0)])
            for row, window in enumerate(some)
            for place in window.messages
        ]
        scores: Tensor = self.head(_STATES * torch.stack(pooled))
        return scores

    def scores(self, turns: Sequence[Turn]) -> dict[int, FloatArray]:
        """Scores of each chatbot turn of a dialogue, shape (modes,), by the turn's number."""
        by_turn: dict[int, FloatArray] = {}
        for window in windows(turns, self.tokenizer):  # one at a time: scores never depend on other dialogues
            with torch.inference_mode():
                rows = self([window]).numpy().astype(np.float64)
            by_turn |= {place.turn: row for place, row in zip(window.messages, rows, strict=True)}
        return by_turn

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Add trained updates to the base's weights and take the linear layer; see :func:`saved_tensors`.

        Raises:
            ValueError: names or shapes are others than this network's.
        """
        put_in_place(tensors, dict(self.updated()), self.head)


def saved_tensors(updates: Mapping[str, Tensor], head: nn.Linear) -> dict[str, Tensor]:
    """What is saved of a trained reader, in half precision, for :meth:`DialogueReader.load_tensors`.

    Args:
        updates: PEFT's state, names that end with ``lora_A.weight`` and ``lora_B.weight``.
        head: the linear layer.
    """
    scale = {".lora_A.weight": (".weight.down", 1.0), ".lora_B.weight": (".weight.up", ALPHA / RANK)}
    saved: dict[str, Tensor] = {}
    for name, tensor in updates.items():
        (end,) = (end for end in scale if name.endswith(end))
        side, factor = scale[end]
        stem = name.removesuffix(end).removeprefix("base_model.model.")
        saved[stem + side] = (factor * tensor.detach()).half().contiguous()
    for name, parameter in head.named_parameters():
        saved[f"head.{name}"] = parameter.detach().clone()
    return saved
