"""advsim: realistic user simulators by adversarial rounds, to predict how often a support chatbot fails.

    import advsim
    run = advsim.train("configs/quickstart.yaml", overrides=["stop.max_rounds=1"])
    run = advsim.load_run("runs/quickstart")
    run.rounds[-1]["held_out"]["surface"]["accuracy"]
    evaluation = advsim.evaluate_run("runs/quickstart")
    evaluation = advsim.evaluate_files("simulated.jsonl", reference="real.jsonl")
    evaluation.groups[-1].failures.rates["any"]
    results = advsim.run_sweep("configs/sweeps/chatbots.yaml", overrides=["run=runs/quickstart"])
    results[-1].validity.sentence

Importing this package loads nothing heavy; training imports torch, Ray and vLLM when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advsim.config import Config, SweepConfig
    from advsim.detectors.protocol import Detector
    from advsim.evaluation.results import Evaluation
    from advsim.run_folder.reader import Run
    from advsim.sweep.measure import Result

# Not called sweep: that is the name of a package here, and importing it would replace the function.
__all__ = ["evaluate_files", "evaluate_run", "load_run", "run_sweep", "train"]


def train(
    config: Config | str | Path | dict[str, Any], *, overrides: Sequence[str] = (), allow_changed: Sequence[str] = ()
) -> Run:
    """Train a user simulator and write its report; the same call again resumes a run that was interrupted.

    Args:
        config: a configuration, a YAML file, or a mapping of its sections.
        overrides: ``key.path=value`` strings, as ``-o`` on the command line.
        allow_changed: configuration keys that may differ from those the run was started with.

    Returns:
        The finished run.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.commands.train import train as train_and_report
    from advsim.config import Config, load_config, parse_config

    if isinstance(config, Config):
        resolved = parse_config(config.model_dump(mode="json"), overrides)
    elif isinstance(config, dict):
        resolved = parse_config(dict(config), overrides)
    else:
        resolved = load_config(config, overrides)
    return train_and_report(resolved, allow_changed=allow_changed)


def load_run(path: str | Path) -> Run:
    """Open a run folder for reading.

    Raises:
        ConfigError: it is no run folder.
    """
    from advsim.run_folder.reader import load_run as open_run

    return open_run(str(path))


def evaluate_run(
    run: Run | str | Path,
    *,
    config: Config | str | Path | dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
    detector: Detector | None = None,
) -> Evaluation:
    """Evaluate a run: failures, realism, diversity and spread of every round against held-out real dialogues.

    Writes ``evaluation/metrics.json``, ``evaluation/failures.parquet`` and ``report/evaluation.html`` into the run
    folder.

    Args:
        run: a run or its folder.
        config: a configuration, a YAML file or a mapping with the section ``evaluate``
            (:class:`advsim.config.EvaluateConfig`); what it leaves out is taken from the run.
        overrides: ``key.path=value`` strings, for example ``evaluate.detector=combined``.
        detector: an object that satisfies :class:`advsim.detectors.protocol.Detector`, in place of
            ``evaluate.detector``.

    Returns:
        The figures, each with interval and n; :func:`advsim.run_folder.results.plain_values` makes them JSON.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.commands.evaluate import evaluate_run as evaluate
    from advsim.commands.evaluate import evaluation_config
    from advsim.run_folder.reader import Run

    opened = run if isinstance(run, Run) else load_run(run)
    return evaluate(opened, config=evaluation_config(config, overrides, of_run=opened), detector=detector)


def evaluate_files(
    conversations: str | Path,
    *,
    reference: str | Path | None = None,
    out: str | Path | None = None,
    config: Config | str | Path | dict[str, Any] | None = None,
    overrides: Sequence[str] = (),
    detector: Detector | None = None,
) -> Evaluation:
    """Evaluate any dialogues (another simulator's, production logs), alone or against a reference. No run is needed.

    Dialogues can name the chatbot that answered, in the key ``chatbot``. Where they name several, chatbots are compared
    with each other; where those are in the reference too, with it (``by_chatbot`` of the result).

    Args:
        conversations: a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file of dialogues.
        reference: real dialogues to compare them with.
        out: folder for ``metrics.json``, ``failures.parquet`` and ``evaluation.html``; None writes nothing.
        config: a configuration, a YAML file or a mapping with the section ``evaluate``
            (:class:`advsim.config.EvaluateConfig`).
        overrides: ``key.path=value`` strings, for example ``evaluate.calibration=shipped``.
        detector: an object that satisfies :class:`advsim.detectors.protocol.Detector`, in place of
            ``evaluate.detector``.

    Returns:
        The figures, each with interval and n; :func:`advsim.run_folder.results.plain_values` makes them JSON.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.commands.evaluate import evaluate_files as evaluate
    from advsim.commands.evaluate import evaluation_config

    resolved = evaluation_config(config, overrides)
    return evaluate(conversations, reference=reference, out=out, config=resolved, detector=detector)


def run_sweep(config: SweepConfig | str | Path | dict[str, Any], *, overrides: Sequence[str] = ()) -> list[Result]:
    """Let the simulators of a run meet several chatbots, and the chatbots answer real prefixes.

    What is finished is kept in the output folder: the same call again goes on where it was stopped.

    Args:
        config: settings of the sweep, a YAML file or a mapping of them.
        overrides: ``key=value`` strings, as ``-o`` on the command line.

    Returns:
        What the rates that each simulator gives are worth, in the order of the simulators.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.commands.sweep import sweep
    from advsim.config import SweepConfig, load_section, parse_section

    if isinstance(config, SweepConfig):
        resolved = parse_section(SweepConfig, config.model_dump(mode="json"), overrides, where="configuration")
    elif isinstance(config, dict):
        resolved = parse_section(SweepConfig, config, overrides, where="configuration")
    else:
        resolved = load_section(SweepConfig, config, overrides)
    return list(sweep(resolved).results)
