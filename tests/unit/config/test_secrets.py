"""A secret that is written out is refused wherever requests are described, and shown nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from advsim.config import ChatbotConfig, EvaluateConfig, parse_section
from advsim.errors import ConfigError

SECRET = "hush-hush-1234"
ENDPOINT = {"base_url": "https://bots.example.org/v1", "model": "m"}
HTTP = {"url": "https://bots.example.org/chat"}
MESSAGE = {"text": "{message}"}


def chatbot(kind: str, **keys: Any) -> ChatbotConfig:
    inside = {**(ENDPOINT if kind == "endpoint" else HTTP), **keys}
    return parse_section(ChatbotConfig, {"kind": kind, kind: inside}, where="bot.yaml")


def judge(extra_body: Mapping[str, Any]) -> EvaluateConfig:
    keys = {"base_url": "https://judge.example.org/v1", "model": "m", "extra_body": extra_body}
    return parse_section(EvaluateConfig, {"judge": keys}, where="evaluate")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"api_key": SECRET}, "api_key"),
        ({"apiKey": SECRET}, "apiKey"),
        ({"x-api-key": SECRET}, "x-api-key"),
        ({"APIKEY": SECRET}, "APIKEY"),
        ({"key": SECRET}, "key"),
        ({"token": SECRET}, "token"),
        ({"accessToken": SECRET}, "accessToken"),
        ({"bot_token": SECRET}, "bot_token"),
        ({"password": SECRET}, "password"),
        ({"password": 12345678}, "password"),
        ({"client_secret": SECRET}, "client_secret"),
        ({"options": {"auth": {"value": SECRET}}}, "options.auth.value"),
        ({"tools": [{"name": "a"}, {"credentials": SECRET}]}, "tools[1].credentials"),
        ({"secrets": [SECRET]}, "secrets[0]"),
        ({"note": f"Bearer {SECRET}"}, "note"),
        ({"note": "sk-proj-abcdefghijklmnop1234"}, "note"),
        ({"token": "{{" + SECRET + "}}"}, "token"),
    ],
)
def test_a_secret_at_any_depth_is_refused_with_its_place_and_a_remedy(body: dict[str, Any], place: str) -> None:
    for read, where in (
        (lambda: chatbot("endpoint", extra_body=body), f"extra_body.{place} is a secret"),
        (lambda: chatbot("http", body={**MESSAGE, **body}), f"body.{place} is a secret"),
        (lambda: judge(body), f"extra_body.{place} is a secret"),
    ):
        with pytest.raises(ConfigError) as refused:
            read()
        said = str(refused.value)
        assert where in said and "environment variable" in said
        assert "body_env" in said or "api_key_env" in said
        assert SECRET not in said and "12345678" not in said and "sk-proj" not in said


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 128},
        {"max_token": 128, "num_tokens": 3},
        {"chat_template_kwargs": {"eos_token": "</s>", "stop_token": "<|end|>", "enable_thinking": False}},
        {"tokenizer": "bert", "author": "me", "authored_by": "us", "prompt_cache_key": "study-1"},
        {"keyboard": "qwerty", "monkey": "no", "secretary": "Ann", "keys": ["a", "b"]},
        {"password": "", "api_key": None, "token": True},
    ],
)
def test_what_only_sounds_like_a_secret_is_sent(body: dict[str, Any]) -> None:
    chatbot("endpoint", extra_body=body)
    chatbot("http", body={**MESSAGE, **body})
    judge(body)


def test_a_place_is_no_secret() -> None:
    chatbot("http", body={**MESSAGE, "session_token": "{session}", "auth": {"token": "bot-{session}"}})


def test_a_secret_in_a_turn_or_in_the_value_of_a_header_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"turn\.token is a secret"):
        chatbot("http", turn={"role": "{role}", "content": "{text}", "token": SECRET})
    with pytest.raises(ConfigError, match=r"X-Team is a secret.*headers_env"):
        chatbot("http", headers={"X-Team": f"Bearer {SECRET}"})


@pytest.mark.parametrize(
    "value", ["Token abcdefgh12345678", "AIzaSyA1234567890abcdefghijklmnopqrstuvw", "bot123456:AAEabcdefghijklmnop"]
)
def test_a_header_with_what_looks_like_a_key_is_refused_whatever_it_is_called(value: str) -> None:
    with pytest.raises(ConfigError, match="X-Client is a secret") as refused:
        chatbot("http", headers={"X-Client": value})
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        (f"https://host/v1?api_key={SECRET}", "in its query api_key"),
        ("https://host/v1?sig=x", "in its query sig"),
        ("https://host/v1?pw=hunter2", "in its query pw"),
        ("https://host/v1?sk-abcdefghijklmnopqrst1234", "in its query a name that can be a secret"),
        ("https://host/v1?a8f3k29dkq0zzmw81c", "in its query a name that can be a secret"),
        ("https://host/v1?t=abcdef1234567890", "in its query t"),
        ("https://host/bot123456:AAEabcdefghijklmnop/send", "in its path"),
        ("https://host/v1/sk-abcdefghijklmnopqrstu/chat", "in its path"),
        (f"https://me:{SECRET}@host/v1", "credentials"),
    ],
)
def test_a_secret_in_an_address_is_refused_by_its_place_and_not_shown(address: str, what: str) -> None:
    for kind, key in (("endpoint", "base_url"), ("http", "url")):
        with pytest.raises(ConfigError, match=f"{key} holds {what}.*environment variable") as refused:
            chatbot(kind, **{key: address})
        assert not any(secret in str(refused.value) for secret in (SECRET, "1234567890", "AAE", "sk-abc"))


@pytest.mark.parametrize(
    "query", ["api-version=2024-12-01-preview", "lang=en&team=support-and-care", "deployment=gpt-4o-mini", "debug"]
)
def test_an_address_may_have_a_query_without_secrets(query: str) -> None:
    chatbot("endpoint", base_url=f"https://host/openai/deployments/d?{query}")
    chatbot("http", url=f"https://host/chat?{query}")


@pytest.mark.parametrize("key", ["api_key_env", "headers_env", "body_env"])
def test_a_secret_in_the_place_of_its_variables_name_is_not_shown(key: str) -> None:
    value: Any = SECRET if key == "api_key_env" else {"X-A": SECRET}
    for kind in ("endpoint", "http"):
        with pytest.raises(ConfigError, match=rf"{key}.*expected the NAME of an environment variable") as refused:
            chatbot(kind, **{key: value})
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("body_env", "reason"),
    [
        ({"text": "NAME"}, "text is in the request already"),
        ({"text.token": "NAME"}, "reaches into 'text', which is no mapping"),
        ({"": "NAME"}, "is no key"),
        ({"a..b": "NAME"}, "reaches into ''"),
        ({"a": "NAME", "a.b": "NAME"}, "reaches into 'a'"),
    ],
)
def test_a_secret_key_has_a_place_of_its_own(body_env: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        chatbot("http", body=MESSAGE, body_env=body_env)


def test_keys_of_each_request_are_no_secrets() -> None:
    with pytest.raises(ConfigError, match="got the key model in extra_body, body_env"):
        chatbot("endpoint", body_env={"model": "NAME"})


def test_what_is_kept_with_a_run_has_the_variables_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_TOKEN", SECRET)
    kept = chatbot("http", body=MESSAGE, body_env={"auth.token": "BOT_TOKEN"}).model_dump(mode="json")
    assert SECRET not in json.dumps(kept) and kept["http"]["body_env"] == {"auth.token": "BOT_TOKEN"}


def test_a_configuration_in_python_is_held_to_the_same() -> None:
    with pytest.raises(ValidationError, match="is a secret") as refused:
        ChatbotConfig.model_validate({"kind": "http", "http": {**HTTP, "body": {**MESSAGE, "token": SECRET}}})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1: "a"}, [{"a": object()}]])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(value: Any) -> None:
    for read in (
        lambda: chatbot("endpoint", extra_body={"a": value}),
        lambda: chatbot("http", body={**MESSAGE, "a": value}),
        lambda: judge({"a": value}),
    ):
        with pytest.raises(ConfigError, match=r"body\.a.* is no value that JSON has"):
            read()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"roles": ["a", "a"]}, "expected two names"),
        ({"roles": ["", "a"]}, "expected two names"),
        ({"turn": {"role": "{role}"}}, r"turn: got no \{text\}"),
        ({"turn": {}}, r"turn: got no \{text\}"),
    ],
)
def test_an_api_hears_who_said_what(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        chatbot("http", **keys)


def test_an_endpoint_has_a_model_and_one_place_for_the_session() -> None:
    with pytest.raises(ConfigError, match=r"endpoint\.model"):
        chatbot("endpoint", model="  ")
    with pytest.raises(ConfigError, match="session_field: user is in extra_body or body_env too"):
        chatbot("endpoint", session_field="user", extra_body={"user": "a"})
