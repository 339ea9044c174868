"""Reads dialogue files that nothing is trained on: no splits, and nothing has to be left for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advsim.config import ColumnsConfig, CorpusConfig
from advsim.config.paths import local_path
from advsim.corpus.load import read_source
from advsim.corpus.sources import parquet_columns
from advsim.records import Dialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueFile:
    """Dialogues of a file, in order. Their split means nothing.

    Turns of one speaker in a row are joined, but for dialogues in which only the user speaks (logs of one side).
    ``num_left_out`` dialogues broke the schema, ``num_dropped_turns`` are of roles that ``drop_roles`` leaves out.
    """

    name: str
    dialogues: tuple[Dialogue, ...]
    num_left_out: int = 0
    num_dropped_turns: int = 0


def read_dialogues(path: str | Path, corpus: CorpusConfig | None = None) -> DialogueFile:
    """Read a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file of dialogues.

    Of a parquet file the columns ``turns`` and, where they are there, ``id``, ``user_id`` and ``chatbot`` are read,
    unless ``corpus`` says where they are.

    Args:
        path: the file; ``~`` is the home folder.
        corpus: how it is read (columns, roles, preset, ``max_bad_dialogues``); its own path and splits do not count.

    Raises:
        ConfigError: the path can name no file.
        CorpusError: the file cannot be read, is empty, or lines break the schema (the first five are named).
    """
    file = local_path(str(path), key="dialogue file")
    name = file.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
    source = "parquet" if file.suffix == ".parquet" else "jsonl"
    given = corpus or CorpusConfig()
    config = given.model_copy(
        update={
            "path": str(file),
            "source": source,
            "columns": _columns(file, given, is_parquet=source == "parquet"),
            "validation_fraction": 0.0,
            "test_fraction": 0.0,
            "merge_consecutive": True,
        }
    )
    read = read_source(config, keep_one_sided=True)
    return DialogueFile(
        name=name,
        dialogues=read.dialogues,
        num_left_out=read.num_left_out,
        num_dropped_turns=read.num_dropped_turns,
    )


def _columns(file: Path, corpus: CorpusConfig, *, is_parquet: bool) -> ColumnsConfig:
    """The mapping; a split that it does not name is left unused on purpose, for it means nothing here."""
    columns = corpus.columns
    unused = {} if "split" in columns.model_fields_set else {"split": None}
    if not is_parquet or corpus.preset is not None or columns.maps_lines:
        return columns.model_copy(update=unused)
    present = parquet_columns(file)
    return columns.model_copy(update=unused | {name: name for name in ("id", "user_id", "chatbot") if name in present})
