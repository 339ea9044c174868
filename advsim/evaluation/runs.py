"""Evaluate all rounds of a run against its held-out real dialogues."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter

from advsim.config import Config, parse_config
from advsim.corpus.load import Corpus
from advsim.detectors.protocol import Detector
from advsim.errors import ConfigError, RunError
from advsim.evaluation.inputs import GroupInput
from advsim.evaluation.instruments import build_instruments
from advsim.evaluation.measure import Measured, measure
from advsim.evaluation.notes import ONE_CHATBOT
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.models.embedder import Embedder
from advsim.realism.user_texts import next_turn_texts
from advsim.records import Conversation, Dialogue, Split
from advsim.run_folder.reader import Run
from advsim.runtime.progress import Reporter


def measure_run(
    run: Run,
    *,
    config: Config | None = None,
    detector: Detector | None = None,
    reporter: Reporter | None = None,
    embedder: Embedder | None = None,
) -> Measured:
    """Evaluate all rounds of a run against its held-out real dialogues; see :func:`advsim.evaluate_run`.

    Args:
        run: the run.
        config: its corpus, held-out settings, seed and ``evaluate`` section are read; None: those of the run.
        detector: in place of the one that ``config`` names.
        reporter: shows progress.
        embedder: in place of the one that ships.

    Raises:
        ConfigError: the corpus is another one than that of the run, or chatbots are to be compared.
        CorpusError: it is not there, nor anywhere near the run.
        RunError: the run has nothing to evaluate yet.
    """
    config = config or parse_config(run.config, where=f"configuration of {run.folder.location}")
    if config.evaluate.pairs or config.evaluate.baseline is not None:
        raise ConfigError(
            "evaluate: evaluate.pairs and evaluate.baseline go with --conversations; a run has one chatbot"
        )
    reporter = reporter or Reporter(file=sys.stderr)
    started_s = time.monotonic()
    instruments = build_instruments(config.evaluate, detector=detector, embedder=embedder)
    corpus = corpus_of_run(run, config.corpus)
    notes: list[str] = []
    with run.folder.reading("conversations or next turns, which do not fit the dialogues,"):
        inputs = [_real_of(run, corpus, notes), *_simulated_of(run, corpus, config.prompt.instructions)]
    if len(inputs) == 1:
        raise RunError(
            f"run {run.folder.location} has neither conversations nor held-out turns yet; finish a round, then "
            "evaluate it"
        )
    notes.append(
        "Conversations of round r are written with the adapter before it, so those of round 1 stand under SFT; the "
        "last adapter has next turns only."
    )
    notes.append(
        "Conversations start from training scenarios and meet the run's chatbot; the real dialogues are held out and "
        "were answered by whoever answered them. Rates compare the two as a whole."
    )
    notes.append(ONE_CHATBOT)
    return measure(
        run.name,
        inputs,
        instruments=instruments,
        held_out=config.held_out,
        notes=notes,
        seed=config.seed,
        reporter=reporter,
        started_s=started_s,
    )


def _real_of(run: Run, corpus: Corpus, notes: list[str]) -> GroupInput:
    """The real dialogues that nothing was trained or stopped on, and the real next turns on the run's prefixes."""
    split = Split.TEST if corpus.split(Split.TEST) else Split.VALIDATION
    dialogues = corpus.split(split)
    notes.append(
        f"Real dialogues are the {len(dialogues)} of the {split} split"
        + ("." if split is Split.TEST else ", because the test split is empty; the stop rule has seen them.")
    )
    by_id = {dialogue.id: dialogue for dialogue in corpus.dialogues}
    prefixes = run.held_out_turns(0) or run.held_out_turns(-1)
    said = [dataclasses.replace(prefix, text=by_id[prefix.dialogue_id].turns[prefix.turn].text) for prefix in prefixes]
    return GroupInput(
        name="real",
        is_reference=True,
        text="real",
        dialogues=dialogues,
        next_turns=tuple(next_turn_texts(said, by_id)),
    )


def _simulated_of(run: Run, corpus: Corpus, instructions: str) -> list[GroupInput]:
    """Zero-shot, SFT and the adapter of every round, as far as there is anything of them."""
    by_id = {dialogue.id: dialogue for dialogue in corpus.dialogues}
    groups = []
    num_rounds = run.num_rollouts
    for version in range(-1, num_rounds + 1):
        turns = run.held_out_turns(version)
        conversations = run.conversations(version + 1) if 0 <= version < num_rounds else []
        if not turns and not conversations:
            continue
        dialogues = tuple(_as_dialogue(conversation, by_id[conversation.scenario_id]) for conversation in conversations)
        groups.append(
            GroupInput(
                name={-1: "zero-shot", 0: "SFT"}.get(version, f"round {version}"),
                text="simulated",
                dialogues=dialogues,
                conversations=tuple(conversations),
                instructions=instructions,
                openings=frozenset(
                    (conversation.id, 0) for conversation in conversations if by_id[conversation.scenario_id].opening
                ),
                stop_reasons=Counter(conversation.stop_reason.value for conversation in conversations),
                next_turns=tuple(next_turn_texts(turns, by_id)),
            )
        )
    return groups


def _as_dialogue(conversation: Conversation, scenario: Dialogue) -> Dialogue:
    """A conversation with the context that it was started from; the split means nothing.

    Conversations of one scenario are kin: where its user is not known, the scenario stands for one.
    """
    return Dialogue(
        id=conversation.id,
        source=conversation.chatbot,
        split=Split.TRAIN,
        user_id=scenario.user_id or scenario.id,
        context=scenario.context,
        turns=conversation.turns,
    )
