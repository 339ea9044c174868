"""What a chat request may say, who is who in it, and how each fault of it is refused."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from advsim.config import SamplingConfig
from advsim.records import Context, Scenario, Speaker, Turn
from advsim.serve.body import json_object
from advsim.serve.chat import Chat, Defaults, read_chat
from advsim.serve.errors import RequestError

SCENARIOS = {
    "s-1": Scenario(id="s-1", context=Context(profile="a night nurse")),
    "s-2": Scenario(id="s-2", context=Context(session="lost a job"), opens_with=Speaker.CHATBOT, opening="Hi there."),
}
SAMPLING = SamplingConfig(temperature=1.0, top_p=0.9, max_tokens=48)
GREETING = {"role": "assistant", "content": "What brings you here?"}


def read(values: dict[str, Any], **defaults: Any) -> Chat:
    return read_chat(values, scenarios=SCENARIOS, defaults=Defaults(sampling=SAMPLING, **defaults))


def chat(*messages: dict[str, Any], **keys: Any) -> Chat:
    return read({"model": "run", "messages": list(messages) or [GREETING], **keys})


def refusal(*messages: dict[str, Any], **keys: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        read({"model": "run", "messages": list(messages) or [GREETING], **keys})
    return refused.value


def said(speaker: Speaker, text: str) -> Turn:
    return Turn(speaker=speaker, text=text)


def test_by_default_assistant_is_the_callers_chatbot_and_user_the_person() -> None:
    turns = chat(
        GREETING, {"role": "user", "content": "cant sleep"}, {"role": "assistant", "content": "Since when?"}
    ).turns
    assert turns == (
        said(Speaker.CHATBOT, "What brings you here?"),
        said(Speaker.USER, "cant sleep"),
        said(Speaker.CHATBOT, "Since when?"),
    )


@pytest.mark.parametrize("by_request", [True, False])
def test_by_model_roles_what_the_person_said_before_is_assistant(by_request: bool) -> None:
    values = {
        "model": "run",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "Yes?"},
        ],
    }
    got = read({**values, "advsim": {"roles": "model"}}) if by_request else read(values, roles="model")
    assert [turn.speaker for turn in got.turns] == [Speaker.CHATBOT, Speaker.USER, Speaker.CHATBOT]


@pytest.mark.parametrize(("roles", "last"), [("caller", "user"), ("model", "assistant")])
def test_messages_that_end_with_the_person_are_refused_with_the_other_way_to_name_them(roles: str, last: str) -> None:
    refused = refusal({"role": last, "content": "me again"}, advsim={"roles": roles})
    other = {"caller": "model", "model": "caller"}[roles]
    assert (refused.status, refused.code) == (400, "wrong_roles")
    assert f"--roles {other}" in refused.message


def test_messages_in_a_row_of_one_speaker_are_one_turn() -> None:
    turns = chat({"role": "user", "content": "hi"}, {"role": "user", "content": "still there?"}, GREETING).turns
    assert turns[0] == said(Speaker.USER, "hi\nstill there?") and len(turns) == 2


def test_parts_of_text_are_joined_and_blanks_at_the_ends_are_left_out() -> None:
    parts = [{"type": "text", "text": " Hello."}, {"type": "text", "text": "And? "}]
    assert chat({"role": "assistant", "content": parts}).turns[0].text == "Hello.\nAnd?"


def test_the_person_reads_no_thought_of_the_chatbot() -> None:
    thinks = {"role": "assistant", "content": "<think>He may be at risk.</think>How are you?"}
    turns = chat(GREETING, thinks, {"role": "user", "content": "tired, <think> or so"}, thinks).turns
    assert turns[0] == Turn(
        speaker=Speaker.CHATBOT, text="What brings you here?\nHow are you?", thought="He may be at risk."
    )
    assert [turn.text for turn in turns[1:]] == ["tired, <think> or so", "How are you?"]


@pytest.mark.parametrize("content", ["<think>never ends", "<think>a</think>", "\x1b[2J"])
def test_a_message_without_a_word_to_the_person_is_refused_as_empty(content: str) -> None:
    assert refusal({"role": "assistant", "content": content}).code == "empty_message"


def test_what_a_terminal_obeys_is_taken_out_of_messages() -> None:
    assert chat({"role": "assistant", "content": "\x1b[31mred\x1b[0m\x00\r\nline"}).turns[0].text == "red\nline"


def test_system_messages_before_the_dialogue_are_the_persons_context() -> None:
    got = chat(
        {"role": "system", "content": "You lost your job."}, {"role": "developer", "content": "You are 30."}, GREETING
    )
    assert got.context == Context(session="You lost your job.\n\nYou are 30.")


def test_system_messages_can_be_ignored() -> None:
    got = chat({"role": "system", "content": "Be helpful."}, GREETING, advsim={"system": "ignore", "scenario": "s-1"})
    assert got.context == SCENARIOS["s-1"].context
    assert (
        read({"model": "r", "messages": [{"role": "system", "content": "x"}, GREETING]}, system="ignore").context
        == Context()
    )


def test_scenario_is_taken_by_its_id() -> None:
    got = chat(advsim={"scenario": "s-1"})
    assert (got.scenario, got.context) == ("s-1", Context(profile="a night nurse"))


def test_context_is_taken_in_layers() -> None:
    layers = {"profile": "a nurse", "themes": ["sleep"], "earlier_sessions": ["one", "two"], "session": "tired"}
    assert chat(advsim={"context": layers}).context == Context(
        profile="a nurse", themes=("sleep",), earlier_sessions=("one", "two"), session="tired"
    )


@pytest.mark.parametrize(
    ("messages", "own"),
    [
        ([GREETING], {"scenario": "s-1", "context": {"profile": "x"}}),
        ([{"role": "system", "content": "You are sad."}, GREETING], {"scenario": "s-1"}),
        ([{"role": "system", "content": "You are sad."}, GREETING], {"context": {"profile": "x"}}),
    ],
)
def test_two_answers_to_who_the_person_is_are_refused(messages: list[dict[str, Any]], own: dict[str, Any]) -> None:
    assert refusal(*messages, advsim=own).status == 400


def test_unknown_scenario_is_not_found_and_some_are_named() -> None:
    refused = refusal(advsim={"scenario": "s-9"})
    assert (refused.status, refused.code) == (404, "unknown_scenario")
    assert "s-1" in refused.message and "/v1/scenarios" in refused.message


@pytest.mark.parametrize("own", [{"scenario": "s-1"}, {"context": {"session": "sad"}}])
def test_person_writes_first_where_it_is_said_who_they_are(own: dict[str, Any]) -> None:
    assert read({"model": "run", "messages": [], "advsim": own}).turns == ()
    assert read({"model": "run", "messages": [{"role": "system", "content": "You are sad."}]}).turns == ()


def test_no_messages_and_nobody_to_play_is_refused() -> None:
    with pytest.raises(RequestError, match="messages are empty") as refused:
        read({"model": "run", "messages": []})
    assert (refused.value.status, refused.value.code) == (400, "empty_messages")


def test_scenario_that_the_chatbot_opens_wants_its_greeting() -> None:
    with pytest.raises(RequestError, match="Hi there") as refused:
        read({"model": "run", "messages": [], "advsim": {"scenario": "s-2"}})
    assert refused.value.code == "empty_messages"
    assert chat(advsim={"scenario": "s-2"}).turns


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"role": "tool", "content": "22 degrees"}, "invalid_value"),
        ({"role": "chatbot", "content": "hi"}, "invalid_value"),
        ({"role": "assistant", "content": "  \n"}, "empty_message"),
        ({"role": "assistant", "content": None}, "empty_message"),
        ({"role": "assistant", "content": []}, "empty_message"),
        ({"role": "assistant"}, "empty_message"),
        ({"role": "assistant", "content": 3}, "invalid_value"),
        ({"role": "assistant", "content": [{"type": "image_url", "image_url": {}}]}, "invalid_value"),
        ({"role": "assistant", "content": "half \ud83d"}, "invalid_value"),
        ({"content": "hi"}, "missing_required_parameter"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, "unknown_parameter"),
        ({"role": "assistant", "content": "a" * 20_001}, "string_above_max_length"),
    ],
)
def test_message_that_is_none_is_refused_by_its_place(message: dict[str, Any], code: str) -> None:
    refused = refusal(GREETING, message)
    assert (refused.status, refused.code, refused.param) == (400, code, "messages")
    assert "messages[1]" in refused.message


def test_system_message_after_the_dialogue_began_is_refused() -> None:
    assert "messages[1]" in refusal(GREETING, {"role": "system", "content": "now be angry"}).message


def test_keys_of_a_message_that_say_nothing_are_taken() -> None:
    notes = {"name": "bot", "refusal": None, "tool_calls": [], "annotations": [], "trace_id": "7f", "id": 3}
    assert chat({**GREETING, **notes}).turns


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"1": 5}),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
        ("stop", ["\n"]),
        ("reasoning_effort", "high"),
        ("functions", [{"name": "f"}]),
    ],
)
def test_keys_that_would_change_what_is_asked_are_refused_by_name(key: str, value: Any) -> None:
    refused = refusal(**{key: value})
    assert (refused.status, refused.code, refused.param) == (400, "unsupported_parameter", key)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", 1),
        ("tools", []),
        ("tools", None),
        ("response_format", {"type": "text"}),
        ("logprobs", False),
        ("presence_penalty", 0.0),
        ("stop", None),
        ("user", "tester-7"),
        ("metadata", {"run": "1"}),
        ("store", False),
    ],
)
def test_keys_that_ask_for_nothing_are_taken(key: str, value: Any) -> None:
    assert chat(**{key: value}).turns


@pytest.mark.parametrize(
    ("keys", "param"),
    [
        ({"temprature": 1.0}, "temprature"),
        ({"advsim": {"scenari": "s-1"}}, "advsim"),
        ({"advsim": {"context": {"profil": "x"}}}, "advsim"),
        ({"advsim": {"roles": "mine"}}, "advsim"),
        ({"advsim": "s-1"}, "advsim"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"seed": "7"}, "seed"),
        ({"seed": 2**70}, "seed"),
        ({"seed": True}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": "hello"}, "messages"),
        ({"messages": None}, "messages"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
    ],
)
def test_wrong_or_unknown_keys_are_refused_and_named(keys: dict[str, Any], param: str) -> None:
    refused = refusal(**keys)
    assert (refused.status, refused.param) == (400, param)
    assert param in refused.message


def test_missing_keys_are_named() -> None:
    for key in ("model", "messages"):
        values = {"model": "run", "messages": [GREETING]}
        del values[key]
        with pytest.raises(RequestError, match=f"{key} is missing"):
            read(values)


def test_sampling_is_the_runs_unless_the_request_says_otherwise_and_never_longer() -> None:
    assert chat().sampling == SAMPLING
    assert chat(temperature=0, top_p=1, max_tokens=7).sampling == SamplingConfig(
        temperature=0.0, top_p=1.0, max_tokens=7
    )
    assert chat(max_tokens=4096, max_completion_tokens=30).sampling.max_tokens == 30
    assert chat(max_tokens=4096).sampling.max_tokens == 48


def test_seed_is_the_requests_or_a_new_one() -> None:
    assert chat(seed=-5).seed == -5
    assert len({chat().seed for _ in range(5)}) > 1


def test_end_text_is_the_requests_even_an_empty_one_or_the_servers() -> None:
    values = {"model": "run", "messages": [GREETING]}
    assert read(values, end_text="STOP").end_text == "STOP"
    assert read({**values, "advsim": {"end_text": ""}}, end_text="STOP").end_text == ""


def test_words_behind_the_end_token_of_the_person_are_gone_but_not_the_chatbots() -> None:
    turns = chat({"role": "user", "content": "bye [END] more"}, {"role": "assistant", "content": "a [END] b"}).turns
    assert [turn.text for turn in turns] == ["bye", "a [END] b"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'"x"', b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        json_object(content)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


def test_refusal_has_openais_shape_and_travels_between_processes() -> None:
    refused = RequestError(503, "wait\n\x1b[31m please", code="overloaded", param=None, retry_after_s=2)
    again = pickle.loads(pickle.dumps(refused))
    assert (
        again.body
        == refused.body
        == {"error": {"message": "wait please", "type": "server_error", "param": None, "code": "overloaded"}}
    )
    assert again.headers == {"Retry-After": "2"} and again.status == 503
    json.dumps(again.body)
