"""Everything that can be known about a configuration without starting anything: inputs, sizes, places."""

from __future__ import annotations

import json
from typing import Any

from advsim.config import Config
from advsim.corpus.load import Corpus, load_corpus
from advsim.errors import CorpusError
from advsim.models.base import check_model
from advsim.records import Split
from advsim.runtime.placement import colocated, pool_requests


def check_inputs(config: Config) -> Corpus | None:
    """Check models and dialogues; returns the corpus, or None where it is on the hub and would have to be downloaded.

    Raises:
        ConfigError: a model path is wrong.
        CorpusError: the dialogues cannot be read, or a split that training needs is empty.
    """
    check_model(config.model)
    if config.chatbot.model is not None:
        check_model(config.chatbot.model, key="chatbot.model.path")
    if config.discriminator.model is not None:
        check_model(config.discriminator.model, key="discriminator.model.path")
    if config.corpus.source == "hub":
        return None
    corpus = load_corpus(config.corpus)
    check_corpus(corpus)
    return corpus


def check_corpus(corpus: Corpus) -> None:
    """Check that the corpus can carry a training run.

    Raises:
        CorpusError: the training or validation split is empty.
    """
    for split, key in ((Split.TRAIN, "corpus.path"), (Split.VALIDATION, "corpus.validation_fraction")):
        if not corpus.split(split):
            raise CorpusError(
                f"the {split.value} split is empty: {len(corpus.dialogues)} dialogues in all; give more dialogues or "
                f"change {key}"
            )


def check_config(config: Config, *, as_json: bool) -> None:
    """Check a configuration and print what a run with it would use: the ``advsim check`` command."""
    corpus = check_inputs(config)
    pools = [
        {"pool": r.pool, "actors": r.num_bundles, "cpus_each": r.num_cpus, "gpus_each": r.num_gpus, "key": r.key}
        for r in pool_requests(config)
    ]
    splits = {split.value: len(corpus.split(split)) for split in Split} if corpus else None
    if as_json:
        print(json.dumps({"config": config.model_dump(mode="json"), "pools": pools, "splits": splits}, indent=2))
        return
    _print_summary(config, pools, splits)


def _print_summary(config: Config, pools: list[dict[str, Any]], splits: dict[str, int] | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    dialogues = (
        ", ".join(f"{count} {split}" for split, count in splits.items()) if splits else "read when the run starts"
    )
    table = Table("pool", "actors", "CPUs each", "GPUs each", "set by", title="What each pool would ask for")
    for pool in pools:
        table.add_row(
            pool["pool"], str(pool["actors"]), f"{pool['cpus_each']:g}", f"{pool['gpus_each']:g}", pool["key"]
        )
    console.print(f"[bold]{config.name}[/bold]: the configuration is sound", highlight=False)
    console.print(f"  run folder   {config.run_path}", highlight=False)
    console.print(f"  simulator    {config.model.path}", highlight=False)
    where = "on the simulator's engines" if colocated(config) else "in a pool of its own"
    console.print(f"  chatbot      {config.chatbot.name} ({config.chatbot.kind}, {where})", highlight=False)
    console.print(f"  dialogues    {dialogues}", highlight=False)
    console.print(
        f"  rounds       up to {config.stop.max_rounds}, {config.rollout.num_conversations} conversations each",
        highlight=False,
    )
    console.print(table)
    cpus = sum(pool["actors"] * pool["cpus_each"] for pool in pools)
    gpus = sum(pool["actors"] * pool["gpus_each"] for pool in pools)
    console.print(f"together at most {cpus:g} CPUs and {gpus:g} GPUs", highlight=False)
