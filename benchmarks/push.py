"""Delivery of adapters to real engines: how long a push takes, how well the canary tells, and faults put in on purpose.

    python benchmarks/push.py RUN [--pushes 60] [--engines 1] [--json] [-o key=value ...]

RUN is a finished training run; its adapters are pushed in turn to engines of its settings. Printed are

    push      milliseconds from the driver to the last acknowledgement
    canary    difference of log-probabilities, nats a token: each engine against the learner with the adapter that was
              pushed (must lie below the tolerance), and with each other adapter of the run (tells them apart where it
              lies above)
    faults    each put in once, and the sentence that it was caught with before any turn was spoken
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray

from advsim.config import Config, parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import AdvsimError
from advsim.records import Dialogue, Split
from advsim.rollout.delivery import CANARY_TOLERANCE, Delivery, canary_difference, canary_of_run, delivery_of
from advsim.rollout.pool import RolloutPool
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.reader import load_run
from advsim.runtime.placement import running_ray

GOAL_MS = 250.0
"""At most, for 95 of 100 pushes; the goal was set for 20 MB."""
WEIGHTS = "adapter_model.safetensors"


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Of a sample: its size, median, 95th percentile and highest."""
    return {
        "num": len(values),
        "median": round(statistics.median(values), 4),
        "p95": round(float(np.quantile(values, 0.95)), 4),
        "most": round(max(values), 4),
        "least": round(min(values), 4),
    }


# --- faults ----------------------------------------------------------------------------------------------------------


def faults(
    pool: RolloutPool, old: Delivery, new: Delivery, dialogue: Dialogue, config: Config
) -> dict[str, Callable[[], object]]:
    """What is done wrong, by what it is called; each begins with the old adapter on every engine."""
    actors = pool._simulators.actors

    def weights(content: bytes) -> Delivery:
        return dataclasses.replace(new, files={**new.files, WEIGHTS: content})

    def speak_with(some: Sequence[Any]) -> object:
        task = RolloutTask(
            conversation_id="p", scenario=dialogue.scenario, chatbot=config.chatbot.name, adapter=new.adapter, seed=0
        )
        return ray.get([actor.simulate.remote(task) for actor in some])

    def part_of_the_engines() -> object:
        ray.get(actors[0].load_adapter.remote(new))
        return speak_with(actors[1:])

    def renamed() -> object:
        """The old adapter's files, with a reference that says they are the new one's, hash and all."""
        adapter = dataclasses.replace(new.adapter, sha256=old.adapter.sha256)
        return pool.push(dataclasses.replace(new, files=old.files, adapter=adapter))

    def rolled_back() -> object:
        """The old adapter comes back after the new one was pushed, and a round goes on with the new one."""
        pool.push(new)
        ray.get([actor.load_adapter.remote(old) for actor in actors])
        return speak_with(actors)

    content = bytearray(new.files[WEIGHTS])
    content[-1] ^= 1
    some = {
        "push never arrived": lambda: speak_with(actors),
        "files of another version": lambda: pool.push(weights(old.files[WEIGHTS])),
        "one bit of the file turned": lambda: pool.push(weights(bytes(content))),
        "file cut in half": lambda: pool.push(weights(new.files[WEIGHTS][: len(content) // 2])),
        "old version under the new name": renamed,
        "old version loaded again in between": rolled_back,
    }
    if len(actors) > 1:
        some["push to part of the engines"] = part_of_the_engines
    return some


def caught_by(fault: Callable[[], object]) -> str | None:
    """What kind of error the fault ended with, and its sentence; None where nothing noticed."""
    try:
        fault()
    except AdvsimError as error:
        cause = getattr(error, "cause", error)  # Ray's own error has the actor's as its cause
        return f"{type(cause).__name__}: {cause}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--pushes", type=int, default=60)
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-o", dest="overrides", action="append", default=[], help="key=value of the configuration")
    asked = parser.parse_args()

    run = load_run(asked.run)
    overrides = [*asked.overrides, f"resources.simulator.num_replicas={asked.engines}"]
    config = parse_config(run.config, overrides)
    dialogues = list(load_corpus(config.corpus).split(Split.TRAIN))
    canary = canary_of_run(run, config, dialogues)
    deliveries = [delivery_of(run, version, canary) for version in range(len(run.rounds) + 1)]
    if len(deliveries) < 2:
        raise SystemExit(f"{asked.run}: got one adapter, expected a run with at least one round")
    size = sum(map(len, deliveries[0].files.values())) / 1e6
    milliseconds, right, wrong = [], [], []
    outcomes: dict[str, str | None] = {}
    with running_ray(config) as pools:
        pool = RolloutPool(config, pools, log_dir="")
        try:
            pool.wait_until_ready()
            for number in range(asked.pushes + 2):
                delivery = deliveries[number % len(deliveries)]
                pool.push(delivery)
                said = [ray.get(a.logprobs.remote(canary.prompt_ids, canary.completion_ids, use_adapter=True))
                        for a in pool._simulators.actors]  # fmt: skip
                if number < 2:
                    continue  # the first requests of an engine are slow
                assert pool.last_push is not None and pool.last_push.max_ms is not None
                milliseconds.append(pool.last_push.max_ms)
                for logprobs in said:
                    right.append(canary_difference(logprobs, delivery.canary_logprobs))
                    wrong += [
                        canary_difference(logprobs, other.canary_logprobs)
                        for other in deliveries
                        if other is not delivery
                    ]
            old, new = deliveries[-2:]
            for name, fault in faults(pool, old, new, dialogues[0], config).items():
                pool.push(old)
                outcomes[name] = caught_by(fault)
        finally:
            pool.close()
    result = {
        "run": run.name,
        "engines": asked.engines,
        "adapter_mb": round(size, 1),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "push_ms": {**quantiles(milliseconds), "goal": GOAL_MS, "reached": quantiles(milliseconds)["p95"] <= GOAL_MS},
        "canary": {
            "tolerance": CANARY_TOLERANCE,
            "right_adapter": quantiles(right),
            "other_adapters": quantiles(wrong),
        },
        "faults": outcomes,
    }
    if asked.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{asked.pushes} pushes of {size:.1f} MB to {asked.engines} engine(s): {result['push_ms']}")
        print(f"canary, nats a token: {result['canary']}")
        for name, sentence in outcomes.items():
            print(f"{name:38}{'NOT CAUGHT' if sentence is None else sentence}")
    if None in outcomes.values():
        sys.exit(1)


if __name__ == "__main__":
    main()
