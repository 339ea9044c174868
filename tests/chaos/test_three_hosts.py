"""A cluster of three hosts: addresses, host names, shared memory and Ray processes of their own, in network namespaces.

A fourth host submits: a training whose engines stand on two hosts, the chatbot's on the third and the two learner
workers on different ones; a host is killed in the middle and another joins. Then a sweep with what was trained. Needs
root and Linux, and a quarter of an hour: `make chaos` runs it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from advsim import load_run
from advsim.sweep.outcomes import read_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("ADVSIM_CHAOS_HOSTS" not in os.environ, reason="takes a quarter of an hour: make chaos"),
]

BIN = Path(sys.executable).parent
SUBNET = "10.77.0"
MARK = "ADVSIM_TEST_HOST"
CPUS_A_HOST = 3
METRICS_PORT = 8090


def can_make_hosts() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"advsim-try{os.getpid()}"
    tried = (
        ["ip", "netns", "add", name],
        ["ip", "-n", name, "link", "add", "br0", "type", "bridge"],
        ["ip", "-n", name, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"],
        ["unshare", "--mount", "--uts", "sh", "-c", "mount -t tmpfs none /dev/shm && hostname advsim-try"],
    )
    made = [subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in tried]
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return all(made)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Hosts:
    """Hosts on one switch. Files are shared, as on a mounted store; memory, addresses and names are not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = f"adv{os.getpid()}"
        self.hosts_file = folder / "hosts"
        names = "".join(f"{SUBNET}.{number} {self.name(number)}\n" for number in range(1, 9))
        self.hosts_file.write_text(f"127.0.0.1 localhost\n{names}")
        (folder / "token").write_text(secrets.token_hex(32))
        self.switch = f"{self.tag}sw"
        self.there: list[int] = []

    def switch_on(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")

    def name(self, number: int) -> str:
        return f"{self.tag}h{number}"

    def address(self, number: int) -> str:
        return f"{SUBNET}.{number}"

    def add(self, number: int) -> None:
        name, port = self.name(number), f"{self.tag}p{number}"
        ip("netns", "add", name)
        ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", self.switch, "link", "set", port, "master", "br0", "up")
        ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "route", "add", "default", "via", f"{SUBNET}.254")
        self.there.append(number)

    def run(self, number: int, command: list[str], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run a command on a host."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {
            MARK: self.name(number),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        own = (
            f"mount -t tmpfs none /dev/shm && mkdir -p {self.ray_folder} && mount -t tmpfs none {self.ray_folder} && "
            f'mount --bind {self.hosts_file} /etc/hosts && hostname {self.name(number)} && exec "$@"'
        )
        entered = ["ip", "netns", "exec", self.name(number), "unshare", "--mount", "--uts", "sh", "-c", own, "sh"]
        output = self.folder / f"output-{time.monotonic_ns()}.txt"  # no pipe: what Ray starts would keep it open
        with output.open("w") as written:
            done = subprocess.run(
                [*entered, *command], env=environment, stdout=written, stderr=written, timeout=timeout_s, check=False
            )
        return subprocess.CompletedProcess(command, done.returncode, output.read_text(), "")

    @property
    def ray_folder(self) -> str:
        return f"/tmp/{self.tag}ray"

    def start_ray(self, number: int, *, head: int) -> None:
        command = [str(BIN / "ray"), "start", f"--node-ip-address={self.address(number)}", f"--num-cpus={CPUS_A_HOST}"]
        command += ["--object-store-memory=200000000", f"--metrics-export-port={METRICS_PORT}", "--disable-usage-stats"]
        if number == head:
            command += ["--head", "--port=6379", f"--dashboard-host={self.address(number)}", "--dashboard-port=8265"]
            command += ["--include-dashboard=true", f"--temp-dir={self.ray_folder}"]
        else:
            command += [f"--address={self.address(head)}:6379"]
        done = self.run(number, command, timeout_s=180)
        assert done.returncode == 0, done.stdout

    def metrics(self, number: int, *, asked_from: int) -> list[str]:
        """advsim's lines of a host's Prometheus metrics."""
        address = f"http://{self.address(number)}:{METRICS_PORT}/metrics"
        program = f"import urllib.request; print(urllib.request.urlopen('{address}', timeout=20).read().decode())"
        got = self.run(asked_from, [sys.executable, "-c", program], timeout_s=60)
        return [line for line in got.stdout.splitlines() if line.startswith("ray_advsim_work_seconds_count")]

    def processes(self, number: int | None = None) -> list[psutil.Process]:
        wanted = [self.name(number)] if number else [self.name(each) for each in self.there]
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) in wanted:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, number: int | None = None) -> None:
        """All processes of a host at once, as when its power fails."""
        for _ in range(3):
            for process in self.processes(number):
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.Error:
                    continue

    def remove(self) -> None:
        self.kill()
        for number in self.there:
            subprocess.run(["ip", "netns", "del", self.name(number)], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.switch], capture_output=True, check=False)
        shutil.rmtree(self.ray_folder, ignore_errors=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if not can_make_hosts():
        pytest.skip("network namespaces need root on Linux")
    made = Hosts(tmp_path)
    try:
        made.switch_on()
        for number in (1, 2, 3, 4):
            made.add(number)
        for number in (1, 2, 3):
            made.start_ray(number, head=1)
        yield made
    finally:
        made.remove()


def kinds_by_host(hosts: Hosts, *starts: str) -> dict[str, set[str]]:
    """On which hosts there are Ray actors of these classes."""
    there: dict[str, set[str]] = {start: set() for start in starts}
    for process in hosts.processes():
        try:
            line, host = " ".join(process.cmdline()), process.environ().get(MARK, "")
        except psutil.Error:
            continue
        for start in starts:
            if line.startswith(f"ray::{start}"):
                there[start].add(host)
    return there


def test_three_hosts_train_and_sweep_though_one_of_them_dies(hosts: Hosts, tiny_model: Path, tmp_path: Path) -> None:
    sampling = {"temperature": 1.0, "max_tokens": 12}
    config = tmp_path / "job.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "name": "job",
                "output_dir": str(tmp_path / "runs"),
                "model": {"path": str(tiny_model)},
                "lora": {"r": 8, "alpha": 16},
                "sft": {"max_steps": 3, "learning_rate": 1e-2},
                "engine": {"kv_cache_gib": 0.2},
                "rollout": {"num_conversations": 8, "max_user_turns": 2, "sampling": sampling},
                "chatbot": {"sampling": sampling},
                "discriminator": {"batch_size": 4},
                "preference": {"num_candidates": 3, "sampling": sampling},
                "dpo": {"learning_rate": 1e-2, "beta": 0.1, "max_steps": 2},
                "held_out": {"num_prefixes": 14, "num_bootstrap": 20, "num_folds": 2, "sampling": sampling},
                "stop": {"max_rounds": 2},
                "resources": {
                    "colocate": False,
                    "schedule_timeout_s": 120.0,
                    "simulator": {"num_replicas": 2, "num_cpus": 2},
                    "chatbot": {"num_cpus": 2},
                    "learner": {"num_workers": 2, "num_threads": 1},
                },
            }
        )
    )
    submit = [str(BIN / "advsim"), "submit", str(config), "--address", f"http://{hosts.address(1)}:8265"]
    seen: dict[str, set[str]] = {"SimulatorActor": set(), "ChatbotActor": set(), "RayTrainWorker": set()}
    killed: list[str] = []
    metrics: list[str] = []

    def watch() -> None:
        """Kill the third host once the first round is done, after another one has joined."""
        for kind, on in kinds_by_host(hosts, *seen).items():
            seen[kind] |= on
        if not metrics and (tmp_path / "runs" / "job" / "rounds" / "01" / "dpo.json").exists():
            metrics.extend(hosts.metrics(1, asked_from=4))
        if not killed and (tmp_path / "runs" / "job" / "rounds" / "01" / "metrics.json").exists():
            hosts.add(5)
            hosts.start_ray(5, head=1)
            hosts.kill(3)
            killed.append(hosts.name(3))

    done = follow(hosts, submit, watch)
    assert done.returncode == 0, done.stdout[-4000:]
    run = load_run(str(tmp_path / "runs" / "job"))
    assert len(run.rounds) == 2 and killed
    assert any('work="sft"' in line for line in metrics), metrics
    assert len(seen["SimulatorActor"]) >= 2, seen
    assert len(seen["RayTrainWorker"]) >= 2, seen
    assert hosts.name(3) in seen["SimulatorActor"] | seen["ChatbotActor"] | seen["RayTrainWorker"], seen
    assert len(seen["SimulatorActor"] | seen["ChatbotActor"]) >= 3, seen

    sweep = tmp_path / "sweep.yaml"
    (tmp_path / "people.jsonl").write_text(
        "".join(json.dumps({"id": f"p{i}", "profile": "somebody"}) + "\n" for i in range(4))
    )
    (tmp_path / "fixed.yaml").write_text("{kind: scripted, replies: ['You should run.']}")
    sweep.write_text(
        yaml.safe_dump(
            {
                "simulators": [{"name": "trained", "run": str(tmp_path / "runs" / "job")}],
                "chatbots": [str(tmp_path / "fixed.yaml")],
                "scenarios": str(tmp_path / "people.jsonl"),
                "num_conversations": 4,
                "max_user_turns": 2,
                "output": str(tmp_path / "swept"),
                "evaluate": {"detector": "rules"},
            }
        )
    )
    submit[2] = str(sweep)
    done = follow(hosts, submit, lambda: None)
    assert done.returncode == 0, done.stdout[-4000:]
    assert {name: len(rows) for name, rows in read_sweep(str(tmp_path / "swept")).sides["trained"].items()}["fixed"] > 0


def follow(hosts: Hosts, command: list[str], watch) -> subprocess.CompletedProcess[str]:
    """Run a command on the fourth host, and look at the cluster every second while it lasts."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(hosts.run, 4, command, timeout_s=1500)
        try:
            while not running.done():
                watch()
                time.sleep(1.0)
        except BaseException:
            hosts.kill()
            raise
        return running.result()
