"""Chatbots behind an endpoint that sends its answer in parts."""

from __future__ import annotations

import asyncio
import json

import pytest
from chatbot_server import Sends, completion, serve_chatbot

from advsim.chatbots.caller import called_chatbot
from advsim.chatbots.protocol import Utterance
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError
from advsim.records import Speaker, Turn

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}
END = "[DONE]"


def chunk(*, finish: str | None = None, index: int = 0, **delta: object) -> str:
    return json.dumps({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]})


def events(*data: str, line: str = "\n") -> str:
    return "".join(f"data: {one}{line}{line}" for one in data)


def asked(answer: Sends, **keys: object) -> tuple[Utterance | ChatbotError, list]:
    """What a chatbot that answers so is taken to say, and what it was sent."""

    async def ask(url: str) -> Utterance | ChatbotError:
        endpoint = {"base_url": f"{url}/v1", "model": "m", "stream": True, **keys}
        calls = {"timeout_s": 2.0, "max_attempts": 1, "max_answer_bytes": 100_000}
        config = ChatbotConfig.model_validate({"kind": "endpoint", "endpoint": endpoint, "calls": calls})
        chatbot = called_chatbot(config, folder="")
        try:
            return await chatbot.reply((Turn(speaker=Speaker.USER, text="hi"),), seed=0, session="s")
        except ChatbotError as error:
            return error
        finally:
            await chatbot.close()

    with serve_chatbot(lambda got: answer) as server:
        return asyncio.run(ask(server.url)), server.requests


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_the_parts_of_an_answer_are_put_together(line: str) -> None:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3}})
    body = events(
        chunk(role="assistant", content=""),
        chunk(content="I hear"),
        chunk(content=" you, 你好"),
        chunk(content="another choice", index=1),
        chunk(finish="stop"),
        usage,
        END,
        line=line,
    )
    said, (got,) = asked(Sends(body=f": keep-alive{line}{line}event: message{line}{body}", headers=STREAM))
    assert isinstance(said, Utterance), said
    assert (said.text, said.finished) == ("I hear you, 你好", True)
    assert (said.num_prompt_tokens, said.num_output_tokens) == (11, 3)
    assert got.body["stream"] is True and got.body["stream_options"] == {"include_usage": True}
    assert got.headers["Accept"] == "text/event-stream"


def test_where_it_was_cut_is_known_and_counts_may_be_missing() -> None:
    said, _ = asked(Sends(body=events(chunk(content="I hear"), chunk(finish="length")), headers=STREAM))
    assert isinstance(said, Utterance) and said.text == "I hear" and not said.finished
    assert said.effort is not None and said.effort.num_output_tokens is None


@pytest.mark.parametrize("kind", ["Text/Event-Stream", "text/plain", ""])
def test_a_stream_is_known_by_what_it_is(kind: str) -> None:
    body = events(chunk(content="I hear"), chunk(content=[{"type": "text", "text": " you"}]), chunk(finish="stop"))
    said, _ = asked(Sends(body=body, headers={"Content-Type": kind}))
    assert isinstance(said, Utterance) and said.text == "I hear you", said


@pytest.mark.parametrize(
    ("sends", "reason"),
    [
        (Sends(status=401, body='{"error": {"message": "who are you"}}', headers=STREAM), "HTTP 401: who are you"),
        (Sends(status=429, body=events('{"error": {"message": "too many"}}'), headers=STREAM), "HTTP 429: too many"),
        (Sends(status=500, headers=STREAM), "HTTP 500"),
    ],
)
def test_a_refusal_keeps_its_status_whatever_it_is_sent_as(sends: Sends, reason: str) -> None:
    said, _ = asked(sends)
    assert isinstance(said, ChatbotError) and reason in str(said), said


def test_an_endpoint_that_answers_in_one_is_read_all_the_same() -> None:
    said, _ = asked(Sends(body=completion("I hear you")))
    assert isinstance(said, Utterance) and said.text == "I hear you"


def test_the_file_decides_about_the_streams_options() -> None:
    answer = Sends(body=events(chunk(content="hm"), END), headers=STREAM)
    _, (got,) = asked(answer, extra_body={"stream_options": {"include_usage": False}})
    assert got.body["stream_options"] == {"include_usage": False}
    _, (got,) = asked(answer, extra_body={"stream_options": None})
    assert "stream_options" not in got.body and got.body["stream"] is True
    with pytest.raises(ValueError, match=r"stream in extra_body, .* which each request has of its own"):
        asked(answer, extra_body={"stream": True})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (events(chunk(content="I hear")), "the stream broke off before its end"),
        (events(chunk(content="I hear", finish="")), "the stream broke off before its end"),
        ("", "the stream broke off before its end"),
        (events("half of a {"), "no chunk of a chat completion: half of a {"),
        (events("[1, 2]"), "no chunk of a chat completion"),
        (events(chunk(content="I"), json.dumps({"error": {"message": "out of memory", "code": 500}})), "out of memory"),
        (events(chunk(reasoning_content="The user says hi"), chunk(finish="length"), END), "thoughts and no answer"),
        (events(chunk(tool_calls=[{"index": 0}]), chunk(finish="tool_calls"), END), "a call of tools"),
        (events(json.dumps({"choices": [None, {"delta": None}, 3]}), json.dumps({"choices": 1}), END), "empty message"),
    ],
)
def test_a_stream_without_an_answer_is_a_failure_with_its_reason(body: str, reason: str) -> None:
    said, _ = asked(Sends(body=body, headers=STREAM))
    assert isinstance(said, ChatbotError) and reason in str(said), said


@pytest.mark.parametrize(
    "data",
    [
        (chunk(refusal="I "), chunk(refusal="cannot"), chunk(finish="stop")),
        (json.dumps({"choices": [{"message": {"content": "I cannot"}, "finish_reason": "stop"}]}),),
        (chunk(content="I"), json.dumps({"choices": [{"message": {"content": "I cannot"}, "finish_reason": "stop"}]})),
    ],
)
def test_refusals_in_parts_and_messages_that_are_sent_as_a_whole_are_read(data: tuple[str, ...]) -> None:
    said, _ = asked(Sends(body=f": wait\n\n{events(*data, END)}", headers={"Content-Type": ""}))
    assert isinstance(said, Utterance) and said.text == "I cannot", said


@pytest.mark.parametrize(
    ("sends", "reason"),
    [
        (
            Sends(body=events(chunk(content="on and on" * 100)), headers=STREAM, endless=True),
            "longer than 100,000 bytes",
        ),
        (Sends(body=": wait\n\n", headers=STREAM, endless=True, pause_s=0.05), "no answer within 2 s"),
    ],
)
def test_a_stream_without_an_end_is_given_up(sends: Sends, reason: str) -> None:
    said, _ = asked(sends)
    assert isinstance(said, ChatbotError) and reason in str(said), said
