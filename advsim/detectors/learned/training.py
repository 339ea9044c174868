"""Training and cross-validation of the learned detector on labelled messages.

    labelled messages (and the taxonomy's examples) -> inputs -> for each mode: logistic regression on all of them;
    scores out of fold -> Platt scaling -> probabilities out of fold -> threshold

Messages that answer the same user turn are never on both sides of a fold.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_high
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from advsim.config import Count, Section
from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.learned.detector import LearnedDetector
from advsim.detectors.learned.inputs import INPUTS_VERSION, NUM_COUNTS, Case, message_inputs
from advsim.detectors.learned.weights import Description, ModeModel, Weights, scale_counts
from advsim.detectors.taxonomy import Taxonomy
from advsim.errors import ConfigError, CorpusError
from advsim.models.embedder import Embedder, FloatArray
from advsim.records import Assessment

BoolArray = npt.NDArray[np.bool_]
Fold = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


class LearnedConfig(Section):
    """How the learned detector is trained and when it gives no verdict."""

    name: Annotated[str, Field(min_length=1)] = "learned"
    """Stands in every label it makes."""
    num_folds: Annotated[int, Field(ge=2)] = 5
    """Of the cross-validation that calibrates and sets the thresholds."""
    min_positives: Count = 8
    """A mode with fewer labelled messages that show it, or that do not, is not learned but abstained from."""
    inverse_penalty: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] = 3.0
    """C of the logistic regressions. Mean average precision out of fold on the build part: .58 at 1, .59 at 3, 10."""
    abstain_margin: Annotated[float, Field(ge=0.0, le=0.5)] = 0.03
    """No verdict where the probability is nearer to the threshold than this."""
    use_taxonomy_examples: bool = True
    """Train on the taxonomy's examples and counter-examples too."""
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> LearnedConfig:
        if self.min_positives < self.num_folds:
            raise ValueError(
                f"min_positives is {self.min_positives} but num_folds {self.num_folds}: a fold would have none; raise "
                "min_positives or lower num_folds"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examples:
    """Training examples. ``N`` examples, ``M`` modes of the taxonomy, ``I`` inputs."""

    inputs_NI: FloatArray
    shows_NM: BoolArray
    severities: tuple[int | None, ...]
    groups: npt.NDArray[np.intp]

    def take(self, rows: npt.NDArray[np.intp]) -> _Examples:
        return _Examples(
            inputs_NI=self.inputs_NI[rows],
            shows_NM=self.shows_NM[rows],
            severities=tuple(self.severities[row] for row in rows),
            groups=self.groups[rows],
        )


def train_learned(
    labelled: Sequence[LabelledMessage],
    *,
    taxonomy: Taxonomy,
    embedder: Embedder,
    config: LearnedConfig | None = None,
) -> LearnedDetector:
    """Train a detector.

    Args:
        labelled: messages with their modes; the part that is built on, never the part that is measured on.
        taxonomy: modes that can be learned.
        embedder: of messages and turns; the detector needs the same one later.
        config: None is the default.

    Raises:
        CorpusError: a message names an unknown mode, or no mode has enough examples.
    """
    settings = LearnedConfig() if config is None else config
    return _fit(_examples(labelled, taxonomy, embedder, settings), taxonomy, embedder, settings)


def cross_validate_learned(
    labelled: Sequence[LabelledMessage],
    *,
    taxonomy: Taxonomy,
    embedder: Embedder,
    config: LearnedConfig | None = None,
    num_folds: int = 5,
) -> list[Assessment]:
    """Assessments of each labelled message by a detector that was trained without it.

    Each outer fold trains all of it anew, calibration and thresholds included. Messages that answer the same user turn
    are in one fold.

    Returns:
        One assessment a labelled message, in order; to be counted by :mod:`advsim.detectors.accuracy`.

    Raises:
        CorpusError: as :func:`train_learned`; also where there are too few messages for the folds.
    """
    settings = LearnedConfig() if config is None else config
    examples = _examples(labelled, taxonomy, embedder, settings)
    num_labelled = len(labelled)
    groups = examples.groups[:num_labelled]
    if len(np.unique(groups)) < num_folds:
        raise CorpusError(
            f"got labelled messages on {len(np.unique(groups))} user turns, expected >= {num_folds}, one a fold"
        )
    extra = np.arange(num_labelled, len(examples.groups))
    by_row: dict[int, Assessment] = {}
    strata = _strata(labelled, num_folds)
    for train, test in _grouped_folds(strata, groups, num_folds=num_folds, seed=settings.seed):
        # an example of the taxonomy that answers a user turn under test must not be trained on either
        allowed = extra[~np.isin(examples.groups[extra], groups[test])]
        detector = _fit(examples.take(np.concatenate([train, allowed])), taxonomy, embedder, settings)
        dialogues = [labelled[row].dialogue for row in test]
        last = {dialogue.id: len(dialogue.turns) - 1 for dialogue in dialogues}
        assessed = [it for it in detector.assess(dialogues) if it.turn == last[it.conversation_id]]
        by_row.update(zip(test.tolist(), assessed, strict=True))
    return [by_row[row] for row in range(num_labelled)]


def choose_threshold(probabilities: FloatArray) -> float:
    """The threshold of the highest expected F1 if the probabilities are right (see arXiv 1402.1892).

    Expected F1 of the k most probable messages is taken as 2 (sum of their p) / (k + sum of all p). With a dozen or two
    of positives the threshold that is best on the labels themselves follows single messages: on the build part that
    ships, thresholds of training folds gave a macro-F1 of .46 on the others when chosen so, .48 when chosen as here.

    Args:
        probabilities: calibrated, of messages not trained on, shape (messages,); at least one is above 0.

    Returns:
        Midway between the last probability above it and the first below.
    """
    sorted_p = np.sort(probabilities)[::-1]
    expected_f1 = 2 * np.cumsum(sorted_p) / (np.arange(1, len(sorted_p) + 1) + sorted_p.sum())
    cuts = np.flatnonzero(np.append(np.diff(sorted_p) < 0, True))  # between equal probabilities there is no cut
    best = cuts[np.argmax(expected_f1[cuts])]
    below = sorted_p[best + 1] if best + 1 < len(sorted_p) else 0.0
    return float((sorted_p[best] + below) / 2)


def _examples(
    labelled: Sequence[LabelledMessage], taxonomy: Taxonomy, embedder: Embedder, config: LearnedConfig
) -> _Examples:
    if not labelled:
        raise CorpusError("got no labelled messages, expected some to train the learned detector on")
    cases = [Case.of(message.context, message.message) for message in labelled]
    modes = [message.modes for message in labelled]
    severities = [message.severity for message in labelled]
    for message in labelled:
        for mode in message.modes:
            try:
                taxonomy.mode(mode)
            except ConfigError as error:
                raise CorpusError(f"labelled message {message.id}: {error}") from None
    if config.use_taxonomy_examples:
        for described in taxonomy.modes:
            for exchange in (*described.examples, *described.counter_examples):
                cases.append(Case(by_user=(exchange.user,), by_chatbot=(), message=exchange.reply))
                modes.append(frozenset({described.id} if exchange in described.examples else ()))
                severities.append(None)
    turns = [" ".join(case.user.lower().split()) for case in cases]
    return _Examples(
        inputs_NI=message_inputs(cases, embedder),
        shows_NM=np.array([[mode in shown for mode in taxonomy.ids] for shown in modes], dtype=bool),
        severities=tuple(severities),
        groups=np.unique(turns, return_inverse=True)[1],
    )


def _fit(examples: _Examples, taxonomy: Taxonomy, embedder: Embedder, config: LearnedConfig) -> LearnedDetector:
    counts_NC = examples.inputs_NI[:, -NUM_COUNTS:]
    spread_C = counts_NC.std(axis=0)
    mean_C, scale_C = counts_NC.mean(axis=0), np.where(spread_C > 1e-9, spread_C, 1.0)
    inputs_NI = scale_counts(examples.inputs_NI, mean_C, scale_C)
    learned = [
        _fit_mode(mode.id, examples.shows_NM[:, m], inputs_NI, examples, taxonomy, config)
        for m, mode in enumerate(taxonomy.modes)
        if _num_groups(examples, m) >= config.min_positives and (~examples.shows_NM[:, m]).sum() >= config.min_positives
    ]
    if not learned:
        raise CorpusError(
            f"no mode has {config.min_positives} labelled messages that show it and {config.min_positives} that do not"
            "; label more, or lower min_positives"
        )
    description = Description(
        inputs_version=INPUTS_VERSION,
        name=config.name,
        abstain_margin=config.abstain_margin,
        known_modes=taxonomy.ids,
        models=tuple(model for model, _ in learned),
    )
    weights = Weights(weights_MI=np.array([row for _, row in learned]), mean_C=mean_C, scale_C=scale_C)
    return LearnedDetector(description, weights, embedder)


def _num_groups(examples: _Examples, m: int) -> int:
    """Different user turns among the examples that show a mode: so many folds can have one."""
    return len(np.unique(examples.groups[examples.shows_NM[:, m]]))


def _fit_mode(
    id: str,
    shows: BoolArray,
    inputs_NI: FloatArray,
    examples: _Examples,
    taxonomy: Taxonomy,
    config: LearnedConfig,
) -> tuple[ModeModel, FloatArray]:
    folds = list(_grouped_folds(shows, examples.groups, num_folds=config.num_folds, seed=config.seed))
    # balanced: with one positive in twelve the scores would else rank by frequency; the calibration puts it right
    regression = LogisticRegression(C=config.inverse_penalty, class_weight="balanced", max_iter=5000)
    calibrated = CalibratedClassifierCV(regression, method="sigmoid", cv=folds, ensemble=False).fit(inputs_NI, shows)
    fitted = calibrated.calibrated_classifiers_[0]
    platt = fitted.calibrators[0]
    scores = cross_val_predict(regression, inputs_NI, shows, cv=folds, method="decision_function")
    severities = [it for it, shown in zip(examples.severities, shows, strict=True) if shown and it is not None]
    model = ModeModel(
        mode=id,
        visibility=taxonomy.mode(id).visibility,
        intercept=float(fitted.estimator.intercept_[0]),
        slope=float(platt.a_),
        offset=float(platt.b_),
        threshold=choose_threshold(platt.predict(scores)),
        severity=median_high(severities) if severities else 2,
        num_positive=int(shows.sum()),
        num_negative=int((~shows).sum()),
    )
    return model, np.asarray(fitted.estimator.coef_[0], dtype=np.float64)


def _strata(labelled: Sequence[LabelledMessage], num_folds: int) -> npt.NDArray[np.str_]:
    """One name a message, for folds that are alike: its rarest mode that is frequent enough, else none."""
    frequency = Counter(mode for message in labelled for mode in message.modes)
    frequent = {mode: count for mode, count in frequency.items() if count >= num_folds}
    return np.array(
        [
            min(message.modes & frequent.keys(), key=lambda mode: (frequent[mode], mode), default="")
            for message in labelled
        ]
    )


def _grouped_folds(
    strata: npt.NDArray[np.str_] | BoolArray, groups: npt.NDArray[np.intp], *, num_folds: int, seed: int
) -> Iterator[Fold]:
    splitter = StratifiedGroupKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        yield from splitter.split(np.zeros(len(groups)), strata, groups)
