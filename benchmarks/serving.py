"""Decoding speed of one engine: base model, adapter served as LoRA, adapter merged into the weights, side by side.

`python benchmarks/serving.py` prints JSON with tokens a second and the ratios to LoRA. All in one run on one machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

import torch

from advsim.config import EngineConfig, LoraConfig, ModelConfig
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest, build_engine
from advsim.lora import adapter_sha256, load_trainable, save_adapter
from advsim.models import resolve_model
from advsim.records import AdapterRef

NUM_REQUESTS = 32
NUM_TOKENS = 48


async def tokens_per_s(engine: Engine, *, use_adapter: bool) -> float:
    """Tokens a second over concurrent requests of different prompts, after one warm-up round."""

    async def generate(first: int) -> int:
        prompt_ids = tuple(1000 + first + position for position in range(64))
        request = GenerationRequest(prompt_ids=prompt_ids, max_tokens=NUM_TOKENS, use_adapter=use_adapter)
        return sum(len(completion.token_ids) for completion in await engine.generate(request))

    await generate(9000)
    started = time.monotonic()
    counts = await asyncio.gather(*(generate(100 * number) for number in range(NUM_REQUESTS)))
    return sum(counts) / (time.monotonic() - started)


async def measure(adapter_dir: Path) -> dict[str, float]:
    adapter = AdapterRef(version=0, path=str(adapter_dir), sha256=adapter_sha256(adapter_dir))
    speeds: dict[str, float] = {}
    for serving in ("lora", "merged"):
        config = EngineConfig(adapter_serving=serving)
        engine = build_engine(EngineSpec(kind="vllm", config=config, model=ModelConfig(), max_lora_rank=16))
        await engine.start()
        if serving == "lora":
            speeds["base"] = await tokens_per_s(engine, use_adapter=False)
        await engine.load_adapter(adapter, adapter_dir)
        speeds[serving] = await tokens_per_s(engine, use_adapter=True)
        engine.close()
    return speeds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        adapter_dir = Path(folder) / "adapter"
        peft_model = load_trainable(resolve_model(ModelConfig()), None, dtype="float32", lora=LoraConfig(), seed=0)
        generator = torch.Generator().manual_seed(0)
        for name, weight in peft_model.named_parameters():
            if "lora_B" in name:
                weight.data = 0.01 * torch.randn(weight.shape, generator=generator)
        save_adapter(peft_model, adapter_dir)
        speeds = asyncio.run(measure(adapter_dir))
    print(
        json.dumps(
            {
                "requests": NUM_REQUESTS,
                "tokens_each": NUM_TOKENS,
                "tokens_per_s": {name: round(speed, 1) for name, speed in speeds.items()},
                "ratio_to_lora": {name: round(speed / speeds["lora"], 2) for name, speed in speeds.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
