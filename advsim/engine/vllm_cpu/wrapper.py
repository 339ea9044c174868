"""The wrapper that vLLM calls to apply adapters to its linear layers."""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from advsim.engine.vllm_cpu.dense import add_masked_lora


class DenseLora(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM is not type-checked here
    """vLLM's CPU wrapper with another way for linear layers, the only ones that advsim adapts."""

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **kwargs: Any,
    ) -> None:
        """Add the adapters' part to the output ``y`` of a layer with input ``x``, in place."""
        if self.no_lora:
            return
        add_masked_lora(
            y.view(-1, y.shape[-1]),
            x.view(-1, x.shape[-1]),
            self.token_lora_indices,
            lora_a_stacked,
            lora_b_stacked,
            scale=scale,
            output_slices=output_slices,
        )

    def add_lora_logits(self, *arguments: Any, **kwargs: Any) -> None:
        """Nothing: the output layer is never adapted (the configuration refuses it), so that its adapter is zero.

        vLLM would gather rank x vocabulary weights for every token to add that zero, and fails on prompt
        log-probabilities of a batch of several requests.
        """
