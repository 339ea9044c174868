"""LoRA over a batch of tokens as matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def add_masked_lora(
    outputs_TO: torch.Tensor,
    inputs_TI: torch.Tensor,
    slot_of_token_T: torch.Tensor,
    down_1RI: Sequence[torch.Tensor],
    up_1WR: Sequence[torch.Tensor],
    *,
    scale: float,
    output_slices: Sequence[int],
) -> None:
    """Add ``scale * B A x`` to each token's output, in place, with A and B of the adapter that the token asked for.

    Args:
        outputs_TO: outputs of T tokens; the slices stand one after the other (query, key and value, for example).
        inputs_TI: inputs of the layer.
        slot_of_token_T: slot of each token's adapter; -1 for a token without adapter, whose output stays as it is.
        down_1RI: A of each slice, [slots, 1, rank, I].
        up_1WR: B of each slice, [slots, 1, width, rank].
        scale: factor of the product.
        output_slices: width of each slice.
    """
    for slot in range(down_1RI[0].size(0)):
        chosen_T = slot_of_token_T == slot
        if not chosen_T.any():
            continue
        mask_T1 = None if chosen_T.all() else chosen_T.unsqueeze(1)
        start = 0
        for down, up, width in zip(down_1RI, up_1WR, output_slices, strict=True):
            hidden_TR = inputs_TI @ down[slot, 0].T
            if mask_T1 is not None:
                hidden_TR = hidden_TR * mask_T1
            outputs_TO[:, start : start + width].addmm_(hidden_TR, up[slot, 0].T, alpha=scale)
            start += width
