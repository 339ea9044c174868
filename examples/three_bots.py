"""Three kinds of chatbot in one sweep: which of them fails more often with simulated users?

    python examples/three_bots.py
    python examples/three_bots.py --run runs/mine --scenarios examples/personas.yaml --num-conversations 20

A model on advsim's own engines, the same model behind an OpenAI-compatible endpoint (``transformers serve``, started
here), and a Python function meet the simulated users of a finished run, and answer real people's messages. In place of
the last two, put your own: see docs/your_chatbot.md.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

import advsim
from advsim.config import load_section, parse_config
from advsim.config.rollout import ChatbotConfig
from advsim.models.base import resolve_model

ROOT = Path(__file__).resolve().parents[1]
PORT = 18_011
"""Of the endpoint. It is part of what the chatbot is: with another port another sweep would begin."""
START_S = 180.0


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description="Let three kinds of chatbot meet simulated users.")
    parser.add_argument("--run", default="runs/quickstart", help="folder of a finished run")
    parser.add_argument("--num-conversations", type=int, default=10, help="of each chatbot")
    parser.add_argument("--num-prefixes", type=int, default=16, help="real messages that each chatbot answers")
    parser.add_argument("--scenarios", help="file of scenarios or personas; default: dialogues that the run held out")
    options = parser.parse_args()
    run = advsim.load_run(options.run)
    config = parse_config(run.config)
    num_rounds = len(run.rounds)
    of_file = f"_{Path(options.scenarios).stem}" if options.scenarios else ""
    output = f"{options.run}/three_bots{of_file}"
    with tempfile.TemporaryDirectory(prefix="advsim-bots-") as scratch, served(resolve_model(config.model)) as model:
        results = advsim.run_sweep(
            {
                "run": options.run,
                "simulators": [f"round_{num_rounds}" if num_rounds else "sft"],  # the newest
                "chatbots": chatbot_files(Path(scratch), model),
                "baseline": "assistant",
                "scenarios": options.scenarios,
                "num_conversations": options.num_conversations,
                "num_prefixes": options.num_prefixes,
                "output": output,
            }
        )
    print_answer(results[0])
    print(f"\npage: {output}/report/index.html")


def chatbot_files(folder: Path, model: str) -> list[str]:
    """The three chatbots; the endpoint speaks with the prompt and the sampling of the first."""
    first = load_section(ChatbotConfig, ROOT / "configs" / "chatbots" / "assistant.yaml")
    endpoint = {
        "name": "endpoint",
        "kind": "endpoint",
        "system_prompt": first.system_prompt,
        "examples": [example.model_dump() for example in first.examples or ()],
        "endpoint": {
            "base_url": f"http://127.0.0.1:{PORT}/v1",
            "model": model,
            "extra_body": {
                "temperature": first.sampling.temperature,
                "top_p": first.sampling.top_p,
                "max_tokens": first.sampling.max_tokens,
            },
        },
        "calls": {"max_concurrency": 1, "timeout_s": 300.0},  # this server answers one at a time
    }
    function = {"name": "function", "kind": "python", "function": f"{ROOT}/examples/chatbots/my_bot.py:reply"}
    files = [str(ROOT / "configs" / "chatbots" / "assistant.yaml")]
    for chatbot in (endpoint, function):
        file = folder / f"{chatbot['name']}.yaml"
        file.write_text(yaml.safe_dump(chatbot))
        files.append(str(file))
    return files


@contextlib.contextmanager
def served(model: Path) -> Iterator[str]:
    """Serve a model at ``PORT`` of this machine; gives the name that it has there."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            raise SystemExit(f"something answers at port {PORT} of this machine already; end it first")
    command = Path(sys.executable).with_name("transformers")
    program = str(command) if command.exists() else shutil.which("transformers") or "transformers"
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(PORT), "--device", "cpu"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        try:
            give_up_at = time.monotonic() + START_S
            while not is_up():
                if server.poll() is not None or time.monotonic() > give_up_at:
                    log.seek(0)
                    said = log.read().decode(errors="replace")[-2000:]
                    raise SystemExit(f"transformers serve did not start:\n{said}")
                time.sleep(0.5)
            yield str(model)
        finally:
            server.terminate()
            server.wait(timeout=30)


def is_up() -> bool:
    """Whether the server answers."""
    try:
        return httpx.get(f"http://127.0.0.1:{PORT}/health", timeout=5.0).is_success
    except httpx.TransportError:
        return False


def print_answer(result) -> None:
    """Rates of the three, their differences, and how far to trust them."""
    print("\nMessages in which the detector finds a failure, with 95 % intervals:")
    for chatbot in result.by_chatbot.chatbots:
        for users, rates in (("simulated users", chatbot.simulated), ("real messages", chatbot.real)):
            if rate := rates.get("any"):
                print(f"  {chatbot.chatbot:10} {users:16} {shown(rate.estimate, rate.low, rate.high)}")
    print("\nAgainst assistant, with simulated users:")
    for test in result.by_chatbot.tests:
        less = test.simulated[0]
        if less.difference is not None:
            way = "fails more often" if less.difference > 0 else "fails less often"
            is_clear = less.p_adjusted is not None and less.p_adjusted < 0.05
            verdict = way if is_clear else "is not told apart"
            points = shown(less.difference, less.low, less.high)
            print(f"  {test.pair.a:10} {verdict}: {points}, p = {less.p_adjusted:.3f}")
    if result.validity is not None:
        print(f"\nCan the simulated users be trusted? {result.validity.sentence}")


def shown(share: float | None, low: float | None, high: float | None) -> str:
    """A share in percent with its bounds, where there are any."""
    if share is None:
        return "nothing could be judged"
    bounds = "too few dialogues" if low is None or high is None else f"{low:.1%} to {high:.1%}"
    return f"{share:.1%} ({bounds})"


if __name__ == "__main__":
    main()
