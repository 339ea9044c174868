"""Configurations from the arguments of a command."""

from __future__ import annotations

import argparse

from advsim.config import Config, load_config


def config_of(options: argparse.Namespace) -> Config:
    """The configuration file that a command was given, with its overrides.

    Raises:
        ConfigError: see :func:`advsim.config.load_config`.
    """
    return load_config(options.config, options.overrides)
