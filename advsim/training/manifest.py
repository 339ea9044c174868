"""The manifest of a run: what it was made from, and whether a resume still matches it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advsim.config import Config
from advsim.corpus.load import Corpus
from advsim.errors import ConfigError
from advsim.models.hashing import folder_sha256
from advsim.records import Split
from advsim.run_folder.folder import RunDir, config_changes
from advsim.run_folder.journal import utc_now
from advsim.run_folder.layout import MANIFEST
from advsim.run_folder.versions import installed_versions
from advsim.runtime.code_files import code_sha256

# These decide where and how fast a run computes, or when it ends, not what a finished stage holds.
_FREE_TO_CHANGE = (
    "resources.",
    "stop.max_rounds",
    "engine.startup_timeout_s",
    "engine.step_timeout_s",
    "engine.cpu_threads_bind",
    "engine.kv_cache_gib",
    "engine.gpu_memory_utilization",
    "engine.max_num_seqs",
    "rollout.max_concurrent",
    "discriminator.scoring_batch_size",
    "chatbot.calls.",
    "chatbot.price",  # None until it is given
    "output_dir",
    "evaluate.",
    "corpus.columns.",  # what they make of the file is in the hash of the corpus, which is held against the run's
    "corpus.drop_roles",
    "corpus.max_turns",
    "held_out.num_bootstrap",  # how well an interval's width is known
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusStamp:
    """The corpus that a run was made on; ``splits`` has the number of dialogues of each.

    ``num_dropped`` dialogues were too long for a prompt and are in no other number, ``num_cut`` were cut.
    """

    num_dialogues: int | None = None
    sha256: str = ""
    splits: Mapping[str, int] = field(default_factory=dict)
    num_dropped: int = 0
    num_cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStamp:
    """The base model of a run; ``sha256`` is of its weights."""

    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``manifest.json``: what a run was made from. Holds no environment variable and no secret.

    ``config`` is kept as it was written: an older version can have had other keys.
    """

    name: str = "run"
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)  # of Python and of packages
    machine: Mapping[str, str] = field(default_factory=dict)
    corpus: CorpusStamp = field(default_factory=CorpusStamp)
    model: ModelStamp = field(default_factory=ModelStamp)
    code_sha256: str = ""  # of a chatbot that is Python code; runs of older versions have none
    started_at: str = ""  # ISO 8601, UTC


def manifest(config: Config, corpus: Corpus, base: Path, *, num_dropped: int = 0, num_cut: int = 0) -> Manifest:
    """What a run with this configuration, corpus and folder of the base model is made from.

    ``num_dropped`` and ``num_cut`` dialogues were too long (:func:`advsim.training.fitting.fit_corpus`).
    """
    return Manifest(
        name=config.name,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        versions=installed_versions(),
        machine={"system": platform.system(), "processor": platform.machine()},
        corpus=CorpusStamp(
            num_dialogues=len(corpus.dialogues),
            sha256=corpus.sha256,
            splits={split.value: len(corpus.split(split)) for split in Split},
            num_dropped=num_dropped,
            num_cut=num_cut,
        ),
        model=ModelStamp(path=config.model.path, sha256=folder_sha256(base, "*.safetensors")),
        code_sha256=_code_sha256(config),
        started_at=utc_now(),
    )


def check_unchanged(run: RunDir, config: Config, corpus: Corpus, base: Path, *, allow_changed: Sequence[str]) -> None:
    """Check that a run is resumed with the configuration, the corpus and the base model it was started with.

    Args:
        run: its folder.
        config: of the resume.
        corpus: of the resume.
        base: folder of the base model.
        allow_changed: keys that may differ; ``corpus`` and ``model`` stand for what is in them.

    Raises:
        ConfigError: something differs that is not in ``allow_changed``; the difference is shown.
    """
    before = run.read_json(MANIFEST)
    free = (*_FREE_TO_CHANGE, *allow_changed)
    changes = {
        key: values
        for key, values in config_changes(_with_new_keys(before["config"]), config.model_dump(mode="json")).items()
        if not any(key == name or key.startswith(name.rstrip(".") + ".") for name in free)
    }
    if changes:
        shown = "; ".join(f"{key} was {old!r}, is now {new!r}" for key, (old, new) in changes.items())
        allow = " ".join(f"--allow-changed {key}" for key in changes)
        raise ConfigError(
            f"run {config.run_path} was started with another configuration: {shown}. Finished stages would not match. "
            f"Choose another name (-o name=...), or accept it with {allow}"
        )
    if before["corpus"]["sha256"] != corpus.sha256 and "corpus" not in allow_changed:
        raise ConfigError(
            f"run {config.run_path} was started on another corpus: got {len(corpus.dialogues)} dialogues with hash "
            f"{corpus.sha256[:12]}, expected {before['corpus']['num_dialogues']} with {before['corpus']['sha256'][:12]}"
            "; restore the file, choose another name (-o name=...), or accept it with --allow-changed corpus"
        )
    weights, known = folder_sha256(base, "*.safetensors"), before.get("model", {}).get("sha256")
    if known and known != weights and not any(name.split(".")[0] == "model" for name in allow_changed):
        raise ConfigError(
            f"run {config.run_path} was started on other weights of {config.model.path}: got hash {weights[:12]}, "
            f"expected {known[:12]}; restore the model (a hub id can be pinned by model.revision), choose another name "
            "(-o name=...), or accept it with --allow-changed model"
        )
    code, code_before = _code_sha256(config), before.get("code_sha256")
    if code_before and code_before != code and not any(name.split(".")[0] == "chatbot" for name in allow_changed):
        raise ConfigError(
            f"run {config.run_path} was started with other code of {config.chatbot.function}: got hash {code[:12]}, "
            f"expected {code_before[:12]}; restore the file and what it imports from its folder, choose another name "
            "(-o name=...), or accept it with --allow-changed chatbot"
        )


def _code_sha256(config: Config) -> str:
    return code_sha256(config.chatbot.function, key="chatbot.function")


def _with_new_keys(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration of an older version with the keys that came since, at their defaults."""
    try:
        return Config.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values  # it has keys that are gone: they are shown as changed
