"""``advsim serve``: the simulated person of a run, for other programs to talk to."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator

from advsim.commands.options import corpus_override
from advsim.commands.show import say
from advsim.config import Config, parse_config
from advsim.errors import ConfigError
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.run_folder.reader import Run, load_run
from advsim.runtime.progress import Reporter
from advsim.serve.answer import Served
from advsim.serve.chat import Defaults
from advsim.serve.deployment import check_serving, serving
from advsim.serve.front import FrontSettings
from advsim.serve.key import ServeKey, serve_key
from advsim.serve.plan import ServePlan, plan_serving

_CHECKED_EVERY_S = 5.0
_LOCAL = ("127.0.0.1", "localhost", "::1")


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    plan = _plan(options)
    key = serve_key(options.api_key_env)
    port = free_port(options.host, options.port)
    settings = FrontSettings(
        location=plan.location,
        name=plan.name,
        at=plan.at,
        scenarios=plan.scenarios,
        canary=plan.canary,
        defaults=Defaults(
            sampling=plan.config.rollout.sampling,
            roles=options.roles,
            system=options.system,
            end_text=options.end_text,
        ),
        key_sha256=key.sha256,
        timeout_s=plan.config.rollout.turn_timeout_s,
        config=plan.config,
        best_of=plan.best_of,
    )
    reporter = Reporter(file=sys.stderr)
    num = plan.config.resources.simulator.num_replicas
    reporter.message(f"starting {num} engine{'s' if num > 1 else ''} with {plan.config.model.path}; about a minute")
    with _logs() as log_dir:
        try:
            with serving(plan, settings, host=options.host, port=port, log_dir=log_dir) as served:
                tell_key(key, options.api_key_env)
                say(started(plan, served, host=options.host, port=port, variable=options.api_key_env))
                sys.stdout.flush()
                while True:
                    time.sleep(_CHECKED_EVERY_S)
                    check_serving()
        except KeyboardInterrupt:
            say("stopped", file=sys.stderr)
    return 0


def _plan(options: argparse.Namespace) -> ServePlan:
    run_read = load_run(options.run_folder)
    config = serve_config(run_read, [*options.overrides, *corpus_override(options)], replicas=options.replicas)
    corpus = corpus_of_run(run_read, config.corpus)
    return plan_serving(run_read, config, corpus, at=options.at, best_of=options.best_of)


def serve_config(run_read: Run, overrides: list[str], *, replicas: int | None) -> Config:
    """The run's configuration with what ``advsim serve`` was told.

    Args:
        run_read: the run.
        overrides: ``key=value`` each.
        replicas: engines; None: as the configuration says.

    Raises:
        ConfigError: a key or value is wrong.
    """
    told = [] if replicas is None else [f"resources.simulator.num_replicas={replicas}"]
    # What rounds need of a configuration does not bind a server.
    all_told = ["stop.max_rounds=0", *overrides, *told]
    return parse_config(run_read.config, all_told, where=f"configuration of {run_read.folder.location}")


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        ConfigError: the address is none of this machine, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return int(tried.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({error}); give another port, or 0 for a free one"
        ) from None


def tell_key(key: ServeKey, variable: str) -> None:
    """Show a key that was made here, once, on standard error alone."""
    if key.made:
        print(
            f"{variable} is not set, so a key was made for this server; it is shown only here:\n"
            f"  export {variable}={key.made}",
            file=sys.stderr,
            flush=True,
        )


def started(plan: ServePlan, served: Served, *, host: str, port: int, variable: str) -> str:
    """What a user has to know of a server that has started."""
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}/v1"
    body = (
        f'{{"model": "{plan.name}", "messages": [{{"role": "assistant", "content": "Hello, what brings you here?"}}]}}'
    )
    lines = [
        f"{plan.name} as {served.fingerprint} answers at {url} (model {plan.name!r})",
        f"  curl {url}/chat/completions -H 'Content-Type: application/json' \\",
        f'    -H "Authorization: Bearer ${variable}" \\',
        f"    -d {shlex.quote(body)}",
        f"  {len(plan.scenarios)} scenarios: {url}/scenarios; another round: POST {url}/adapter; Ctrl-C stops",
    ]
    if host not in _LOCAL:
        lines.append("  other machines can reach it, in plain HTTP: put a proxy with TLS in front of it")
    return "\n".join(lines)


@contextlib.contextmanager
def _logs() -> Iterator[str]:
    """A folder for the engines' output, kept where an error says to look there."""
    path = tempfile.mkdtemp(prefix="advsim-serve-")
    yield path
    shutil.rmtree(path, ignore_errors=True)
