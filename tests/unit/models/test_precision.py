"""Which precision a worker takes."""

from __future__ import annotations

import pytest
import torch

from advsim.models import precision


@pytest.fixture(autouse=True)
def fresh_probe():
    precision.bfloat16_is_faster.cache_clear()
    yield
    precision.bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(("times_as_fast", "expected"), [(4.0, "bfloat16"), (1.4, "float32"), (0.5, "float32")])
def test_auto_takes_what_is_clearly_faster(monkeypatch: pytest.MonkeyPatch, times_as_fast: float, expected: str):
    def seconds(left: torch.Tensor, right: torch.Tensor) -> float:
        assert left.dtype == right.dtype
        return 1.0 if left.dtype == torch.float32 else 1.0 / times_as_fast

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert precision.training_precision("auto", on_gpu=False) == expected
    assert precision.training_precision("float32", on_gpu=False) == "float32"


def test_a_gpu_and_a_named_precision_are_not_probed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "_seconds", lambda *_: pytest.fail("probed"))
    assert precision.training_precision("auto", on_gpu=True) == "bfloat16"
    assert precision.training_precision("bfloat16", on_gpu=False) == "bfloat16"


def test_the_probe_takes_milliseconds_and_says_the_same_again():
    first = precision.bfloat16_is_faster()
    precision.bfloat16_is_faster.cache_clear()
    assert precision.bfloat16_is_faster() == first
