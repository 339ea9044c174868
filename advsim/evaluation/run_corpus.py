"""The dialogues that a run was made on, wherever they lie now: a run folder may have been copied to another machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from advsim.config import CorpusConfig
from advsim.config.paths import local_path
from advsim.corpus.load import Corpus, corpus_hash, load_corpus, source_name
from advsim.errors import AdvsimError, ConfigError, CorpusError
from advsim.run_folder.reader import Run

_SUFFIXES = {"jsonl": (".jsonl", ".jsonl.gz", ".json"), "parquet": (".parquet",)}
_MAX_TRIED = 20
_MAX_TRIED_BYTES = 200 * 2**20
_REMEDY = "--corpus PATH (or -o corpus.path=PATH)"

logger = logging.getLogger(__name__)


def corpus_of_run(run: Run, config: CorpusConfig, *, remedy: str = _REMEDY) -> Corpus:
    """The dialogues of a run: where its configuration says, else where a file beside the run or here has their hash.

    Args:
        run: its manifest has the hash.
        config: where and how to read them.
        remedy: how a user says where they lie.

    Raises:
        ConfigError: dialogues are there, but others than those of the run.
        CorpusError: there are none that can be read.
    """
    known = run.corpus_sha256
    said: AdvsimError
    try:
        corpus = _named_as_before(load_corpus(config), run, config)
    except CorpusError as error:
        said = CorpusError(f"run {run.folder.location}: {error}{_looked(run, config)}; give them with {remedy}")
    else:
        if corpus.sha256 == known:
            return corpus
        said = ConfigError(
            f"run {run.folder.location}: the corpus has hash {corpus.sha256[:12]}, expected {known[:12]}, which the "
            f"run was trained on{_looked(run, config)}; restore the file, or give it with {remedy}"
        )
    found = _elsewhere(run, config, known)
    if found is None:
        raise said from None
    return found


def _elsewhere(run: Run, config: CorpusConfig, known: str) -> Corpus | None:
    for file in _files(run, config):
        try:
            with _quiet():
                moved = config.model_copy(update={"path": str(file)})
                corpus = _named_as_before(load_corpus(moved), run, moved)
        except AdvsimError:
            continue  # other dialogues, or none
        if corpus.sha256 == known:
            logger.warning("run %s: its dialogues are read from %s, by their hash", run.folder.location, file)
            return corpus
    return None


def _named_as_before(corpus: Corpus, run: Run, config: CorpusConfig) -> Corpus:
    """The corpus as it was called when the run was made: a file's name is in its dialogues, and so in their hash."""
    before = run.config.get("corpus", {}).get("path")
    if not before or not config.path or corpus.sha256 == run.corpus_sha256:
        return corpus
    name, name_before = source_name(config.path), source_name(before)
    dialogues = tuple(replace(d, source=name_before) if d.source == name else d for d in corpus.dialogues)
    return replace(corpus, dialogues=dialogues, sha256=corpus_hash(dialogues))


def _looked(run: Run, config: CorpusConfig) -> str:
    if not _is_searched(config):
        return ""
    places = ", ".join(str(folder) for folder in _folders(run))
    return f"; no file with the run's SHA-256 {run.corpus_sha256[:12]} in {places} either"


def _is_searched(config: CorpusConfig) -> bool:
    return config.source in _SUFFIXES and bool(config.path)


def _folders(run: Run) -> list[Path]:
    """The run's folder, those around it (``runs/`` and what holds it), and the current one."""
    here = Path.cwd()
    if not run.folder.is_local:
        return [here]
    folder = run.folder.path.resolve()
    return list(dict.fromkeys([folder, *list(folder.parents)[:2], here]))


def _files(run: Run, config: CorpusConfig) -> Iterator[Path]:
    """Files that may be the run's dialogues: first those of the same name, then all others of its kind."""
    if not _is_searched(config):
        return
    assert config.path is not None, "it is searched for"
    path = local_path(config.path, key="corpus.path")
    tried: dict[Path, None] = {}
    for folder in _folders(run):
        for named in (folder / path if not path.is_absolute() else folder / path.name, folder / path.name):
            if named.exists():
                tried[named] = None
    for folder in _folders(run):
        tried |= dict.fromkeys(_of_kind(folder, config.source))
    yield from list(tried)[:_MAX_TRIED]


def _of_kind(folder: Path, source: str) -> list[Path]:
    try:
        files = [file for file in sorted(folder.iterdir()) if file.name.endswith(_SUFFIXES[source]) and file.is_file()]
        return [file for file in files if file.stat().st_size <= _MAX_TRIED_BYTES]
    except OSError:
        return []  # a folder that may not be looked into


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings about files that are only tried."""
    about_reading = logging.getLogger("advsim.corpus")
    level = about_reading.level
    about_reading.setLevel(logging.ERROR)
    try:
        yield
    finally:
        about_reading.setLevel(level)
