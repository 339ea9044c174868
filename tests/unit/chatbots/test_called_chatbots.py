"""Chatbots that are called: what they are sent, what their failures are, and that they never stop the rest."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from chatbot_server import MISBEHAVIOURS, Sends, completion, serve_chatbot
from loopback_server import LoopbackServer

from advsim.chatbots.called import CalledChatbot
from advsim.chatbots.caller import called_chatbot
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError, ConfigError
from advsim.prompts.window import ContextOverflowError
from advsim.records import Speaker, Turn

FAST = {"timeout_s": 2.0, "max_attempts": 1, "backoff_s": 0.001, "max_backoff_s": 0.01, "max_answer_bytes": 200_000}


def user(text: str) -> Turn:
    return Turn(speaker=Speaker.USER, text=text)


def bot(text: str) -> Turn:
    return Turn(speaker=Speaker.CHATBOT, text=text)


DIALOGUE = (user("hi"), bot("hello"), user("i feel low"))


def endpoint(
    server: LoopbackServer, *, calls: dict | None = None, keys: dict | None = None, **more: object
) -> CalledChatbot:
    config = ChatbotConfig.model_validate(
        {
            "kind": "endpoint",
            "endpoint": {"base_url": f"{server.url}/v1", "model": "m", **(keys or {})},
            "calls": {**FAST, **(calls or {})},
            **more,
        }
    )
    return called_chatbot(config, folder="")


def http(server: LoopbackServer, *, calls: dict | None = None, **keys: object) -> CalledChatbot:
    config = ChatbotConfig.model_validate(
        {"kind": "http", "http": {"url": f"{server.url}/chat", **keys}, "calls": {**FAST, **(calls or {})}}
    )
    return called_chatbot(config, folder="")


def python(folder: Path, code: str, *, name: str = "reply", calls: dict | None = None) -> CalledChatbot:
    (folder / "my_bots.py").write_text(code, encoding="utf-8")
    config = ChatbotConfig.model_validate(
        {"kind": "python", "function": f"my_bots.py:{name}", "calls": {**FAST, **(calls or {})}}
    )
    return called_chatbot(config, folder=str(folder))


def replies(chatbot: CalledChatbot, *asked: tuple[Turn, ...], session: str = "s") -> list[object]:
    """Replies, or the errors in their place, one after the other."""

    async def ask() -> list[object]:
        said: list[object] = []
        for turns in asked:
            try:
                said.append(await chatbot.reply(turns, seed=0, session=session))
            except (ChatbotError, ContextOverflowError) as error:
                said.append(error)
        await chatbot.close()
        return said

    return asyncio.run(ask())


def text_of(chatbot: CalledChatbot, turns: tuple[Turn, ...] = DIALOGUE) -> str:
    (said,) = replies(chatbot, turns)
    assert not isinstance(said, Exception), said
    return said.text


def failure_of(chatbot: CalledChatbot, turns: tuple[Turn, ...] = DIALOGUE) -> str:
    (said,) = replies(chatbot, turns)
    assert isinstance(said, ChatbotError), said
    return str(said)


# --- an OpenAI-compatible endpoint ------------------------------------------------------------------------------------


def test_an_endpoint_is_sent_all_turns_and_no_prompt_that_nobody_wrote() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("there"))) as server:
        (said,) = replies(endpoint(server, keys={"extra_body": {"temperature": 0.2}}), DIALOGUE)
    (got,) = server.requests
    assert got.path == "/v1/chat/completions"
    assert got.body == {
        "model": "m",
        "temperature": 0.2,
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "i feel low"},
        ],
    }
    assert (said.text, said.finished) == ("there", True)
    assert (said.num_prompt_tokens, said.num_output_tokens) == (11, 3)
    assert 0 < said.effort.seconds < 2.0


def test_the_query_of_an_address_is_sent_behind_the_path() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("there"))) as server:
        keys = {"base_url": f"{server.url}/d/?api-version=2024-02-01"}
        text_of(endpoint(server, keys=keys, calls={"timeout_s": 5.0}))
    assert server.requests[0].path == "/d/chat/completions?api-version=2024-02-01"


def test_an_endpoint_gets_the_system_prompt_and_examples_that_were_written_for_it() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("there"))) as server:
        text_of(endpoint(server, system_prompt="Be kind.", examples=[{"user": "a", "chatbot": "b"}]))
    assert [message["content"] for message in server.requests[0].body["messages"]][:4] == ["Be kind.", "a", "b", "hi"]


def test_an_endpoint_with_sessions_is_sent_the_new_message_alone_and_one_id_a_conversation() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("there"))) as server:
        chatbot = endpoint(server, keys={"session_field": "conversation"})
        replies(chatbot, DIALOGUE[:1], DIALOGUE, session="c-1")
    sent = [(got.body["conversation"], [m["content"] for m in got.body["messages"]]) for got in server.requests]
    assert sent == [("c-1", ["hi"]), ("c-1", ["i feel low"])]


def test_a_chatbot_with_sessions_is_told_the_users_turns_of_a_real_prefix_first() -> None:
    with serve_chatbot(lambda got: Sends(body=completion(got.body["messages"][0]["content"].upper()))) as server:
        assert text_of(endpoint(server, keys={"session_field": "c"})) == "I FEEL LOW"
    assert [got.body["messages"][0]["content"] for got in server.requests] == ["hi", "i feel low"]


def test_a_message_that_a_chatbot_with_sessions_may_have_heard_is_not_sent_twice() -> None:
    with serve_chatbot(lambda got: Sends(drops=True)) as server:
        failure_of(endpoint(server, calls={"max_attempts": 3}, keys={"session_field": "c"}), DIALOGUE[:1])
        assert len(server.requests) == 1
        failure_of(endpoint(server, calls={"max_attempts": 3}), DIALOGUE[:1])
        assert len(server.requests) == 1 + 3
        server.answer = lambda got: Sends(status=429, body="{}")
        failure_of(endpoint(server, calls={"max_attempts": 3}, keys={"session_field": "c"}), DIALOGUE[:1])
        assert len(server.requests) == 1 + 3 + 3


def test_a_refused_key_is_a_failure_and_no_other_chatbot_is_asked_in_its_place() -> None:
    refusal = Sends(status=400, body='{"error": {"message": "temperature is not supported", "param": "temperature"}}')
    with serve_chatbot(lambda got: refusal if "temperature" in got.body else Sends(body=completion("x"))) as server:
        said = failure_of(endpoint(server, keys={"extra_body": {"temperature": 0.2}}, calls={"max_attempts": 3}))
    assert "temperature is not supported" in said and len(server.requests) == 1


def test_a_dialogue_that_is_too_long_is_no_failure_of_the_chatbot() -> None:
    long = Sends(
        status=400, body='{"error": {"message": "maximum context length is 10", "code": "context_length_exceeded"}}'
    )
    with serve_chatbot(lambda got: long) as server:
        (said,) = replies(endpoint(server), DIALOGUE)
    assert isinstance(said, ContextOverflowError)


def test_a_reply_that_ended_at_its_limit_is_cut_and_counts_are_none_where_they_are_not_told() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("I am", finish_reason="length", usage=False))) as server:
        (said,) = replies(endpoint(server), DIALOGUE)
    assert (said.finished, said.num_prompt_tokens, said.effort.num_output_tokens) == (False, 0, None)


def answer(finish_reason: str = "stop", **message: object) -> Sends:
    return Sends(body=json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}]}))


REFUSES = "I cannot help with that."


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": REFUSES},
        {"content": "", "refusal": REFUSES, "reasoning_content": '{"risk": "high"}'},
        {"content": [{"type": "refusal", "refusal": REFUSES}]},
    ],
)
def test_a_refusal_is_what_the_chatbot_says(message: dict) -> None:
    with serve_chatbot(lambda got: answer(**message)) as server:
        assert text_of(endpoint(server)) == REFUSES


def test_thoughts_of_an_endpoint_are_no_reply_also_where_they_look_like_one() -> None:
    with serve_chatbot(lambda got: answer(content="", reasoning_content='{"risk": "high"}')) as server:
        assert "thoughts and no answer" in failure_of(endpoint(server))


def test_a_reply_that_a_filter_ended_is_cut() -> None:
    with serve_chatbot(lambda got: answer(content="I hear", finish_reason="content_filter")) as server:
        (said,) = replies(endpoint(server), DIALOGUE)
    assert said.text == "I hear" and not said.finished


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"message": {"content": None, "tool_calls": [{"function": {"name": "help"}}]}}, "a call of tools"),
        ({"text": "legacy"}, "choices[0].text"),
        ({"message": {"content": {"text": "x"}}}, 'content is {"text": "x"}, expected text, or parts'),
    ],
)
def test_an_answer_without_a_message_says_what_was_there_instead(choice: dict, reason: str) -> None:
    with serve_chatbot(lambda got: Sends(body=json.dumps({"choices": [choice]}))) as server:
        assert reason in failure_of(endpoint(server))


@pytest.mark.parametrize(("told", "count"), [(True, None), (10**30, None), (2.0, 2), (-1, None), ("3", None)])
def test_a_number_of_tokens_that_cannot_be_one_is_not_told(told: object, count: int | None) -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": told}})
    with serve_chatbot(lambda got: Sends(body=body)) as server:
        (said,) = replies(endpoint(server), DIALOGUE)
    assert said.effort.num_prompt_tokens == count


def test_a_compressed_answer_that_breaks_off_is_told_so() -> None:
    half = gzip.compress(completion("there").encode())[:30]
    with serve_chatbot(lambda got: Sends(body=half, headers={"Content-Encoding": "gzip"})) as server:
        assert "compressed answer broke off" in failure_of(endpoint(server))


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MISBEHAVIOURS)
@pytest.mark.parametrize("kind", [endpoint, http])
def test_misbehaviour_is_a_failure_with_its_reason(kind, name: str) -> None:
    sends, reason = MISBEHAVIOURS[name]
    with serve_chatbot(lambda got: sends) as server:
        started = time.monotonic()
        said = failure_of(kind(server))
    assert re.search(reason, said), said
    assert time.monotonic() - started < 2.5
    assert len(said) < 500 and said.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * 100_000, "100,000 characters, more than calls.max_reply_characters (20,000)"),
        ("  \n", "empty message"),
        ("\x1b[2J", "empty message"),
        ("<html><body>Sorry</body></html>", "a page (HTML or XML)"),
        ("<!-- proxy -->\n<!DOCTYPE html><p>Sorry", "a page (HTML or XML)"),
        ('<?xml version="1.0"?><Error>Sorry</Error>', "a page (HTML or XML)"),
    ],
)
def test_a_text_that_is_no_message_is_a_failure_of_every_kind(text: str, reason: str, tmp_path: Path) -> None:
    with serve_chatbot(lambda got: Sends(body=completion(text))) as server:
        assert reason in failure_of(endpoint(server))
        server.answer = lambda got: Sends(body=json.dumps({"reply": text}))
        assert reason in failure_of(http(server))
    assert reason in failure_of(python(tmp_path, f"def reply(messages): return {text!r}"))


def test_what_a_terminal_obeys_is_taken_out_of_replies() -> None:
    with serve_chatbot(lambda got: Sends(body=completion("\x1b[31mred\x1b[0m\u202e\r\nline"))) as server:
        assert text_of(endpoint(server)) == "red\nline"


def test_a_key_is_sent_and_shown_nowhere_and_its_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret-1")
    monkeypatch.setenv("MY_OTHER", "hush-hush-1002")
    keys = {"api_key_env": "MY_KEY", "headers_env": {"X-Api-Key": "MY_OTHER"}, "headers": {"X-Team": "blue"}}
    with serve_chatbot(lambda got: Sends(status=401, body="sk-very-secret-1 and hush-hush-1002 are wrong")) as server:
        said = failure_of(endpoint(server, keys=keys))
        assert "[key] and [key] are wrong" in said
        server.answer = lambda got: Sends(body=json.dumps({"reply": "your key is hush-hush-1002"}))
        assert text_of(http(server, **keys)) == "your key is [key]"
    for got in server.requests:
        sent = (got.headers["Authorization"], got.headers["X-Api-Key"], got.headers["X-Team"])
        assert sent == ("Bearer sk-very-secret-1", "hush-hush-1002", "blue")
    monkeypatch.delenv("MY_OTHER")
    with (
        serve_chatbot(lambda got: Sends()) as server,
        pytest.raises(ConfigError, match="MY_OTHER is not set") as caught,
    ):
        endpoint(server, keys=keys)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["none", "test", "3", "EMPTY"])
def test_a_key_that_is_a_word_is_left_in_replies_and_masked_in_errors(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_WORD", key)
    said = "You have none to test, take 3 breaths. EMPTY it."
    keys = {"headers_env": {"X-Tenant": "MY_WORD"}}
    with serve_chatbot(lambda got: Sends(body=completion(said))) as server:
        assert text_of(endpoint(server, keys={**keys, "api_key_env": "MY_WORD"})) == said
        server.answer = lambda got: Sends(body=json.dumps({"reply": said}))
        assert text_of(http(server, **keys)) == said
        server.answer = lambda got: Sends(status=401, body=f"{key} is wrong")
        assert "[key] is wrong" in failure_of(http(server, **keys))


def test_a_secret_key_of_the_request_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hush-hush-1003")
    keys = {"body_env": {"login.token": "MY_TOKEN", "top": "MY_TOKEN"}}
    with serve_chatbot(lambda got: Sends(status=401, body="hush-hush-1003 is wrong")) as server:
        assert "[key] is wrong" in failure_of(endpoint(server, keys={**keys, "extra_body": {"login": {"user": "a"}}}))
        server.answer = lambda got: Sends(body=json.dumps({"reply": "your key is hush-hush-1003"}))
        assert text_of(http(server, body={"text": "{message}", "login": {"user": "a"}}, **keys)) == "your key is [key]"
    for got in server.requests:
        assert got.body["login"] == {"user": "a", "token": "hush-hush-1003"} and got.body["top"] == "hush-hush-1003"
    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(
        ConfigError, match=r"http\.body_env\.login\.token: the environment variable MY_TOKEN is not set"
    ):
        http(server, body={"text": "{message}"}, **keys)


def test_the_remedy_for_a_reply_without_text_is_a_key_that_an_endpoint_has() -> None:
    empty = completion("", finish_reason="length")
    with serve_chatbot(lambda got: Sends(body=empty)) as server:
        assert "raise endpoint.extra_body.max_tokens" in failure_of(endpoint(server))
        endpoint(server, keys={"extra_body": {"max_tokens": 7}})  # there it is


def test_an_error_of_code_that_has_no_text_is_a_failure_all_the_same(tmp_path: Path) -> None:
    code = """
class Mute(Exception):
    def __str__(self):
        raise ValueError
def reply(messages):
    raise Mute
"""
    assert "it raised Mute: (an error without a text)" in failure_of(python(tmp_path, code))


def test_calls_are_repeated_and_a_wait_that_the_server_asks_for_is_kept() -> None:
    answers = iter(
        [Sends(status=500), Sends(status=429, headers={"Retry-After": "1"}), Sends(body=completion("there"))]
    )
    with serve_chatbot(lambda got: next(answers)) as server:
        assert text_of(endpoint(server, calls={"max_attempts": 3})) == "there"
    first, second, third = (got.at for got in server.requests)
    assert second - first < 0.5 and 0.95 < third - second < 2.0


def test_a_wait_that_is_asked_for_as_a_date_is_kept_and_one_that_is_too_long_is_not_waited_for() -> None:
    soon = iter(
        [Sends(status=503, headers={"Retry-After": formatdate(time.time() + 2)}), Sends(body=completion("there"))]
    )
    with serve_chatbot(lambda got: next(soon)) as server:
        assert text_of(endpoint(server, calls={"max_attempts": 2})) == "there"
        assert server.requests[1].at - server.requests[0].at > 0.9
        server.answer = lambda got: Sends(status=429, headers={"Retry-After": "86400"})
        started = time.monotonic()
        assert "HTTP 429" in failure_of(endpoint(server, calls={"max_attempts": 5}))
        assert time.monotonic() - started < 0.5 and len(server.requests) == 3


def test_calls_under_way_and_calls_a_minute_are_bounded_and_waiting_is_no_time_out() -> None:
    async def ask_many(chatbot: CalledChatbot, number: int) -> list[object]:
        asked = [chatbot.reply(DIALOGUE, seed=0, session=str(i)) for i in range(number)]
        said = await asyncio.gather(*asked, return_exceptions=True)
        await chatbot.close()
        return said

    with serve_chatbot(lambda got: Sends(body=completion("there"), hangs_s=0.2)) as server:
        said = asyncio.run(ask_many(endpoint(server, calls={"max_concurrency": 2}), 8))
        assert server.most_open == 2
        assert {getattr(reply, "text", reply) for reply in said} == {"there"}  # the last waited longer than timeout_s
        server.requests.clear()
        asyncio.run(ask_many(endpoint(server, calls={"max_per_minute": 600.0}), 5))
    times = sorted(got.at for got in server.requests)
    assert times[-1] - times[0] > 0.3  # five calls, a tenth of a second apart


def test_a_chatbot_that_only_fails_is_given_up_and_tried_again_in_the_next_piece_of_work() -> None:
    with serve_chatbot(lambda got: Sends(status=500, body='{"error": "broken"}')) as server:
        chatbot = endpoint(server, calls={"max_failures_in_a_row": 3})
        said = replies(chatbot, *[DIALOGUE] * 6)
        assert len(server.requests) == 3
        assert "not asked any more after 3 messages in a row" in str(said[-1]) and "broken" in str(said[-1])
        server.answer = lambda got: Sends(body=completion("there"))
        chatbot.begin()
        assert text_of(chatbot) == "there"


def test_failures_with_replies_between_them_do_not_end_a_chatbot() -> None:
    answers = iter([Sends(status=500), Sends(body=completion("there"))] * 4)
    with serve_chatbot(lambda got: next(answers)) as server:
        said = replies(endpoint(server, calls={"max_failures_in_a_row": 2}), *[DIALOGUE] * 8)
    assert len(server.requests) == 8 and sum(isinstance(reply, ChatbotError) for reply in said) == 4


# --- a JSON API of one's own ------------------------------------------------------------------------------------------


def test_an_api_is_sent_its_template_filled_and_its_reply_is_found_by_the_path() -> None:
    body = {"text": "{message}", "log": "{messages}", "id": "chat-{session}", "n": [1, {"note": "{{kept}} {message}"}]}
    answer = Sends(body=json.dumps({"data": [{"said": "there"}]}))
    with serve_chatbot(lambda got: answer) as server:
        chatbot = http(
            server,
            body=body,
            turn={"from": "{role}", "text": "{text}"},
            roles=["human", "bot"],
            reply="data[0].said",
        )
        assert text_of(chatbot) == "there"
    assert server.requests[0].body == {
        "text": "i feel low",
        "log": [
            {"from": "human", "text": "hi"},
            {"from": "bot", "text": "hello"},
            {"from": "human", "text": "i feel low"},
        ],
        "id": "chat-s",
        "n": [1, {"note": "{kept} i feel low"}],
    }


def test_what_a_user_says_is_never_taken_for_a_place_in_the_template() -> None:
    with serve_chatbot(lambda got: Sends(body='{"reply": "ok"}')) as server:
        text_of(http(server, body={"text": "user: {message}"}), (user('{session} {{x}} "quoted"'),))
    assert server.requests[0].body == {"text": 'user: {session} {{x}} "quoted"'}


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("data.reply", '{"answer": "x", "id": 1}', "finds nothing in the answer, which has the keys answer, id"),
        ("reply", '{"reply": {"text": "x"}}', "finds a mapping and no text"),
        ("reply", '["x"]', "finds nothing in the answer, which is a list"),
        ("sum(reply)", '{"reply": "x"}', "does not fit"),
        ("reply", "hello", "no JSON: hello"),
    ],
)
def test_a_path_that_finds_no_text_says_what_the_answer_has(path: str, answer: str, reason: str) -> None:
    with serve_chatbot(lambda got: Sends(body=answer)) as server:
        assert reason in failure_of(http(server, reply=path))


def test_an_answer_can_be_plain_text() -> None:
    with serve_chatbot(lambda got: Sends(body="there\n", headers={"Content-Type": "text/plain"})) as server:
        assert text_of(http(server, reply="")).strip() == "there"


@pytest.mark.parametrize("charset", ["iso-8859-1", '"utf-16"', "utf-8", "UTF-8", "no-such-set"])
def test_an_answer_is_read_in_the_character_set_that_it_names(charset: str) -> None:
    name = charset.strip('"') if charset != "no-such-set" else "utf-8"
    for text, reply in (("café", ""), ('{"reply": "café"}', "reply")):
        sends = Sends(body=text.encode(name), headers={"Content-Type": f"text/plain; charset={charset}"})
        with serve_chatbot(lambda got, sends=sends: sends) as server:
            assert text_of(http(server, reply=reply)) == "café"


@pytest.mark.parametrize("page", ["<center>502 Bad Gateway</center>", "<p>502 Bad Gateway", "<e>502 Bad Gateway</e>"])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/xml"])
def test_a_page_is_no_reply_in_plain_text_and_what_only_is_sent_as_one_is(page: str, kind: str) -> None:
    with serve_chatbot(lambda got: Sends(body=page, headers={"Content-Type": kind})) as server:
        assert re.search(r"a page \(.*expected plain text: 502 Bad Gateway", failure_of(http(server, reply="")))
        for said in ("I hear you <3", "<think>he whines</think>I hear you"):
            server.answer = lambda got, said=said: Sends(body=said, headers={"Content-Type": kind})
            assert text_of(http(server, reply="")) == said


def test_an_api_that_knows_the_session_and_no_turns_is_told_the_earlier_messages_first() -> None:
    with serve_chatbot(lambda got: Sends(body='{"reply": "ok"}')) as server:
        text_of(http(server, body={"id": "{session}", "text": "{message}"}))
        text_of(http(server, body={"text": "{message}"}))  # knows no dialogue: each message stands alone
    assert [got.body["text"] for got in server.requests] == ["hi", "i feel low", "i feel low"]


# --- Python -----------------------------------------------------------------------------------------------------------

CODE = """
import asyncio, time

def reply(messages):
    return " | ".join(f"{m['role']}: {m['content']}" for m in messages)

async def later(messages):
    await asyncio.sleep(0.01)
    return "later"

class Bot:
    def __init__(self):
        self.heard = []
    def reply(self, message):
        self.heard.append(message)
        return f"{len(self.heard)}: {message}"

class AsyncBot(Bot):
    async def reply(self, message):
        return Bot.reply(self, message)

class Callable:
    def __call__(self, messages):
        return "called"
instance = Callable()

def hang(messages):
    time.sleep(60)

async def block(messages):
    time.sleep(60)

def leave(messages):
    raise SystemExit(3)

async def cancel(messages):
    raise asyncio.CancelledError

def nothing(messages):
    pass

def boom(messages):
    raise KeyError("x")

number = 7
def two(a, b):
    return ""
class Mute:
    pass
"""


CATCHES_ALL = """
import time
for _ in range(60):
    try:
        time.sleep(1)
    except Exception:
        pass
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reply", "user: hi | assistant: hello | user: i feel low"),
        ("later", "later"),
        ("Bot", "2: i feel low"),
        ("AsyncBot", "2: i feel low"),
        ("instance", "called"),
    ],
)
def test_functions_and_classes_answer(name: str, said: str, tmp_path: Path) -> None:
    assert text_of(python(tmp_path, CODE, name=name)) == said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hang", "no answer within 2 s"),
        ("block", "no answer within 2 s"),
        ("leave", "SystemExit: 3"),
        ("cancel", "it was cancelled"),
        ("nothing", "it returned nothing, expected text"),
        ("boom", "KeyError: 'x' (my_bots.py, line "),
    ],
)
def test_code_that_fails_is_a_failure_with_its_reason(name: str, reason: str, tmp_path: Path) -> None:
    assert reason in failure_of(python(tmp_path, CODE, name=name))


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        (CODE, "number", "is of type int, expected a function or a class"),
        (CODE, "two", "cannot be called so"),
        (CODE, "Mute", "has no method reply"),
        (CODE, "absent", "has no 'absent'; it has reply, later"),
        ("def reply(:", "reply", "SyntaxError"),
        ("import not_there_at_all", "reply", "No module named 'not_there_at_all'"),
        ("raise SystemExit(1)", "reply", "SystemExit: 1"),
    ],
)
def test_what_is_no_function_is_refused_when_it_is_loaded(code: str, name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        python(tmp_path, code, name=name)
    assert reason in str(caught.value)


@pytest.mark.parametrize("code", ["import time\ntime.sleep(60)", "while True:\n    pass", CATCHES_ALL])
def test_code_whose_import_does_not_end_is_refused_with_what_to_do(code: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not loaded after 0.3 s \(calls.load_timeout_s\).*__main__"):
        python(tmp_path, code, name="reply", calls={"load_timeout_s": 0.3})


def test_each_conversation_has_an_instance_of_its_own_that_is_dropped_at_its_end(tmp_path: Path) -> None:
    chatbot = python(tmp_path, CODE, name="Bot")

    async def talk() -> list[str]:
        asked = [("a", DIALOGUE[:1]), ("b", DIALOGUE[:1]), ("a", DIALOGUE)]
        said = [await chatbot.reply(turns, seed=0, session=session) for session, turns in asked]
        await chatbot.end("a")
        said.append(await chatbot.reply(DIALOGUE[:1], seed=0, session="a"))
        return [reply.text for reply in said]

    assert asyncio.run(talk()) == ["1: hi", "1: hi", "2: i feel low", "1: hi"]
