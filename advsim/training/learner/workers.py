"""The learner: runs a training function on Ray Train workers and shows its progress in the driver.

```
driver                                                       worker 0 .. N-1 (Ray Train)
run_on_workers(train, job) -- ray.put(job) ---------------->  train(job, on_step)
   on_step <-- drains every half second -- step board  <----  rank 0: each optimizer step
   result  <-------------------------------------------- ---  rank 0: what train returned
```

Nothing heavy is imported here: TRL and transformers load on the workers only. Nor is Ray imported at the top: its first
import decides whom a local one listens to (:mod:`advsim.runtime.local_ray`).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from advsim.config import DpoConfig, LearnerConfig, SftConfig
from advsim.errors import AdvsimError, RunError
from advsim.runtime.actors import is_death, last_error, reason_of, write_failure
from advsim.training.learner.step_board import Step, StepBoard
from advsim.training.metrics import DpoMetrics, SftMetrics

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer
    from transformers import Trainer

JobT = TypeVar("JobT")
MetricsT = TypeVar("MetricsT", SftMetrics, DpoMetrics)
ResultT = TypeVar("ResultT")
OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Called after each optimizer step with the step (from 1), the number of steps, and the figures logged for it."""

POLL_INTERVAL_S = 0.5

WORKER_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Of the workers: no word to the outside about a training run, and no chatter on the driver's console."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedAdapter(Generic[MetricsT]):
    """What a training gave: the adapter, and what is known of it.

    Attributes:
        files: the adapter's, by name.
        adapter_sha256: of its weights.
        metrics: how the training went.
        canary_logprobs: of the canary's completion under the final weights, in nats a token.
    """

    files: Mapping[str, bytes]
    adapter_sha256: str
    metrics: MetricsT
    canary_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Where trainings run, and what is done where a worker dies.

    Attributes:
        config: number and resources of the workers.
        log_dir: where Ray Train keeps its own records; must be visible to all workers where there are several nodes.
        max_restarts: how often one training is begun again because a worker died.
        notice: is told of every death, in one sentence.
    """

    config: LearnerConfig
    log_dir: Path
    max_restarts: int = 0
    notice: Callable[[str], None] = lambda said: None


def run_on_workers(
    train: Callable[[JobT, OnStep], ResultT | None], job: JobT, *, name: str, workers: Workers, on_step: OnStep
) -> ResultT:
    """Run ``train(job, on_step)`` on every worker and return what rank 0 returned.

    ``train`` is a module-level function; the workers are one process group, so that a ``transformers.Trainer`` in it
    trains data-parallel. ``job`` travels through the object store, once, whatever its size. Where a worker dies, all
    are started again and the training begins anew: it follows from ``job`` alone, and has written nothing. Ray Train's
    own ``max_failures`` would also repeat what ``train`` raises, which it would raise again.

    Args:
        train: called on every worker; its ``on_step`` does nothing except on rank 0.
        job: anything that can be pickled.
        name: of the stage, for messages and for the folder in ``log_dir``.
        workers: to train on.
        on_step: called in the calling thread.

    Raises:
        RunError: a worker failed, workers died too often, or the cluster has no place for them.
    """
    import ray
    import ray.train

    kept_job = ray.put(job)
    num_deaths = 0
    while True:
        try:
            result: ResultT = _train_once(train, kept_job, name=name, workers=workers, on_step=on_step)
            return result
        except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
            who, death = _death_in(error)
            if death is None:
                raise _failure(error, name=name, workers=workers) from error
            num_deaths += 1
            _count_death(f"{name}: {who} died: {reason_of(death)}", num_deaths, error, name=name, workers=workers)


def _train_once(
    train: Callable[[JobT, OnStep], ResultT | None], job: Any, *, name: str, workers: Workers, on_step: OnStep
) -> Any:
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    config = workers.config
    board = ray.remote(num_cpus=0)(StepBoard).remote()
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"train": train, "job": job, "board": board, "config": config},
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.num_gpus > 0,
            resources_per_worker=_resources(config),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(workers.log_dir.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},
        ),
    )
    try:
        return _fit(trainer, board, on_step)
    finally:
        ray.kill(board)


def trainer_settings(
    config: SftConfig | DpoConfig, learner: LearnerConfig, *, dtype: str, seed: int, log_dir: Path
) -> dict[str, Any]:
    """Settings that the TRL configurations of SFT and DPO share.

    On CPU a batch is worked through one sequence (or pair) at a time, with the gradients added up: the optimizer sees
    the same batch, nothing is padded, and the peak memory is that of one sequence.
    """
    on_cpu = learner.num_gpus == 0
    return {
        "output_dir": str(log_dir),
        "num_train_epochs": config.num_epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup_fraction,
        "per_device_train_batch_size": 1 if on_cpu else config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation * (config.batch_size if on_cpu else 1),
        "gradient_checkpointing": learner.gradient_checkpointing,
        "bf16": dtype == "bfloat16",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "ddp_find_unused_parameters": False,
        "seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": None,
        "trust_remote_code": False,
    }


def quiet_libraries() -> None:
    """Turn off progress bars of libraries on a worker, which would show on the driver's console."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def train_steps(trainer: Trainer, on_step: OnStep) -> list[Mapping[str, float]]:
    """Run a trainer to its end; returns the figures it logged, one mapping an optimizer step.

    Raises:
        RunError: a step's loss is not finite.
    """
    from transformers import PrinterCallback, TrainerCallback

    steps: list[Mapping[str, float]] = []

    class Steps(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs is None or "loss" not in logs:
                return
            figures = {key: float(value) for key, value in logs.items()}
            if not math.isfinite(figures["loss"]):
                raise RunError(
                    f"step {state.global_step}: the loss is {figures['loss']}, expected a finite number; lower "
                    "sft.learning_rate or dpo.learning_rate, whichever stage it is, or set model.dtype to float32, and "
                    "accept the change with --allow-changed KEY"
                )
            steps.append(figures)
            on_step(state.global_step, state.max_steps, figures)

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Steps())
    trainer.train()
    return steps


def _worker(loop: dict[str, Any]) -> Any:
    import ray
    import ray.train

    config: LearnerConfig = loop["config"]
    context = ray.train.get_context()
    if config.num_gpus == 0:
        import torch

        # Ray sets OMP_NUM_THREADS to the CPUs asked for, one by default, and leaves the machine's other cores idle.
        torch.set_num_threads(config.num_threads or _share_of_cores(context.get_local_world_size()))
    board = loop["board"]

    def on_step(step: int, num_steps: int, figures: Mapping[str, float]) -> None:
        if context.get_world_rank() == 0:
            board.post.remote(Step(step=step, num_steps=num_steps, figures=figures))

    return loop["train"](ray.get(loop["job"]), on_step)


def _share_of_cores(num_local_workers: int) -> int:
    return max(1, len(os.sched_getaffinity(0)) // num_local_workers)


def _fit(trainer: TorchTrainer, board: Any, on_step: OnStep) -> Any:

    outcome: Future[Any] = Future()

    def fit() -> None:
        try:
            outcome.set_result(trainer.fit().return_value)
        except BaseException as error:  # handed to the calling thread, whatever it is
            outcome.set_exception(error)

    # A daemon thread: an executor's thread would keep an interrupted driver alive until training ends.
    threading.Thread(target=fit, name="learner", daemon=True).start()
    finished = threading.Event()
    outcome.add_done_callback(lambda _: finished.set())
    while True:
        is_over = finished.wait(POLL_INTERVAL_S)
        for step in _posted(board):
            on_step(step.step, step.num_steps, step.figures)
        if is_over:
            return outcome.result()


def _posted(board: Any) -> list[Step]:
    """New steps; none where the board has died, which ends the progress that is shown and not the training."""
    import ray
    from ray.exceptions import RayError

    try:
        steps: list[Step] = ray.get(board.drain.remote())
    except RayError:
        return []
    return steps


def _resources(config: LearnerConfig) -> dict[str, float]:
    return {"CPU": config.num_cpus} | ({"GPU": config.num_gpus} if config.num_gpus else {})


def _death_in(error: Exception) -> tuple[str, BaseException | None]:
    """Who died, a worker or Ray Train's controller, and the error that says so; None where what failed still lives."""
    import ray.train

    if not isinstance(error, ray.train.WorkerGroupError):
        return "Ray Train's controller", error if is_death(error) else None
    for rank, failure in sorted(error.worker_failures.items()):
        death = getattr(failure, "health_check_failure", failure)
        if is_death(death):
            return f"worker {rank}", death
    return "", None


def _count_death(said: str, num_deaths: int, error: Exception, *, name: str, workers: Workers) -> None:
    """Tell of a death, or end with it where it is one too many.

    Raises:
        RunError: more than ``max_restarts``.
    """
    where = write_failure(error, name, log_dir=str(workers.log_dir))
    if num_deaths <= workers.max_restarts:
        workers.notice(
            f"{said}; the training begins anew (restart {num_deaths} of at most {workers.max_restarts}), from the "
            "same beginning"
        )
        return
    see = f" The whole of it is in {where}." if where else ""
    raise RunError(
        f"{said}. It was death number {num_deaths} in this training, more than resources.max_restarts "
        f"({workers.max_restarts}).{see} Often the machine is out of memory: lower the stage's batch_size, set "
        "resources.learner.gradient_checkpointing to true, or lower engine.kv_cache_gib"
    ) from error


def _failure(error: Exception, *, name: str, workers: Workers) -> RunError:
    import ray
    import ray.train

    config = workers.config
    where = write_failure(error, name, log_dir=str(workers.log_dir))
    see = f". The traceback is in {where}" if where else ""
    if isinstance(error, ray.train.WorkerGroupError):
        rank, failure = min(error.worker_failures.items())
        return RunError(f"{name}: worker {rank} failed: {_said(failure)}{see}")
    asked = f"{config.num_workers} x {_resources(config)}"
    return RunError(
        f"{name}: Ray Train could not start or keep the learner ({_said(error)}). It asked for {asked}; free now: "
        f"{_plain(ray.available_resources())} of {_plain(ray.cluster_resources())}. Change resources.learner, or wait "
        f"until other work on the cluster is done{see}"
    )


def _said(error: BaseException) -> str:
    """What a worker or Ray said, on one line: Ray has a worker's error itself, or its traceback, which it ends."""
    from ray.exceptions import RayError

    text = str(error)
    named = last_error(text)
    if named and named in text:
        said = " ".join(text[text.rindex(named) :].split())
    elif isinstance(error, RayError | AdvsimError) or not text.strip():
        said = named or reason_of(error)
    else:
        said = f"{type(error).__name__}: {' '.join(text.split())}"
    return said[:500].removeprefix("advsim.errors.RunError: ").rstrip(".")


def _plain(resources: Mapping[str, float]) -> dict[str, float]:
    return {key: resources.get(key, 0.0) for key in ("CPU", "GPU")}
