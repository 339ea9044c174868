"""The Ray that advsim starts on one machine: whom it lets in, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import os, subprocess, sys, time
import psutil
from advsim.runtime.local_ray import stop_ray
from advsim.runtime.placement import join_ray

def start():
    join_ray(num_cpus=1, object_store_mib=100)
    return os.environ["RAY_AUTH_TOKEN"]

token = start()
import ray

@ray.remote
class Holder:
    def child(self):
        return os.getpid(), subprocess.Popen(["sleep", "300"]).pid

def refused():
    from advsim.errors import ConfigError
    from advsim.prompts.rendering import ChatTemplate, check_limits
    try:
        check_limits(ChatTemplate(source="{{ 'a' * 3000000000 }}"))
    except ConfigError:
        return "refused"

holder = Holder.remote()
pid, child = ray.get(holder.child.remote())
here = psutil.Process()
mine = {one.pid for one in [here, *here.children(recursive=True)]}
sockets = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.pid in mine]
listening = {one.laddr.ip.removeprefix("::ffff:") for one in sockets}
print("> listening", sorted(listening))

address = ray.get_runtime_context().gcs_address
strangers = {key: value for key, value in os.environ.items() if "AUTH" not in key} | {"HOME": sys.argv[1]}

def gets_in(environment):
    program = f"import ray; ray.init(address={address!r}); print('inside')"
    try:
        joined = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=40
        )
    except subprocess.TimeoutExpired:
        return False
    return "inside" in joined.stdout

print("> with token", gets_in(os.environ), "without", gets_in(strangers))

os.kill(pid, 9)
for _ in range(100):
    if not psutil.pid_exists(child):
        break
    time.sleep(0.1)
print("> child", psutil.pid_exists(child))
print("> template here", refused())
print("> template", ray.get(ray.remote(refused).remote()))
stop_ray()
print("> kept", [name for name in os.environ if name.startswith("RAY_AUTH")], os.environ.get("RAY_AUTH_MODE"))
print("> new token", start() != token, ray.get(ray.remote(lambda: 7).remote()))
stop_ray()
print("> token", token)
"""


def test_nobody_else_gets_into_a_ray_of_this_machine_and_it_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "stranger")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    *said, token = [line.removeprefix("> ") for line in done.stdout.splitlines() if line.startswith("> ")]
    assert said == [
        "listening ['127.0.0.1']",
        "with token True without False",
        "child False",
        "template here refused",
        "template refused",
        "kept ['RAY_AUTH_MODE'] disabled",
        "new token True 7",
    ]
    secret = token.removeprefix("token ").encode()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
