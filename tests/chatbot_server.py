"""Chatbots behind real HTTP on 127.0.0.1: well-behaved ones, and every way to misbehave that was thought of."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Sends:
    """What the server sends back; ``endless`` sends it again and again, ``hangs_s`` waits before the first byte."""

    body: str | bytes = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs_s: float = 0.0
    endless: bool = False
    drops: bool = False  # closes the connection without an answer


@dataclass(kw_only=True)
class Got:
    path: str
    headers: dict[str, str]
    body: dict
    at: float


class ChatbotServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[Got], Sends]) -> None:
        self.answer = answer
        self.requests: list[Got] = []
        self.num_open = self.most_open = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that gave up has gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: ChatbotServer = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        got = Got(path=self.path, headers=dict(self.headers), body=body, at=time.monotonic())
        with server.lock:
            server.requests.append(got)
            server.num_open += 1
            server.most_open = max(server.most_open, server.num_open)
            sends = server.answer(got)
        time.sleep(sends.hangs_s)
        with server.lock:
            server.num_open -= 1
        if sends.drops:
            self.close_connection = True
            return
        text = sends.body if isinstance(sends.body, bytes) else sends.body.encode()
        self.send_response(sends.status)
        for name, value in {"Content-Type": "application/json", **sends.headers}.items():
            self.send_header(name, value)
        if not sends.endless:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        while sends.endless:
            self.wfile.write(text)
            time.sleep(0.001)

    def log_message(self, format, *args) -> None:
        pass


@contextmanager
def serve_chatbot(answer: Callable[[Got], Sends]):
    server = ChatbotServer(answer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str, *, finish_reason: str = "stop", usage: bool = True) -> str:
    """Body of a chat completion."""
    said = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason},
        ]
    }
    return json.dumps({**said, "usage": {"prompt_tokens": 11, "completion_tokens": 3}} if usage else said)


PAGE = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"

MISBEHAVIOURS: dict[str, tuple[Sends, str]] = {
    "hangs": (Sends(hangs_s=3.0), "no answer within"),
    "html": (Sends(body=PAGE, headers={"Content-Type": "text/html"}), "502 Bad Gateway"),
    "html_as_json": (Sends(body=PAGE), "502 Bad Gateway"),
    "html_502": (Sends(body=PAGE, status=502), "HTTP 502"),
    "nothing": (Sends(), "it is empty"),
    "drops": (Sends(drops=True), "no connection to"),
    "endless": (Sends(body=b"a" * 1000, endless=True), "longer than 200,000 bytes"),
    "endless_slowly": (Sends(body=b" ", endless=True), "no answer within"),
    "garbage": (Sends(body=b"\x00\xff\xfe{{{"), "in the answer|no JSON"),
    "unauthorised": (Sends(status=401, body='{"error": {"message": "who are you"}}'), "who are you"),
    "redirect": (Sends(status=302, headers={"Location": "http://elsewhere.example/"}), "redirect to http://elsewhere"),
    "deep": (Sends(body="[" * 100_000), "in the answer|no JSON"),
}
