"""Checks of a configuration's models and dialogues that start nothing."""

from __future__ import annotations

from advsim.config import Config
from advsim.corpus.load import Corpus, load_corpus
from advsim.errors import CorpusError
from advsim.models.base import check_model
from advsim.records import Split


def check_inputs(config: Config) -> Corpus | None:
    """Check models and dialogues; returns the corpus, or None where it is on the hub and would have to be downloaded.

    Raises:
        ConfigError: a model path is wrong.
        CorpusError: the dialogues cannot be read, or a split that training needs is empty.
    """
    check_model(config.model)
    if config.chatbot.model is not None:
        check_model(config.chatbot.model, key="chatbot.model.path")
    if config.discriminator.model is not None:
        check_model(config.discriminator.model, key="discriminator.model.path")
    if config.corpus.source == "hub":
        return None
    corpus = load_corpus(config.corpus)
    check_corpus(corpus)
    return corpus


def check_corpus(corpus: Corpus) -> None:
    """Check that the corpus can carry a training run.

    Raises:
        CorpusError: the training or validation split is empty.
    """
    for split, key in ((Split.TRAIN, "corpus.path"), (Split.VALIDATION, "corpus.validation_fraction")):
        if not corpus.split(split):
            raise CorpusError(
                f"the {split.value} split is empty: {len(corpus.dialogues)} dialogues in all; give more dialogues or "
                f"change {key}"
            )
