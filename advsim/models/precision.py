"""Precision of the base model in training, where the configuration leaves it open: what this machine computes faster.

Some CPUs multiply bfloat16 in hardware (avx512_bf16, AMX) and are then several times as fast as in float32; others
emulate it and are half as fast. Neither flag nor name of a CPU says how fast its library is, so it is tried.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]

_MIN_GAIN = 1.5
"""Times as fast as float32: between the half of emulation and the four times of hardware, so that a disturbed probe
does not decide otherwise the next time."""
_NUM_TRIALS = 5


def training_precision(dtype: Literal["auto", "float32", "bfloat16"], *, on_gpu: bool) -> Precision:
    """Precision in which a frozen base model computes in training on this machine; adapters are float32 in any case.

    Args:
        dtype: ``model.dtype``.
        on_gpu: auto is bfloat16 there.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if on_gpu or bfloat16_is_faster() else "float32"


@cache
def bfloat16_is_faster() -> bool:
    """Whether torch multiplies matrices of bfloat16 on this CPU at least 1.5 times as fast as of float32.

    Tried once a process, in some 10 ms, with the shapes of a small model's layers.
    """
    import torch

    left, right = torch.ones(512, 576), torch.ones(576, 1536)
    seconds = _seconds(left, right)
    return seconds > _MIN_GAIN * _seconds(left.bfloat16(), right.bfloat16())


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """Of one product: the least of a few, which other work on the machine disturbs least."""
    left @ right  # the first call prepares the library
    trials = []
    for _ in range(_NUM_TRIALS):
        started = time.perf_counter()
        left @ right
        trials.append(time.perf_counter() - started)
    return min(trials)
