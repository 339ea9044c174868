"""Score a preference pair in one sequence, so that the prompt that both completions share is computed once.

TRL gives the model two rows, ``prompt + chosen`` and ``prompt + rejected``. Prompts are long and user turns short, so
nearly half of that is the same work done twice. Here the model sees one row::

    prompt | chosen | rejected          rejected starts at the position behind the prompt again,
                                        and its tokens do not attend to chosen

which gives the same log-probabilities and gradients up to rounding. Logits are computed for completion tokens only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advsim.prompts.text import IGNORED_LABEL

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPair:
    """One row of P + C + R = L tokens, and where in it the N = C + R predictions of completion tokens are made."""

    input_ids_1L: torch.Tensor
    position_ids_1L: torch.Tensor
    attention_11LL: torch.Tensor  # bool, True where a token may look
    sources_N: torch.Tensor  # the position in the row that predicts each completion token, chosen first
    targets_N: torch.Tensor  # the completion tokens


def can_share_prompts(causal_lm: PreTrainedModel) -> bool:
    """Whether a model takes an attention mask of our own: full attention everywhere, by torch's SDPA, on CPU.

    Elsewhere TRL's own pass runs: the GPU has its own kernels for it.
    """
    config = causal_lm.config.get_text_config()
    return (
        causal_lm.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and getattr(config, "sliding_window", None) is None
        and set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
    )


def share_prompts(causal_lm: PreTrainedModel) -> None:
    """Replace the pass that TRL's DPOTrainer asks for (``fused_lm_head=True``) by one over the packed pair.

    Expects batches of one pair, as rows ``[chosen, rejected]``.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    plain_forward = causal_lm.forward

    def forward(*args: Any, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return plain_forward(*args, **({} if labels is None else {"labels": labels}), **kwargs)
        assert labels is not None
        packed = pack_pair(kwargs["input_ids"], labels)
        logits_NV = plain_forward(
            input_ids=packed.input_ids_1L,
            position_ids=packed.position_ids_1L,
            attention_mask=packed.attention_11LL,
            logits_to_keep=packed.sources_N,
            use_cache=False,
        ).logits[0]
        logits_NV = logits_NV.float()
        mask_2T = labels[:, 1:] != IGNORED_LABEL

        def spread(values_N: torch.Tensor) -> torch.Tensor:
            return values_N.new_zeros(mask_2T.shape).masked_scatter(mask_2T, values_N)

        targets_N1 = packed.targets_N.unsqueeze(-1)
        target_logits_N = logits_NV.gather(-1, targets_N1).squeeze(-1)
        log_z_N = logits_NV.logsumexp(-1)
        entropy_N = log_z_N.detach() - (torch.softmax(logits_NV.detach(), -1) * logits_NV.detach()).sum(-1)
        return FusedCausalLMOutput(
            log_probs=spread(target_logits_N - log_z_N),
            entropy=spread(entropy_N),
            mean_logits=spread(logits_NV.detach().mean(-1)),
            is_top1=spread(logits_NV.argmax(-1) == packed.targets_N),
            label_mask=mask_2T,
        )

    causal_lm.forward = forward


def pack_pair(input_ids_2T: torch.Tensor, labels_2T: torch.Tensor) -> PackedPair:
    """Pack the rows ``[prompt + chosen, prompt + rejected]`` (right-padded) into one.

    Args:
        input_ids_2T: token ids.
        labels_2T: token ids of the completions, -100 elsewhere.
    """
    import torch

    assert input_ids_2T.shape[0] == 2, "one pair at a time"
    num_prompt = int((labels_2T[0] != IGNORED_LABEL).int().argmax())
    num_chosen, num_rejected = (labels_2T != IGNORED_LABEL).sum(dim=1).tolist()
    chosen_C = input_ids_2T[0, num_prompt : num_prompt + num_chosen]
    rejected_R = input_ids_2T[1, num_prompt : num_prompt + num_rejected]
    behind_chosen = num_prompt + num_chosen
    num_tokens = behind_chosen + num_rejected

    position_ids_L = torch.cat((torch.arange(behind_chosen), torch.arange(num_prompt, num_prompt + num_rejected)))
    attention_LL = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
    attention_LL[behind_chosen:, num_prompt:behind_chosen] = False
    last_of_prompt = torch.tensor([num_prompt - 1])
    sources_N = torch.cat(
        (
            torch.arange(num_prompt - 1, behind_chosen - 1),
            last_of_prompt,
            torch.arange(behind_chosen, num_tokens - 1),
        )
    )
    return PackedPair(
        input_ids_1L=torch.cat((input_ids_2T[0, :num_prompt], chosen_C, rejected_R)).unsqueeze(0),
        position_ids_1L=position_ids_L.unsqueeze(0),
        attention_11LL=attention_LL[None, None],
        sources_N=sources_N,
        targets_N=torch.cat((chosen_C, rejected_R)),
    )
