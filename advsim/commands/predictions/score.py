"""``advsim score``: a frozen prediction held against live logs."""

from __future__ import annotations

import argparse
import sys

from advsim.commands.options import only_figures_on_stdout
from advsim.commands.show import print_json, print_parts, say
from advsim.config import parse_config
from advsim.config.paths import check_storage, under
from advsim.errors import ConfigError
from advsim.predictions.live import detector_of, live_outcomes, read_logs
from advsim.predictions.prediction import read_prediction
from advsim.predictions.scoring import Score, score, summary_sentence
from advsim.report.chatbots.predictions import score_tables
from advsim.report.chatbots.score_page import render_score
from advsim.report.evaluation.tables import figure_tables
from advsim.run_folder.folder import RunDir
from advsim.run_folder.results import plain_values
from advsim.runtime.progress import Reporter

PAGE = "score.html"
FIGURES = "score.json"


def run(options: argparse.Namespace) -> None:
    """Hold a prediction against logs, print how far it was off, and with ``--out`` write it there.

    Raises:
        ConfigError: the prediction was edited, its detector is not there as it was, or ``--out`` cannot be written.
        CorpusError: the logs cannot be read, or lack a chatbot that is predicted.
        RunError: the folder cannot be written.
    """
    if options.out is not None:
        check_storage(options.out, key="--out")
        RunDir(options.out).check_writable(key="--out")
    with only_figures_on_stdout():
        found = score_files(options)
        if options.out is not None:
            folder = RunDir(options.out)
            folder.write_bytes(PAGE, render_score(found).encode())
            folder.write_json(FIGURES, found)
    if options.json:
        print_json(plain_values(found))
        return
    print_parts([part for table in score_tables(found) for part in figure_tables(table)], sys.stdout)
    for line in (found.sentence, summary_sentence("Mode by mode", found.by_mode), *found.notes):
        say(line)
    say(f"prediction of {found.predicted_at}, SHA-256 {found.prediction_sha256}")
    if options.out is not None:
        say(f"report: {under(options.out, PAGE)}")


def score_files(options: argparse.Namespace) -> Score:
    """Read, judge and score what the arguments name; see :func:`run`."""
    other = [override for override in options.overrides if not override.strip().startswith("corpus.")]
    if other:
        raise ConfigError(f"override {other[0]!r}: has no effect on a score, which reads the section corpus alone")
    frozen = read_prediction(options.prediction, sha256=options.sha256)
    prediction = frozen.prediction
    logs = read_logs(
        options.logs,
        [each.chatbot for each in prediction.chatbots],
        corpus=parse_config({}, options.overrides).corpus,
        only=options.chatbot,
    )
    detector, release, notes = detector_of(prediction)
    try:
        with Reporter(file=sys.stderr).stage(
            f"failures by {detector.name}", total=len(logs.dialogues), unit="dialogue"
        ) as stage:
            live, num_later = live_outcomes(
                logs.dialogues, detector, max_user_turns=prediction.max_user_turns, advance=stage.advance
            )
    finally:
        release()
    return score(frozen, live, logs, num_later=num_later, notes=notes)
