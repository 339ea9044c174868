"""``advsim lab``: the estimators on studies whose truth is known."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

import numpy as np

from advsim.commands.show import print_parts
from advsim.config import load_section
from advsim.lab.chatbots import draw_chatbots
from advsim.lab.config import LabConfig
from advsim.lab.coverage import LabResult, run_lab
from advsim.lab.population import population_of
from advsim.lab.tables import dialogue_text, lab_tables
from advsim.lab.transcripts import example_dialogues
from advsim.records import Dialogue
from advsim.runtime.progress import Reporter

_NUM_TRIED = 20


def run(options: argparse.Namespace) -> None:
    """Run the lab of a configuration file and print what it found.

    Raises:
        ConfigError: the configuration cannot be read or is not valid.
    """
    config = load_section(LabConfig, options.config, options.overrides)
    with Reporter().stage("lab", total=config.num_repetitions, unit="repetition") as stage:
        result = run_lab(config, advance=stage.advance)
    if options.json:
        print(lab_json(config, result))
        return
    print_parts([dialogue_text(_telling_example(config)), *lab_tables(result)], sys.stdout, width=120)


def lab_json(config: LabConfig, result: LabResult) -> str:
    """The configuration and everything found, as JSON."""
    return json.dumps({"config": config.model_dump(), **asdict(result)}, indent=2, allow_nan=False)


def _telling_example(config: LabConfig) -> Dialogue:
    """The dialogue, of some with at most six user turns, in which the chatbot fails most often."""
    population = population_of(config.population, spread=config.spread)
    chatbots = draw_chatbots(config.num_chatbots, rng=np.random.default_rng((config.seed, 2, 0)))
    tried = example_dialogues(
        population, chatbots, 0, num_users=_NUM_TRIED, max_user_turns=config.max_user_turns, seed=config.seed
    )
    short = [dialogue for dialogue in tried if len(dialogue.turns) <= 12] or tried
    return max(short, key=lambda dialogue: sum(len(turn.labels.get("modes", ())) for turn in dialogue.turns))
