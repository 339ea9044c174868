"""``advsim check``: check a configuration and print what a run with it would use."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from advsim.commands.options import config_of
from advsim.commands.show import console_on
from advsim.config import Config
from advsim.records import Split
from advsim.runtime.placement import PoolRequest, colocated, pool_requests
from advsim.training.check import check_inputs


def run(options: argparse.Namespace) -> None:
    """Check a configuration and print what a run with it would use.

    Raises:
        ConfigError: a key, or a model's path.
        CorpusError: the dialogues cannot be read, or a split that training needs is empty.
    """
    config = config_of(options)
    corpus = check_inputs(config)
    pools = pool_requests(config)
    splits = {split.value: len(corpus.split(split)) for split in Split} if corpus else None
    if options.json:
        asked = [
            {"pool": p.pool, "actors": p.num_bundles, "cpus_each": p.num_cpus, "gpus_each": p.num_gpus, "key": p.key}
            for p in pools
        ]
        print(json.dumps({"config": config.model_dump(mode="json"), "pools": asked, "splits": splits}, indent=2))
        return
    _print_summary(config, pools, splits)


def _print_summary(config: Config, pools: Sequence[PoolRequest], splits: Mapping[str, int] | None) -> None:
    console = console_on()
    dialogues = (
        ", ".join(f"{count} {split}" for split, count in splits.items()) if splits else "read when the run starts"
    )
    table = Table("pool", "actors", "CPUs each", "GPUs each", "set by", title="What each pool would ask for")
    for pool in pools:
        table.add_row(pool.pool, str(pool.num_bundles), f"{pool.num_cpus:g}", f"{pool.num_gpus:g}", pool.key)
    where = "on the simulator's engines" if colocated(config) else "in a pool of its own"
    console.print(Text.assemble((config.name, "bold"), ": the configuration is sound"))
    console.print(f"  run folder   {config.run_path}")
    console.print(f"  simulator    {config.model.path}")
    console.print(f"  chatbot      {config.chatbot.name} ({config.chatbot.kind}, {where})")
    console.print(f"  dialogues    {dialogues}")
    console.print(
        f"  rounds       up to {config.stop.max_rounds}, {config.rollout.num_conversations} conversations each"
    )
    console.print(table)
    cpus = sum(pool.num_bundles * pool.num_cpus for pool in pools)
    gpus = sum(pool.num_bundles * pool.num_gpus for pool in pools)
    console.print(f"together at most {cpus:g} CPUs and {gpus:g} GPUs")
