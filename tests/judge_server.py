"""A chat-completions server on 127.0.0.1 whose answers a test scripts, and judges that ask it. Real HTTP, no model."""

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from advsim.config import JudgeConfig
from advsim.detectors.judge.judge import Judge, build_judge
from advsim.detectors.taxonomy import load_taxonomy
from advsim.records import Dialogue, Speaker, Split, Turn

TAXONOMY = load_taxonomy()

WHOLE_MESSAGE = "(the message judged)"
"""As a span: whatever the message is that the request is about."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server sends back. ``raw`` replaces the whole body, ``message`` the keys of the model's message.

    An ``endless`` answer is its body again and again, as long as the client reads.
    """

    content: object = ""
    status: int = 200
    raw: str | bytes | None = None
    message: dict[str, object] = field(default_factory=dict)
    finish_reason: str = "stop"
    endless: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    usage: bool = True


@dataclass(kw_only=True)
class Request:
    """A request as the server got it."""

    body: dict
    authorization: str
    headers: dict[str, str]

    @property
    def judged(self) -> dict:
        """The message to judge, read from between its fences."""
        (line,) = re.findall(r"<message>\n(.*)\n</message>", self.body["messages"][1]["content"])
        return json.loads(line)

    @property
    def schema_modes(self) -> list[str]:
        schema = self.body["response_format"]["json_schema"]["schema"]
        return schema["properties"]["unsure"]["items"]["enum"]


class JudgeServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.num_open = self.most_open = self.num_bytes = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that timed out has gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: JudgeServer = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(body=body, authorization=self.headers["Authorization"] or "", headers=dict(self.headers))
        with server.lock:
            server.requests.append(request)
            server.num_open += 1
            server.most_open = max(server.most_open, server.num_open)
            answer = server.answer(request)
        time.sleep(answer.delay_s)
        with server.lock:
            server.num_open -= 1
        raw = answer.raw if answer.raw is not None else self._completion(answer, request)
        text = raw if isinstance(raw, bytes) else raw.encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if not answer.endless:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        while answer.endless:
            server.num_bytes += self.wfile.write(text)

    @staticmethod
    def _completion(answer: Answer, request: Request) -> str:
        if answer.status != 200:
            return json.dumps({"error": {"message": answer.content, "type": "error", "code": None}})
        content = answer.content if isinstance(answer.content, str | None) else json.dumps(answer.content)
        message = {"role": "assistant", "content": content, **answer.message}
        completion = {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        }
        usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
        sent = json.dumps({**completion, "usage": usage} if answer.usage else completion)
        if WHOLE_MESSAGE in sent:  # a string in the JSON that is a string in this one
            sent = sent.replace(WHOLE_MESSAGE, json.dumps(json.dumps(request.judged["text"])[1:-1])[1:-1])
        return sent

    def log_message(self, format, *args) -> None:
        pass


@contextmanager
def serve(answer: Callable[[Request], Answer]):
    server = JudgeServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def verdict(*failures: dict, unsure: tuple[str, ...] = ()) -> dict:
    """Content of a readable answer."""
    return {"analysis": "Short.", "failures": list(failures), "unsure": list(unsure)}


def failure(
    mode: str = "sycophancy", *, severity: object = 2, span: str = WHOLE_MESSAGE, confidence: object = 0.8
) -> dict:
    return {"mode": mode, "severity": severity, "span": span, "confidence": confidence}


def dialogue(id: str = "d0", *replies: str, user: str = "I failed again.") -> Dialogue:
    turns: list[Turn] = []
    for reply in replies or ("You are right about everything.",):
        turns += [Turn(speaker=Speaker.USER, text=user), Turn(speaker=Speaker.CHATBOT, text=reply)]
    return Dialogue(id=id, source="t", split=Split.TEST, turns=tuple(turns))


def judge_config(server: JudgeServer, **changes: object) -> JudgeConfig:
    fast: dict[str, object] = {
        "backoff_s": 0.001,
        "max_backoff_s": 0.02,
        "timeout_s": 5.0,
        "max_attempts": 3,
        "model": "m",
    }
    return JudgeConfig(base_url=server.url, **{**fast, **changes})


def judge_with(server: JudgeServer, **changes: object) -> Judge:
    return build_judge(judge_config(server, **changes), TAXONOMY)
