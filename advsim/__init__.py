"""advsim: realistic user simulators by adversarial rounds, to predict how often a support chatbot fails.

    import advsim
    run = advsim.train("configs/quickstart.yaml", overrides=["stop.max_rounds=1"])
    run = advsim.load_run("runs/quickstart")
    run.rounds[-1]["held_out"]["surface"]["accuracy"]

Importing this package loads nothing heavy; training imports torch, Ray and vLLM when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advsim.config import Config
    from advsim.run import Run

__all__ = ["load_run", "train"]


def train(
    config: Config | str | Path | dict[str, Any], *, overrides: Sequence[str] = (), allow_changed: Sequence[str] = ()
) -> Run:
    """Train a user simulator; the same call again resumes a run that was interrupted.

    Args:
        config: a configuration, a YAML file, or a mapping of its sections.
        overrides: ``key.path=value`` strings, as ``-o`` on the command line. Not with a ``Config`` object.
        allow_changed: configuration keys that may differ from those the run was started with.

    Returns:
        The finished run.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.config import Config, load_config, parse_config
    from advsim.training import run_training

    if isinstance(config, Config):
        resolved = parse_config(config.model_dump(mode="json"), overrides)
    elif isinstance(config, dict):
        resolved = parse_config(dict(config), overrides)
    else:
        resolved = load_config(config, overrides)
    return run_training(resolved, allow_changed=allow_changed)


def load_run(path: str | Path) -> Run:
    """Open a run folder for reading.

    Raises:
        ConfigError: it is no run folder.
    """
    from advsim.run import load_run as open_run

    return open_run(str(path))
