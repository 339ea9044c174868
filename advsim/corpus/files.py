"""Reads dialogue files that nothing is trained on: no splits, and nothing has to be left for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advsim.config import ColumnsConfig, CorpusConfig
from advsim.corpus.load import NUM_REPORTED
from advsim.corpus.rows import line_from_columns, needed_columns
from advsim.corpus.schema import parse_dialogue
from advsim.corpus.sources import parquet_columns, read_jsonl, read_parquet
from advsim.errors import CorpusError
from advsim.records import Dialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueFile:
    """Dialogues of a file, in order; turns of one speaker in a row are joined. Their split means nothing."""

    name: str
    dialogues: tuple[Dialogue, ...]


def read_dialogues(path: str | Path) -> DialogueFile:
    """Read a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file of dialogues.

    Of a parquet file the columns ``turns`` and, where they are there, ``id``, ``user_id`` and ``chatbot`` are read.

    Raises:
        CorpusError: the file cannot be read, is empty, or lines break the schema (the first five are named).
    """
    file = Path(path).expanduser()
    name = file.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
    config = CorpusConfig(path=str(file), validation_fraction=0.0, test_fraction=0.0, merge_consecutive=True)
    columns = _columns(file) if config.source == "parquet" else config.columns
    dialogues: dict[str, Dialogue] = {}
    problems: list[str] = []
    for row in read_parquet(file, needed_columns(columns)) if config.source == "parquet" else read_jsonl(file):
        if row.problem:
            problems.append(f"{row.where}: {row.problem}")
            continue
        try:
            values = line_from_columns(row.values, columns) if config.source == "parquet" else row.values
            dialogue = parse_dialogue(values, config, source=name)
        except CorpusError as error:
            problems.append(f"{row.where}, dialogue {row.values.get('id', '?')}: {error}")
            continue
        if dialogue.id in dialogues:
            problems.append(f"{row.where}: got the id {dialogue.id} twice, expected unique ids; rename one")
        dialogues[dialogue.id] = dialogue
    if problems:
        more = [f"and {len(problems) - NUM_REPORTED} more"] if len(problems) > NUM_REPORTED else []
        shown = [f"{file}: {len(problems)} bad dialogues; repair them or take them out", *problems[:NUM_REPORTED]]
        raise CorpusError("\n  ".join([*shown, *more]) if len(problems) > 1 else problems[0])
    if not dialogues:
        raise CorpusError(f"{file}: got no dialogues, expected at least one; check that it is the right file")
    return DialogueFile(name=name, dialogues=tuple(dialogues.values()))


def _columns(file: Path) -> ColumnsConfig:
    present = parquet_columns(file)
    return ColumnsConfig.model_validate({name: name for name in ("id", "user_id", "chatbot") if name in present})
