"""Serving speed of one engine, side by side in one run: `python benchmarks/serving.py [--json]`.

Rows: the base model, also with the choice of cores that vLLM makes; an adapter served as LoRA, as advsim does it on CPU
and as vLLM itself does; an adapter merged into the weights. Columns: generated tokens a second with short prompts,
prompt tokens a second with long ones, each over 32 requests at once; and the share of tokens that greedy requests
*without* adapter keep when adapter requests are in the same batch (right: nearly 1). Each row is an engine of its own.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from advsim.config import EngineConfig, LoraConfig, ModelConfig
from advsim.engine.build import build_engine
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest
from advsim.models.adapter import adapter_sha256, load_trainable, save_adapter
from advsim.models.base import resolve_model
from advsim.records import AdapterRef

NUM_REQUESTS = 32


@dataclass(frozen=True, kw_only=True)
class Case:
    """One engine to measure."""

    name: str
    use_adapter: bool = True
    adapter_serving: str = "lora"
    own_lora: bool = True  # advsim's LoRA on CPU, not vLLM's
    cpu_threads_bind: str = "all"


CASES = (
    Case(name="base", use_adapter=False),
    Case(name="base, vLLM's choice of cores", use_adapter=False, cpu_threads_bind="auto"),
    Case(name="LoRA"),
    Case(name="LoRA, vLLM's own", own_lora=False),
    Case(name="merged", adapter_serving="merged"),
)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speeds of one case."""

    generated_tokens_per_s: float
    prompt_tokens_per_s: float
    kept_in_mixed_batch: float | None


def prompt(number: int, length: int) -> tuple[int, ...]:
    return tuple(1000 + (37 * number + 11 * position) % 20_000 for position in range(length))


async def run_requests(engine: Engine, *, prompt_tokens: int, new_tokens: int, use_adapter: bool) -> tuple[float, int]:
    """Seconds and generated tokens of concurrent requests with different prompts."""

    async def generate(number: int) -> int:
        request = GenerationRequest(
            prompt_ids=prompt(number, prompt_tokens), max_tokens=new_tokens, use_adapter=use_adapter
        )
        return sum(len(completion.token_ids) for completion in await engine.generate(request))

    started = time.monotonic()
    counts = await asyncio.gather(*(generate(number) for number in range(NUM_REQUESTS)))
    return time.monotonic() - started, sum(counts)


async def kept_in_mixed_batch(engine: Engine) -> float:
    """Share of the tokens of greedy requests without adapter that stay when adapter requests join the batch."""

    async def greedy(number: int, *, use_adapter: bool = False) -> tuple[int, ...]:
        request = GenerationRequest(
            prompt_ids=prompt(number, 40), max_tokens=16, temperature=0.0, use_adapter=use_adapter
        )
        return (await engine.generate(request))[0].token_ids

    numbers = range(100, 100 + NUM_REQUESTS // 2)
    alone = await asyncio.gather(*(greedy(number) for number in numbers))
    mixed = await asyncio.gather(
        *(greedy(number, use_adapter=adapter) for number in numbers for adapter in (False, True))
    )
    kept = [
        a == b
        for separate, batched in zip(alone, mixed[::2], strict=True)
        for a, b in zip(separate, batched, strict=False)
    ]
    return sum(kept) / len(kept)


async def measure(case: Case, adapter_dir: Path) -> Speed:
    adapter = AdapterRef(version=0, path=str(adapter_dir), sha256=adapter_sha256(adapter_dir))
    config = EngineConfig.model_validate(
        {"adapter_serving": case.adapter_serving, "cpu_threads_bind": case.cpu_threads_bind}
    )
    engine = build_engine(EngineSpec(kind="vllm", config=config, model=ModelConfig(), max_lora_rank=16))
    await engine.start()
    if case.use_adapter:
        await engine.load_adapter(adapter, adapter_dir)
    await run_requests(engine, prompt_tokens=16, new_tokens=4, use_adapter=case.use_adapter)
    decode_s, generated = await run_requests(engine, prompt_tokens=48, new_tokens=48, use_adapter=case.use_adapter)
    prefill_s, _ = await run_requests(engine, prompt_tokens=400, new_tokens=1, use_adapter=case.use_adapter)
    mixed = case.use_adapter and case.adapter_serving == "lora"
    kept = await kept_in_mixed_batch(engine) if mixed else None
    engine.close()
    return Speed(
        generated_tokens_per_s=round(generated / decode_s, 1),
        prompt_tokens_per_s=round(NUM_REQUESTS * 400 / prefill_s, 1),
        kept_in_mixed_batch=None if kept is None else round(kept, 3),
    )


def measure_case(case: Case, adapter_dir: Path) -> Speed:
    """One case in a process of its own: vLLM chooses its platform once a process."""
    os.environ["ADVSIM_CPU_PLATFORM"] = "1" if case.own_lora else "0"
    log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    return asyncio.run(measure(case, adapter_dir))


def write_adapter(folder: Path) -> None:
    import torch

    peft_model = load_trainable(resolve_model(ModelConfig()), None, dtype="float32", lora=LoraConfig(), seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, weight in peft_model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.01 * torch.randn(weight.shape, generator=generator)
    save_adapter(peft_model, folder)


def with_ratio(speed: float, base: float) -> str:
    return f"{speed:.0f} ({speed / base:.2f})"


def main() -> None:
    speeds: dict[str, Speed] = {}
    with tempfile.TemporaryDirectory() as folder:
        adapter_dir = Path(folder) / "adapter"
        write_adapter(adapter_dir)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
            for case in CASES:
                speeds[case.name] = processes.submit(measure_case, case, adapter_dir).result()
                print(f"{case.name}: {asdict(speeds[case.name])}", file=sys.stderr)
    base = speeds["base"]
    if "--json" in sys.argv:
        print(json.dumps({"num_requests": NUM_REQUESTS, "cases": {n: asdict(s) for n, s in speeds.items()}}, indent=2))
        return
    print(f"{'':30}{'generated tok/s':>22}{'prompt tok/s':>22}{'kept in mixed batch':>22}")
    for name, speed in speeds.items():
        generated = with_ratio(speed.generated_tokens_per_s, base.generated_tokens_per_s)
        read = with_ratio(speed.prompt_tokens_per_s, base.prompt_tokens_per_s)
        kept = "" if speed.kept_in_mixed_batch is None else f"{speed.kept_in_mixed_batch:.3f}"
        print(f"{name:30}{generated:>22}{read:>22}{kept:>22}")
    print("in parentheses: ratio to base, same run")


if __name__ == "__main__":
    main()
