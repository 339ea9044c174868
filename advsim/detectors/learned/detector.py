"""The learned detector: a calibrated logistic regression a mode on sentence embeddings and counts.

Trained by :mod:`advsim.detectors.learned.training`, saved as safetensors and JSON, never as a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit

from advsim.detectors.language import ENGLISH, language_name, message_languages
from advsim.detectors.learned.inputs import INPUTS_VERSION, NUM_COUNTS, Case, message_inputs, sentences
from advsim.detectors.learned.weights import Description, Weights, scale_counts
from advsim.errors import ConfigError
from advsim.models.embedder import Embedder, FloatArray
from advsim.records import Assessment, FailureLabel, HasTurns, chatbot_turns

WEIGHTS_FILE = "weights.safetensors"
DESCRIPTION_FILE = "detector.json"

_DIALOGUES_AT_ONCE = 64


class LearnedDetector:
    """A trained detector. Where the probability is within ``abstain_margin`` of the threshold, it gives no verdict.

    The evidence span is the sentence of the message without which the probability would be lowest; empty where no
    sentence raises it, as where something is missing from the message.

    Args:
        description: what was learned.
        weights: the arrays to it.
        embedder: the one it was trained with.
    """

    def __init__(self, description: Description, weights: Weights, embedder: Embedder) -> None:
        self.description = description
        self._weights = weights
        self._embedder = embedder

    @property
    def name(self) -> str:
        """Name of the detector, as in its labels."""
        return self.description.name

    @property
    def modes(self) -> tuple[str, ...]:
        """Ids of the modes it learned."""
        return tuple(model.mode for model in self.description.models)

    def assess(
        self, dialogues: Sequence[HasTurns], *, advance: Callable[[int], None] | None = None
    ) -> list[Assessment]:
        """Judge every chatbot turn; see :class:`advsim.detectors.protocol.Detector`."""
        assessments: list[Assessment] = []
        for start in range(0, len(dialogues), _DIALOGUES_AT_ONCE):
            some = dialogues[start : start + _DIALOGUES_AT_ONCE]
            assessments += [assessment for assessment, _ in self.assess_with_probabilities(some)]
            if advance is not None:
                advance(len(some))
        return assessments

    def probabilities(self, cases: Sequence[Case]) -> FloatArray:
        """Calibrated probability of each mode, shape (cases, modes)."""
        if not cases:
            return np.zeros((0, len(self.modes)))
        inputs_NI = scale_counts(message_inputs(cases, self._embedder), self._weights.mean_C, self._weights.scale_C)
        models = self.description.models
        scores_NM = inputs_NI @ self._weights.weights_MI.T + np.array([model.intercept for model in models])
        slope_M = np.array([model.slope for model in models])
        offset_M = np.array([model.offset for model in models])
        return np.asarray(expit(-(slope_M * scores_NM + offset_M)), dtype=np.float64)

    def assess_with_probabilities(self, dialogues: Sequence[HasTurns]) -> list[tuple[Assessment, FloatArray]]:
        """Every chatbot turn as :meth:`assess` judges it, with the probability of each mode, shape (modes,).

        All dialogues are read at once. An empty message is an error, and one in another language than English is
        abstained from; both have probabilities of 0.
        """
        languages = {id(dialogue): message_languages(dialogue) for dialogue in dialogues}
        messages = [(dialogue, index) for dialogue in dialogues for index, _ in chatbot_turns(dialogue)]
        readable = [(d, i) for d, i in messages if d.turns[i].text.strip() and languages[id(d)][i] == ENGLISH]
        by_turn = {id(dialogue): Case.all_of(dialogue.turns) for dialogue in dialogues}
        cases = [by_turn[id(d)][i] for d, i in readable]
        probabilities_NM = self.probabilities(cases)
        spans = self._spans(cases, probabilities_NM)
        rows = {(id(d), i): row for row, (d, i) in enumerate(readable)}
        empty_M = np.zeros(len(self.modes))
        return [
            (self._assessment(d, i, probabilities_NM[row], spans.get(row, {})), probabilities_NM[row])
            if (row := rows.get((id(d), i))) is not None
            else (self._not_judged(d, i, languages[id(d)][i]), empty_M)
            for d, i in messages
        ]

    def _not_judged(self, dialogue: HasTurns, turn: int, language: str) -> Assessment:
        is_empty = not dialogue.turns[turn].text.strip()
        return Assessment(
            conversation_id=dialogue.id,
            turn=turn,
            detector=self.name,
            abstained=() if is_empty else tuple(self.description.known_modes),
            error="the message is empty" if is_empty else "",
            other_language="" if is_empty else language_name(language),
        )

    def _assessment(self, dialogue: HasTurns, turn: int, p_M: FloatArray, spans: dict[int, str]) -> Assessment:
        learned = list(enumerate(self.description.models))
        unclear = {
            model.mode for m, model in learned if abs(p_M[m] - model.threshold) < self.description.abstain_margin
        }
        labels = [
            FailureLabel(
                conversation_id=dialogue.id,
                turn=turn,
                mode=model.mode,
                severity=model.severity,
                span=spans.get(m, ""),
                detector=self.name,
                confidence=float(p_M[m]),
                visibility=model.visibility,
            )
            for m, model in learned
            if model.mode not in unclear and p_M[m] >= model.threshold
        ]
        known = self.description.known_modes
        return Assessment(
            conversation_id=dialogue.id,
            turn=turn,
            detector=self.name,
            labels=tuple(labels),
            abstained=tuple(mode for mode in known if mode in unclear or mode not in self.modes),
        )

    def _spans(self, cases: Sequence[Case], probabilities_NM: FloatArray) -> dict[int, dict[int, str]]:
        """For each case (row) and mode (column) above its threshold: the sentence that raises the probability most."""
        above_NM = probabilities_NM >= np.array([model.threshold for model in self.description.models])
        rows = [row for row in range(len(cases)) if above_NM[row].any()]
        parts = {row: sentences(cases[row].message) for row in rows}
        spans: dict[int, dict[int, str]] = {row: {} for row in rows}
        without = [(row, part) for row in rows if len(parts[row]) > 1 for part in parts[row]]
        left_NM = self.probabilities([cases[row].without(part) for row, part in without])
        numbers: dict[int, list[int]] = {row: [] for row in rows}
        for number, (row, _) in enumerate(without):
            numbers[row].append(number)
        for row in rows:
            tried = numbers[row]
            for m in np.flatnonzero(above_NM[row]):
                if not tried:
                    spans[row][int(m)] = cases[row].message.strip() if parts[row] else ""
                    continue
                best = min(tried, key=lambda number: left_NM[number, m])
                if left_NM[best, m] < probabilities_NM[row, m]:
                    part = without[best][1]
                    spans[row][int(m)] = cases[row].message[part.start : part.end]
        return spans

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``detector.json`` into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"weights": self._weights.weights_MI, "mean": self._weights.mean_C, "scale": self._weights.scale_C}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / WEIGHTS_FILE)
        (folder / DESCRIPTION_FILE).write_text(self.description.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> LearnedDetector:
        """The detector that was saved in a folder.

        Args:
            folder: with the two files of :meth:`LearnedDetector.save`.
            embedder: the one it was trained with.

        Raises:
            ConfigError: a file is missing, cannot be read, is of another version, or the two do not belong together.
        """
        try:
            description = Description.model_validate(
                json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
            )
            arrays = load_file(folder / WEIGHTS_FILE)
            weights = Weights(weights_MI=arrays["weights"], mean_C=arrays["mean"], scale_C=arrays["scale"])
        except FileNotFoundError as error:
            raise ConfigError(
                f"{error.filename or folder / WEIGHTS_FILE}: no such file; train the detector first"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ConfigError(f"{folder / DESCRIPTION_FILE}: {key}: {first['msg']}; train the detector again") from None
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ConfigError(f"{folder}: not a saved detector ({error}); train the detector again") from None
        if description.inputs_version != INPUTS_VERSION:
            raise ConfigError(
                f"{folder}: trained on inputs of version {description.inputs_version}, this advsim has "
                f"{INPUTS_VERSION}; train the detector again"
            )
        num_inputs = 2 * embedder.embed([""]).shape[1] + NUM_COUNTS
        shapes = (weights.weights_MI.shape, weights.mean_C.shape, weights.scale_C.shape)
        expected = ((len(description.models), num_inputs), (NUM_COUNTS,), (NUM_COUNTS,))
        if shapes != expected or not all(np.isfinite(array).all() for array in arrays.values()):
            raise ConfigError(
                f"{folder}: got arrays of shapes {shapes}, expected {expected}, finite; use the embedder that the "
                "detector was trained with, or train it again"
            )
        return cls(description, weights, embedder)
