"""Chatbots behind two chat servers that have nothing in common, ``transformers serve`` and vLLM's, over real HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from advsim.chatbots.caller import CallerActor, CallerSpec
from advsim.chatbots.protocol import Utterance
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError
from advsim.records import Speaker, Turn

pytestmark = pytest.mark.slow

DIALOGUE = (
    Turn(speaker=Speaker.USER, text="hi"),
    Turn(speaker=Speaker.CHATBOT, text="Hello. What brings you here?"),
    Turn(speaker=Speaker.USER, text="My boss yelled at me today, I felt so small."),
)
START_S = 120.0


@pytest.fixture(scope="module")
def transformers_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of ``transformers serve`` with the tiny model."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason=f"transformers serve needs {package}")
    command = Path(sys.executable).with_name("transformers")
    assert command.exists() or shutil.which("transformers"), "transformers brings its command"
    with started([str(command), "serve", str(tiny_model), "--device", "cpu"], tmp_path_factory) as address:
        yield address


@pytest.fixture(scope="module")
def vllm_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of vLLM's OpenAI server with the tiny model, by its module: the CPU wheel's ``vllm serve`` fails."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model)]
    sizes = ["--max-model-len", "512", "--kv-cache-memory-bytes", "50000000", "--dtype", "float32", "--enforce-eager"]
    with started([*command, *sizes], tmp_path_factory) as address:
        yield address


@contextmanager
def started(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a chat server on a free port of this machine until the block ends; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
        )
    try:
        address = f"http://127.0.0.1:{port}"
        give_up_at = time.monotonic() + START_S
        while not is_up(address):
            assert process.poll() is None and time.monotonic() < give_up_at, log.read_text()[-2000:]
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            process.kill()


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=5.0).is_success
    except httpx.TransportError:
        return False


def bot(
    name: str, server: str, model: Path, body: dict[str, object], *, stream: bool = False, **more: object
) -> ChatbotConfig:
    endpoint = {"base_url": f"{server}/v1", "model": str(model), "extra_body": body, "stream": stream}
    calls = {"max_attempts": 1, "timeout_s": 60.0}
    return ChatbotConfig.model_validate(
        {"name": name, "kind": "endpoint", "endpoint": endpoint, "calls": calls, **more}
    )


def said_by(*chatbots: ChatbotConfig, turns: tuple[Turn, ...] = DIALOGUE) -> dict[str, Utterance | Exception]:
    """What each chatbot answers, or the error in its place; all are called at once."""

    async def ask() -> dict[str, Utterance | Exception]:
        actor = CallerActor(CallerSpec(chatbots=chatbots, folder="", num_callers=1))
        names = [chatbot.name for chatbot in chatbots]
        answers = await asyncio.gather(
            *(actor.reply(turns, 0, name, f"session-{name}") for name in names), return_exceptions=True
        )
        await actor.close()
        return dict(zip(names, answers, strict=True))

    return asyncio.run(ask())


@pytest.mark.parametrize("server", ["transformers_server", "vllm_server"])
def test_it_answers_with_text_tokens_and_where_it_was_cut(
    server: str, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    """The penalty keeps a random model from saying line feeds only, and shows that ``extra_body`` arrives."""
    address = request.getfixturevalue(server)
    body = {"frequency_penalty": 2.0, "max_tokens": 16, "temperature": 0.0}
    found = said_by(
        bot("cut", address, tiny_model, body),
        bot("same", address, tiny_model, body),
        bot("prompted", address, tiny_model, body, system_prompt="Be brief."),
        bot("streamed", address, tiny_model, body, stream=True),
    )
    assert all(isinstance(said, Utterance) for said in found.values()), found
    cut, same, prompted, streamed = (found[name] for name in ("cut", "same", "prompted", "streamed"))
    assert cut.text.strip() and not cut.finished and not streamed.finished
    assert cut.text == same.text
    assert streamed.text.strip() and cut.text.startswith(streamed.text)  # half a character at the end is not streamed
    assert cut.effort.num_output_tokens == streamed.effort.num_output_tokens == 16 and cut.effort.seconds > 0
    assert prompted.effort.num_prompt_tokens > cut.effort.num_prompt_tokens > 20  # all turns are sent


def test_what_transformers_refuses_is_a_failure_with_its_words_and_does_not_stop_the_others(
    transformers_server: str, tiny_model: Path
) -> None:
    server = transformers_server
    found = said_by(
        bot("odd key", server, tiny_model, {"no_such_key": 1}),
        bot("other model", server, tiny_model.parent, {}),
        bot("blank", server, tiny_model, {"max_tokens": 8}),
        bot("sound", server, tiny_model, {"frequency_penalty": 2.0, "max_tokens": 16}),
    )
    assert isinstance(found["odd key"], ChatbotError) and "HTTP 422" in str(found["odd key"]), found
    assert "no_such_key" in str(found["odd key"])
    assert isinstance(found["other model"], ChatbotError) and "pinned" in str(found["other model"]), found
    assert "raise endpoint.extra_body.max_tokens" in str(found["blank"])  # line feeds alone are no message
    assert isinstance(found["sound"], Utterance)


def test_what_vllm_refuses_is_a_failure_with_its_words_and_does_not_stop_the_others(
    vllm_server: str, tiny_model: Path
) -> None:
    sound = {"frequency_penalty": 2.0, "max_tokens": 16}
    found = said_by(
        bot("other model", vllm_server, tiny_model.parent, {}),
        bot("no tokens", vllm_server, tiny_model, {"max_tokens": -1}),
        bot("past the window", vllm_server, tiny_model, {"max_tokens": 5000}),
        bot("sound", vllm_server, tiny_model, sound),
    )
    assert isinstance(found["other model"], ChatbotError) and "HTTP 404" in str(found["other model"]), found
    assert isinstance(found["no tokens"], ChatbotError) and "at least 1, got -1" in str(found["no tokens"])
    assert isinstance(found["past the window"], ChatbotError) and "max_model_len=512" in str(found["past the window"])
    assert isinstance(found["sound"], Utterance)
