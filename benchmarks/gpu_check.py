"""What one GPU does of this project's training: tokens a second, share of its peak, memory by stage.

    python benchmarks/gpu_check.py [--shapes 135M 1B 8B] [--seconds 20] [--tokens 8192] [--device cuda]

Needs torch, transformers and peft and no model: the shapes have random weights. Two passes are timed, each with LoRA
(r 16, all linear layers), bfloat16 and recomputed activations where the model is large:

    sft, discriminator   forward and backward of one batch
    dpo                  forward and backward of chosen and rejected, and the reference's forward

The peak is that of a matrix product of 8,192 x 8,192 in bfloat16 on the same device, timed here. Floating-point
operations: 2 a weight and token forward, 2 more backward (frozen weights have no gradient of their own), 2 more where
activations are recomputed. A shape that does not fit is reported with what to lower, and the next one is tried.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}
KEY_VALUE_HEADS = {"tiny": 2, "135M": 3, "1B": 8, "8B": 8}
VOCABULARY = {"tiny": 512, "135M": 49_152, "1B": 128_256, "8B": 128_256}
TIED = {"tiny", "135M", "1B"}
RECOMPUTED = {"1B", "8B"}
PAIR_TOKENS = 256
"""Tokens of a prompt with one completion in DPO."""


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_gib(device: torch.device) -> float | None:
    """Most memory since the last reset."""
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None


def reset_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_flops(device: torch.device, *, size: int, seconds: float) -> float:
    """Floating-point operations a second of a square product in bfloat16."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 * rate(lambda: left @ right, device, seconds=seconds)


def rate(step: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """Steps a second, after two that warm up."""
    for _ in range(2):
        step()
    synchronise(device)
    started, steps = time.monotonic(), 0
    while time.monotonic() - started < seconds or steps < 2:
        step()
        steps += 1
        synchronise(device)
    return steps / (time.monotonic() - started)


def build(name: str, device: torch.device) -> Any:
    """A model of this shape with random weights in bfloat16 and a LoRA adapter in float32."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **SHAPES[name],
        num_key_value_heads=KEY_VALUE_HEADS[name],
        vocab_size=VOCABULARY[name],
        tie_word_embeddings=name in TIED,
        attn_implementation="sdpa",
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            base = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
    if name in RECOMPUTED:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def logprobs(model: Any, ids_BT: torch.Tensor) -> torch.Tensor:
    """Sum of the log-probabilities of the second half of each row, shape (rows,)."""
    half = ids_BT.shape[1] // 2
    logits_BTV = model(ids_BT, use_cache=False, logits_to_keep=half + 1).logits[:, :-1]
    return torch.log_softmax(logits_BTV.float(), -1).gather(-1, ids_BT[:, half:, None]).squeeze(-1).sum(-1)


def measure(name: str, device: torch.device, *, tokens: int, seconds: float, peak: float) -> dict[str, Any]:
    """Figures of one shape.

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    reset_memory(device)
    model = build(name, device)
    parameters = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-5)
    figures: dict[str, Any] = {"frozen_parameters": parameters, "load_gib": memory_gib(device)}
    ids_BT = torch.randint(0, VOCABULARY[name], (max(1, tokens // 512), min(512, tokens)), device=device)
    pairs_BT = torch.randint(0, VOCABULARY[name], (2 * max(1, tokens // (2 * PAIR_TOKENS)), PAIR_TOKENS), device=device)

    def apply(loss: torch.Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    def learn() -> None:
        apply(-logprobs(model, ids_BT).mean() / ids_BT.shape[1])

    def prefer() -> None:
        with torch.no_grad(), model.disable_adapter():
            reference = logprobs(model, pairs_BT)
        chosen, rejected = (logprobs(model, pairs_BT) - reference).chunk(2)
        apply(-torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean())

    # Half of the tokens go through the output head; a lookup in an untied embedding costs nothing.
    table = VOCABULARY[name] * SHAPES[name]["hidden_size"]
    used = parameters - table / 2 - (0 if name in TIED else table)
    # A weight and token costs 2 forward, 2 backward through frozen weights, 2 where activations are recomputed.
    learning = 4 + 2 * (name in RECOMPUTED)
    for stage, step, count, cost in (
        ("sft", learn, ids_BT.numel(), learning),
        ("dpo", prefer, pairs_BT.numel(), learning + 2),
    ):
        reset_memory(device)
        tokens_per_s = count * rate(step, device, seconds=seconds)
        figures[stage] = {
            "tokens_per_s": round(tokens_per_s, 1),
            "share_of_peak": round(cost * used * tokens_per_s / peak, 3),
            "peak_gib": memory_gib(device),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["135M", "1B", "8B"], choices=sorted(SHAPES))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each timing")
    parser.add_argument("--tokens", type=int, default=8192, help="tokens of a step")
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here that torch can use; --device cpu --shapes tiny tries the script itself")
    device = torch.device(asked.device)
    is_gpu = device.type == "cuda"
    peak = peak_flops(device, size=8192 if is_gpu else 512, seconds=min(3.0, asked.seconds))
    shapes: dict[str, Any] = {}
    for name in asked.shapes:
        print(f"{name} ..", file=sys.stderr)
        try:
            shapes[name] = measure(name, device, tokens=asked.tokens, seconds=asked.seconds, peak=peak)
        except torch.OutOfMemoryError:
            lower = "sft.batch_size and dpo.batch_size (here --tokens), engine.max_model_len, or lora.r"
            shapes[name] = {"error": f"the GPU's memory is full; lower {lower}"}
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name(device) if is_gpu else platform.processor() or platform.machine(),
                "torch": torch.__version__,
                "peak_tflops_bf16": round(peak / 1e12, 2),
                "tokens_a_step": asked.tokens,
                "shapes": shapes,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
