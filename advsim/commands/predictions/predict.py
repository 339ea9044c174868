"""``advsim predict``: what a sweep says of chatbots, frozen before they meet people."""

from __future__ import annotations

import argparse
import sys

from advsim.commands.show import print_json, print_parts, say
from advsim.predictions.prediction import frozen_values, predict, read_prediction, write_prediction
from advsim.report.chatbots.predictions import prediction_table
from advsim.report.evaluation.tables import figure_tables
from advsim.sweep.outcomes import read_sweep


def run(options: argparse.Namespace) -> None:
    """Predict from a finished sweep, write the prediction to a new file, and print it with its SHA-256.

    Raises:
        ConfigError: it is no finished sweep, there is no such simulator, or the file is there already.
        RunError: the sweep's files are damaged, or the prediction cannot be written.
    """
    prediction = predict(read_sweep(options.sweep), simulator=options.simulator)
    sha256 = write_prediction(options.out, prediction)
    frozen = read_prediction(options.out, sha256=sha256)  # what is there now is what is held against logs later
    if options.json:
        print_json(frozen_values(frozen.prediction))
        return
    print_parts(figure_tables(prediction_table(prediction)), sys.stdout)
    say(
        f"Predicted with {prediction.simulator} and the detector {prediction.detector}: failing among judged replies "
        f"to the first {prediction.max_user_turns} user turns, with 95 % intervals of the sampling alone."
    )
    say(f"prediction: {options.out}\nSHA-256: {sha256}")
