"""Configurations from the arguments of a command."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator

from advsim.config import Config, load_config


def config_of(options: argparse.Namespace) -> Config:
    """The configuration file that a command was given, with its overrides.

    Raises:
        ConfigError: see :func:`advsim.config.load_config`.
    """
    return load_config(options.config, options.overrides)


@contextlib.contextmanager
def only_figures_on_stdout() -> Iterator[None]:
    """Send what is printed while a command works to standard error: Ray prints the death of a process, for one."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def corpus_override(options: argparse.Namespace) -> list[str]:
    """The flag ``--corpus``, as an override."""
    return [f"corpus.path={json.dumps(options.corpus)}"] if options.corpus is not None else []
