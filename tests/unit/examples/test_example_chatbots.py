"""The example chatbots answer: those that are code, and those behind the example server."""

from __future__ import annotations

import importlib.util
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from advsim.chatbots.load import load_chatbots
from advsim.chatbots.trial import try_chatbot

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "examples" / "chatbots"


@pytest.fixture
def address():
    spec = importlib.util.spec_from_file_location("example_server", FOLDER / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = ThreadingHTTPServer(("127.0.0.1", 0), module.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("function", "You say: Hi, I had a hard day"),
        ("session", "I am listening."),
        ("endpoint", "That sounds hard."),
        ("json_api", "That sounds hard."),
    ],
)
def test_an_example_chatbot_answers(name: str, says: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overrides = {
        "endpoint": [f"endpoint.base_url=http://{address}/v1"],
        "json_api": [f"http.url=http://{address}/chat"],
    }
    (chatbot,) = load_chatbots(FOLDER / f"{name}.yaml", overrides=overrides.get(name, []))
    assert try_chatbot(chatbot).reply.startswith(says)
