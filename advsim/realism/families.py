"""Families of realism classifiers: what each sees of a turn, and the estimator that reads it.

SURFACE sees the turn's characters only. CONTEXT sees how the turn fits what was said before, and of the turn alone only
its length and how rare its words are. Neither is ever trained against.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from advsim.corpus.habits import num_words, words_of
from advsim.models.embedder import Embedder, FloatArray
from advsim.records import Dialogue, Speaker

_START, _END = "\x02", "\x03"
"""Mark a turn's ends for the character n-grams: how turns begin and end (case, punctuation) tells people apart."""


class Family(StrEnum):
    """Families of classifiers."""

    SURFACE = "surface"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnExample:
    """A text as the user turn at index ``turn`` of a real dialogue; what the dialogue says there is not looked at."""

    dialogue: Dialogue
    turn: int
    text: str


def surface_inputs(examples: Sequence[TurnExample]) -> npt.NDArray[np.object_]:
    """The texts with their ends marked, shape (examples,)."""
    return np.array([_START + example.text + _END for example in examples], dtype=object)


def surface_estimator() -> Pipeline:
    """Character 1- to 4-grams, TF-IDF, logistic regression. Case is kept: it is one of the habits to be imitated."""
    return make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True, lowercase=False),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
    )


def length_inputs(examples: Sequence[TurnExample]) -> FloatArray:
    """Logarithms of 1 + characters and 1 + words, shape (examples, 2)."""
    return np.array([_lengths(example.text) for example in examples], dtype=np.float64).reshape(len(examples), 2)


def context_inputs(examples: Sequence[TurnExample], embedder: Embedder) -> FloatArray:
    """How each turn fits what was said before, shape (examples, 21).

    Cosines of embeddings: turn with the session's summary, the previous user turn, the previous chatbot turn and the
    sum of the three; turn with the mean of the history, with its best match and on average among the user's and the
    chatbot's turns; the three context texts with each other. Then the words shared with the history or the previous
    chatbot turn and the new ones, weighted by rarity, and the lengths. A part that is missing gives 0.

    Few features, on purpose. On ESConv with 100 to 1,000 prefixes they found shuffled turns with an AUC .04 to .06
    above that of logistic regression on products of the embeddings (3 x 384) and cosines, with or without differences;
    adding 10 to 30 principal components of the products changed it by -.01 (100 prefixes) to +.005 (1,000).
    """
    contexts = {(example.dialogue.id, example.turn): _context(example) for example in examples}
    texts = [text for context in contexts.values() for text in context.texts] + [example.text for example in examples]
    unique = list(dict.fromkeys(texts))
    vectors = dict(zip(unique, embedder.embed(unique), strict=True)) if unique else {}
    rarity = _Rarity.of(contexts.values())
    return np.array(
        [
            [
                *_cosines(contexts[example.dialogue.id, example.turn], example.text, vectors),
                *rarity.shared_and_new(contexts[example.dialogue.id, example.turn], example.text),
                *_lengths(example.text),
            ]
            for example in examples
        ],
        dtype=np.float64,
    ).reshape(len(examples), 21)


def user_only_inputs(examples: Sequence[TurnExample], embedder: Embedder) -> FloatArray:
    """:func:`context_inputs` of dialogues without the chatbot's turns, shape (examples, 21).

    An ablation: what this finds too needs no chatbot to be seen (the turn's length, its words, how it fits the user's
    earlier turns and the session). Only what context finds beyond it is in how turns answer the chatbot.
    """
    return context_inputs([_without_chatbot(example) for example in examples], embedder)


def scalar_estimator() -> Pipeline:
    """Standardised features, logistic regression; of C = .03, .1 and 1, .1 was best or equal (64 to 1,000 prefixes)."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """What a classifier is shown of examples (first axis the examples), and the estimator fitted on that, unfitted."""

    represent: Callable[[Sequence[TurnExample]], npt.NDArray[Any]]
    estimator: Callable[[], Pipeline]


LENGTH_ONLY = Classifier(represent=length_inputs, estimator=scalar_estimator)
"""An ablation: what this finds too is in the turn's length."""


def classifier_of(family: Family, embedder: Embedder) -> Classifier:
    """The classifier of a family; ``embedder`` is read by CONTEXT only."""
    if family is Family.SURFACE:
        return Classifier(represent=surface_inputs, estimator=surface_estimator)
    return Classifier(represent=partial(context_inputs, embedder=embedder), estimator=scalar_estimator)


def user_only_classifier(family: Family, embedder: Embedder) -> Classifier | None:
    """The same family without the chatbot's turns; None for SURFACE, which never reads them."""
    if family is Family.SURFACE:
        return None
    return Classifier(represent=partial(user_only_inputs, embedder=embedder), estimator=scalar_estimator)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    session: str
    by_user: tuple[str, ...]
    by_chatbot: tuple[str, ...]

    @property
    def last_user(self) -> str:
        return self.by_user[-1] if self.by_user else ""

    @property
    def last_chatbot(self) -> str:
        return self.by_chatbot[-1] if self.by_chatbot else ""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.session, self.last_user, self.last_chatbot, *self.by_user, *self.by_chatbot)


def _without_chatbot(example: TurnExample) -> TurnExample:
    history = [turn for turn in example.dialogue.turns[: example.turn] if turn.speaker is Speaker.USER]
    turns = (*history, *example.dialogue.turns[example.turn :])
    return TurnExample(dialogue=replace(example.dialogue, turns=turns), turn=len(history), text=example.text)


def _context(example: TurnExample) -> _Context:
    history = example.dialogue.turns[: example.turn]
    return _Context(
        session=example.dialogue.context.session or example.dialogue.context.profile,
        by_user=tuple(turn.text for turn in history if turn.speaker is Speaker.USER),
        by_chatbot=tuple(turn.text for turn in history if turn.speaker is Speaker.CHATBOT),
    )


def _cosines(context: _Context, text: str, vectors: Mapping[str, FloatArray]) -> list[float]:
    turn = vectors[text]
    session, user, chatbot = (vectors[said] for said in (context.session, context.last_user, context.last_chatbot))
    to_user = [float(turn @ vectors[said]) for said in context.by_user]
    to_chatbot = [float(turn @ vectors[said]) for said in context.by_chatbot]
    history = [vectors[said] for said in (*context.by_user, *context.by_chatbot)]
    return [
        float(turn @ session),
        float(turn @ user),
        float(turn @ chatbot),
        float(turn @ _unit(session + user + chatbot)),
        float(turn @ _unit(sum(history, np.zeros_like(turn)))),
        max(to_user, default=0.0),
        max(to_chatbot, default=0.0),
        _mean(to_user),
        _mean(to_chatbot),
        float(session @ user),
        float(session @ chatbot),
        float(user @ chatbot),
        float(not context.by_user),
        float(not context.by_chatbot),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rarity:
    """Rarity of words: log(texts / (1 + texts with the word)), over the context texts, which both sides share."""

    num_texts: int
    num_with_word: Mapping[str, int]

    @classmethod
    def of(cls, contexts: Iterable[_Context]) -> _Rarity:
        texts = list(dict.fromkeys(text for context in contexts for text in context.texts if text))
        return cls(num_texts=len(texts), num_with_word=Counter(word for text in texts for word in set(words_of(text))))

    def shared_and_new(self, context: _Context, text: str) -> list[float]:
        words = {word: self._weight(word) for word in words_of(text)}
        before = {word for said in context.texts for word in words_of(said)}
        replied_to = set(words_of(context.last_chatbot))
        total = 1.0 + sum(words.values())
        shared = [weight for word, weight in words.items() if word in before]
        new = [weight for word, weight in words.items() if word not in before]
        echoed = [weight for word, weight in words.items() if word in replied_to]
        return [sum(shared) / total, max(shared, default=0.0), sum(echoed) / total, max(new, default=0.0), sum(new)]

    def _weight(self, word: str) -> float:
        return max(0.0, math.log((1 + self.num_texts) / (1 + self.num_with_word.get(word, 0))))


def _lengths(text: str) -> tuple[float, float]:
    return math.log1p(len(text)), math.log1p(num_words(text))


def _unit(vector: FloatArray) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0.0 else vector


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
