"""``advsim detectors``: what a detector is worth on whole labelled dialogues, and training of learned ones."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from advsim.commands.evaluate import evaluation_config, no_verdict
from advsim.commands.show import print_json, print_parts, say
from advsim.config.paths import check_writable, local_path, writable_file
from advsim.corpus.files import read_dialogues
from advsim.detectors.findings import Findings, find_in_labelled
from advsim.detectors.judge.counts import JudgeUse
from advsim.detectors.judge.judge import Judge
from advsim.detectors.labelled import load_labelled
from advsim.detectors.taxonomy import load_taxonomy
from advsim.detectors.whole_dialogues import LabelledDialogue, load_whole_dialogues
from advsim.detectors.worth import ModeWorth, Share, Worth, worth
from advsim.errors import ConfigError
from advsim.evaluation.instruments import build_instruments
from advsim.evaluation.notes import detector_notes
from advsim.models.embedder import LazyEmbedder
from advsim.run_folder.results import plain_values
from advsim.runtime.progress import Reporter

_PARTS_OF_A_JUDGE = ["build", "tune"]  # it is made from neither, and more dialogues show more


def run(options: argparse.Namespace) -> None:
    """Measure detectors on the labelled dialogues, or train the learned one, or the reader, on them.

    Raises:
        ConfigError: a detector is unknown, the judge cannot work, no labelled dialogue has a text, or the folder is not
            empty.
        CorpusError: a copy of ESConv or a labelled file cannot be read.
        RunError: the judge gave no verdict on any message; nothing is saved then.
    """
    if options.work == "train":
        _train(options)
    else:
        _measure_all(options)


def _train(options: argparse.Namespace) -> None:
    folder = local_path(options.out, key="--out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {options.out}: there is something already; name a new folder")
    check_writable(folder, key="--out", got=options.out)
    taxonomy = load_taxonomy()
    copy = [dialogue for file in options.esconv for dialogue in read_dialogues(file).dialogues]
    messages = load_labelled("build", taxonomy=taxonomy)
    for file in options.labelled:
        messages += load_labelled("build", local_path(file, key="--labelled"), taxonomy=taxonomy)
    dialogues = load_whole_dialogues("train", "build", copy=copy)
    if options.reader:
        from advsim.detectors.reader.training import labelled_turns, train_reader

        train_reader(labelled_turns(dialogues, messages), taxonomy.ids, folder=folder, reporter=Reporter())
    else:
        from advsim.detectors.learned.training import examples_of_dialogues, examples_of_messages, train_learned

        train_learned(
            examples_of_dialogues(dialogues) + examples_of_messages(messages),
            examples_of_dialogues(load_whole_dialogues("tune", copy=copy)),
            taxonomy=taxonomy,
            folder=folder,
            embedder=LazyEmbedder(None),
            reporter=Reporter(),
        )
    num = sum(len(each.labels) for each in dialogues) + len(messages)
    key = "reader" if options.reader else "weights"
    say(f"Saved {options.out}, trained on {num} messages. Use it: -o evaluate.{key}={options.out}")
    if not copy:
        say("Dialogues of ESConv were left out: their text may not be shipped. Give your copy with --esconv FILE.")


def _measure_all(options: argparse.Namespace) -> None:
    copy = [dialogue for file in options.esconv for dialogue in read_dialogues(file).dialogues]
    names = options.detector or ["combined"]
    parts = options.part or (_PARTS_OF_A_JUDGE if names == ["judge"] else ["tune"])
    if options.save is not None and len(names) > 1:
        raise ConfigError(f"--save: got {len(names)} detectors, expected one a file; give one --detector")
    file = None if options.save is None else writable_file(options.save, key="--save")
    if strange := [override for override in options.overrides if not override.strip().startswith("evaluate.")]:
        raise ConfigError(f"-o {strange[0]}: has no effect on what a detector is worth, expected a key of evaluate")
    dialogues = load_whole_dialogues(*parts, copy=copy)
    if not dialogues:
        raise ConfigError(f"part {', '.join(parts)}: got no labelled dialogue with a text; give --esconv FILE")
    embedder = LazyEmbedder(None)
    measured = [_measure(name, dialogues, options.overrides, embedder) for name in names]
    if file is not None:
        measured[0].findings.save(file)
    if options.json:
        print_json({"parts": parts, "detectors": [each.plain_values() for each in measured]})
        return
    print_parts([_table(worth(each.findings)) for each in measured], sys.stdout, width=120)
    for note in (note for each in measured for note in each.notes):
        say(note)
    if options.save is not None:
        say(f"Saved {options.save}. Rates by this worth: advsim evaluate ... -o evaluate.worth={options.save}")
    if not options.esconv:
        say("Dialogues of ESConv are left out: their text may not be shipped. Give your copy with --esconv FILE.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """A detector's findings, what it says of itself, and what a judge's answers took (None for other detectors)."""

    findings: Findings
    notes: tuple[str, ...]
    judge: JudgeUse | None

    def plain_values(self) -> dict[str, Any]:
        use = None if self.judge is None else plain_values(self.judge)
        return {**plain_values(worth(self.findings)), "judge": use, "notes": list(self.notes)}


def _measure(
    name: str, dialogues: Sequence[LabelledDialogue], overrides: Sequence[str], embedder: LazyEmbedder
) -> _Measured:
    config = evaluation_config(None, [f"evaluate.detector={json.dumps(name)}", *overrides]).evaluate
    # what an earlier file says of the detector is not read: it is measured anew
    instruments = build_instruments(config.model_copy(update={"worth": None}), embedder=embedder)
    detector = instruments.detector
    try:
        findings = find_in_labelled(
            detector,
            dialogues,
            modes=load_taxonomy().ids,
            reporter=Reporter(),
            settings=detector.settings if isinstance(detector, Judge) else {},
        )
    finally:
        instruments.release()
    if isinstance(detector, Judge) and detector.cost.num_errors == detector.cost.num_messages > 0:
        raise no_verdict(detector.notes)
    return _Measured(
        findings=findings,
        notes=tuple(detector_notes(detector, instruments.taxonomy)),
        judge=detector.use if isinstance(detector, Judge) else None,
    )


def _table(worth: Worth) -> Table:
    table = Table(
        "mode", "precision, %", "right / found", "recall, %", "found / shown", "F1", "not judged",
        title=f"{worth.detector} on {worth.num_messages} labelled messages of {worth.num_dialogues} whole dialogues",
        caption=_caption(worth),
    )  # fmt: skip
    for mode in (worth.findings, *worth.modes):
        table.add_row(*_cells(mode), end_section=mode is worth.modes[0])
    return table


def _cells(mode: ModeWorth) -> tuple[str, ...]:
    return (
        mode.mode,
        _percent(mode.precision),
        f"{mode.precision.num_true} / {mode.precision.num}",
        _percent(mode.recall),
        f"{mode.recall.num_true} / {mode.recall.num}",
        "" if mode.f1 is None else f"{mode.f1:.2f}",
        str(mode.num_not_judged or ""),
    )


def _caption(worth: Worth) -> str:
    macro = "not measurable" if worth.macro_f1 is None else f"{worth.macro_f1:.2f}"
    bounds = "" if worth.macro_f1_low is None else f" [{worth.macro_f1_low:.2f}-{worth.macro_f1_high:.2f}]"
    return (
        f"Alarms in {_percent(worth.alarms)} % of {worth.alarms.num} messages that show no failure. "
        f"Macro-F1 {macro}{bounds}. Intervals are over dialogues."
    )


def _percent(share: Share) -> str:
    if share.value is None:
        return "-"
    bounds = "" if share.low is None or share.high is None else f" [{100 * share.low:.0f}-{100 * share.high:.0f}]"
    return f"{100 * share.value:.0f}{bounds}"
