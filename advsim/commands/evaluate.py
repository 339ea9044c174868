"""``advsim evaluate``: a run, or any dialogue files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advsim.commands.options import corpus_override, only_figures_on_stdout
from advsim.commands.show import print_json, print_parts, say
from advsim.config import Config, parse_config, read_yaml
from advsim.config.paths import check_writable, local_path
from advsim.detectors.judge.judge import NO_VERDICT
from advsim.detectors.protocol import Detector
from advsim.errors import ConfigError, RunError
from advsim.evaluation.files import measure_files
from advsim.evaluation.measure import Measured
from advsim.evaluation.results import Evaluation
from advsim.evaluation.runs import measure_run
from advsim.models.embedder import Embedder
from advsim.report.evaluation.page import render_evaluation
from advsim.report.evaluation.tables import evaluation_tables
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import EVALUATION_FAILURES, EVALUATION_METRICS, EVALUATION_REPORT
from advsim.run_folder.reader import Run, load_run
from advsim.run_folder.results import plain_values
from advsim.run_folder.tables import failures_table
from advsim.runtime.progress import Reporter

_READ = ("evaluate.", "held_out.", "corpus.", "seed=")
"""Keys of a configuration that an evaluation reads."""


def run(options: argparse.Namespace) -> None:
    """Evaluate what the arguments name, print the tables and write the page.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    run_folder, yaml_file = _targets(options)
    with only_figures_on_stdout():
        evaluation, page = (
            _evaluate_run(options, run_folder, yaml_file) if run_folder else _evaluate_files(options, yaml_file)
        )
    if options.json:
        print_json(plain_values(evaluation))
    else:
        print_parts(evaluation_tables(evaluation), sys.stdout)
        if page:
            say(f"report: {page}")
    cost = None if evaluation.judge is None else evaluation.judge.cost
    if cost is not None and cost.num_errors == cost.num_messages > 0:
        raise no_verdict(evaluation.notes)


def no_verdict(notes: Sequence[str]) -> RunError:
    """The error of a judge that gave no verdict at all; its notes say why."""
    why = next((note.removeprefix(NO_VERDICT) for note in notes if note.startswith(NO_VERDICT)), "")
    return RunError(
        f"the judge gave no verdict on any message: {why or 'see the notes.'} Mend the endpoint or choose another "
        "model, and run it again"
    )


def evaluate_run(
    run: Run,
    *,
    config: Config | None = None,
    detector: Detector | None = None,
    reporter: Reporter | None = None,
    embedder: Embedder | None = None,
) -> Evaluation:
    """Evaluate a run and write figures, failures and page into its folder; see :func:`advsim.evaluate_run`."""
    measured = measure_run(run, config=config, detector=detector, reporter=reporter, embedder=embedder)
    _write(run.folder, measured, metrics=EVALUATION_METRICS, failures=EVALUATION_FAILURES, page=EVALUATION_REPORT)
    return measured.result


def evaluate_files(
    conversations: str | Path,
    *,
    reference: str | Path | None = None,
    out: str | Path | None = None,
    config: Config | None = None,
    detector: Detector | None = None,
    reporter: Reporter | None = None,
    embedder: Embedder | None = None,
) -> Evaluation:
    """Evaluate dialogue files; with ``out`` write what was found there; see :func:`advsim.evaluate_files`."""
    folder = None if out is None else local_path(str(out), key="--out")
    if folder is not None:
        check_writable(folder, key="--out", got=str(out))
    measured = measure_files(
        conversations, reference=reference, config=config, detector=detector, reporter=reporter, embedder=embedder
    )
    if folder is not None:
        names = {"metrics": "metrics.json", "failures": "failures.parquet", "page": "evaluation.html"}
        _write(RunDir(str(folder)), measured, **names)
    return measured.result


def evaluation_config(
    config: Config | str | Path | dict[str, Any] | None, overrides: Sequence[str] = (), *, of_run: Run | None = None
) -> Config:
    """The configuration of an evaluation.

    Args:
        config: a configuration, a YAML file or a mapping of sections; None: all defaults.
        overrides: ``key.path=value`` each, of the keys that an evaluation reads.
        of_run: its corpus, held-out settings and seed stand behind those of ``config``.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or has no effect here, or a value is wrong.
    """
    without_effect = [override for override in overrides if not override.strip().startswith(_READ)]
    if without_effect:
        raise ConfigError(
            f"override {without_effect[0]!r}: has no effect on an evaluation, which reads the sections evaluate, "
            "held_out and corpus, and seed"
        )
    where = str(config) if isinstance(config, str | Path) else "configuration"
    if isinstance(config, Config):
        values = config.model_dump(mode="json", exclude_unset=True)
    else:
        values = config if isinstance(config, dict) else read_yaml(config) if config is not None else {}
    parse_config(values, where=where)  # what is wrong is told in the terms of the file that was given
    if of_run is not None:
        values = {**of_run.config, **values}
    return parse_config(values, overrides, where=where)


def _evaluate_run(options: argparse.Namespace, run_folder: str, yaml_file: str | None) -> tuple[Evaluation, str]:
    if options.reference or options.out:
        raise ConfigError(
            "evaluate: --reference and --out go with --conversations; a run has its own real dialogues and folder"
        )
    if options.pairs or options.baseline is not None:
        raise ConfigError("evaluate: --pairs and --baseline go with --conversations; a run has one chatbot")
    run = load_run(run_folder)
    overrides = [*_flags(options), *options.overrides, *corpus_override(options)]
    config = evaluation_config(yaml_file, overrides, of_run=run)
    return evaluate_run(run, config=config), f"{run_folder}/{EVALUATION_REPORT}"


def _evaluate_files(options: argparse.Namespace, yaml_file: str | None) -> tuple[Evaluation, str]:
    if options.corpus is not None:
        raise ConfigError("evaluate: --corpus goes with a run; real dialogues beside --conversations are --reference")
    overrides = [*_flags(options), *options.overrides]
    if yaml_file is None and any(override.strip().startswith("corpus.") for override in options.overrides):
        overrides = [f"corpus.path={json.dumps(options.conversations)}", *overrides]  # what the settings are for
    config = evaluation_config(yaml_file, overrides)
    evaluation = evaluate_files(options.conversations, reference=options.reference, out=options.out, config=config)
    return evaluation, f"{options.out}/evaluation.html" if options.out else ""


def _targets(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """Run folder and YAML file among the arguments without a flag."""
    files = [target for target in options.targets if target.endswith((".yaml", ".yml"))]
    folders = [target for target in options.targets if target not in files]
    for what, given in (("run", folders), ("configuration", files)):
        if len(given) > 1:
            raise ConfigError(f"evaluate: got {' and '.join(given)}, expected one {what}")
    if bool(folders) == (options.conversations is not None):
        got = "a run and --conversations" if folders else "neither a run nor --conversations"
        raise ConfigError(f"evaluate: got {got}, expected one of the two; see advsim evaluate --help")
    return next(iter(folders), None), next(iter(files), None)


def _flags(options: argparse.Namespace) -> list[str]:
    """The flags that stand for keys of the section ``evaluate``, as overrides."""
    names = ("detector", "taxonomy", "calibration", "baseline")
    given = [f"evaluate.{name}={json.dumps(value)}" for name in names if (value := getattr(options, name)) is not None]
    return [*given, *([f"evaluate.pairs={json.dumps(options.pairs)}"] if options.pairs else [])]


def _write(folder: RunDir, measured: Measured, *, metrics: str, failures: str, page: str) -> None:
    folder.write_table(failures, failures_table(measured.assessments))
    folder.write_bytes(page, render_evaluation(measured.result).encode())
    folder.write_json(metrics, measured.result)
