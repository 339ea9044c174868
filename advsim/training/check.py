"""Checks: what can be known of a configuration without starting anything, and what a rollout must have given."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from advsim.chatbots.load import check_called_chatbots
from advsim.config import Config, LoraConfig
from advsim.config.paths import check_storage, check_writable, local_path
from advsim.corpus.load import Corpus, load_corpus
from advsim.corpus.prefixes import user_of
from advsim.errors import ConfigError, CorpusError, RunError
from advsim.models.base import check_model
from advsim.models.facts import ModelFacts
from advsim.records import AdapterRef, Conversation, Split, StopReason
from advsim.rollout.turn_loop import RolloutTask


def check_inputs(config: Config) -> Corpus | None:
    """Check places, models and dialogues; returns the corpus, or None where it would have to be downloaded.

    Raises:
        ConfigError: the run folder cannot be written, a model's folder is broken, the model cannot do what is asked, or
            a file or secret of the chatbot is not there.
        CorpusError: the dialogues cannot be read, or a split that training needs is empty.
    """
    check_run_folder(config)
    check_cores(config)
    check_models(config)
    check_called_chatbots([config.chatbot])
    if config.corpus.source == "hub":
        return None
    corpus = load_corpus(config.corpus)
    check_corpus(corpus)
    check_prefixes(config, corpus)
    return corpus


def check_run_folder(config: Config) -> None:
    """Check that a run folder can be made; makes none.

    Raises:
        ConfigError: ``output_dir`` is no path or known storage, or what is there is no folder or cannot be written.
    """
    check_storage(config.output_dir, key="output_dir")
    if "://" in config.output_dir:
        return
    check_writable(local_path(config.run_path, key="output_dir"), key="output_dir", got=config.output_dir)


def check_cores(config: Config) -> None:
    """Check that the cores of ``engine.cpu_threads_bind`` exist, where the engines run on this machine's CPU.

    Raises:
        ConfigError: one does not.
    """
    if config.resources.simulator.num_gpus or os.environ.get("RAY_ADDRESS"):
        return
    asked = {int(number) for number in re.findall(r"\d+", config.engine.cpu_threads_bind)}
    num_cores = os.cpu_count() or 1
    if any(core >= num_cores for core in asked):
        raise ConfigError(
            f"engine.cpu_threads_bind: got {config.engine.cpu_threads_bind!r}, but this machine has cores 0 to "
            f"{num_cores - 1}; name cores that exist, or 'all'"
        )


def check_models(config: Config) -> None:
    """Check the folders of all models, and that they can do what is asked of them, as far as the folders say it.

    Raises:
        ConfigError: a folder is broken, a sequence is longer than the model can have or than the KV cache can hold, or
            an adapter names layers that the model lacks.
    """
    simulator = check_model(config.model, use="simulator")
    if simulator is not None:
        _check_engine(config, simulator, key="model.path")
        _check_lora(config.lora, simulator, key="lora")
    if config.chatbot.kind == "model" and config.chatbot.model is not None:
        chatbot = check_model(config.chatbot.model, key="chatbot.model.path", use="chatbot")
        if chatbot is not None:
            _check_engine(config, chatbot, key="chatbot.model.path")
    judged_by = config.discriminator.model
    if config.discriminator.on == "prefixes":
        _check_reader(config)
        return
    discriminator = simulator if judged_by is None else check_model(judged_by, key="discriminator.model.path")
    if discriminator is not None:
        _check_lora(config.discriminator.lora, discriminator, key="discriminator.lora")
        _check_length(config.discriminator.max_tokens, discriminator, key="discriminator.max_tokens")


def _check_reader(config: Config) -> None:
    """Check that another model than the simulator's can read its prompts."""
    reader = config.discriminator.model
    facts = None if reader is None else check_model(reader, key="discriminator.model.path", use="simulator")
    if facts is not None:
        _check_length(config.engine.max_model_len, facts, key="engine.max_model_len", model="discriminator.model.path")


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


def check_prefixes(config: Config, corpus: Corpus) -> None:
    """Check that rounds on prefixes have dialogues of two users at least to train on, where there are to be some.

    Raises:
        CorpusError: they have not.
    """
    if config.discriminator.on != "prefixes" or not config.stop.max_rounds:
        return
    users = {user_of(dialogue) for dialogue in corpus.split(Split.TRAIN)}
    if len(users) < 2:
        raise CorpusError(
            f"discriminator.on is prefixes, where draws are scored by a discriminator that saw none of their user's "
            f"turns, but the train split has dialogues of {len(users)} user; give dialogues of two users at least"
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
            "; mend what it says is wrong. A change of the section chatbot is accepted with --allow-changed chatbot"
        )


def _check_engine(config: Config, facts: ModelFacts, *, key: str) -> None:
    length = config.engine.max_model_len
    _check_length(length, facts, key="engine.max_model_len", model=key)
    if config.resources.simulator.num_gpus or facts.kv_bytes_a_token is None:
        return
    needed_gib = length * facts.kv_bytes_a_token / 2**30
    if needed_gib > config.engine.kv_cache_gib:
        raise ConfigError(
            f"engine.kv_cache_gib: got {config.engine.kv_cache_gib:g}, but one sequence of engine.max_model_len "
            f"{length} takes {needed_gib:.2f} GiB of KV cache; raise it to at least that, or lower engine.max_model_len"
        )


def _check_length(tokens: int, facts: ModelFacts, *, key: str, model: str = "the model") -> None:
    if facts.max_positions is not None and tokens > facts.max_positions:
        raise ConfigError(
            f"{key}: got {tokens}, but {model} can have {facts.max_positions} tokens in one sequence; lower it"
        )


def _check_lora(lora: LoraConfig, facts: ModelFacts, *, key: str) -> None:
    missing = sorted(set(lora.target_modules) - facts.linear_modules)
    if missing:
        raise ConfigError(
            f"{key}.target_modules: the model has no layer called {', '.join(missing)}; expected some of "
            f"{', '.join(sorted(facts.linear_modules))}"
        )
