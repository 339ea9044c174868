"""``advsim submit``: a training run as a Ray job."""

from __future__ import annotations

import argparse

from advsim.commands.options import config_of
from advsim.runtime.submit import submit_training


def run(options: argparse.Namespace) -> None:
    """Submit a training run to a cluster and, unless told not to, follow its output.

    Raises:
        ConfigError: the configuration, or what would have to travel with it.
        RunError: the cluster cannot be reached, or the job failed.
    """
    submit_training(config_of(options), address=options.address, wait=not options.no_wait)
