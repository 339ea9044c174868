"""What a chatbot's file may say, by its kind."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from advsim.config import ChatbotConfig, parse_config
from advsim.errors import ConfigError
from advsim.runtime.placement import caller_request, colocated, pool_requests

ENDPOINT = {"base_url": "https://host/v1", "model": "m"}
HTTP = {"url": "https://host/chat"}
PRICE = {"per_million_prompt_tokens": 0.15, "per_million_output_tokens": 0.6}


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "endpoint", "endpoint": ENDPOINT, "system_prompt": "Be kind."},
        {"kind": "endpoint", "endpoint": {**ENDPOINT, "session_field": "conversation"}},
        {"kind": "http", "http": HTTP},
        {"kind": "http", "http": {**HTTP, "body": {"q": "{message}"}, "reply": "choices[0].text || reply"}},
        {"kind": "python", "function": "package.module:name"},
        {"kind": "python", "function": "./bots.py:Bot", "calls": {"max_per_minute": 60.0}},
        {"kind": "scripted", "replies": ["x"]},
        {"price": {"per_million_prompt_tokens": 0.15, "per_million_output_tokens": 1, "currency": "EUR"}},
        {},
    ],
)
def test_what_is_kept_of_a_chatbot_reads_back_as_the_same(values: dict) -> None:
    chatbot = ChatbotConfig.model_validate(values)
    assert ChatbotConfig.model_validate(chatbot.model_dump(mode="json")) == chatbot


def test_what_is_called_has_no_system_prompt_of_ours() -> None:
    assert ChatbotConfig.model_validate({"kind": "endpoint", "endpoint": ENDPOINT}).system_prompt == ""
    assert ChatbotConfig().system_prompt


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": "telepathy"}, "kind"),
        ({"kind": "endpoint"}, "needs chatbot.endpoint"),
        ({"kind": "python", "function": "bots.py"}, "expected package.module:name or path/to/file.py:name"),
        ({"kind": "http", "http": HTTP, "function": "a:b"}, "chatbot.function is of kind python"),
        ({"calls": {"timeout_s": 5.0}}, "chatbot.calls are of the kinds"),
        ({"kind": "http", "http": HTTP, "system_prompt": "x"}, "chatbot.system_prompt does nothing"),
        ({"kind": "endpoint", "endpoint": ENDPOINT, "sampling": {"max_tokens": 5}}, "endpoint.extra_body"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "base_url": "ftp://host"}}, "expected http"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "base_url": "http://host/v1"}}, "endpoint.allow_http"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "base_url": "https://me:pw@host/v1"}}, "credentials"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "headers": {"Authorization": "x"}}}, "is a secret"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "headers": {"A b": "x"}}}, "no name of a header"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "headers": {"A": "x\ny"}}}, "cannot be sent"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "headers": {"a": "x"}, "headers_env": {"A": "K"}}}, "twice"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "extra_body": {"stream": True}}}, "stream"),
        ({"kind": "endpoint", "endpoint": {**ENDPOINT, "api_key_env": "sk-123"}}, "api_key_env"),
        ({"kind": "http", "http": {**HTTP, "reply": "a["}}, "no JMESPath"),
        (
            {"kind": "endpoint", "endpoint": {**ENDPOINT, "session_field": "c"}, "calls": {"cache": True}},
            "chatbot.calls.cache is for chatbots whose answer hangs on the turns alone",
        ),
        (
            {"kind": "http", "http": {**HTTP, "body": {"m": "{messages}", "s": "{session}"}}, "calls": {"cache": True}},
            "told the conversation's id",
        ),
        ({"price": {"per_million_prompt_tokens": 1.0}}, "per_million_output_tokens"),
        ({"price": {**PRICE, "per_million_prompt_tokens": -1.0}}, "greater than or equal to 0"),
        ({"price": {**PRICE, "currency": "US $"}}, "currency"),
        ({"kind": "scripted", "replies": ["x"], "price": PRICE}, "chatbot.price does nothing"),
        ({"kind": "http", "http": {**HTTP, "body": {"q": "{massage}"}}}, r"there is no {massage}"),
        ({"kind": "http", "http": {**HTTP, "body": {"q": "hello"}}}, "never hear the user"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_remedy(values: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ChatbotConfig.model_validate(values)


def test_a_called_chatbot_needs_no_engine_and_its_callers_stand_where_the_chatbot_pool_would() -> None:
    config = parse_config({"chatbot": {"kind": "http", "http": HTTP}, "resources": {"chatbot": {"num_replicas": 3}}})
    assert not colocated(config)
    assert [request.pool for request in pool_requests(config)].count("chatbot") == 1
    assert (caller_request(config).pool, caller_request(config).num_bundles) == ("chatbot", 3)
    beside = caller_request(parse_config({}))
    assert (beside.pool, beside.num_bundles, beside.bundle) == ("caller", 1, {})


def test_a_mistake_in_a_section_of_a_chatbot_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"unknown key chatbot\.http\.urll: did you mean chatbot\.http\.url\?"):
        parse_config({"chatbot": {"kind": "http", "http": {**HTTP, "urll": "x"}}})
