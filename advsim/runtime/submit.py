"""Submission of a training run to a Ray cluster as a job."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml
from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_fixed

from advsim.config import Config
from advsim.config.paths import local_path
from advsim.errors import ConfigError, RunError, printable

_MAX_SHIPPED_BYTES = 100 * 2**20


def submit_training(config: Config, *, address: str, wait: bool) -> str:
    """Submit ``advsim train`` with this configuration and follow its output.

    A local corpus file travels with the job; models and the run folder must be reachable from the cluster.

    Args:
        config: the configuration, overrides applied.
        address: job address of the cluster's head, ``http://host:port``.
        wait: follow the job's output until it ends.

    Returns:
        The job's id.

    Raises:
        ConfigError: the cluster cannot be reached, refuses the token, or the corpus is too large to travel.
        RunError: the job failed; resumable by the same command.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="advsim-job-") as scratch:
        working_dir = Path(scratch)
        (working_dir / "config.yaml").write_text(
            yaml.safe_dump(_shipped(config, working_dir).model_dump(mode="json"), sort_keys=False), encoding="utf-8"
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
                entrypoint="python -m advsim.cli train config.yaml",
                runtime_env={"working_dir": str(working_dir)},
                metadata={"advsim_run": config.name},
            )
        except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:400]
            raise ConfigError(
                f"cannot submit to {address}: {reason}. Check the address (the head's dashboard port, often 8265) and "
                "the token: 'ray get-auth-token' on both sides, with RAY_AUTH_MODE=token"
            ) from error
    print(f"submitted {job_id} to {address}", flush=True)
    if not wait:
        print(f"follow it with: ray job logs {job_id} --address {address} --follow")
        return str(job_id)
    printed = 0
    while True:
        status = client.get_job_status(job_id)
        logs = client.get_job_logs(job_id)
        sys.stdout.write(printable(logs[printed:]))
        sys.stdout.flush()
        printed = len(logs)
        if status.is_terminal():
            break
        time.sleep(2)
    if status != JobStatus.SUCCEEDED:
        raise RunError(f"job {job_id} ended as {status.value}: {client.get_job_info(job_id).message}")
    return str(job_id)


def _shipped(config: Config, working_dir: Path) -> Config:
    """The configuration as the job will read it: the run folder absolute, a local corpus file beside it."""
    updates: dict[str, object] = {}
    if "://" not in config.output_dir:
        updates["output_dir"] = str(local_path(config.output_dir, key="output_dir").resolve())
    corpus = config.corpus
    if corpus.path and corpus.source in ("jsonl", "parquet"):
        path = local_path(corpus.path, key="corpus.path")
        if not path.is_file():
            raise ConfigError(f"corpus.path: got {corpus.path!r}, which is no file here; it has to travel with the job")
        if path.stat().st_size > _MAX_SHIPPED_BYTES:
            raise ConfigError(
                f"corpus.path: {corpus.path} has {path.stat().st_size / 2**20:.0f} MiB, at most "
                f"{_MAX_SHIPPED_BYTES // 2**20} travel with a job; put it where the cluster can read it and start "
                "'ray job submit -- advsim train' by hand"
            )
        shutil.copy(path, working_dir / path.name)
        updates["corpus"] = corpus.model_copy(update={"path": path.name})
    return config.model_copy(update=updates)
