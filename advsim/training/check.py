"""Checks: what can be known of a configuration without starting anything, and what a rollout must have given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from advsim.config import Config
from advsim.corpus.load import Corpus, load_corpus
from advsim.errors import CorpusError, RunError
from advsim.models.base import check_model
from advsim.records import AdapterRef, Conversation, Split, StopReason
from advsim.rollout.turn_loop import RolloutTask


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


def check_rollout(tasks: Sequence[RolloutTask], conversations: Sequence[Conversation], adapter: AdapterRef) -> None:
    """Check that each task gave exactly one conversation, spoken by the adapter it asked for, and that most succeeded.

    Raises:
        RunError: a conversation is missing, doubled, or stamped with another adapter; or more than half failed.
    """
    counts = Counter(conversation.id for conversation in conversations)
    expected = {task.conversation_id for task in tasks}
    wrong = sorted(expected ^ counts.keys()) or sorted(key for key, count in counts.items() if count > 1)
    if wrong:
        raise RunError(
            f"rollout lost or doubled conversations {', '.join(wrong[:5])}; expected each of {len(tasks)} once"
        )
    stale = [
        c.id for c in conversations if (c.simulator_version, c.simulator_sha256) != (adapter.version, adapter.sha256)
    ]
    if stale:
        raise RunError(
            f"conversations {', '.join(stale[:5])} were spoken by another adapter than version {adapter.version}"
        )
    failed = [c for c in conversations if c.stop_reason is StopReason.ERROR]
    if len(failed) * 2 > len(conversations):
        raise RunError(
            f"{len(failed)} of {len(conversations)} conversations failed, for example {failed[0].id}: {failed[0].error}"
            "; mend the chatbot and run the same command to resume"
        )
