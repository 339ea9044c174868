"""``advsim submit``: a training run or a sweep as a Ray job."""

from __future__ import annotations

import argparse

from advsim.commands.options import config_of, is_sweep
from advsim.config import Config, ModelConfig, SweepConfig, load_section, read_yaml
from advsim.config.paths import check_storage, local_path
from advsim.errors import ConfigError
from advsim.runtime.submit import submit_sweep, submit_training


def run(options: argparse.Namespace) -> None:
    """Submit a training run or a sweep to a cluster and, unless told not to, follow its output.

    Raises:
        ConfigError: the configuration, or what would have to travel with it.
        CorpusError: the dialogues that would travel cannot be read.
        RunError: the cluster fell silent, or the job failed.
    """
    if is_sweep(read_yaml(options.config)):
        _submit_sweep(options)
        return
    config = config_of(options)
    check_before_submit(config)
    submit_training(
        config,
        address=options.address,
        wait=not options.no_wait,
        allow_changed=options.allow_changed,
        allow_open_head=options.allow_open_head,
    )


def _submit_sweep(options: argparse.Namespace) -> None:
    from advsim.chatbots.load import load_chatbots
    from advsim.sweep.planning.study import plan

    settings = load_section(SweepConfig, options.config, options.overrides)
    if options.allow_changed:
        raise ConfigError("--allow-changed: is of training runs; a sweep that changed needs another output folder")
    corpus = None
    if _can_be_planned(settings):  # what can be known here is known before anything is sent
        study = plan(settings)
        corpus = None if study.run is None else study.config.corpus
    submit_sweep(
        settings,
        load_chatbots(*settings.chatbots),
        corpus,
        address=options.address,
        wait=not options.no_wait,
        allow_open_head=options.allow_open_head,
    )


def _can_be_planned(settings: SweepConfig) -> bool:
    """Whether the run can be read from here: one on the cluster's own disk cannot."""
    run = settings.run
    return run is None or "://" in run or local_path(run, key="run").is_dir()


def check_before_submit(config: Config) -> None:
    """Check what this machine can know of a run elsewhere: dialogues that travel, and models that are here as well.

    Raises:
        ConfigError: a model's folder is broken or cannot do what is asked of it, or the run folder is no known storage.
        CorpusError: the dialogues cannot be read, or a split that training needs is empty.
    """
    from advsim.corpus.load import load_corpus
    from advsim.training.check import check_corpus, check_models

    check_storage(config.output_dir, key="output_dir")
    if all(map(_is_here, (config.model, config.chatbot.model, config.discriminator.model))):
        check_models(config)
    if config.corpus.source != "hub":
        check_corpus(load_corpus(config.corpus))


def _is_here(model: ModelConfig | None) -> bool:
    """Whether a model can be looked at from here: an absolute path may lie on the cluster alone."""
    return model is None or not model.path.startswith(("/", "~")) or local_path(model.path, key="model.path").is_dir()
