"""Score the preference pairs of one turn in one sequence, so that the prompt that all share is computed once.

TRL gives the model rows ``prompt + chosen`` and ``prompt + rejected``. Prompts are long and user turns short: most of
that is the same work done again. Here the model sees one row::

    prompt | chosen | .. | rejected | ..    each completion starts at the position behind the prompt,
                                            and its tokens do not attend to those of the others

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
class PackedCompletions:
    """One row of L tokens, and where in it the predictions of the N completion tokens are made, row after row."""

    input_ids_1L: torch.Tensor
    position_ids_1L: torch.Tensor
    attention_11LL: torch.Tensor  # bool, True where a token may look
    sources_N: torch.Tensor  # the position in the row that predicts each completion token
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
    """Replace the pass that TRL's DPOTrainer asks for (``fused_lm_head=True``) by one over the packed completions.

    Expects batches of pairs of one prompt.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    plain_forward = causal_lm.forward

    def forward(*args: Any, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return plain_forward(*args, **({} if labels is None else {"labels": labels}), **kwargs)
        assert labels is not None
        packed = pack_completions(kwargs["input_ids"], labels)
        logits_NV = plain_forward(
            input_ids=packed.input_ids_1L,
            position_ids=packed.position_ids_1L,
            attention_mask=packed.attention_11LL,
            logits_to_keep=packed.sources_N,
            use_cache=False,
        ).logits[0]
        logits_NV = logits_NV.float()
        mask_RT = labels[:, 1:] != IGNORED_LABEL

        def spread(values_N: torch.Tensor) -> torch.Tensor:
            return values_N.new_zeros(mask_RT.shape).masked_scatter(mask_RT, values_N)

        targets_N1 = packed.targets_N.unsqueeze(-1)
        target_logits_N = logits_NV.gather(-1, targets_N1).squeeze(-1)
        log_z_N = logits_NV.logsumexp(-1)
        entropy_N = log_z_N.detach() - (torch.softmax(logits_NV.detach(), -1) * logits_NV.detach()).sum(-1)
        return FusedCausalLMOutput(
            log_probs=spread(target_logits_N - log_z_N),
            entropy=spread(entropy_N),
            mean_logits=spread(logits_NV.detach().mean(-1)),
            is_top1=spread(logits_NV.argmax(-1) == packed.targets_N),
            label_mask=mask_RT,
        )

    causal_lm.forward = forward


def pack_completions(input_ids_RT: torch.Tensor, labels_RT: torch.Tensor) -> PackedCompletions:
    """Pack rows ``prompt + completion`` (right-padded) that have one prompt into one.

    Args:
        input_ids_RT: token ids.
        labels_RT: token ids of the completions, -100 elsewhere.
    """
    import torch

    is_completion_RT = labels_RT != IGNORED_LABEL
    num_prompt = int(is_completion_RT[0].int().argmax())
    prompt_P = input_ids_RT[0, :num_prompt]
    assert bool((input_ids_RT[:, :num_prompt] == prompt_P).all()), "one prompt at a time"
    completions = [
        row[num_prompt : num_prompt + count]
        for row, count in zip(input_ids_RT, is_completion_RT.sum(dim=1).tolist(), strict=True)
    ]
    num_tokens = num_prompt + sum(map(len, completions))

    attention_LL = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
    positions, sources = [torch.arange(num_prompt)], []
    start = num_prompt
    for completion in completions:
        end = start + len(completion)
        attention_LL[start:end, num_prompt:start] = False
        positions.append(torch.arange(num_prompt, num_prompt + len(completion)))
        sources += [torch.tensor([num_prompt - 1]), torch.arange(start, end - 1)]
        start = end
    return PackedCompletions(
        input_ids_1L=torch.cat((prompt_P, *completions)).unsqueeze(0),
        position_ids_1L=torch.cat(positions).unsqueeze(0),
        attention_11LL=attention_LL[None, None],
        sources_N=torch.cat(sources),
        targets_N=torch.cat(completions),
    )
