"""A chatbot behind HTTP on this machine, for endpoint.yaml and json_api.yaml; in place of it, run your own.

    python examples/chatbots/server.py

It answers at two addresses: ``/v1/chat/completions`` as OpenAI-compatible servers do, and ``/chat`` with a JSON of its
own, ``{"session": ..., "text": ...}`` to ``{"answer": {"text": ...}}``.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8010


class Handler(BaseHTTPRequestHandler):
    """Answers both addresses."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one message."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/chat/completions":
            message = {"role": "assistant", "content": said_to(asked["messages"][-1]["content"])}
            answer = {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 9},
            }
        else:
            answer = {"answer": {"text": said_to(asked["text"])}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


def said_to(message: str) -> str:
    """What this chatbot says."""
    return "That sounds hard. What would help you most right now?" if "?" not in message else "What do you think?"


def main() -> None:
    """Serve until Ctrl-C."""
    print(f"a chatbot listens on 127.0.0.1:{PORT}")
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
