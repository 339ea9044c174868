"""The frame of the servers that tests start on 127.0.0.1: real HTTP; what is sent back is scripted."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Sends:
    """What the server sends back; ``endless`` sends it again and again, ``hangs_s`` waits before the first byte."""

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs_s: float = 0.0
    endless: bool = False
    pause_s: float = 0.001  # behind each part of an endless body
    drops: bool = False  # closes the connection without an answer


@dataclass(kw_only=True)
class Got:
    """A request as the server got it."""

    path: str
    headers: dict[str, str]
    body: dict
    at: float


class LoopbackServer(ThreadingHTTPServer):
    """Posts that arrive are decided one after the other; those that wait, wait together."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[Got], Sends], *, got: type[Got] = Got, path: str = "") -> None:
        self.answer, self.got = answer, got
        self.requests: list[Got] = []
        self.num_open = self.most_open = self.num_bytes = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that gave up has gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: LoopbackServer = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        got = server.got(path=self.path, headers=dict(self.headers), body=body, at=time.monotonic())
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
            server.num_bytes += self.wfile.write(text)
            time.sleep(sends.pause_s)

    def log_message(self, format, *args) -> None:
        pass


@contextmanager
def serving(server: LoopbackServer):
    """The server at work, until the block ends."""
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
