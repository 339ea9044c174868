"""Answers that are kept of a chatbot: only equal requests get them, and each shows that there was no call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from chatbot_server import Sends, completion, serve_chatbot

from advsim.chatbots import called
from advsim.chatbots.called import CalledChatbot, request_sha256
from advsim.chatbots.caller import called_chatbot
from advsim.chatbots.protocol import Utterance
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError, ConfigError
from advsim.records import Effort, Speaker, Turn


def user(text: str) -> Turn:
    return Turn(speaker=Speaker.USER, text=text)


def bot(text: str) -> Turn:
    return Turn(speaker=Speaker.CHATBOT, text=text)


def endpoint(url: str, *, cache: bool = True) -> CalledChatbot:
    config = ChatbotConfig.model_validate(
        {
            "kind": "endpoint",
            "endpoint": {"base_url": f"{url}/v1", "model": "m"},
            "calls": {"cache": cache, "max_attempts": 1},
        }
    )
    return called_chatbot(config, folder="")


def replies(chatbot: CalledChatbot, *asked: tuple[Turn, ...]) -> list[Utterance | ChatbotError]:
    async def ask() -> list[Utterance | ChatbotError]:
        said: list[Utterance | ChatbotError] = []
        for number, turns in enumerate(asked):
            try:
                said.append(await chatbot.reply(turns, seed=number, session=f"s{number}"))
            except ChatbotError as error:
                said.append(error)
        await chatbot.close()
        return said

    return asyncio.run(ask())


def test_an_equal_request_gets_the_answer_that_it_got_and_no_call_no_time_no_tokens() -> None:
    with serve_chatbot(
        lambda got: Sends(body=completion(f"{len(got.body['messages'])} turns", finish_reason="length"))
    ) as server:
        short, again, longer, other = replies(
            endpoint(server.url),
            (user("hi"),),
            (user("hi"),),
            (user("hi"), bot("hello"), user("hi")),
            (user("hi!"),),
        )
    assert len(server.requests) == 3
    assert isinstance(short, Utterance) and isinstance(again, Utterance)
    assert again.text == short.text == "1 turns" and not again.finished
    assert again.effort == Effort(seconds=0.0, num_prompt_tokens=0, num_output_tokens=0) and again.effort.is_from_cache
    assert all(said.effort and not said.effort.is_from_cache for said in (short, longer, other))


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("x"))) as server:
        replies(endpoint(server.url, cache=False), (user("hi"),), (user("hi"),))
    assert len(server.requests) == 2


def test_a_failure_is_not_kept() -> None:
    with serve_chatbot(lambda got: Sends(status=500)) as server:
        replies(endpoint(server.url), (user("hi"),), (user("hi"),))
    assert len(server.requests) == 2


def test_the_number_of_answers_is_bounded_and_the_one_that_was_not_wanted_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(called, "MAX_CACHED", 2)
    with serve_chatbot(lambda got: Sends(body=completion("x"))) as server:
        replies(endpoint(server.url), *((user(text),) for text in ("a", "b", "a", "c", "a", "b")))
    assert [got.body["messages"][0]["content"] for got in server.requests] == ["a", "b", "c", "b"]


def test_requests_differ_by_settings_speakers_and_where_one_turn_ends() -> None:
    turns = (user("a"), bot("b"), user("c"))
    others = [(bot("a"), user("b"), user("c")), (user("a"), bot("bc"), user("")), turns[:2]]
    hashes = {request_sha256("s", turns), request_sha256("t", turns), *(request_sha256("s", other) for other in others)}
    assert len(hashes) == 5 and request_sha256("s", turns) == request_sha256("s", list(turns))


def test_answers_of_a_class_are_not_kept_as_it_keeps_the_dialogue(tmp_path: Path) -> None:
    code = "class Bot:\n    def reply(self, message):\n        return 'x'\n\ndef reply(messages):\n    return 'x'\n"
    (tmp_path / "cached_bots.py").write_text(code)
    for name, is_kept in (("reply", True), ("Bot", False)):
        values = {"kind": "python", "function": f"cached_bots.py:{name}", "calls": {"cache": True}}
        config = ChatbotConfig.model_validate(values)
        if is_kept:
            called_chatbot(config, folder=str(tmp_path))
        else:
            with pytest.raises(ConfigError, match="keeps the dialogue itself"):
                called_chatbot(config, folder=str(tmp_path))
