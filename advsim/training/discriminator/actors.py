"""Actor of the discriminator: ``ray.remote(DiscriminatorActor)`` runs it in a process of its own.

A trained discriminator travels as the names and contents of its files, so that nodes need no shared file system.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from advsim.config import DiscriminatorConfig, ModelConfig
from advsim.models.base import resolve_model
from advsim.models.embedder import FloatArray
from advsim.models.gpu_memory import lower_if_full
from advsim.models.precision import training_precision
from advsim.records import ScoredTurn
from advsim.rollout.choice.spec import PromptShape
from advsim.rollout.choice.turn_reader import TurnReader, TurnTexts
from advsim.training.discriminator.inputs import ScoringRequest, UserView
from advsim.training.discriminator.model import Discriminator
from advsim.training.metrics import DiscriminatorMetrics


class DiscriminatorActor:
    """Holds one discriminator: trains it, loads it, scores with it."""

    def __init__(
        self, model: ModelConfig, config: DiscriminatorConfig, use_gpu: bool = False, num_threads: int | None = None
    ) -> None:
        """Find the base model and set the process's torch threads; nothing is loaded yet.

        Args:
            model: the base model; ``dtype`` auto is what the machine computes faster.
            config: hyperparameters.
            use_gpu: compute on the GPU that Ray assigned to this actor.
            num_threads: torch threads; None is all cores of the node. (Ray alone would leave one.)
        """
        torch.set_num_threads(num_threads or os.cpu_count() or 1)
        self._base = resolve_model(model, key="discriminator.model.path")
        self._config = config
        self._device = "cuda" if use_gpu else "cpu"
        self._dtype = training_precision(model.dtype, on_gpu=use_gpu)
        self._discriminator: Discriminator | None = None
        self._reader: TurnReader | None = None

    def ping(self) -> bool:
        """True once the actor runs."""
        return True

    @lower_if_full("discriminator", "discriminator.micro_batch_tokens", "discriminator.max_tokens")
    def train(
        self, real: Sequence[UserView], simulated: Sequence[UserView], seed: int
    ) -> tuple[DiscriminatorMetrics, dict[str, bytes]]:
        """Train a fresh discriminator and keep it; returns metrics and files. See :meth:`Discriminator.train`."""
        with tempfile.TemporaryDirectory(prefix="advsim-discriminator-") as scratch:
            folder = Path(scratch) / "discriminator"
            self._discriminator, metrics = Discriminator.train(
                base=self._base,
                real=real,
                simulated=simulated,
                config=self._config,
                dtype=self._dtype,
                device=self._device,
                seed=seed,
                output_dir=folder,
            )
            return metrics, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def load(self, files: Mapping[str, bytes]) -> None:
        """Replace the discriminator by one that :meth:`train` gave."""
        with tempfile.TemporaryDirectory(prefix="advsim-discriminator-") as scratch:
            folder = Path(scratch)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            self._discriminator = Discriminator.load(
                folder, base=self._base, config=self._config, dtype=self._dtype, device=self._device
            )

    def release(self) -> None:
        """Drop the discriminator until the next :meth:`load` or :meth:`train`, and give its memory back to the machine.

        A process keeps what it has freed for its own later use; on a small machine the learner needs it.
        """
        self._discriminator = self._reader = None
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()
        if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)

    @lower_if_full("reading turns", "discriminator.scoring_batch_size")
    def read(self, turns: Sequence[TurnTexts], prompt: PromptShape) -> list[tuple[TurnTexts, FloatArray]]:
        """The turns with the features of their texts, each of shape (texts, features); see :class:`TurnReader`."""
        if self._reader is None:
            self._reader = TurnReader(
                base=self._base,
                prompt=prompt,
                dtype=self._dtype,
                device=self._device,
                max_texts=self._config.scoring_batch_size,
            )
        return [(turn, self._reader.read(turn)) for turn in turns]

    @lower_if_full("scoring", "discriminator.scoring_batch_size", "discriminator.max_tokens")
    def score(self, views: Sequence[UserView]) -> list[list[ScoredTurn]]:
        """See :meth:`Discriminator.score`."""
        return self._ready().score(views)

    @lower_if_full("scoring", "discriminator.scoring_batch_size", "discriminator.max_tokens")
    def score_candidates(self, request: ScoringRequest) -> tuple[ScoringRequest, list[float]]:
        """The request and the probability of each of its texts; see :meth:`Discriminator.score_candidates`."""
        return request, self._ready().score_candidates(request)

    def _ready(self) -> Discriminator:
        if self._discriminator is None:
            raise RuntimeError("the actor holds no discriminator; call train or load first")
        return self._discriminator
