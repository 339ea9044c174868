"""A real `ray job submit` against a head that was started with token authentication on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from advsim.run_folder.reader import load_run
from advsim.sweep.outcomes import read_sweep

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path):
    """Address of a head of its own, and the environment that holds its token."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "RAY_TMPDIR": "/tmp",
        "PATH": f"{BIN}:{environment['PATH']}",
    }
    token = subprocess.run(
        [str(BIN / "python"), "-c", "import secrets; print(secrets.token_hex(32))"], capture_output=True, text=True
    ).stdout.strip()
    (tmp_path / "token").write_text(token)
    port, dashboard, agent = free_port(), free_port(), free_port()
    command = ["start", "--head", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=4"]
    command += [
        f"--dashboard-agent-listen-port={agent}",
        "--object-store-memory=200000000",
        "--include-dashboard=true",
        "--disable-usage-stats",
    ]
    started = subprocess.run(
        [str(BIN / "ray"), *command, f"--temp-dir=/tmp/advsim-ray-{port}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == 0, started.stdout + started.stderr
    yield f"http://127.0.0.1:{dashboard}", environment
    subprocess.run(["pkill", "-f", f"advsim-ray-{port}"], check=False)


def submit(config: Path, address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "advsim"), "submit", str(config), "--address", address]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=420)


def test_job_trains_on_an_authenticated_cluster_and_is_refused_without_token(head, tiny_model, tmp_path):
    address, environment = head
    sampling = {"max_tokens": 12}
    config = tmp_path / "job.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "name": "job",
                "output_dir": str(tmp_path / "runs"),
                "model": {"path": str(tiny_model)},
                "sft": {"max_steps": 1},
                "rollout": {"sampling": sampling},
                "chatbot": {"sampling": sampling},
                "preference": {"sampling": sampling},
                "held_out": {"num_prefixes": 6, "num_bootstrap": 20, "num_folds": 2, "sampling": sampling},
                "stop": {"max_rounds": 0},
            }
        )
    )
    without_token = {key: value for key, value in environment.items() if not key.startswith("RAY_AUTH")}
    without_token["HOME"] = str(tmp_path)
    refused = submit(config, address, without_token)
    assert refused.returncode == 2
    assert "token" in refused.stderr
    assert not (tmp_path / "runs").exists()

    done = submit(config, address, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report:" in done.stdout
    run = load_run(str(tmp_path / "runs" / "job"))
    assert run.baseline["sft"]["held_out"]["surface"]["num_prefixes"] == 6
    assert run.adapter(0).sha256
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if token.encode() in path.read_bytes()]


def test_a_sweep_travels_with_its_chatbots_and_scenarios(head, tiny_model, tmp_path, monkeypatch):
    address, environment = head
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("bot.py").write_text("def reply(turns):\n    return 'Tell me more.'\n")
    Path("bot.yaml").write_text("{kind: python, function: 'bot.py:reply'}")
    Path("fixed.yaml").write_text("{kind: scripted, replies: ['You should run.']}")
    Path("people.jsonl").write_text("".join(f'{{"id": "p{i}", "profile": "somebody"}}\n' for i in range(5)))
    Path("sweep.yaml").write_text(
        yaml.safe_dump(
            {
                "simulators": [{"name": "lines", "lines": ["i am sad", "idk"]}],
                "chatbots": ["bot.yaml", "fixed.yaml"],
                "scenarios": "people.jsonl",
                "baseline": "bot",
                "num_conversations": 5,
                "max_user_turns": 2,
                "output": str(tmp_path / "swept"),
                "evaluate": {"detector": "rules"},
                "run_overrides": [f"model.path={tiny_model}"],
            }
        )
    )
    done = submit(Path("sweep.yaml"), address, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all figures" in done.stdout
    finished = read_sweep(str(tmp_path / "swept"))
    assert {name: len(rows) for name, rows in finished.sides["lines"].items()} == {"bot": 10, "fixed": 10}
