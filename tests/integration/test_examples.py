"""The examples as a reader would run them, on the tiny model: real engines, Ray, SFT, one round and a sweep."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TINY = ["sft.max_steps=2", "held_out.num_prefixes=14", "held_out.num_bootstrap=20", "dpo.max_steps=1", "lora.r=8"]


def run_example(name: str, *arguments: str, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    finished = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder in which the first example ran, and what it printed."""
    folder = tmp_path_factory.mktemp("example")
    overrides = [part for value in (f"model.path={tiny_model}", *TINY) for part in ("-o", value)]
    return folder, run_example("train_on_your_logs.py", *overrides, folder=folder)


def test_train_on_your_logs_prints_realism_of_every_adapter_and_the_failure_rate(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    for adapter in ("zero_shot", "sft", "round_1"):
        for family in ("surface", "context"):
            assert re.search(rf"^  {adapter} +{family} +[01]\.\d\d", printed, re.MULTILINE), printed
    assert re.search(r"^  real +\d+% of \d+", printed, re.MULTILINE)
    assert re.search(r"^  SFT +\d+% of \d+", printed, re.MULTILINE)
    assert (folder / "runs" / "example" / "report" / "evaluation.html").is_file()


def test_compare_two_chatbots_prints_both_rates_of_both_and_the_verdict(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    arguments = ["--run", "runs/example", "--num-conversations", "4", "--num-prefixes", "6"]
    printed = run_example("compare_two_chatbots.py", *arguments, folder=folder)
    for chatbot in ("lecture", "person_centred"):
        for users in ("simulated users", "real users"):
            assert re.search(rf"^  {chatbot} +{users} +\d+\.\d%", printed, re.MULTILINE), printed
    verdict = "Can the simulated users be trusted? Not enough evidence: two configurations always lie on a line"
    assert verdict in printed


def test_three_bots_prints_the_rates_of_a_model_an_endpoint_and_a_function(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    arguments = ["--run", "runs/example", "--num-conversations", "3", "--num-prefixes", "3"]
    printed = run_example("three_bots.py", *arguments, folder=folder)
    for chatbot in ("assistant", "endpoint", "function"):
        for users in ("simulated users", "real messages"):
            assert re.search(rf"^  {chatbot} +{users} +(\d+\.\d%|nothing)", printed, re.MULTILINE), printed
    assert "Can the simulated users be trusted? Not enough evidence" in printed
    assert (folder / "runs" / "example" / "three_bots" / "sweep.json").is_file()
