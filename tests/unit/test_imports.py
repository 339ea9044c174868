"""What a light command must not load."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "vllm", "transformers", "sklearn", "datasets", "peft", "trl")


@pytest.mark.parametrize(
    "module", ["advsim.records", "advsim.config.load", "advsim.prompts.frames", "advsim.models.base", "advsim.cli"]
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not there")
    script = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


@pytest.mark.parametrize("module", ["advsim.commands.check", "advsim.rollout.delivery", "advsim.serve.plan"])
def test_what_checks_before_a_start_loads_no_model(module: str) -> None:
    script = (
        f"import sys, {module}; print(*(name for name in ('torch', 'transformers', 'vllm') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
