"""LoRA on CPU: matrix products give what a loop over tokens gives, and tokens without adapter stay as they are."""

from __future__ import annotations

import pytest
import torch

from advsim.engine.vllm_cpu import ENABLED, activate
from advsim.engine.vllm_cpu.dense import add_masked_lora

NUM_SLOTS, RANK, WIDTHS, NUM_INPUTS = 2, 3, (4, 6), 5


def weights():
    generator = torch.Generator().manual_seed(0)
    down = tuple(torch.randn(NUM_SLOTS, 1, RANK, NUM_INPUTS, generator=generator) for _ in WIDTHS)
    up = tuple(torch.randn(NUM_SLOTS, 1, width, RANK, generator=generator) for width in WIDTHS)
    inputs = torch.randn(7, NUM_INPUTS, generator=generator)
    outputs = torch.randn(7, sum(WIDTHS), generator=generator)
    return down, up, inputs, outputs


def loop_over_tokens(outputs, inputs, slots, down, up, scale):
    expected = outputs.clone()
    for token, slot in enumerate(slots.tolist()):
        if slot >= 0:
            parts = [scale * (b[slot, 0] @ (a[slot, 0] @ inputs[token])) for a, b in zip(down, up, strict=True)]
            expected[token] += torch.cat(parts)
    return expected


@pytest.mark.parametrize(
    "slots", [[0, 0, 0, 0, 0, 0, 0], [0, -1, 1, -1, 0, 1, -1], [-1, -1, -1, -1, -1, -1, -1], [1, 1, 1, -1, -1, -1, 1]]
)
def test_masked_products_equal_a_loop_over_tokens(slots):
    down, up, inputs, outputs = weights()
    slots = torch.tensor(slots)
    found = outputs.clone()
    add_masked_lora(found, inputs, slots, down, up, scale=0.5, output_slices=WIDTHS)
    torch.testing.assert_close(found, loop_over_tokens(outputs, inputs, slots, down, up, 0.5))
    assert torch.equal(found[slots < 0], outputs[slots < 0])


def test_plugin_stays_out_unless_it_is_turned_on(monkeypatch):
    monkeypatch.delenv(ENABLED, raising=False)
    assert activate() is None
    monkeypatch.setenv(ENABLED, "0")
    assert activate() is None
    monkeypatch.setenv(ENABLED, "1")
    assert activate() == "advsim.engine.vllm_cpu.platform.AdvsimCpuPlatform"
