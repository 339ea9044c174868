"""One row for both completions gives what TRL's two rows give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from advsim.config import LoraConfig
from advsim.models.adapter import load_base, new_adapter
from advsim.training.learner.shared_prompt import can_share_prompts, pack_completions, share_prompts

PROMPT = [3, 14, 15, 92, 65]
CHOSEN = [35, 89, 79]
REJECTED = [32, 38]
OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")


def rows_of(prompt: list[int], *completions: list[int]) -> dict[str, torch.Tensor]:
    rows = [prompt + completion for completion in completions]
    longest = max(map(len, rows))
    padding = [[0] * (longest - len(row)) for row in rows]
    return {
        "input_ids": torch.tensor([row + pad for row, pad in zip(rows, padding, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(row) + pad for row, pad in zip(rows, padding, strict=True)]),
        "labels": torch.tensor(
            [
                [-100] * len(prompt) + row[len(prompt) :] + [-100] * len(pad)
                for row, pad in zip(rows, padding, strict=True)
            ]
        ),
    }


def peft_model_with(tiny_model: Path, *, shared: bool):
    base_model = load_base(tiny_model, dtype="float32")
    add_fused_lm_head(base_model, outputs=OUTPUTS)
    if shared:
        share_prompts(base_model)
    peft_model = new_adapter(base_model, LoraConfig(r=4, dropout=0.0), seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, weight in peft_model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3, generator=generator)
    return peft_model


@pytest.mark.parametrize(
    "completions",
    [
        (CHOSEN, REJECTED),
        (REJECTED, CHOSEN),
        ([7], [8]),
        (CHOSEN, CHOSEN),
        ([7, 8, 9, 10], [7]),
        (CHOSEN, [7, 8], REJECTED, [9, 10, 11, 12]),
    ],
)
def test_shared_prompt_gives_trl_logprobs_and_gradients(tiny_model: Path, completions: tuple[list[int], ...]) -> None:
    results = []
    for shared in (False, True):
        peft_model = peft_model_with(tiny_model, shared=shared)
        output = peft_model(**rows_of(PROMPT, *completions), fused_lm_head=True, use_cache=False)
        sums = output.log_probs.sum(dim=1)
        (torch.tensor([2.0, -1.0, 1.5, -0.7])[: len(sums)] @ sums).backward()
        gradients = {name: weight.grad for name, weight in peft_model.named_parameters() if weight.requires_grad}
        results.append((output, gradients))
    (plain, plain_gradients), (packed, packed_gradients) = results

    for name in OUTPUTS:
        torch.testing.assert_close(packed[name], plain[name], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(packed.label_mask, plain.label_mask)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, atol=1e-4, rtol=1e-3)
    assert any(float(gradient.abs().max()) > 0.1 for gradient in plain_gradients.values())


def test_rejected_tokens_do_not_see_chosen_ones() -> None:
    rows = rows_of(PROMPT, CHOSEN, REJECTED)
    packed = pack_completions(rows["input_ids"], rows["labels"])
    assert packed.input_ids_1L.tolist() == [[*PROMPT, *CHOSEN, *REJECTED]]
    assert packed.position_ids_1L.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 5, 6]]
    sees = packed.attention_11LL[0, 0]
    assert not sees[8:, 5:8].any()
    assert sees[8:, :5].all()
    assert not sees.triu(1).any()


def test_a_model_with_sliding_windows_is_left_to_trl(tiny_model: Path) -> None:
    base_model = load_base(tiny_model, dtype="float32")
    assert can_share_prompts(base_model)
    base_model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not can_share_prompts(base_model)
    base_model.config.layer_types = None
    base_model.config._attn_implementation = "eager"
    assert not can_share_prompts(base_model)
