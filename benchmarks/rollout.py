"""Rollout speed beside other ways of holding the same conversations, in one run.

    python benchmarks/rollout.py RUN [--version 0] [--dialogues 64] [--repetitions 3] [--no-http] [--json]
                                 [--picture FILE.png] [-o key=value ...]

RUN is a finished training run: its adapter speaks the user to its chatbot. First advsim holds the conversations, as a
round does: Ray actors, turn loops, both speakers on one engine. Then an engine of the same settings replays their calls
(the same prompts and numbers of tokens, nothing from the prefix cache of an earlier repetition) in other ways:

    turn loops    the same concurrency on the bare engine: what Ray, actors and text handling cost
    lockstep      all users, then all chatbots, each batch waiting for its slowest
    one by one    one conversation after another, in this process and over HTTP (vLLM's own server)
    ceiling       all calls at once, as if none had to wait for another

Figures are generated tokens a second, medians over repetitions with the least and the most.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from advsim.chatbots.on_engine import chatbot_prompts
from advsim.config import Config, parse_config
from advsim.corpus.load import load_corpus
from advsim.engine.build import build_engine
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest
from advsim.models.adapter import Canary
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import AdapterRef, Conversation, Dialogue, Speaker, Split
from advsim.rollout.delivery import canary_of, delivery_of
from advsim.rollout.pool import RolloutPool
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.reader import load_run
from advsim.runtime.placement import running_ray

NUM_ONE_BY_ONE = 6
"""Conversations of the rows that hold one after another: a speed needs no more, and more would take minutes."""
GOALS = {"one by one over HTTP": (4.0, "at least"), "lockstep": (1.5, "at least"), "ceiling": (0.85, "at least")}
"""advsim's speed as a multiple of the row's."""
SERVER_NAME = "simulator"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request of a conversation: its prompt and how many tokens were generated."""

    prompt_ids: tuple[int, ...]
    num_tokens: int
    use_adapter: bool

    def request(self, salt: int) -> GenerationRequest:
        """The call with another first token, so that no prefix of an earlier repetition is in the cache."""
        return GenerationRequest(
            prompt_ids=(salt, *self.prompt_ids[1:]),
            min_tokens=self.num_tokens,
            max_tokens=self.num_tokens,
            use_adapter=self.use_adapter,
        )


Workload = list[list[Call]]
Way = Callable[[Engine, Workload, int], Awaitable[None]]


def num_tokens(workload: Workload) -> int:
    """Generated tokens of a workload."""
    return sum(call.num_tokens for calls in workload for call in calls)


def calls_of(
    conversations: Sequence[Conversation], scenarios: Sequence[Dialogue], prompts: SimulatorPrompts, config: Config
) -> Workload:
    """The calls that made conversations; a turn that was drawn again counts once."""
    tokenizer = load_tokenizer(resolve_model(config.model))
    budget = config.engine.max_model_len - config.chatbot.sampling.max_tokens
    chatbot = chatbot_prompts(config.chatbot, tokenizer, budget_tokens=budget)
    contexts = {dialogue.scenario.id: dialogue.context for dialogue in scenarios}
    workload = []
    for conversation in conversations:
        calls = []
        for number, turn in enumerate(conversation.turns):
            before, is_user = conversation.turns[:number], turn.speaker is Speaker.USER
            if not is_user and not number:
                continue  # the scenario's opening: nobody generated it
            calls.append(
                Call(
                    prompt_ids=prompts.prompt(contexts[conversation.scenario_id], before)
                    if is_user
                    else chatbot.prompt(before),
                    num_tokens=max(1, len(turn.token_ids) or len(prompts.text_ids(turn.text))),
                    use_adapter=is_user,
                )
            )
        workload.append(calls)
    return workload


# --- ways of holding the same conversations --------------------------------------------------------------------------


async def turn_loops(engine: Engine, workload: Workload, salt: int, *, concurrency: int) -> None:
    """Each conversation goes on as soon as its last answer is there."""
    free = asyncio.Semaphore(concurrency)

    async def hold(calls: Sequence[Call]) -> None:
        async with free:
            for call in calls:
                await engine.generate(call.request(salt))

    await asyncio.gather(*map(hold, workload))


async def lockstep(engine: Engine, workload: Workload, salt: int) -> None:
    """All conversations take a step together and wait for the slowest."""
    for step in itertools.zip_longest(*workload):
        await asyncio.gather(*(engine.generate(call.request(salt)) for call in step if call is not None))


async def one_by_one(engine: Engine, workload: Workload, salt: int) -> None:
    """One conversation after another."""
    for calls in workload:
        for call in calls:
            await engine.generate(call.request(salt))


async def ceiling(engine: Engine, workload: Workload, salt: int) -> None:
    """All calls at once."""
    await asyncio.gather(*(engine.generate(call.request(salt)) for calls in workload for call in calls))


# --- measurement -----------------------------------------------------------------------------------------------------


def hold_with_advsim(
    config: Config, delivery, tasks: Sequence[RolloutTask], repetitions: int
) -> tuple[list[float], list[Conversation]]:
    """Seconds of each repetition, and the last one's conversations in the order they ended."""
    with running_ray(config) as pools:
        rollouts = RolloutPool(config, pools, log_dir="")
        try:
            rollouts.wait_until_ready()
            rollouts.push(delivery)
            list(rollouts.simulate(tasks[:2]))  # the first requests of an engine are slow
            seconds, rates, conversations = [], [], []
            for _ in range(repetitions):
                started = time.monotonic()
                conversations = list(rollouts.simulate(tasks))
                seconds.append(time.monotonic() - started)
                rates.append(sum(each.num_output_tokens for each in conversations) / seconds[-1])
        finally:
            rollouts.close()
    return rates, conversations


async def replay(
    spec: EngineSpec, adapter: AdapterRef, folder: Path, workload: Workload, config: Config, repetitions: int
):
    """Tokens a second of each way and repetition; repetitions of all ways take turns."""

    async def loops(engine: Engine, workload: Workload, salt: int) -> None:
        await turn_loops(engine, workload, salt, concurrency=config.rollout.max_concurrent)

    few = workload[:NUM_ONE_BY_ONE]
    ways: dict[str, tuple[Way, Workload]] = {
        "turn loops": (loops, workload),
        "lockstep": (lockstep, workload),
        "ceiling": (ceiling, workload),
        "one by one": (one_by_one, few),
    }
    engine = build_engine(spec)
    await engine.start()
    await engine.load_adapter(adapter, folder)
    await lockstep(engine, workload[:2], 5)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    salts = itertools.count(100)
    for repetition in range(repetitions):
        for name, (way, some) in ways.items():
            if name == "one by one" and repetition:
                continue
            started = time.monotonic()
            await way(engine, some, next(salts))
            rates[name].append(num_tokens(some) / (time.monotonic() - started))
            print(f"{name}: {rates[name][-1]:.0f} tokens/s", file=sys.stderr)
    engine.close()
    return rates


@contextlib.contextmanager
def http_server(config: Config, folder: Path) -> Iterator[str]:
    """Address of vLLM's own server with the model and the adapter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = config.engine
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve_model(config.model))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(engine.max_model_len)]
    command += ["--max-num-seqs", str(engine.max_num_seqs), "--enable-lora", "--max-lora-rank", str(config.lora.r)]
    command += ["--lora-modules", f"{SERVER_NAME}={folder}", "--served-model-name", "base"]
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    environment = os.environ | {
        "ADVSIM_CPU_PLATFORM": "1",
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_NO_USAGE_STATS": "1",
    }
    if not config.resources.simulator.num_gpus:
        command += ["--dtype", "bfloat16", "--kv-cache-memory-bytes", str(int(engine.kv_cache_gib * 2**30))]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(int(engine.startup_timeout_s)):
                if server.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"the HTTP server ended: {log.read()[-2000:].decode(errors='replace')}")
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
                time.sleep(1.0)
            yield address
        finally:
            server.terminate()


def over_http(address: str, workload: Workload, salt: int) -> None:
    """One conversation after another, each call a request of its own."""
    for calls in workload:
        for call in calls:
            body = {
                "model": SERVER_NAME if call.use_adapter else "base",
                "prompt": [salt, *call.prompt_ids[1:]],
                "min_tokens": call.num_tokens,
                "max_tokens": call.num_tokens,
                "temperature": 1.0,
            }
            request = urllib.request.Request(
                f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=600) as answer:
                json.load(answer)


def summary(rates: dict[str, list[float]]) -> dict[str, dict[str, object]]:
    """Median, least and most of each way, and advsim's ratio to it."""
    ours = statistics.median(rates["advsim"])
    table: dict[str, dict[str, object]] = {}
    for name, each in rates.items():
        median = statistics.median(each)
        row: dict[str, object] = {
            "tokens_per_s": round(median, 1),
            "least": round(min(each), 1),
            "most": round(max(each), 1),
            "advsim_ratio": round(ours / median, 2),
        }
        if name in GOALS:
            row |= {"goal": GOALS[name][0], "reached": ours / median >= GOALS[name][0]}
        table[name] = row
    return table


def draw(table: dict[str, dict[str, object]], file: str) -> None:
    """Bars of tokens a second, least to most as whiskers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.5 * len(table) + 1), layout="constrained")
    axes = figure.add_subplot()
    names = list(table)[::-1]
    speeds = [float(str(table[name]["tokens_per_s"])) for name in names]
    spread = [[s - float(str(table[n]["least"])) for n, s in zip(names, speeds, strict=True)]]
    spread.append([float(str(table[n]["most"])) - s for n, s in zip(names, speeds, strict=True)])
    axes.barh(names, speeds, xerr=spread, color=["#2a6f97" if name == "advsim" else "#b8c4cc" for name in names])
    axes.set_xlabel("generated tokens a second")
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--version", type=int, default=0)
    parser.add_argument("--dialogues", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--no-http", action="store_true", help="leave the HTTP server out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--picture", default="")
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], help="key=value of the run's configuration"
    )
    asked = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

    run = load_run(asked.run)
    config = parse_config(run.config, asked.overrides)
    dialogues = list(load_corpus(config.corpus).split(Split.TRAIN))
    prompts = SimulatorPrompts(
        load_tokenizer(resolve_model(config.model)),
        instructions=config.prompt.instructions,
        budget_tokens=config.prompt_budget_tokens,
    )
    canary: Canary = canary_of(dialogues, prompts)
    delivery = delivery_of(run, asked.version, canary)
    tasks = [
        RolloutTask(
            conversation_id=f"b{index:05d}",
            scenario=dialogues[index % len(dialogues)].scenario,
            chatbot=config.chatbot.name,
            adapter=delivery.adapter,
            seed=index,
        )
        for index in range(asked.dialogues)
    ]
    rates: dict[str, list[float]] = {}
    rates["advsim"], conversations = hold_with_advsim(config, delivery, tasks, asked.repetitions)
    print(f"advsim: {', '.join(f'{rate:.0f}' for rate in rates['advsim'])} tokens/s", file=sys.stderr)
    workload = calls_of(conversations, dialogues, prompts, config)
    spec = EngineSpec(
        kind="vllm",
        config=config.engine,
        model=config.model,
        max_lora_rank=config.lora.r,
        num_gpus=config.resources.simulator.num_gpus,
    )
    with tempfile.TemporaryDirectory(prefix="advsim-adapter-") as folder:
        for name, content in delivery.files.items():
            (Path(folder) / name).write_bytes(content)
        rates |= asyncio.run(replay(spec, delivery.adapter, Path(folder), workload, config, asked.repetitions))
        if not asked.no_http:
            few = workload[:NUM_ONE_BY_ONE]
            with http_server(config, Path(folder)) as address:
                over_http(address, few[:1], 5)
                started = time.monotonic()
                over_http(address, few, 90)
                rates["one by one over HTTP"] = [num_tokens(few) / (time.monotonic() - started)]
    table = summary(rates)
    if asked.picture:
        draw(table, asked.picture)
    lengths = sorted(len(calls) for calls in workload)
    about = {
        "run": run.name,
        "dialogues": len(workload),
        "calls_a_dialogue": {"least": lengths[0], "median": statistics.median(lengths), "most": lengths[-1]},
        "generated_tokens": num_tokens(workload),
        "repetitions": asked.repetitions,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }
    if asked.json:
        print(json.dumps(about | {"ways": table}, indent=2))
        return
    print(
        f"{about['dialogues']} conversations of {lengths[0]} to {lengths[-1]} calls, {about['generated_tokens']} tokens"
    )
    print(f"{'':24}{'tokens/s':>10}{'least':>9}{'most':>9}{'advsim x':>10}{'goal':>7}")
    for name, row in table.items():
        goal = f"{row['goal']}" if "goal" in row else ""
        print(f"{name:24}{row['tokens_per_s']:>10}{row['least']:>9}{row['most']:>9}{row['advsim_ratio']:>10}{goal:>7}")


if __name__ == "__main__":
    main()
