"""The judge's client: key, address and model of an endpoint."""

import logging

import pytest
from judge_server import TAXONOMY, Answer, dialogue, judge_with, serve, verdict
from pydantic import ValidationError

from advsim.config import JudgeConfig
from advsim.detectors.judge.judge import build_judge
from advsim.errors import ConfigError

KEY = "sk-very-secret-0123456789"


def test_key_is_sent_and_is_in_no_log_error_or_repr(monkeypatch, caplog):
    monkeypatch.setenv("MY_JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-private")
    caplog.set_level(logging.DEBUG)

    def answer(request):
        status = {"one": 500, "two": 400, "three": 401}[request.judged["text"]]
        return Answer(status=status, content=f"bad request by {request.authorization}")

    with serve(answer) as server:
        judge = judge_with(server, api_key_env="MY_JUDGE_KEY", max_concurrency=1)
        found = [judge.assess([dialogue("d", text)])[0] for text in ("one", "two", "three")]
        assert {request.authorization for request in server.requests} == {f"Bearer {KEY}"}
        assert not any("org-private" in str(request.headers) for request in server.requests)
    assert all("bad request by Bearer [key]" in it.error for it in found)
    shown = caplog.text + "".join(str(record.args) for record in caplog.records) + repr(found) + repr(vars(judge))
    assert "chat/completions" in shown  # the libraries' own logs are among what was looked through
    assert KEY not in shown


def test_key_of_another_service_is_not_sent_where_none_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda request: Answer(content=verdict())) as server:
        judge_with(server, api_key_env=None).assess([dialogue()])
    assert KEY not in str(server.requests[0].headers)


def test_missing_key_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("MY_JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError, match="environment variable MY_JUDGE_KEY is not set"):
        build_judge(JudgeConfig(model="m", base_url="http://127.0.0.1:9/v1", api_key_env="MY_JUDGE_KEY"), TAXONOMY)


@pytest.mark.parametrize("url", ["https://user:pw@host/v1", "https://host/v1?key=abc", "host/v1", "ftp://host/v1"])
def test_address_with_credentials_or_without_a_scheme_is_refused(url):
    with pytest.raises(ValidationError, match="base_url"):
        JudgeConfig(base_url=url)


def test_key_itself_in_the_place_of_its_name_is_refused():
    with pytest.raises(ValidationError, match="api_key_env"):
        JudgeConfig(api_key_env=KEY)


def test_no_model_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"judge\.model"):
        build_judge(JudgeConfig(), TAXONOMY)
