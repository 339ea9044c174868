"""Chatbots behind real HTTP on 127.0.0.1: well-behaved ones, and every way to misbehave that was thought of."""

import json
from collections.abc import Callable

from loopback_server import Got, LoopbackServer, Sends, serving


def serve_chatbot(answer: Callable[[Got], Sends]):
    """A chatbot at work, until the block ends."""
    return serving(LoopbackServer(answer))


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
