"""Configurations from the arguments of a command."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from advsim.config import Config, SweepConfig, load_config


def config_of(options: argparse.Namespace) -> Config:
    """The configuration file that a command was given, with its overrides.

    Raises:
        ConfigError: see :func:`advsim.config.load_config`.
    """
    return load_config(options.config, options.overrides)


def is_sweep(values: Mapping[str, Any]) -> bool:
    """Whether a file is a sweep's: it has keys that only a sweep has, and none that only a run has."""
    run, sweep = set(Config.model_fields), set(SweepConfig.model_fields)
    return bool(values.keys() & (sweep - run)) and not values.keys() & (run - sweep)


@contextlib.contextmanager
def only_figures_on_stdout() -> Iterator[None]:
    """Send what is printed while a command works to standard error: Ray prints the death of a process, for one."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def corpus_override(options: argparse.Namespace) -> list[str]:
    """The flag ``--corpus``, as an override."""
    return [f"corpus.path={json.dumps(options.corpus)}"] if options.corpus is not None else []
