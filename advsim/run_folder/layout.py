"""The names in a run folder, relative to it."""

from __future__ import annotations

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
EVENTS = "events.jsonl"
METRICS = "metrics.jsonl"
TOO_LONG = "too_long.json"
BASELINE = "baseline.json"
SFT_METRICS = "sft/metrics.json"
SFT_ADAPTER = "sft/adapter"
ZERO_SHOT_TURNS = "held_out/zero_shot.parquet"
PROBE_FILE = "probe.safetensors"
REPORT = "report/index.html"
EVALUATION_REPORT = "report/evaluation.html"
EVALUATION_METRICS = "evaluation/metrics.json"
EVALUATION_FAILURES = "evaluation/failures.parquet"
LOGS = "logs"
LOCK = ".lock"
LEASE = ".lease.json"


def round_folder(number: int) -> str:
    """Folder of a round, the first being 1."""
    return f"rounds/{number:02d}"


def adapter_folder(version: int) -> str:
    """Folder of an adapter: version 0 is that of SFT, version r that of round r."""
    return SFT_ADAPTER if version == 0 else f"{round_folder(version)}/adapter"


def adapter_metrics(version: int) -> str:
    """What the training of an adapter said: its SHA-256 and the canary's log-probabilities among others."""
    return SFT_METRICS if version == 0 else f"{round_folder(version)}/dpo.json"


def discriminator_folder(number: int) -> str:
    """Folder of the discriminator that a round trained."""
    return f"{round_folder(number)}/discriminator"


def no_signal(number: int) -> str:
    """The decision to end the rounds before this one trains."""
    return f"{round_folder(number)}/no_signal.json"


def held_out_turns(version: int, *, temperature: float | None = None) -> str:
    """Next turns on real held-out prefixes by an adapter; -1 is the base model.

    ``temperature`` is one of ``held_out.temperatures``, None that of ``held_out.sampling``.
    """
    at = "" if temperature is None else f"_t{temperature:g}"
    return ZERO_SHOT_TURNS if version < 0 else f"held_out/v{version}{at}.parquet"
