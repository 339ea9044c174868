"""The simulated person on a real Ray Serve: two scripted engines in this process's Ray; the command with a real engine.

Asked by OpenAI's own client, on 127.0.0.1.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from served_run import add_adapter, add_trained_adapter, scripted_plan, write_served_run

from advsim.commands.cluster.serve import free_port
from advsim.run_folder.reader import Run
from advsim.serve.chat import Defaults
from advsim.serve.deployment import serving
from advsim.serve.front import FrontSettings
from advsim.serve.key import key_sha256

pytestmark = pytest.mark.slow

KEY = "integration-key-7"
GREETING = {"role": "assistant", "content": "Hello, what brings you here?"}


@dataclass
class Address:
    url: str
    run: Run
    key: str = KEY

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=120)

    def post(self, path: str, values: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.post(f"{self.url}/{path}", json=values, headers=headers, timeout=120)

    def say(self, **keys: Any) -> Any:
        return self.client.chat.completions.create(model="made-up", messages=[GREETING], **keys)


@pytest.fixture(scope="module")
def scripted(local_ray: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Two engines that say lines of a script."""
    folder = tmp_path_factory.mktemp("runs")
    run = write_served_run(folder / "run", tiny_model, resources={"simulator": {"num_replicas": 2}})
    plan = scripted_plan(run, "cant sleep lately", "its my boss", "ok thanks, bye [END]")
    settings = FrontSettings(
        location=plan.location,
        name=plan.name,
        at="sft",
        scenarios=plan.scenarios,
        canary=plan.canary,
        defaults=Defaults(sampling=plan.config.rollout.sampling),
        key_sha256=key_sha256(KEY),
        timeout_s=60,
        config=plan.config,
    )
    port = free_port("127.0.0.1", 0)
    with serving(plan, settings, host="127.0.0.1", port=port, log_dir=str(folder / "logs")) as served:
        assert served.name == "sft"
        yield Address(f"http://127.0.0.1:{port}/v1", run)


def test_openais_client_holds_a_dialogue_until_the_person_leaves(scripted: Address) -> None:
    messages: list[Any] = [GREETING]
    for _ in range(60):  # a new seed each time
        said = scripted.client.chat.completions.create(model="made-up", messages=messages)
        marks = said.model_extra["advsim"]
        assert marks["simulator"] == "sft" and marks["adapter_sha256"] == scripted.run.adapter(0).sha256
        messages += [{"role": "user", "content": said.choices[0].message.content}, GREETING]
        if marks["ended"]:
            break
    assert marks["ended"] and messages[-2]["content"] == "ok thanks, bye"


def test_openais_client_reads_the_stream(scripted: Address) -> None:
    whole = scripted.say(seed=4).choices[0].message.content
    chunks = list(scripted.say(seed=4, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage.total_tokens > 0


def test_openais_client_gets_errors_of_its_own_types(scripted: Address) -> None:
    client = scripted.client

    def send(messages: list[Any]) -> None:
        client.chat.completions.create(model="made-up", messages=messages)

    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong-key").models.list()
    for kind, code, ask in [
        (openai.NotFoundError, "unknown_scenario", lambda: scripted.say(extra_body={"advsim": {"scenario": "nobody"}})),
        (openai.BadRequestError, "unsupported_parameter", lambda: scripted.say(n=2)),
        (openai.BadRequestError, "wrong_roles", lambda: send([{"role": "user", "content": "hi"}])),
        (openai.APIStatusError, "body_too_large", lambda: send([{"role": "assistant", "content": "x" * 2**21}])),
    ]:
        with pytest.raises(kind) as refused:
            ask()
        assert refused.value.code == code


def test_adapter_is_swapped_under_load_and_no_message_is_lost(scripted: Address) -> None:
    add_adapter(scripted.run.folder, 2)
    done = threading.Event()

    def keep_asking(number: int) -> list[Any]:
        answers = []
        client = scripted.client
        for turn in range(1_000):
            if done.is_set():
                break
            said = client.chat.completions.create(model="made-up", messages=[GREETING], seed=number + 100 * turn)
            answers.append(said.model_extra["advsim"])
        return answers

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(keep_asking, number) for number in range(8)]
        try:
            for at in ("newest", "round_1", "round_2"):
                time.sleep(0.7)
                assert scripted.post("adapter", {"at": at}).status_code == 200
            time.sleep(0.7)
        finally:
            done.set()
        answers = [answer for each in asked for answer in each.result()]
    counts = Counter((answer["simulator"], answer["adapter_sha256"]) for answer in answers)
    simulators = enumerate(("sft", "round_1", "round_2"))
    assert {*counts} == {(name, scripted.run.adapter(version).sha256) for version, name in simulators}
    assert scripted.say().model_extra["advsim"]["simulator"] == "round_2"


def test_both_engines_are_counted_and_asked(scripted: Address) -> None:
    health = httpx.get(scripted.url.removesuffix("/v1") + "/health").json()
    assert (health["status"], health["num_engines"]) == ("ok", 2)


def test_engine_that_dies_is_started_again_with_what_is_served_and_no_message_is_lost(scripted: Address) -> None:
    scripted.post("adapter", {"at": "round_1"})
    engines = [one for one in psutil.process_iter(["cmdline"]) if is_engine(one)]
    mine = [one for one in engines if psutil.Process().pid in {parent.pid for parent in one.parents()}]
    assert len(mine) == 2
    mine[0].kill()
    said = [scripted.say(seed=seed).model_extra["advsim"]["simulator"] for seed in range(20)]
    assert {*said} == {"round_1"}


def is_engine(process: psutil.Process) -> bool:
    return any("ServeReplica" in part and "EngineReplica" in part for part in process.info["cmdline"] or ())


Command = tuple[Address, subprocess.Popen[str], Path]


@pytest.fixture(scope="module")
def command(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command with a real engine and adapters of real weights, in a process of its own."""
    folder = tmp_path_factory.mktemp("command")
    run = write_served_run(
        folder / "run",
        tiny_model,
        num_rounds=0,
        lora={"r": 8, "alpha": 16},
        engine={"max_num_seqs": 8, "kv_cache_gib": 0.25},
        rollout={"sampling": {"max_tokens": 24}},
    )
    for version in (0, 1):
        add_trained_adapter(run.folder, version, tiny_model)
    port = free_port("127.0.0.1", 0)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "ADVSIM_SERVE"))}
    output = folder / "output.txt"
    with output.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "advsim.cli", "serve", str(run.folder.path), "--port", str(port), "--at", "sft"],
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "answers at" in output.read_text() or process.poll() is not None, 300)
        key = re.search(r"export ADVSIM_SERVE_KEY=(\S+)", output.read_text())
        assert key, output.read_text()
        yield Address(f"http://127.0.0.1:{port}/v1", run, key[1]), process, output
    finally:
        process.kill()


def wait_for(is_so: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.5)


def test_command_serves_a_real_engine_honours_seeds_and_swaps_under_load(
    command: Command,
) -> None:
    address, _, _ = command
    first = address.say(seed=11).choices[0].message.content
    assert address.say(seed=11).choices[0].message.content == first
    assert len({address.say(seed=seed).choices[0].message.content for seed in range(4)}) > 1

    def ask(number: int) -> Any:
        greeting = {"role": "assistant", "content": f"Hello, number {number}. " + "Go on. " * (number % 40)}
        said = address.client.chat.completions.create(model="made-up", messages=[greeting], seed=number)
        return said.model_extra["advsim"]["adapter_sha256"]

    with ThreadPoolExecutor(24) as threads:
        asked = [threads.submit(ask, number) for number in range(64)]
        wait_for(lambda: sum(each.done() for each in asked) > 4, 60)
        assert address.post("adapter", {"at": "round_1"}).status_code == 200
        spoken = Counter(each.result() for each in asked)
    assert {*spoken} == {address.run.adapter(0).sha256, address.run.adapter(1).sha256}
    assert address.say(seed=11).choices[0].message.content != first


def test_command_listens_to_this_machine_alone_writes_its_key_nowhere_and_stops_on_ctrl_c(
    command: Command,
) -> None:
    """Last: it ends the command."""
    address, process, output = command
    inside = psutil.Process(process.pid)
    family = {one.pid for one in [inside, *inside.children(recursive=True)]}
    sockets = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.pid in family]
    assert {one.laddr.ip.removeprefix("::ffff:") for one in sockets} <= {"127.0.0.1", "::1"}
    written = [path for path in Path("/tmp/ray").glob("session_*/logs/**/*") if is_recent_log(path)]
    assert [path for path in written if address.key in path.read_text(errors="replace")] == []
    assert output.read_text().count(address.key) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(180) == 0
    assert output.read_text().rstrip().endswith("stopped")
    assert not [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def is_recent_log(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and time.time() - path.stat().st_mtime < 900
