"""Configurations from the arguments of a command."""

from __future__ import annotations

import argparse
import json

from advsim.config import Config, load_config


def config_of(options: argparse.Namespace) -> Config:
    """The configuration file that a command was given, with its overrides.

    Raises:
        ConfigError: see :func:`advsim.config.load_config`.
    """
    return load_config(options.config, options.overrides)


def corpus_override(options: argparse.Namespace) -> list[str]:
    """The flag ``--corpus``, as an override."""
    return [f"corpus.path={json.dumps(options.corpus)}"] if options.corpus is not None else []
