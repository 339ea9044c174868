"""What each pool asks of the cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advsim.config.base import Cpus, Flag, Gpus, Mib, Replicas, Seconds, Section


class PoolConfig(Section):
    """One pool of Ray actors."""

    num_replicas: Replicas = 1
    num_cpus: Cpus = 1.0
    """Logical CPUs each replica reserves."""
    num_gpus: Gpus = 0.0
    """GPUs of each replica; an engine with more than one splits its model over them (tensor parallel)."""


class LearnerConfig(Section):
    """Workers of the Ray Train learner (SFT and DPO)."""

    num_workers: Replicas = 1
    num_cpus: Cpus = 1.0
    num_gpus: Gpus = 0.0
    num_threads: Annotated[int, Field(ge=1, le=4_096, strict=True)] | None = None
    """Threads of a worker without GPU; None shares all cores of the node between the workers on it. Not derived from
    ``num_cpus``: on a small machine the learner reserves little, but may use all while the engines wait for it."""
    gradient_checkpointing: Flag = False
    """Compute activations again in the backward pass: less memory, about a third more time. For larger models."""


class ResourcesConfig(Section):
    """What each pool asks of the cluster. One placement group a pool."""

    colocate: Flag = True
    """Simulator (adapter) and chatbot (base model) share each engine; for small machines. Needs the same base model."""
    simulator: PoolConfig = PoolConfig()
    chatbot: PoolConfig = PoolConfig()
    scorer: PoolConfig = PoolConfig()
    learner: LearnerConfig = LearnerConfig()
    schedule_timeout_s: Seconds = 30.0
    """A pool that has no place by then is named, with what it asked for and what the cluster has."""
    max_restarts: Annotated[int, Field(ge=0, le=1_000, strict=True)] = 2
    """How often processes of a pool that died (killed, out of memory, a step that took too long) are started again
    within one piece of work, such as a rollout or a push; what they had in hand is repeated, and a training from its
    beginning. 0: the first death ends the run."""
    object_store_mib: Mib = 256
    """Size of the object store of a local Ray; ignored where advsim joins a running cluster."""
