"""How long a run will take, from how long another one took on the same machines.

    seconds of a stage = seconds it took there x its work here / its work there

Work is what a stage's time grows with, as it stands in configuration and dialogues: characters that are learned, turns
that are written, pairs. What a stage costs to begin counts as work too, so that the estimate of a larger run is rather
too long, and that of a smaller one too short.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from advsim.config import Config, parse_config
from advsim.corpus.load import Corpus
from advsim.errors import ConfigError, RunError
from advsim.records import Split
from advsim.run_folder.journal import Journal
from advsim.run_folder.reader import Run

BEFORE_ROUNDS = ("sft", "baseline")
OF_A_ROUND = ("rollout", "discriminator", "preference", "dpo", "push", "held_out", "metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a stage's time grows with.

    Attributes:
        amount: how much of it.
        unit: what is counted, plural.
        kind: only work of one kind can be compared: a discriminator on prefixes does other work than one on
            conversations.
    """

    amount: float
    unit: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEstimate:
    """A stage of the run to come.

    Attributes:
        stage: its name; those of a round count for all rounds together.
        seconds: expected; None where the measured run did not do such work.
        amount: its work, in all rounds together.
        unit: of the work.
    """

    stage: str
    seconds: float | None
    amount: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """How long a run will take, beside starting its engines and writing its report.

    Attributes:
        measured: the run it rests on.
        stages: in order.
        seconds: of the stages that are known.
        unknown: stages that are not.
    """

    measured: str
    stages: tuple[StageEstimate, ...]
    seconds: float
    unknown: tuple[str, ...]


def estimate_run(config: Config, corpus: Corpus, *, measured: Run, measured_corpus: Corpus) -> RunEstimate:
    """Expected seconds of every stage.

    Args:
        config: of the run to come, all of whose rounds are counted.
        corpus: its dialogues.
        measured: a run of which at least SFT is finished.
        measured_corpus: its dialogues.

    Raises:
        ConfigError: it trained another model.
        RunError: it has no finished stage.
    """
    there = parse_config(measured.config)
    if there.model.path != config.model.path:
        raise ConfigError(
            f"--estimate: {measured.folder.location} was measured with the model {there.model.path}, expected "
            f"{config.model.path}: another model has another speed; give a run of this one, however short"
        )
    spent = _seconds(measured)
    if not spent:
        raise RunError(f"run {measured.folder.location} has no finished stage whose time could be taken; let it finish")
    here, before = work_of(config, corpus), work_of(there, measured_corpus)
    stages = []
    for stage in (*BEFORE_ROUNDS, *OF_A_ROUND):
        times = config.stop.max_rounds if stage in OF_A_ROUND else 1
        work, known = here[stage], before[stage]
        seconds = None
        if stage in spent and known.kind == work.kind and known.amount:
            seconds = times * spent[stage] * work.amount / known.amount
        stages.append(
            StageEstimate(
                stage=stage,
                seconds=None if times and seconds is None else seconds or 0.0,
                amount=times * work.amount,
                unit=work.unit,
            )
        )
    return RunEstimate(
        measured=measured.folder.location,
        stages=tuple(stages),
        seconds=sum(each.seconds or 0.0 for each in stages),
        unknown=tuple(each.stage for each in stages if each.seconds is None),
    )


def work_of(config: Config, corpus: Corpus) -> dict[str, Work]:
    """The work of each stage, of a round's stages in one round."""
    on, preference, dpo = config.discriminator.on, config.preference, config.dpo
    dialogues = corpus.split(Split.TRAIN)
    learned = sum(len(turn.text) for dialogue in dialogues for turn in dialogue.turns) * config.sft.num_epochs
    if config.sft.max_steps is not None:
        steps = len(dialogues) * config.sft.num_epochs / (config.sft.batch_size * config.sft.gradient_accumulation)
        learned *= min(1.0, config.sft.max_steps / max(steps, 1.0))
    conversations, prefixes = config.rollout.num_conversations, config.held_out.num_prefixes
    turns = conversations * config.rollout.max_user_turns
    if on == "prefixes":
        asked = config.discriminator.prefixes.num_prefixes
        discriminator = Work(amount=(asked + prefixes) * preference.num_candidates, unit="draws read", kind=on)
        drawn = Work(amount=1.0, unit="choice of pairs", kind=on)
        pairs = asked * preference.max_pairs_per_turn
    else:
        discriminator = Work(amount=turns * config.discriminator.num_epochs, unit="turns learned", kind=on)
        chosen = conversations * preference.num_lowest_turns
        drawn = Work(amount=chosen * preference.num_candidates, unit="candidates", kind=on)
        pairs = chosen * preference.max_pairs_per_turn
    learned_pairs = pairs * preference.keep_fraction * dpo.num_epochs
    if dpo.max_steps is not None:
        learned_pairs = min(learned_pairs, dpo.max_steps * dpo.batch_size * dpo.gradient_accumulation)
    written = prefixes * (2 + len(config.held_out.temperatures))
    return {
        "sft": Work(amount=learned, unit="characters"),
        "baseline": Work(amount=written, unit="turns written"),
        "rollout": Work(amount=turns, unit="user turns"),
        "discriminator": discriminator,
        "preference": drawn,
        "dpo": Work(amount=learned_pairs, unit="pairs at most", kind=on),
        "push": Work(amount=1.0, unit="pushes"),
        "held_out": Work(amount=prefixes, unit="turns written"),
        "metrics": Work(amount=1.0, unit="files"),
    }


def _seconds(run: Run) -> Mapping[str, float]:
    """Seconds of each stage that is finished; of a round's the mean over rounds."""
    by_stage: dict[str, list[float]] = {}
    journal = Journal(run.folder)
    for stage in journal.stages:
        if (seconds := journal.seconds(stage)) is not None:
            by_stage.setdefault(stage.rsplit("/", 1)[-1], []).append(seconds)
    return {stage: fmean(times) for stage, times in by_stage.items()}
