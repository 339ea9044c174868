"""advsim: realistic user simulators by adversarial rounds, to predict how often a support chatbot fails.

    import advsim
    run = advsim.train("configs/quickstart.yaml", overrides=["stop.max_rounds=1"])
    run = advsim.load_run("runs/quickstart")
    run.rounds[-1]["held_out"]["surface"]["accuracy"]
    evaluation = advsim.evaluate_run("runs/quickstart")
    evaluation = advsim.evaluate_files("simulated.jsonl", reference="real.jsonl")
    evaluation.groups[-1].failures.rates["any"]

Importing this package loads nothing heavy; training imports torch, Ray and vLLM when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advsim.config import Config
    from advsim.detectors.protocol import Detector
    from advsim.evaluation import Evaluation, JudgeOptions
    from advsim.run_folder.reader import Run

__all__ = ["evaluate_files", "evaluate_run", "load_run", "train"]


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
    from advsim.training.run import run_training

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
    from advsim.run_folder.reader import load_run as open_run

    return open_run(str(path))


def evaluate_run(
    run: Run | str | Path,
    *,
    detector: str | Detector = "rules",
    taxonomy: str | Path | None = None,
    judge: JudgeOptions | None = None,
    calibration: str | Path | None = None,
) -> Evaluation:
    """Evaluate a run: failures, realism, diversity and spread of every round against held-out real dialogues.

    Writes ``evaluation/metrics.json``, ``evaluation/failures.parquet`` and ``report/evaluation.html`` into the run
    folder.

    Args:
        run: a run or its folder.
        detector: ``rules`` (offline), ``learned``, ``combined`` (both as one), ``judge`` (an LLM
            on engines of its own or behind an endpoint), or any object that satisfies
            :class:`advsim.detectors.protocol.Detector`.
        taxonomy: YAML that adds failure modes or replaces their texts.
        judge: model, and endpoint where it has one, for the detector ``judge``.
        calibration: labelled messages (JSON Lines as :func:`advsim.detectors.labelled.load_labelled` reads them), or
            ``shipped``: rates are also given without the detector's errors on them.

    Returns:
        The figures, each with interval and n; ``to_json()`` gives plain values.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.evaluation import evaluate_run as evaluate
    from advsim.run_folder.reader import Run

    return evaluate(
        run if isinstance(run, Run) else load_run(run),
        detector=detector,
        taxonomy=taxonomy,
        judge=judge,
        calibration=calibration,
    )


def evaluate_files(
    conversations: str | Path,
    *,
    reference: str | Path | None = None,
    detector: str | Detector = "rules",
    taxonomy: str | Path | None = None,
    judge: JudgeOptions | None = None,
    calibration: str | Path | None = None,
    out: str | Path | None = None,
    pairs: Sequence[str] = (),
    baseline: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate any dialogues (another simulator's, production logs), alone or against a reference. No run is needed.

    Dialogues can name the chatbot that answered, in the key ``chatbot``. Where they name several, chatbots are compared
    with each other; where those are in the reference too, with it (``by_chatbot`` of the result).

    Args:
        conversations: a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file of dialogues.
        reference: real dialogues to compare them with.
        detector: ``rules`` (offline), ``learned``, ``combined`` (both as one), ``judge`` (an LLM
            on engines of its own or behind an endpoint), or any object that satisfies
            :class:`advsim.detectors.protocol.Detector`.
        taxonomy: YAML that adds failure modes or replaces their texts.
        judge: model, and endpoint where it has one, for the detector ``judge``.
        calibration: labelled messages (JSON Lines as :func:`advsim.detectors.labelled.load_labelled` reads them), or
            ``shipped``: rates are also given without the detector's errors on them.
        out: folder for ``metrics.json``, ``failures.parquet`` and ``evaluation.html``; None writes nothing.
        pairs: chatbots to compare, chosen before any result is seen, as ``a:b`` each; empty: all with the baseline.
        baseline: the chatbot that the others are compared with; None: the first by name.
        seed: of all draws.

    Returns:
        The figures, each with interval and n; ``to_json()`` gives plain values.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    from advsim.evaluation import evaluate_files as evaluate

    return evaluate(
        conversations,
        reference=reference,
        detector=detector,
        taxonomy=taxonomy,
        judge=judge,
        calibration=calibration,
        out=out,
        pairs=pairs,
        baseline=baseline,
        seed=seed,
    )
