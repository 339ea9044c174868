"""Loads the corpus of a run: reads, checks and splits its dialogues."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from advsim.config import CorpusConfig
from advsim.config.paths import local_path
from advsim.corpus.identity import plain_id
from advsim.corpus.rows import (
    Row,
    check_nothing_unsaid,
    line_from_columns,
    line_from_esconv,
    lines_from_empathetic_dialogues,
    needed_columns,
    unsaid_columns,
)
from advsim.corpus.schema import parse_dialogue, plain_line
from advsim.corpus.sources import PARQUET_REVISION, parquet_columns, read_hub, read_jsonl, read_parquet, sample_files
from advsim.corpus.split import choose_dialogues, keep_equal_together, num_repeats
from advsim.corpus.turns import num_dropped_turns
from advsim.errors import CorpusError
from advsim.records import Dialogue, Split

NUM_REPORTED = 5
"""Bad dialogues spelled out in one error."""

PRESET_COLUMNS = {
    "esconv": ["text"],
    "empathetic_dialogues": ["conv_id", "utterance_idx", "context", "prompt", "speaker_idx", "utterance"],
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Real dialogues in the order they were read."""

    dialogues: tuple[Dialogue, ...]
    sha256: str
    """Hash of everything the stages see of the dialogues, splits included; the file's formatting does not enter."""
    num_left_out: int = 0
    """Dialogues that broke the schema and were left out, as ``max_bad_dialogues`` allowed."""
    num_repeats: int = 0
    """Dialogues that say what an earlier one says; they stand in its split."""
    num_dropped_turns: int = 0
    """Turns of roles that ``drop_roles`` leaves out."""

    def split(self, split: Split) -> tuple[Dialogue, ...]:
        """The dialogues of one split, in order."""
        return tuple(dialogue for dialogue in self.dialogues if dialogue.split is split)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The dialogues of a source, each on its own, and what is not among them.

    Attributes:
        dialogues: in the order they were read.
        num_left_out: those that broke the schema and were left out.
        num_dropped_turns: turns of roles that ``drop_roles`` leaves out.
        named: ids of the dialogues whose split the source names.
    """

    dialogues: tuple[Dialogue, ...]
    num_left_out: int
    num_dropped_turns: int
    named: frozenset[str]


def load_corpus(config: CorpusConfig, *, to_train: bool = True) -> Corpus:
    """Read, check and split the dialogues that a config names.

    Every dialogue is checked before anything is reported, so that one error shows what is wrong with a file, not with
    its first line.

    Args:
        config: names them.
        to_train: whether some have to be in the train split.

    Raises:
        CorpusError: the source cannot be read, dialogues break the schema (the first five are named), a user is in two
            splits, or nothing is left to train on.
    """
    source = read_source(config)
    dialogues = list(source.dialogues)
    _check_users(dialogues)
    repeats = num_repeats(dialogues)
    if repeats:
        logger.warning(
            "corpus: %d of %d dialogues say word for word what an earlier one says; they count again, and are kept in "
            "one split where the file names none",
            repeats,
            len(dialogues),
        )
        fractions = {"validation_fraction": config.validation_fraction, "test_fraction": config.test_fraction}
        dialogues = keep_equal_together(dialogues, named=source.named, **fractions)
        _check_users(dialogues)
    if to_train and not _has_train(dialogues):
        raise CorpusError(f"{_nothing_to_train_on(dialogues, config)}; {_remedy(dialogues, source.named)}")
    if config.max_dialogues is not None:
        dialogues = choose_dialogues(dialogues, num_dialogues=config.max_dialogues)
        if to_train and not _has_train(dialogues):
            raise CorpusError(f"{_nothing_to_train_on(dialogues, config)}; raise corpus.max_dialogues")
    return Corpus(
        dialogues=tuple(dialogues),
        sha256=corpus_hash(dialogues),
        num_left_out=source.num_left_out,
        num_repeats=repeats,
        num_dropped_turns=source.num_dropped_turns,
    )


def read_source(config: CorpusConfig, *, keep_one_sided: bool = False) -> Source:
    """The dialogues that a config names, each on its own.

    Args:
        config: names the source and says how it is read.
        keep_one_sided: the turns of a dialogue in which only the user speaks are not joined.

    Raises:
        CorpusError: the source cannot be read, more dialogues break the schema than may be left out, or there are none.
    """
    lines = _Lines(config, keep_one_sided=keep_one_sided)
    lines.read(_lines(_rows(config), config))
    problems = lines.problems
    if len(problems) > config.max_bad_dialogues:
        raise CorpusError(_report(problems, config))
    if problems:
        logger.warning("corpus: left out %d dialogues that break the schema: %s", len(problems), "; ".join(problems))
    if not lines.dialogues:
        raise CorpusError(f"{_name(config)}: got no dialogues, expected at least one; check that it is the right file")
    return Source(
        dialogues=tuple(lines.dialogues),
        num_left_out=len(problems),
        num_dropped_turns=lines.num_dropped_turns,
        named=frozenset(lines.named),
    )


def corpus_hash(dialogues: Iterable[Dialogue]) -> str:
    """SHA-256 over the dialogues in order, each as canonical JSON (sorted keys, ASCII, one a line).

    A chatbot that is not named, and a turn's thought, cut or effort where there is none, are left out, so that a corpus
    without them keeps the hash that its runs were given.
    """
    digest = hashlib.sha256()
    for dialogue in dialogues:
        values = asdict(dialogue)
        if dialogue.chatbot is None:
            del values["chatbot"]
        for turn in values["turns"]:
            for key in ("thought", "is_cut", "effort"):
                if not turn[key]:
                    del turn[key]
        digest.update(json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _rows(config: CorpusConfig) -> Iterator[Row]:
    """Rows of the configured source, as the source has them."""
    if config.source == "sample":
        return chain.from_iterable(read_jsonl(file) for file in sample_files())
    assert config.path is not None  # CorpusConfig demands it for every other source
    path = local_path(config.path, key="corpus.path")
    if config.source == "jsonl":
        return read_jsonl(path)
    columns = config.columns

    def needed(present: Sequence[str]) -> list[str]:
        return needed_columns(columns, present) if config.preset is None else PRESET_COLUMNS[config.preset]

    if config.source == "parquet":
        present = parquet_columns(path)
        unsaid = () if config.preset else unsaid_columns(present, columns)
        return read_parquet(path, needed(present), optional=tuple(unsaid))
    consists_of_script = config.preset == "empathetic_dialogues" and not path.exists()
    return read_hub(
        config.path,
        split=config.hub_split,
        subset=config.hub_subset,
        revision=config.hub_revision or (PARQUET_REVISION if consists_of_script else None),
        needed=needed,
    )


def _lines(rows: Iterator[Row], config: CorpusConfig) -> Iterator[Row]:
    """Rows turned into native or messages lines."""
    if config.preset == "empathetic_dialogues":
        return lines_from_empathetic_dialogues(rows)
    if config.preset == "esconv":
        return _number_repeats(_converted(row, line_from_esconv) for row in rows)
    if config.source == "sample" or (config.source == "jsonl" and not config.columns.maps_lines):
        return rows
    lines = (_converted(row, partial(line_from_columns, columns=config.columns)) for row in _decided(rows, config))
    return _number_repeats(lines) if config.columns.id is None else lines


def _decided(rows: Iterable[Row], config: CorpusConfig) -> Iterator[Row]:
    """The rows; the first that holds what the mapping should name ends the reading: it is no defect of a row."""
    for row in rows:
        check_nothing_unsaid(row, unsaid_columns(row.values, config.columns))
        yield row


def _converted(row: Row, convert: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Row:
    if row.problem:
        return row
    try:
        return replace(row, values=convert(row.values))
    except CorpusError as error:
        return replace(row, problem=str(error))


def _number_repeats(rows: Iterable[Row]) -> Iterator[Row]:
    """Number ids made from content that repeat (two dialogues of the same words): later ones get ``-2``, ``-3``."""
    num_seen: Counter[str] = Counter()
    for row in rows:
        if row.problem:
            yield row
            continue
        made = row.values["id"]
        num_seen[made] += 1
        again = num_seen[made] > 1
        yield replace(row, values={**row.values, "id": f"{made}-{num_seen[made]}"}) if again else row


class _Lines:
    """Parsed lines: the good dialogues, a sentence for each bad one, and the ids whose split the file names."""

    def __init__(self, config: CorpusConfig, *, keep_one_sided: bool) -> None:
        self._config = config
        self._keep_one_sided = keep_one_sided
        self._source = "sample" if config.source == "sample" else source_name(config.path or "")
        self._where_first: dict[str, str] = {}
        self._num_made: Counter[str] = Counter()
        self.dialogues: list[Dialogue] = []
        self.problems: list[str] = []
        self.named: set[str] = set()
        self.num_dropped_turns = 0

    def read(self, rows: Iterable[Row]) -> None:
        """Parse all rows."""
        for row in rows:
            name = row.values.get("id")
            where = f"{row.where}, dialogue {name}" if isinstance(name, str | int) else row.where
            try:
                self._add(row)
            except CorpusError as error:
                self.problems.append(f"{where}: {error}")

    def _add(self, row: Row) -> None:
        if row.problem:
            raise CorpusError(row.problem)
        line = plain_line(row.values)
        dialogue = parse_dialogue(
            line,
            self._config,
            source=self._source,
            merge=self._config.preset is not None,
            keep_one_sided=self._keep_one_sided,
        )
        if plain_id(line.get("id")) is None:
            self._num_made[dialogue.id] += 1
            if self._num_made[dialogue.id] > 1:
                dialogue = replace(dialogue, id=f"{dialogue.id}-{self._num_made[dialogue.id]}")
        if dialogue.id in self._where_first:
            first = self._where_first[dialogue.id]
            raise CorpusError(f"got an id that {first} has, expected unique ids; rename one")
        self._where_first[dialogue.id] = row.where
        self.dialogues.append(dialogue)
        self.num_dropped_turns += num_dropped_turns(line, self._config)
        if line.get("split") and "turns" in line:
            self.named.add(dialogue.id)


def _has_train(dialogues: Iterable[Dialogue]) -> bool:
    return any(dialogue.split is Split.TRAIN for dialogue in dialogues)


def _nothing_to_train_on(dialogues: Sequence[Dialogue], config: CorpusConfig) -> str:
    return f"{_name(config)}: got {len(dialogues)} dialogues, none of them in the train split, expected at least one"


def _remedy(dialogues: Sequence[Dialogue], named: Collection[str]) -> str:
    """What puts some of the dialogues into the train split, by why none of them is."""
    users = {dialogue.user_id for dialogue in dialogues}
    if len(dialogues) > 1 and len(users) == 1 and None not in users:
        return (
            f"all are of one user ({next(iter(users))}), and a user's dialogues fall into one split; add dialogues of "
            "other users, or check that user_id names the user and not the chatbot or the data set"
        )
    if all(dialogue.id in named for dialogue in dialogues):
        return "each names its split; name train in some of them, or leave split out for a hash to decide"
    if num_repeats(dialogues) == len(dialogues) - 1 > 0:
        return "all say the same, and equal dialogues fall into one split; add dialogues that say something else"
    return "add dialogues, or lower corpus.validation_fraction and corpus.test_fraction"


def _report(problems: Sequence[str], config: CorpusConfig) -> str:
    if len(problems) == 1:
        return problems[0]
    more = [f"and {len(problems) - NUM_REPORTED} more"] if len(problems) > NUM_REPORTED else []
    remedy = "repair them, or leave so many out by corpus.max_bad_dialogues"
    return "\n  ".join([f"{_name(config)}: {len(problems)} bad dialogues; {remedy}", *problems[:NUM_REPORTED], *more])


def _check_users(dialogues: Iterable[Dialogue]) -> None:
    """Refuse a user in two splits, which would leak; possible only where a file names splits itself."""
    first_of: dict[str, Dialogue] = {}
    for dialogue in dialogues:
        if dialogue.user_id is None:
            continue
        first = first_of.setdefault(dialogue.user_id, dialogue)
        if first.split is not dialogue.split:
            raise CorpusError(
                f"user {dialogue.user_id}: got dialogue {first.id} in {first.split} and dialogue {dialogue.id} in "
                f"{dialogue.split}, expected all of a user's dialogues in one split; name the same split in each of "
                "them, or in none"
            )


def _name(config: CorpusConfig) -> str:
    return "sample corpus" if config.source == "sample" else str(config.path)


def source_name(path: str) -> str:
    """What dialogues of a file are called after, where they do not say it: its name without its ending."""
    return Path(path).name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
