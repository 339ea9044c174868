"""Training of the learned detector on labelled messages and dialogues.

labelled messages ──> encoder, its linear weights free ──> change of each weight, cut to a low rank ──> file
labelled messages for choosing ──> calibration of the scores, and how far from the training a message may lie
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_high
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from advsim.config import Count, Section
from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.learned.detector import LearnedDetector
from advsim.detectors.learned.encoder import CaseEncoder
from advsim.detectors.learned.inputs import Case, Pieces
from advsim.detectors.learned.regression import Regression, regression_inputs
from advsim.detectors.learned.vocabulary import Vocabulary
from advsim.detectors.learned.weights import Description, ModeModel, save_weights
from advsim.detectors.taxonomy import Taxonomy
from advsim.detectors.whole_dialogues import LabelledDialogue
from advsim.errors import CorpusError
from advsim.models.embedder import Embedder, FloatArray
from advsim.runtime.progress import Reporter

Positive = Annotated[float, Field(gt=0.0, le=100.0, strict=True)]


class LearnedConfig(Section):
    """How the learned detector is trained."""

    name: Annotated[str, Field(min_length=1)] = "learned"
    """Stands in every label it makes."""
    num_epochs: Count = 3
    batch_size: Count = 16
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 1.2e-4
    """Of the encoder's weights; rises over the first tenth of the steps, then falls to 0."""
    head_learning_rate: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 1e-3
    positive_weight: Positive = 3.0
    """Weight of a mode's positives in the loss: they are few."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0, strict=True)] = 0.1
    rank: Count = 32
    """Of the updates that are kept of each weight."""
    inverse_penalty: Positive = 1.0
    """C of the logistic regressions."""
    min_positives: Count = 8
    """A mode with fewer labelled messages that show it, or that do not, is not learned but abstained from."""
    threshold: Annotated[float, Field(gt=0.0, lt=1.0, strict=True)] = 0.5
    """Of the calibrated probability, the same for all modes: chosen by so few positives, each would follow chance."""
    novelty: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 1.25
    """A message is judged up to so many times the novelty under which 99 % of the messages for choosing lie."""
    bfloat16: bool = True
    """Products in bfloat16, which CPUs with AVX512-BF16 compute several times as fast."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A labelled message. ``severity`` is that of its worst mode, None where it shows none."""

    case: Case
    modes: frozenset[str]
    severity: int | None


def examples_of_messages(labelled: Sequence[LabelledMessage]) -> list[Example]:
    """Single labelled messages as examples."""
    return [
        Example(case=Case.of(each.context, each.message), modes=each.modes, severity=each.severity) for each in labelled
    ]


def examples_of_dialogues(labelled: Sequence[LabelledDialogue]) -> list[Example]:
    """Every labelled message of whole dialogues as an example."""
    examples = []
    for each in labelled:
        cases = Case.all_of(each.dialogue.turns)
        examples += [
            Example(case=cases[turn], modes=label.modes, severity=label.severity) for turn, label in each.labels.items()
        ]
    return examples


def train_learned(
    examples: Sequence[Example],
    choosing: Sequence[Example],
    *,
    taxonomy: Taxonomy,
    folder: Path,
    embedder: Embedder,
    config: LearnedConfig | None = None,
    reporter: Reporter,
) -> LearnedDetector:
    """Train a detector, save it, and load what was saved.

    Args:
        examples: to train on; never those that the detector is measured on.
        choosing: other ones, to calibrate with.
        taxonomy: modes that can be learned.
        folder: for the two files.
        embedder: of the regression's inputs; the detector needs the same one later.
        config: None is the default.
        reporter: shows progress.

    Raises:
        CorpusError: no mode has enough examples, or there are none for choosing.
    """
    settings = LearnedConfig() if config is None else config
    modes = _learnable(examples, taxonomy, settings)
    if not choosing:
        raise CorpusError("got no labelled messages to calibrate with, expected some that are not trained on")
    tensors = _fit(examples, modes, settings, reporter)
    encoder = CaseEncoder(len(modes))
    encoder.load_tensors(tensors)
    cases, others = ([example.case for example in side] for side in (examples, choosing))
    with reporter.stage("regression and calibration", total=len(cases) + len(others), unit="message") as stage:
        inputs_NI = regression_inputs(cases, embedder)
        regression = Regression.fit(inputs_NI, _shows(examples, modes), inverse_penalty=settings.inverse_penalty)
        vocabulary = Vocabulary.of(encoder.pieces(cases))
        stage.advance(len(cases))
        pieces = encoder.pieces(others)
        both = np.stack([encoder.scores(pieces), regression.scores(regression_inputs(others, embedder))], axis=-1)
        stage.advance(len(others))
    slopes, offset = _calibration(both, _shows(choosing, modes))
    description = Description(
        name=settings.name,
        slopes=slopes,
        offset=offset,
        most_novel=min(1.0, settings.novelty * float(np.quantile(vocabulary.novelty(pieces), 0.99))),
        known_modes=taxonomy.ids,
        models=tuple(_model(mode, examples, taxonomy, settings) for mode in modes),
    )
    save_weights(folder, description, tensors | vocabulary.tensors() | regression.tensors())
    return LearnedDetector.load(folder, embedder)


def _learnable(examples: Sequence[Example], taxonomy: Taxonomy, config: LearnedConfig) -> tuple[str, ...]:
    unknown = {mode for example in examples for mode in example.modes} - set(taxonomy.ids)
    if unknown:
        raise CorpusError(f"labelled messages: unknown modes {', '.join(sorted(unknown))}")
    shows = {mode: sum(mode in example.modes for example in examples) for mode in taxonomy.ids}
    modes = tuple(
        mode for mode, num in shows.items() if config.min_positives <= num <= len(examples) - config.min_positives
    )
    if not modes:
        raise CorpusError(
            f"got {len(examples)} labelled messages and no mode that {config.min_positives} of them show, expected one"
        )
    return modes


def _model(mode: str, examples: Sequence[Example], taxonomy: Taxonomy, config: LearnedConfig) -> ModeModel:
    severities = [it.severity for it in examples if mode in it.modes and it.severity is not None]
    num_positive = sum(mode in example.modes for example in examples)
    return ModeModel(
        mode=mode,
        visibility=taxonomy.mode(mode).visibility,
        threshold=config.threshold,
        severity=median_high(severities) if severities else 2,
        num_positive=num_positive,
        num_negative=len(examples) - num_positive,
    )


def _shows(examples: Sequence[Example], modes: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.array([[mode in example.modes for mode in modes] for example in examples], dtype=np.float32)


def _fit(
    examples: Sequence[Example], modes: Sequence[str], config: LearnedConfig, reporter: Reporter
) -> dict[str, Tensor]:
    """Updates of the encoder's weights and the linear layer, as :meth:`CaseEncoder.tensors`."""
    torch.manual_seed(config.seed)
    encoder = CaseEncoder(len(modes), dropout=config.dropout)
    before = {name: weight.detach().clone() for name, weight in encoder.updated()}
    weights = [weight.requires_grad_() for _, weight in encoder.updated()]
    pieces = encoder.pieces([example.case for example in examples])
    shows_NM = torch.tensor(_shows(examples, modes))
    num_steps = config.num_epochs * math.ceil(len(examples) / config.batch_size)
    optimiser = torch.optim.AdamW(
        [
            {"params": weights, "lr": config.learning_rate},
            {"params": list(encoder.head.parameters()), "lr": config.head_learning_rate},
        ],
        weight_decay=0.01,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, num_steps))
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=torch.full((len(modes),), config.positive_weight))
    encoder.prepare_training()
    rng = np.random.default_rng(config.seed)
    with reporter.stage("training", total=config.num_epochs * len(examples), unit="message") as stage:
        for epoch in range(config.num_epochs):
            for rows in _batches(pieces, config.batch_size, rng):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bfloat16):
                    scores = encoder([pieces[row] for row in rows])
                loss = loss_of(scores.float(), shows_NM[rows])
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                stage.advance(len(rows))
            stage.note(f"epoch {epoch + 1}, loss {loss.item():.2f}")
    return encoder.tensors(before, rank=config.rank)


def _rate(step: int, num_steps: int) -> float:
    """Share of the learning rate at a step: up over the first tenth, then down to 0."""
    return min((step + 1) / (0.1 * num_steps), max(0.0, (num_steps - step) / (0.9 * num_steps)))


def _batches(pieces: Sequence[Pieces], size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """All rows once, those of like length together, in random order."""
    rows = rng.permutation(len(pieces)).tolist()
    batches = []
    for start in range(0, len(rows), 8 * size):
        some = sorted(rows[start : start + 8 * size], key=lambda row: len(pieces[row].ids))
        batches += [some[at : at + size] for at in range(0, len(some), size)]
    for number in rng.permutation(len(batches)):
        yield batches[number]


def _calibration(scores_NM2: FloatArray, shows_NM: npt.NDArray[np.float32]) -> tuple[tuple[float, float], float]:
    """Slopes and offset of the log-odds over all modes at once (Platt 1999): few modes have positives enough alone."""
    shows = shows_NM.ravel() > 0
    if shows.all() or not shows.any():
        return (1.0, 0.0), 0.0
    fitted = LogisticRegression(C=100.0).fit(scores_NM2.reshape(-1, 2), shows)
    first, second = np.maximum(fitted.coef_[0], 0.0)
    return (float(first), float(second)), float(fitted.intercept_[0])
