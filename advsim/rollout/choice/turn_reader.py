"""What a frozen language model makes of user turns behind their prefixes: the inputs of the probe.

Of each turn: hidden states at four depths, as the mean over the turn's tokens and at its last one; and how likely the
model finds its tokens and the end behind them, beside how sure it was there (log-probability plus entropy is 0 on
average where tokens are drawn from the model itself, negative where a person writes what it did not expect).

Real and simulated texts take one path: both are tokenised anew from their text, [END] taken out. Shapes: C texts of one
prefix, T tokens of the longest with its end token, H width of a hidden state, V words of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from advsim.models.adapter import load_base
from advsim.models.base import load_tokenizer
from advsim.models.batching import padded_groups
from advsim.models.embedder import FloatArray
from advsim.prompts.simulator import SimulatorPrompts
from advsim.prompts.text import without_end
from advsim.records import Context, Turn
from advsim.rollout.choice.spec import PromptShape

STATISTICS = (
    "mean log-probability",
    "least log-probability",
    "greatest log-probability",
    "deviation of log-probabilities",
    "log-probability of the first token",
    "mean entropy",
    "mean log-probability plus entropy",
    "least log-probability plus entropy",
    "share of most likely tokens",
    "log-probability of the end",
    "entropy before the end",
)
"""Of the tokens of a turn, in nats."""

NUM_DEPTHS = 4
_MAX_PADDED_TOKENS = 1024
"""Of the texts of one pass: each has its odds of every word of the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTexts:
    """Texts for the user turn behind a prefix, none of them empty."""

    dialogue_id: str
    context: Context
    prefix: tuple[Turn, ...]
    texts: tuple[str, ...]


class TurnReader:
    """Reads turns with a frozen language model.

    Args:
        base: folder of the model.
        prompt: in which turns are read.
        dtype: ``float32`` or ``bfloat16``.
        device: torch device.
        max_texts: of one pass.
    """

    def __init__(
        self, *, base: Path, prompt: PromptShape, dtype: str, device: str = "cpu", max_texts: int = 16
    ) -> None:
        self._device = torch.device(device)
        self._causal_lm = load_base(base, dtype=dtype).to(self._device).eval()
        self._prompts = SimulatorPrompts(
            load_tokenizer(base), instructions=prompt.instructions, budget_tokens=prompt.budget_tokens
        )
        self._max_texts = max_texts

    def read(self, turn: TurnTexts) -> FloatArray:
        """Features of each text, shape (texts, features).

        The prefix is computed once and its key-value cache repeated for the texts.
        """
        completions = [
            self._prompts.completion(self._prompts.text_ids(without_end(text)), finished=True) for text in turn.texts
        ]
        prompt_ids = self._prompts.prompt(turn.context, turn.prefix)
        with torch.inference_mode():
            cache = DynamicCache(config=self._causal_lm.config)
            first_1V = self._causal_lm(
                input_ids=torch.tensor([prompt_ids], device=self._device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[0]
            rows: dict[int, FloatArray] = {}
            lengths = [len(completion) for completion in completions]
            for group in padded_groups(lengths, max_sequences=self._max_texts, max_padded_tokens=_MAX_PADDED_TOKENS):
                branches = self._branches([completions[i] for i in group], len(prompt_ids), cache, first_1V)
                rows.update(zip(group, branches, strict=True))
        return np.stack([rows[i] for i in range(len(completions))])

    def _branches(
        self, completions: Sequence[tuple[int, ...]], num_prompt: int, cache: Any, first_1V: torch.Tensor
    ) -> list[FloatArray]:
        ids = [torch.tensor(completion, device=self._device) for completion in completions]
        ids_CT = pad_sequence(ids, batch_first=True)
        mask_CT = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        branch = copy.deepcopy(cache)
        branch.batch_repeat_interleave(len(ids))
        output = self._causal_lm(
            input_ids=ids_CT,
            attention_mask=torch.cat([mask_CT.new_ones((len(ids), num_prompt)), mask_CT], dim=1),
            past_key_values=branch,
            use_cache=True,
            output_hidden_states=True,
        )
        layers = output.hidden_states
        depths = [layers[round((depth + 1) * (len(layers) - 1) / NUM_DEPTHS)] for depth in range(NUM_DEPTHS)]
        num_frame = len(self._prompts.frames.end_of_turn)
        rows = []
        for row, completion in enumerate(completions):
            num_text = len(completion) - num_frame
            states = [part for layer in depths for part in (layer[row, :num_text].mean(0), layer[row, num_text - 1])]
            logits_TV = torch.cat([first_1V, output.logits[row, :num_text]]).float()
            statistics = _statistics(logits_TV, ids_CT[row, : num_text + 1])
            rows.append(torch.cat([*(state.float() for state in states), statistics]).double().cpu().numpy())
        return rows


def _statistics(logits_TV: torch.Tensor, ids_T: torch.Tensor) -> torch.Tensor:
    """:data:`STATISTICS` of a turn; the last token is the first of the end of turn, and each row predicts its token."""
    logprobs_TV = logits_TV.log_softmax(-1)
    said_T = logprobs_TV.gather(-1, ids_T.unsqueeze(-1)).squeeze(-1)
    entropy_T = -(logprobs_TV.exp() * logprobs_TV).sum(-1)
    said, entropy = said_T[:-1], entropy_T[:-1]
    surprise = said + entropy
    is_top = (logits_TV[:-1].argmax(-1) == ids_T[:-1]).float()
    return torch.stack(
        [
            said.mean(),
            said.min(),
            said.max(),
            said.std(correction=0),
            said[0],
            entropy.mean(),
            surprise.mean(),
            surprise.min(),
            is_top.mean(),
            said_T[-1],
            entropy_T[-1],
        ]
    )
