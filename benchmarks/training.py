"""Speed of the learner in each precision, side by side in one run: `python benchmarks/training.py [--repeats 3]`.

The embedded model with the LoRA shape of a run, on the sample dialogues: SFT, DPO with both completions behind their
shared prompt, and the discriminator; tokens that went through the model a second, over a few steps, medians of the
repetitions, which alternate. Beside it the rate of matrix products of a layer's shape, the bound of all of them, and
what `model.dtype: auto` chooses here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from advsim.config import (
    CorpusConfig,
    DiscriminatorConfig,
    DpoConfig,
    LearnerConfig,
    LoraConfig,
    ModelConfig,
    SftConfig,
)
from advsim.corpus.load import load_corpus
from advsim.models.adapter import Canary, adapter_files, load_trainable
from advsim.models.base import load_tokenizer, resolve_model
from advsim.models.precision import training_precision
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import Dialogue, PreferencePair, Speaker, Split
from advsim.training.discriminator.dataset import real_view
from advsim.training.discriminator.model import Discriminator
from advsim.training.learner import dpo, sft
from advsim.training.learner.workers import quiet_libraries

DTYPES = ("float32", "bfloat16")
CANARY = Canary(prompt_ids=(1,), completion_ids=(2,))
NUM_DIALOGUES = 8


def products_gflops(dtype: str) -> float:
    """Rate of products of a layer's shape: 1,024 tokens through a projection of the embedded model."""
    left, right = (torch.randn(*shape, dtype=getattr(torch, dtype)) for shape in ((1024, 576), (576, 1536)))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - started)
    return 2 * 1024 * 576 * 1536 / statistics.median(times) / 1e9


def timed(train: Callable[[], object]) -> float:
    started = time.monotonic()
    train()
    return time.monotonic() - started


def shared(dtype: str, scratch: Path) -> dict[str, Any]:
    return {
        "model": ModelConfig(),
        "learner": LearnerConfig(),
        "dtype": dtype,
        "seed": 0,
        "canary": CANARY,
        "log_dir": scratch,
    }


def sft_speed(dialogues: list[Dialogue], prompts: SimulatorPrompts, dtype: str, scratch: Path) -> float:
    """Tokens of whole dialogues a second."""
    examples = tuple(example for dialogue in dialogues for example in prompts.training_examples(dialogue))
    config = SftConfig(num_epochs=1)
    job = sft._Job(examples=examples, config=config, lora=LoraConfig(), **shared(dtype, scratch))
    base = load_trainable(resolve_model(job.model), None, dtype=dtype, lora=job.lora, seed=0)
    trainer = sft.build_trainer(job, base)
    return sum(len(example.input_ids) for example in examples) / timed(trainer.train)


def dpo_speed(dialogues: list[Dialogue], prompts: SimulatorPrompts, dtype: str, scratch: Path) -> float:
    """Tokens of prompt, chosen and rejected a second; policy and reference each pass over them."""
    base = load_trainable(resolve_model(ModelConfig()), None, dtype=dtype, lora=LoraConfig(), seed=0)
    pairs = tuple(pair_of(dialogue, other, prompts) for dialogue, other in pairwise(dialogues))
    job = dpo._Job(pairs=pairs, config=DpoConfig(), adapter=adapter_files(base)[0], **shared(dtype, scratch))
    trainer = dpo.build_trainer(job, base)
    num_tokens = sum(len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs)
    return num_tokens / timed(trainer.train)


def pair_of(dialogue: Dialogue, other: Dialogue, prompts: SimulatorPrompts) -> PreferencePair:
    """The last user turn of a dialogue against that of another one."""
    turn, others = (max(i for i, t in enumerate(d.turns) if t.speaker is Speaker.USER) for d in (dialogue, other))
    chosen, rejected = dialogue.turns[turn].text, other.turns[others].text
    return PreferencePair(
        conversation_id=dialogue.id,
        turn=turn,
        prompt_ids=prompts.prompt(dialogue.context, dialogue.turns[:turn]),
        chosen_ids=prompts.completion(prompts.text_ids(chosen), finished=True),
        rejected_ids=prompts.completion(prompts.text_ids(rejected), finished=True),
        chosen=chosen,
        rejected=rejected,
        chosen_reward=1.0,
        rejected_reward=0.0,
        margin=1.0,
        simulator_version=0,
    )


def discriminator_speed(dialogues: list[Dialogue], prompts: SimulatorPrompts, dtype: str, scratch: Path) -> float:
    """User turns a second, trained on and scored, of two sets of real dialogues."""
    views = [real_view(dialogue, max_user_turns=8) for dialogue in dialogues]
    num_turns = sum(turn.speaker is Speaker.USER for view in views for turn in view.turns)
    return num_turns / timed(
        lambda: Discriminator.train(
            base=resolve_model(ModelConfig()),
            real=views,
            simulated=views,
            config=DiscriminatorConfig(batch_size=4),
            dtype=dtype,
            seed=0,
            output_dir=scratch / "discriminator",
        )
    )


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    quiet_libraries()
    dialogues = [d for d in load_corpus(CorpusConfig()).dialogues if d.split is Split.TRAIN][:NUM_DIALOGUES]
    tokenizer = load_tokenizer(resolve_model(ModelConfig()))
    prompts = SimulatorPrompts(tokenizer, instructions="You write as the user.", budget_tokens=960)
    stages = {"sft": sft_speed, "dpo": dpo_speed, "discriminator": discriminator_speed}
    speeds: dict[str, dict[str, list[float]]] = {name: {dtype: [] for dtype in DTYPES} for name in stages}
    with tempfile.TemporaryDirectory(prefix="advsim-training-") as scratch:
        for _ in range(options.repeats):
            for name, speed in stages.items():
                for dtype in DTYPES:
                    speeds[name][dtype].append(speed(dialogues, prompts, dtype, Path(scratch)))
    medians = {name: {dtype: statistics.median(s) for dtype, s in of.items()} for name, of in speeds.items()}
    print(
        json.dumps(
            {
                "auto": training_precision("auto", on_gpu=False),
                "product_gflops": {dtype: round(products_gflops(dtype)) for dtype in DTYPES},
                "per_s": {name: {d: round(s, 1) for d, s in of.items()} for name, of in medians.items()},
                "bfloat16_to_float32": {n: round(of["bfloat16"] / of["float32"], 2) for n, of in medians.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
