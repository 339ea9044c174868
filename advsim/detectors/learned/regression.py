"""The second reader of the learned detector: a logistic regression a mode on sentence embeddings and bounded counts.

It reads what the untouched sentence encoder says of the message, of each of its sentences and of the user's last turn.
Trained on few labels, the encoder of :mod:`advsim.detectors.learned.encoder` and this one err on different messages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from advsim.detectors.learned.inputs import Case, sentences
from advsim.models.embedder import Embedder, FloatArray
from advsim.records import Speaker

NUM_COUNTS = 9
"""Inputs that are no embedding; they stand last."""

_SENTENCES = 24
"""Sentences of a message that are read one by one; of a longer one those at both ends."""
_CHATBOT_TURNS = 3
"""Earlier chatbot turns that a message is compared with; never all, or nearness would grow with the dialogue."""
_WORD = re.compile(r"[a-z']+")
_YOU = frozenset({"you", "your", "you're", "you've"})
_I = frozenset({"i", "i'm", "i've", "i'd", "my", "me"})


class Regression:
    """Log-odds of each mode, linear in the inputs.

    Args:
        weights_MI: of each mode and input.
        biases_M: of each mode.
    """

    def __init__(self, weights_MI: FloatArray, biases_M: FloatArray) -> None:
        self._weights_MI = weights_MI
        self._biases_M = biases_M

    @classmethod
    def fit(cls, inputs_NI: FloatArray, shows_NM: npt.NDArray[np.float32], *, inverse_penalty: float) -> Regression:
        """Fit a regression for each mode, positives and negatives weighing alike."""
        weights, biases = [], []
        for shows in shows_NM.T:
            fitted = LogisticRegression(
                C=inverse_penalty, class_weight="balanced", max_iter=3000, solver="liblinear", random_state=0
            ).fit(inputs_NI, shows > 0)
            weights.append(fitted.coef_[0])
            biases.append(fitted.intercept_[0])
        return cls(np.array(weights), np.array(biases))

    def scores(self, inputs_NI: FloatArray) -> FloatArray:
        """Log-odds, shape (cases, modes)."""
        return np.asarray(inputs_NI @ self._weights_MI.T + self._biases_M, dtype=np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """The arrays, for a file of weights."""
        return {
            "regression.weight": torch.tensor(self._weights_MI, dtype=torch.float32),
            "regression.bias": torch.tensor(self._biases_M, dtype=torch.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], *, num_modes: int, num_inputs: int) -> Regression:
        """The regression of a file of weights; takes its tensors out.

        Raises:
            KeyError: one of them is missing.
            ValueError: the shapes are not those of so many modes and inputs.
        """
        weights, biases = tensors.pop("regression.weight"), tensors.pop("regression.bias")
        if tuple(weights.shape) != (num_modes, num_inputs) or tuple(biases.shape) != (num_modes,):
            raise ValueError(f"regression: got {tuple(weights.shape)}, expected {(num_modes, num_inputs)}")
        return cls(weights.double().numpy(), biases.double().numpy())


def num_inputs(dimensions: int) -> int:
    """Inputs of a regression on embeddings of so many dimensions."""
    return 4 * dimensions + NUM_COUNTS


def regression_inputs(cases: Sequence[Case], embedder: Embedder) -> FloatArray:
    """Inputs of the regression, shape (cases, 4 D + ``NUM_COUNTS``) for an embedder of D dimensions.

    Embeddings of the message and of the user's last turn; the highest and the lowest of each dimension over the
    message's sentences; counts that no length makes large.

    Args:
        cases: at least one.
        embedder: of messages, turns and sentences.
    """
    parts = [_sentence_texts(case.message) for case in cases]
    texts = dict.fromkeys(
        text for case, own in zip(cases, parts, strict=True) for text in (*_turns(case), *own, user_said(case))
    )
    known = dict(zip(texts, embedder.embed(list(texts)), strict=True))
    rows = []
    for case, own in zip(cases, parts, strict=True):
        of_sentences = np.array([known[text] for text in own])
        rows.append(
            [
                *known[case.message],
                *known[user_said(case)],
                *of_sentences.max(axis=0),
                *of_sentences.min(axis=0),
                *_counts(case, [known[text] for text in _turns(case)]),
            ]
        )
    return np.array(rows, dtype=np.float64)


def user_said(case: Case) -> str:
    """The user's last turn; empty where there is none among the turns before."""
    said = [turn.text for turn in case.before if turn.speaker is Speaker.USER]
    return said[-1] if said else ""


def _turns(case: Case) -> list[str]:
    """The message, then the chatbot's turns before it."""
    earlier = [turn.text for turn in case.before if turn.speaker is Speaker.CHATBOT]
    return [case.message, *earlier[-_CHATBOT_TURNS:]]


def _sentence_texts(message: str) -> list[str]:
    texts = [message[span.start : span.end] for span in sentences(message)]
    half = _SENTENCES // 2
    return (texts if len(texts) <= _SENTENCES else texts[:half] + texts[-half:]) or [message]


def _counts(case: Case, vectors: Sequence[FloatArray]) -> list[float]:
    words = _WORD.findall(case.message.lower())
    message, earlier = vectors[0], vectors[1:]
    own = _trigrams(case.message)
    said = set().union(*(_trigrams(text) for text in _turns(case)[1:]))
    return [
        min(2.0, math.log1p(len(words)) / 3),
        min(2.0, math.log1p(len(_WORD.findall(user_said(case).lower()))) / 3),
        min(2.0, math.log1p(case.message.count("?"))),
        float(case.message.rstrip().endswith("?")),
        min(1.0, case.message.count("!") / 3),
        sum(word in _YOU for word in words) / max(1, len(words)),
        sum(word in _I for word in words) / max(1, len(words)),
        max((float(vector @ message) for vector in earlier), default=0.0),
        len(own & said) / max(1, len(own)),
    ]


def _trigrams(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))
