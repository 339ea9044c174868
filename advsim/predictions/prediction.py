"""A prediction: what a side of a sweep says of chatbots, frozen before they meet people.

The file is one JSON object whose key ``sha256`` is the SHA-256 of all the others as canonical JSON
(:func:`advsim.sweep.outcomes.text_sha256`). A file whose content has changed is refused; another layout of the same
content is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advsim.config.paths import local_path, parent_of, read_file
from advsim.errors import ConfigError, RunError, one_line
from advsim.rates.ab_test import Difference
from advsim.records import Rate
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import utc_now
from advsim.run_folder.results import plain_values, read_values, text_sha256
from advsim.run_folder.versions import installed_versions
from advsim.sweep.outcomes import FinishedSweep, MadeFrom
from advsim.validity.by_chatbot import compare_chatbots, pairs_with_baseline

KIND = "advsim-prediction"
VERSION = 1
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedChatbot:
    """Predicted failure rates of a chatbot by mode; the key ``any`` is a message with any failure."""

    chatbot: str
    rates: Mapping[str, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedChange:
    """Predicted differences A minus B: any mode (None) first, then mode by mode. Their sign is the direction."""

    a: str
    b: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is predicted, and from what.

    Rates are of a chatbot's replies to a user's first ``max_user_turns`` turns, and their intervals carry the sampling
    of the simulated dialogues alone: not how far simulated users are from real ones.

    Attributes:
        kind: always ``advsim-prediction``.
        version: of this form.
        predicted_at: ISO 8601, UTC.
        simulator: the simulator whose conversations say it, or ``replay``: the replies to real prefixes.
        detector: name of the detector.
        modes: those that it measures.
        max_user_turns: user turns of a dialogue whose replies are counted.
        chatbots: by name.
        changes: every chatbot against the baseline of the sweep.
        sweep_sha256: of the sweep's figures.
        made_from: data, adapters, chatbots, detector and versions of the sweep.
        versions: of Python and packages that made the prediction.
    """

    kind: str = KIND
    version: int = VERSION
    predicted_at: str
    simulator: str
    detector: str
    modes: tuple[str, ...]
    max_user_turns: int
    chatbots: tuple[PredictedChatbot, ...]
    changes: tuple[PredictedChange, ...]
    sweep_sha256: str
    made_from: MadeFrom
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPrediction:
    """A prediction and its SHA-256."""

    prediction: Prediction
    sha256: str


def predict(sweep: FinishedSweep, *, simulator: str | None = None) -> Prediction:
    """Predict failure rates and A/B directions from one side of a sweep.

    Args:
        sweep: a finished sweep.
        simulator: a simulator of it or ``replay``; None: the last simulator.

    Raises:
        ConfigError: there is no such side, or the detector of the sweep measures nothing.
    """
    side, outcomes = sweep.side(simulator)
    summary = sweep.summary
    if not summary.modes:
        raise ConfigError(
            f"{sweep.location}: its detector ({summary.detector}) measures no mode, so there is nothing to predict; "
            "sweep again with another, for example -o evaluate.detector=judge, or with -o evaluate.worth=null"
        )
    found = compare_chatbots(
        outcomes,
        modes=summary.modes,
        pairs=pairs_with_baseline(list(outcomes), summary.baseline),
        seed=summary.seed,
    )
    return Prediction(
        predicted_at=utc_now(),
        simulator=side,
        detector=summary.detector,
        modes=summary.modes,
        max_user_turns=summary.max_user_turns,
        chatbots=tuple(PredictedChatbot(chatbot=each.chatbot, rates=each.simulated) for each in found.chatbots),
        changes=tuple(
            PredictedChange(a=test.pair.a, b=test.pair.b, differences=test.simulated) for test in found.tests
        ),
        sweep_sha256=sweep.sha256,
        made_from=summary.made_from,
        versions=installed_versions(),
    )


def frozen_values(prediction: Prediction) -> dict[str, Any]:
    """The prediction as plain values, with its ``sha256``."""
    values: dict[str, Any] = plain_values(prediction)
    return {**values, "sha256": text_sha256(values)}


def write_prediction(path: str, prediction: Prediction) -> str:
    """Write a prediction to a new file; returns its SHA-256.

    Raises:
        ConfigError: the path can name no file, or there is one: a prediction is never overwritten.
        RunError: it cannot be written.
    """
    parent, name = parent_of(path, key="--out")
    folder = RunDir(parent)
    if folder.exists(name):
        raise ConfigError(f"--out {path}: is there already, and a prediction is not overwritten; give another name")
    if not folder.is_local:
        folder.check_writable(key="--out")
    values = frozen_values(prediction)
    folder.write_json(name, values)
    return str(values["sha256"])


def read_prediction(path: str, *, sha256: str | None = None) -> FrozenPrediction:
    """Read a prediction and check that it is as it was written.

    Args:
        path: the file.
        sha256: what ``advsim predict`` printed; whoever edits a file can write a new hash into it, but not here.

    Raises:
        ConfigError: the file cannot be read, is no prediction, was edited, or is another than that of ``sha256``.
    """
    values = _read_object(path)
    if values.get("kind") != KIND or not isinstance(values.get("sha256"), str):
        raise ConfigError(f"{path}: no prediction; expected a file that 'advsim predict SWEEP --out FILE' wrote")
    content = {key: value for key, value in values.items() if key != "sha256"}
    try:
        found = text_sha256(content)
    except ValueError as error:
        raise ConfigError(f"{path}: no prediction that advsim wrote ({error}); {_RESTORE}") from None
    if found != values["sha256"]:
        raise ConfigError(
            f"{path}: was edited after it was frozen: its content has SHA-256 {found[:12]}, expected "
            f"{values['sha256']:.12}; {_RESTORE}"
        )
    if sha256 is not None and found != sha256.strip().lower():
        raise ConfigError(
            f"{path}: is another prediction than the one asked for: got SHA-256 {found}, expected {sha256}; {_RESTORE}"
        )
    if content.get("version") != VERSION:
        raise ConfigError(
            f"{path}: got version {content.get('version')!r:.20} of the form of predictions, expected {VERSION}; score "
            "it with the version of advsim that wrote it"
        )
    try:
        prediction = read_values(Prediction, content, where=path, remedy=_RESTORE)
    except RunError as error:
        raise ConfigError(str(error)) from None
    return FrozenPrediction(prediction=prediction, sha256=found)


_RESTORE = "restore the file as 'advsim predict' wrote it"


def _read_object(path: str) -> dict[str, Any]:
    if "://" not in path:
        return _object_of(read_file(local_path(path, key="prediction file"), max_bytes=MAX_BYTES, where=path), path)
    content = _bytes_of_storage(path)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: has more than {MAX_BYTES:,} bytes; expected a prediction")
    return _object_of(content, path)


def _bytes_of_storage(path: str) -> bytes:
    parent, name = parent_of(path, key="prediction file")
    try:
        return RunDir(parent).read_bytes(name)
    except RunError as error:
        raise ConfigError(f"{path}: cannot be read ({one_line(str(error.__cause__ or error))})") from None


def _object_of(content: bytes, path: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is no JSON ({error!s:.200}); {_RESTORE}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: got a {type(values).__name__}, expected the object of a prediction; {_RESTORE}")
    return values
