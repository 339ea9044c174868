"""Submission of a training run to a Ray cluster as a job."""

from __future__ import annotations

import ipaddress
import shlex
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_fixed

from advsim.config import Config
from advsim.config.paths import local_path
from advsim.errors import ConfigError, one_line
from advsim.runtime.follow import follow_job

_MAX_SHIPPED_BYTES = 100 * 2**20
_ANSWER_TIMEOUT_S = 20.0


def submit_training(
    config: Config,
    *,
    address: str,
    wait: bool,
    allow_changed: Sequence[str] = (),
    allow_open_head: bool = False,
) -> str:
    """Submit ``advsim train`` with this configuration and follow its output.

    Local dialogues, and the file of a chatbot that is Python code, travel with the job; models and the run folder must
    be reachable from the cluster.

    Args:
        config: the configuration, overrides applied.
        address: job address of the cluster's head, ``http://host:port``.
        wait: follow the job's output until it ends.
        allow_changed: of ``advsim train``: keys that may differ from those the run was started with.
        allow_open_head: send dialogues also to a head that asks nobody for a token.

    Returns:
        The job's id.

    Raises:
        ConfigError: the cluster cannot be reached, refuses the token, or takes anybody in; or the dialogues are too
            large to travel.
        RunError: the job failed, or the head fell silent.
        KeyboardInterrupt: with a message that says what becomes of the job.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="advsim-job-") as scratch:
        working_dir = Path(scratch)
        shipped = _shipped(config, working_dir)
        if _ships_dialogues(config) and not allow_open_head:
            _check_closed(address)
        (working_dir / "config.yaml").write_text(
            yaml.safe_dump(shipped.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )
        try:
            client = JobSubmissionClient(address)
            # A head that has just started answers for some seconds before it can run a job.
            patient = Retrying(
                retry=retry_if_exception_message(match=r"(?s).*No available agent"),
                wait=wait_fixed(2),
                stop=stop_after_delay(60),
                reraise=True,
            )
            job_id = patient(
                client.submit_job,
                entrypoint=_entrypoint(allow_changed),
                runtime_env={"working_dir": str(working_dir)},
                metadata={"advsim_run": config.name},
            )
        except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
            reason = one_line(str(error), max_characters=400)
            raise ConfigError(
                f"cannot submit to {address}: {reason}. Check the address (the head's dashboard port, often 8265) and "
                "the token: 'ray get-auth-token' on both sides, with RAY_AUTH_MODE=token"
            ) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted while the job was being submitted; whether it was: ray job list --address {address}"
            ) from None
    print(f"submitted {job_id} to {address}", flush=True)
    if wait:
        follow_job(client, str(job_id), address=address)
    else:
        print(f"follow it with: ray job logs {job_id} --address {address} --follow")
    return str(job_id)


def _entrypoint(allow_changed: Sequence[str]) -> str:
    allowed = [part for key in allow_changed for part in ("--allow-changed", key)]
    return shlex.join(["python", "-m", "advsim.cli", "train", "config.yaml", *allowed])


def _ships_dialogues(config: Config) -> bool:
    return bool(config.corpus.path) and config.corpus.source in ("jsonl", "parquet")


def _check_closed(address: str) -> None:
    """Check that a head asks for a token, before dialogues are sent there: else they could be anybody's.

    Raises:
        ConfigError: it lists its jobs to somebody without a token, or nobody answers.
    """
    if _is_this_machine(address):
        return
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/api/jobs/", timeout=_ANSWER_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as refused:
        if refused.code in (401, 403):
            return
        reason = f"HTTP status {refused.code}"
    except (OSError, ValueError) as error:
        reason = one_line(str(error), max_characters=200)
    else:
        raise ConfigError(
            f"{address} asks nobody for a token: whoever reaches it can read the dialogues that travel with the job. "
            "Start the head with RAY_AUTH_MODE=token, reach it through a tunnel to 127.0.0.1, or accept it with "
            "--allow-open-head"
        )
    raise ConfigError(
        f"cannot submit to {address}: {reason}. Check the address (the head's dashboard port, often 8265), and that "
        "the head runs"
    )


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shipped(config: Config, working_dir: Path) -> Config:
    """The configuration as the job will read it: the run folder absolute, dialogues and a chatbot's code beside it."""
    updates: dict[str, object] = {}
    if "://" not in config.output_dir:
        updates["output_dir"] = str(local_path(config.output_dir, key="output_dir").resolve())
    if _ships_dialogues(config):
        assert config.corpus.path is not None, "it is what ships"
        name = _ship(config.corpus.path, working_dir, key="corpus.path")
        updates["corpus"] = config.corpus.model_copy(update={"path": name})
    place, _, function = (config.chatbot.function or "").rpartition(":")
    if place.endswith(".py"):
        name = _ship(place, working_dir, key="chatbot.function")
        updates["chatbot"] = config.chatbot.model_copy(update={"function": f"{name}:{function}"})
    return config.model_copy(update=updates)


def _ship(text: str, working_dir: Path, *, key: str) -> str:
    """Copy the file or folder of a configuration's key into the job's folder; returns its path there.

    A path below the current folder keeps its name, by which the run's dialogues are found from here later.
    """
    path = local_path(text, key=key)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise ConfigError(
            f"{key}: got {text!r}, which is no file and no folder with files here; it has to travel with the job"
        )
    num_bytes = sum(file.stat().st_size for file in files)
    if num_bytes > _MAX_SHIPPED_BYTES:
        raise ConfigError(
            f"{key}: {text} has {num_bytes / 2**20:.0f} MiB, at most {_MAX_SHIPPED_BYTES // 2**20} travel with a "
            "job; put it where the cluster can read it and start 'ray job submit -- advsim train' by hand"
        )
    keeps_name = not path.is_absolute() and ".." not in path.parts and path.parts[0] != "config.yaml"
    name = path if keeps_name else Path(key.partition(".")[0]) / path.name
    target = working_dir / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copy(path, target)
    return name.as_posix()
