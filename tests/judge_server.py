"""A chat-completions server on 127.0.0.1 whose answers a test scripts, and judges that ask it. Real HTTP, no model."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from loopback_server import Got, LoopbackServer, Sends, serving

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


class Request(Got):
    """A request to judge a message."""

    @property
    def authorization(self) -> str:
        return next((value for name, value in self.headers.items() if name.lower() == "authorization"), "")

    @property
    def judged(self) -> dict:
        """The message to judge, read from between its fences."""
        (line,) = re.findall(r"<message>\n(.*)\n</message>", self.body["messages"][1]["content"])
        return json.loads(line)

    @property
    def schema_modes(self) -> list[str]:
        schema = self.body["response_format"]["json_schema"]["schema"]
        return schema["properties"]["unsure"]["items"]["enum"]


def serve(answer: Callable[[Request], Answer]):
    """A judge's endpoint at work, until the block ends."""

    def sends(request: Request) -> Sends:
        given = answer(request)
        return Sends(
            body=given.raw if given.raw is not None else _completion(given, request),
            status=given.status,
            headers=given.headers,
            hangs_s=given.delay_s,
            endless=given.endless,
            pause_s=0.0,
        )

    return serving(LoopbackServer(sends, got=Request, path="/v1"))


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


def judge_config(server: LoopbackServer, **changes: object) -> JudgeConfig:
    fast: dict[str, object] = {
        "backoff_s": 0.001,
        "max_backoff_s": 0.02,
        "timeout_s": 5.0,
        "max_attempts": 3,
        "model": "m",
    }
    return JudgeConfig(base_url=server.url, **{**fast, **changes})


def judge_with(server: LoopbackServer, **changes: object) -> Judge:
    return build_judge(judge_config(server, **changes), TAXONOMY)
