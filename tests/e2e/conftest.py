"""A served person for outside harnesses, and the environments that these are installed in.

Harnesses do not stand in advsim's own environment, whose pins they would move: ``sh tests/e2e/install.sh`` makes one
for each. A harness that is not there is skipped with that reason.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from served_run import scripted_plan, write_served_run

from advsim.commands.cluster.serve import free_port
from advsim.serve.chat import Defaults
from advsim.serve.deployment import serving
from advsim.serve.front import FrontSettings
from advsim.serve.key import key_sha256

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("ADVSIM_HARNESSES", ROOT / ".harnesses"))
KEY = "end-to-end-key-9"
LINES = ("cant sleep lately", "its my boss", "hm i dont know", "ok thanks, bye [END]")
QUIET = {
    "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "SCENARIO_HEADLESS": "true",
    "INSPECT_DISPLAY": "none",
}
"""No word to the outside, no browser, no bars."""


@dataclass
class ServedPerson:
    base_url: str
    scenario: str


@pytest.fixture(scope="session")
def served_person(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPerson]:
    """A person who says four lines in an order of chance, and leaves with the last; needs one harness at least."""
    if not any(FOLDER.glob("*/bin/python")):
        pytest.skip(f"no harness is installed in {FOLDER}: sh tests/e2e/install.sh")
    folder = tmp_path_factory.mktemp("served")
    plan = scripted_plan(write_served_run(folder / "run", tiny_model), *LINES)
    settings = FrontSettings(
        location=plan.location,
        name=plan.name,
        at=plan.at,
        scenarios=plan.scenarios,
        canary=plan.canary,
        defaults=Defaults(sampling=plan.config.rollout.sampling),
        key_sha256=key_sha256(KEY),
        timeout_s=60,
        config=plan.config,
    )
    port = free_port("127.0.0.1", 0)
    with serving(plan, settings, host="127.0.0.1", port=port, log_dir=str(folder / "logs")):
        yield ServedPerson(base_url=f"http://127.0.0.1:{port}/v1", scenario=next(iter(plan.scenarios)))


@pytest.fixture
def dialogues(served_person: ServedPerson, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs an example of a harness in its own environment and returns the dialogues that it printed."""

    def run(harness: str, program: str, *arguments: str) -> list[dict[str, Any]]:
        python = environment_of(harness)
        keys = dict.fromkeys(("ADVSIM_SERVE_KEY", "ADVSIM_API_KEY"), KEY)
        told = {"ADVSIM_BASE_URL": served_person.base_url, "HOME": str(tmp_path), **keys, **QUIET}
        done = subprocess.run(
            [python, str(ROOT / "examples" / "harnesses" / program), *arguments],
            env={**os.environ, **told},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"left"')]

    return run


def environment_of(harness: str) -> str:
    """Python of a harness's environment; without one the test is skipped."""
    python = FOLDER / harness / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{harness} is not installed in {FOLDER}: sh tests/e2e/install.sh {harness}")
    return str(python)
