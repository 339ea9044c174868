"""The temperature at which a model finds held-out real turns most likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advsim.prompts.text import IGNORED_LABEL

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

    from advsim.records import TrainingExample

TEMPERATURES = tuple(round(0.5 + 0.025 * step, 3) for step in range(41))
"""Tried: .5 to 1.5."""


_SLICE = 128
"""Tokens at once: each has its odds of every word of the vocabulary."""


def most_likely_temperature(
    causal_lm: PeftModel | PreTrainedModel, examples: Sequence[TrainingExample]
) -> float | None:
    """Maximum-likelihood temperature of a model's user turns (temperature scaling: Guo et al. 2017, arXiv 1706.04599).

    A model that is surer than it may be has one above 1. It says how the model's odds have to be stretched to fit
    people's words one at a time; whole turns that are drawn at it need not look the most real.

    Args:
        causal_lm: model, put into evaluation mode for the time.
        examples: real dialogues that it was not trained on; the tokens with labels count.

    Returns:
        One of :data:`TEMPERATURES`; None where no example has a label.
    """
    import torch

    nats = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
    num_tokens = 0
    was_training = causal_lm.training
    causal_lm.eval()
    with torch.inference_mode():
        for example in examples:
            ids_1T = torch.tensor([example.input_ids], device=causal_lm.device)
            labels_T = torch.tensor(example.labels, device=causal_lm.device)[1:]
            kept_N = (labels_T != IGNORED_LABEL).nonzero().squeeze(-1)
            if not len(kept_N):
                continue
            logits_NV = causal_lm(input_ids=ids_1T, logits_to_keep=kept_N, use_cache=False).logits[0]
            for logits_SV, labels_S in zip(logits_NV.split(_SLICE), labels_T[kept_N].split(_SLICE), strict=True):
                nats += _nats(logits_SV.float(), labels_S)
            num_tokens += len(kept_N)
    causal_lm.train(was_training)
    if not num_tokens or not math.isfinite(float(nats.min())):
        return None
    return TEMPERATURES[int(nats.argmin())]


def _nats(logits_SV: torch.Tensor, labels_S: torch.Tensor) -> torch.Tensor:
    """Of the tokens together, at each temperature; shape (temperatures,)."""
    import torch

    said_S = logits_SV.gather(-1, labels_S.unsqueeze(-1)).squeeze(-1)
    nats = [
        float(((logits_SV / temperature).logsumexp(-1) - said_S / temperature).sum()) for temperature in TEMPERATURES
    ]
    return torch.tensor(nats, dtype=torch.float64)
