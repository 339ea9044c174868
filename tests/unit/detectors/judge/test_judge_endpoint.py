"""The judge's endpoint is not trusted: where requests go, how much is read, what it may say, and what it refuses."""

import base64
import gzip
import json
import logging
import tracemalloc
import zlib
from urllib.parse import quote

import pytest
from judge_server import TAXONOMY, Answer, dialogue, failure, judge_config, judge_with, serve, verdict
from pydantic import ValidationError

from advsim.config import JudgeConfig, load_config, parse_config
from advsim.detectors.judge.judge import NO_VERDICT, build_judge
from advsim.errors import ConfigError

KEY = "sk-/+=very&secret<0123>"
FAULTY = ("temperature", "seed", "top_p", "stop", "response_format", "max_completion_tokens")


def completion(**message: object) -> dict:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def unsupported(
    key: str, *, as_param: bool = True, text: str = "Unsupported parameter: '{}' is not supported"
) -> Answer:
    error = {"message": text.format(key), "type": "invalid_request_error", **({"param": key} if as_param else {})}
    return Answer(status=400, raw=json.dumps({"error": error}))


# where a request goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed_and_named(status):
    with serve(lambda request: Answer(content=verdict())) as elsewhere:
        moved = Answer(status=status, headers={"Location": elsewhere.url + "/chat/completions"})
        with serve(lambda request: moved) as server:
            judge = judge_with(server)
            found = judge.assess([dialogue("a"), dialogue("b")])
    assert not elsewhere.requests
    assert len(server.requests) == 1  # every call would be redirected
    assert all(f"HTTP {status}: a redirect to {elsewhere.url}" in it.error for it in found)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.7:8000", "127.0.0.1.example.com", "[2001:db8::1]:8000"])
def test_http_to_another_machine_needs_leave_and_is_known_at_check(host):
    values = {"evaluate": {"detector": "judge", "judge": {"model": "m", "base_url": f"http://{host}/v1"}}}
    with pytest.raises(ConfigError, match=r"allow_http to true"):
        parse_config(values, where="a.yaml")
    assert parse_config(values, ["evaluate.judge.allow_http=true"], where="a.yaml").evaluate.judge.allow_http
    assert JudgeConfig(base_url=f"https://{host}/v1").base_url


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "127.3.2.1", "[::1]:8000", "0.0.0.0:8000"])
def test_http_on_this_machine_needs_no_leave(host):
    assert JudgeConfig(base_url=f"http://{host}/v1").base_url


@pytest.mark.parametrize("url", ["https://host:99999/v1", "https://[host/v1", "https://host/v1#x", "https://ho\nst/v1"])
def test_address_that_is_none_is_refused(url):
    with pytest.raises(ValidationError, match="base_url"):
        JudgeConfig(base_url=url)


def test_loopback_is_reached_past_the_proxies_of_the_environment(monkeypatch):
    with serve(lambda request: Answer(status=500, content="I am the proxy")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with serve(lambda request: Answer(content=verdict())) as server:
            (assessment,) = judge_with(server).assess([dialogue()])
    assert assessment.error == "" and not proxy.requests


# how much is read


def test_endless_answer_is_read_up_to_the_bound_only():
    with serve(lambda request: Answer(raw="x" * 65_536, endless=True)) as server:
        judge = judge_with(server, max_answer_bytes=100_000, max_attempts=1)
        (assessment,) = judge.assess([dialogue()])
    assert "longer than 100,000 bytes" in assessment.error
    assert server.num_bytes < 30_000_000  # what buffers of the system took, and no more


def test_endless_trickle_ends_with_the_time():
    with serve(lambda request: Answer(raw=" ", endless=True)) as server:
        judge = judge_with(server, timeout_s=0.3, max_attempts=1, max_answer_bytes=2**30)
        (assessment,) = judge.assess([dialogue()])
    assert "no answer within 0.3 s" in assessment.error


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_answer_is_read_and_a_bomb_is_not(encoding):
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    found = verdict(failure("boundary", span="right"))
    small = compress(json.dumps(completion(content=json.dumps(found))).encode())
    bomb = compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    answers = iter([Answer(raw=bomb, headers={"Content-Encoding": encoding}),
                    Answer(raw=small, headers={"Content-Encoding": encoding})])  # fmt: skip
    with serve(lambda request: next(answers)) as server:
        judge = judge_with(server, max_answer_bytes=100_000, max_attempts=1)
        tracemalloc.start()
        (inflated,) = judge.assess([dialogue()])
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        (read,) = judge.assess([dialogue()])
    assert "longer than 100,000 bytes" in inflated.error and most_bytes < 20_000_000
    assert [label.mode for label in read.labels] == ["boundary"]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_other_compression_is_refused():
    with serve(lambda request: Answer(raw=b"x", headers={"Content-Encoding": "zstd"})) as server:
        (assessment,) = judge_with(server).assess([dialogue()])
    assert "compressed as 'zstd'" in assessment.error


# what it says

SPEAKING = {
    "error object": (Answer(status=500, content="the WORDS"), "HTTP 500: the WORDS"),
    "error text": (Answer(status=500, raw='{"error": "the WORDS"}'), "HTTP 500: the WORDS"),
    "detail text": (Answer(status=503, raw='{"detail": "the WORDS"}'), "HTTP 503: the WORDS"),
    "detail list": (Answer(status=422, raw='{"detail": [{"loc": ["body", "x"], "msg": "the WORDS"}]}'), "the WORDS"),
    "plain text": (Answer(status=502, raw="the WORDS"), "HTTP 502: the WORDS"),
    "page": (
        Answer(
            status=502,
            raw="<html><head><title>Bad gateway</title><script>x()</script></head><p>the <b>WORDS</b></html>",
            headers={"Content-Type": "text/html"},
        ),
        "HTTP 502: Bad gateway the WORDS",
    ),
    "page with 200": (Answer(raw="<!doctype html><title>Log in</title>WORDS"), "no chat completion in the answer: Log"),
    "nothing": (Answer(status=500, raw=""), "HTTP 500: without a word"),
    "nothing with 200": (Answer(raw=""), "no chat completion in the answer: it is empty"),
    "another form": (Answer(raw='{"output": "WORDS"}'), 'no chat completion in the answer: {"output": "WORDS"}'),
    "error with 200": (Answer(raw='{"error": {"message": "WORDS", "code": 502}}'), "HTTP 502: WORDS"),
    "a number": (Answer(raw="7"), "no chat completion in the answer: 7"),
    "binary": (Answer(status=500, raw=b"\xff\xfe\x00WORDS\x1b[31m"), "HTTP 500: "),
    "nested too deep": (Answer(status=500, raw="[" * 100_000), "HTTP 500: [[["),
    "no such model": (Answer(status=404, content="The model `m` does not exist"), "HTTP 404: The model `m` does not"),
    "no such model by 400": (
        Answer(status=400, raw='{"error": {"message": "WORDS", "code": "model_not_found"}}'), "HTTP 400: WORDS"),
    "endless events": (Answer(raw="data: {}\n\n", headers={"Content-Type": "text/event-stream"}), "the stream broke"),
}  # fmt: skip


@pytest.mark.parametrize("answer, words", SPEAKING.values(), ids=SPEAKING.keys())
def test_words_of_the_server_are_in_the_error_and_in_the_notes(answer, words):
    with serve(lambda request: answer) as server:
        judge = judge_with(server, max_attempts=1)
        (assessment,) = judge.assess([dialogue()])
    assert words in assessment.error
    (note,) = judge.notes
    assert note.startswith(NO_VERDICT) and words in note and note.endswith("(1 message).")
    assert len(assessment.error) < 400 and not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in note)


def test_wrong_model_name_is_asked_once():
    with serve(lambda request: SPEAKING["no such model by 400"][0]) as server:
        judge_with(server).assess([dialogue(f"d{i}") for i in range(4)])
    assert len(server.requests) == 1


def test_no_tls_at_the_address_is_said_once_and_lasting():
    with serve(lambda request: Answer()) as server:
        address = server.url.replace("http:", "https:")
        judge = build_judge(judge_config(server).model_copy(update={"base_url": address}), TAXONOMY)
        found = judge.assess([dialogue("a"), dialogue("b")])
    assert all("no TLS connection to https://127.0.0.1" in it.error for it in found)
    assert judge.cost.num_calls == 1


ECHOES = {
    "plain": KEY,
    "URL": quote(KEY),
    "all of it": quote(KEY, safe=""),
    "small letters": quote(KEY, safe="").lower(),
    "JSON": json.dumps(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "header": f"Authorization: Bearer {KEY}",
    "with a control character": KEY[:5] + "\x1b[0m" + KEY[5:],
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("status, location", [(400, ""), (500, ""), (200, ""), (302, "http://127.0.0.1/")])
@pytest.mark.parametrize("before", ["", "x" * 290], ids=["at once", "where the words are cut"])
def test_key_is_masked_wherever_the_server_repeats_it(monkeypatch, caplog, echo, status, location, before):
    monkeypatch.setenv("MY_JUDGE_KEY", KEY)
    caplog.set_level(logging.DEBUG, logger="advsim")
    headers = {"Location": location + quote(echo)} if location else {}
    with serve(lambda request: Answer(status=status, raw=f"{before} {echo} {echo}", headers=headers)) as server:
        judge = judge_with(server, api_key_env="MY_JUDGE_KEY", max_attempts=2)
        (assessment,) = judge.assess([dialogue()])
    shown = assessment.error + str(judge.notes) + caplog.text
    assert not [spelling for spelling in ECHOES.values() if spelling in shown]
    assert KEY[:12] not in shown and quote(KEY, safe="")[:14].lower() not in shown.lower()


def test_key_in_the_models_answer_is_masked(monkeypatch):
    monkeypatch.setenv("MY_JUDGE_KEY", KEY)
    with serve(lambda request: Answer(content=verdict(failure(KEY)))) as server:
        (assessment,) = judge_with(server, api_key_env="MY_JUDGE_KEY").assess([dialogue()])
    assert "'[key]', which was not asked for" in assessment.error


def test_word_that_stands_for_no_key_does_not_hide_words(monkeypatch):
    monkeypatch.setenv("MY_JUDGE_KEY", "EMPTY")
    with serve(lambda request: Answer(raw="")) as server:
        (assessment,) = judge_with(server, api_key_env="MY_JUDGE_KEY").assess([dialogue()])
    assert assessment.error.endswith("it is empty")


@pytest.mark.parametrize("key", ["sk two", "sk\nX-Other: 1", "clé-secrète"])
def test_value_that_cannot_be_sent_as_a_key_is_refused_and_not_shown(monkeypatch, key):
    monkeypatch.setenv("MY_JUDGE_KEY", key)
    with serve(lambda request: Answer()) as server, pytest.raises(ConfigError, match="MY_JUDGE_KEY") as refused:
        judge_with(server, api_key_env="MY_JUDGE_KEY")
    assert key not in str(refused.value)


# what it refuses

MANY = [dialogue(f"d{i}", "One.", "Two.") for i in range(20)]


@pytest.mark.parametrize("as_param", [True, False])
@pytest.mark.parametrize("key", FAULTY)
def test_refused_key_is_left_out_after_one_more_request_and_noted(key, as_param):
    settings = {"extra_body": {"top_p": 0.9, "stop": ["x"]}, "token_limit_key": "max_completion_tokens"}

    def answer(request):
        return unsupported(key, as_param=as_param) if key in request.body else Answer(content=verdict())

    with serve(answer) as server:
        judge = judge_with(server, **settings)
        found = judge.assess(MANY) + judge.assess(MANY)
    assert not any(it.error for it in found)
    num_forms = 2 if key == "response_format" else 1  # a schema, then a plain JSON object
    assert len(server.requests) == len(found) + num_forms
    assert [key in request.body for request in server.requests] == [True] * num_forms + [False] * len(found)
    kept = set(FAULTY) - {key}
    assert all(kept <= set(request.body) for request in server.requests)
    (note,) = judge.notes
    assert key in note and "is not supported" in note


def test_model_that_refuses_several_keys_is_asked_as_it_wants():
    def answer(request):
        for key in ("max_tokens", "temperature", "response_format", "seed"):
            if key in request.body:
                return unsupported(key)
        return Answer(content=verdict())

    with serve(answer) as server:
        judge = judge_with(server, max_tokens=77)
        found = judge.assess(MANY)
    assert not any(it.error for it in found)
    assert len(server.requests) == len(found) + 5  # response_format is tried in two forms
    assert set(server.requests[-1].body) == {"model", "messages", "max_completion_tokens"}
    assert server.requests[-1].body["max_completion_tokens"] == 77
    assert len(judge.notes) == 4 and "max_completion_tokens" in judge.notes[0] and "'max_tokens'" in judge.notes[0]


def test_limit_that_is_refused_by_both_names_is_left_out():
    def answer(request):
        for key in ("max_tokens", "max_completion_tokens"):
            if key in request.body:
                return unsupported(key)
        return Answer(content=verdict())

    with serve(answer) as server:
        assert not judge_with(server).assess([dialogue()])[0].error
    assert not {"max_tokens", "max_completion_tokens"} & set(server.requests[-1].body)


@pytest.mark.parametrize(
    "text",
    [
        "Unrecognized request argument supplied: {}",
        "[{{'type': 'extra_forbidden', 'loc': ('body', '{}'), 'msg': 'Extra inputs are not permitted'}}]",
        "{} is not supported by this model",
        "`{}` must be 1",
    ],
)
@pytest.mark.parametrize("key", ["seed", "stop", "top_p", "temperature"])
def test_refused_key_is_found_in_the_words_of_several_servers(key, text):
    def answer(request):
        return unsupported(key, as_param=False, text=text) if key in request.body else Answer(content=verdict())

    with serve(answer) as server:
        (assessment,) = judge_with(server, extra_body={"stop": ["x"], "top_p": 0.5}).assess([dialogue()])
    assert not assessment.error and len(server.requests) == 2


def test_refusal_for_the_messages_own_sake_changes_nothing():
    def answer(request):
        if request.judged["text"] == "bad":
            return Answer(status=400, content="Flagged: please stop. The temperature of this prompt is too high.")
        return Answer(content=verdict())

    with serve(answer) as server:
        judge = judge_with(server, extra_body={"stop": ["x"]})
        bad, good = judge.assess([dialogue("a", "bad"), dialogue("b", "good")])
    assert "Flagged: please stop" in bad.error and not good.error
    assert {"temperature", "stop", "response_format"} <= set(server.requests[-1].body)
    assert not any("refused" in note for note in judge.notes)


def test_every_setting_of_an_endpoint_is_reached_from_yaml_and_overrides(tmp_path):
    file = tmp_path / "judge.yaml"
    file.write_text("evaluate:\n  judge:\n    extra_body: {top_p: 0.9, stop: [x]}\n    max_answer_bytes: 2048\n")
    given = {
        "base_url": "http://host/v1", "allow_http": True, "model": "m", "api_key_env": "KEY", "temperature": None,
        "seed": 3, "max_tokens": 99, "token_limit_key": "max_completion_tokens", "timeout_s": 3.5, "max_attempts": 2,
        "backoff_s": 0.5, "max_backoff_s": 2.0, "max_concurrency": 3, "max_answer_bytes": 4096, "num_votes": 1,
        "scope": "mode", "modes": ["boundary"], "num_examples": 0, "max_context_turns": 2, "min_agreement": 0.9,
        "name": "j", "extra_body": {"frequency_penalty": 0.1},
    }  # fmt: skip
    assert set(given) | {"engines"} == set(JudgeConfig.model_fields)

    config = load_config(file, [f"evaluate.judge.{key}={json.dumps(value)}" for key, value in given.items()])
    assert {key: value for key, value in config.evaluate.judge.model_dump(mode="json").items() if key in given} == given


@pytest.mark.parametrize("key", ["messages", "model", "stream", "response_format"])
def test_extra_body_cannot_replace_what_the_judge_sets(key):
    with pytest.raises(ValidationError, match=f"extra_body: got {key}"):
        JudgeConfig(base_url="https://host/v1", extra_body={key: "x"})


# models that think

PASS = json.dumps(verdict(failure("boundary")))
THINKING = {
    "thoughts before it": {"content": f"<think>Is it {{a}}? Or <b>?</think>\n{PASS}"},
    "end of thoughts alone": {"content": f"Hm, {{so}}.</think>{PASS}"},
    "other marks": {"content": f"[THINK]Hm {{.[/THINK]{PASS}"},
    "thoughts beside it": {"content": PASS, "reasoning_content": "Hm."},
    "answer taken for thoughts": {"content": None, "reasoning_content": PASS},
    "in parts": {"content": [{"type": "thinking", "thinking": "Hm {."}, {"type": "text", "text": PASS}]},
}


@pytest.mark.parametrize("message", THINKING.values(), ids=THINKING.keys())
def test_answer_of_a_model_that_thinks_is_read(message):
    with serve(lambda request: Answer(message=message)) as server:
        (assessment,) = judge_with(server, max_attempts=1).assess([dialogue()])
    assert ([label.mode for label in assessment.labels], assessment.error) == (["boundary"], "")


@pytest.mark.parametrize(
    "message, finish_reason, words",
    [
        (
            {"content": "", "reasoning_content": "Hm."},
            "length",
            "thoughts and no answer; raise evaluate.judge.max",
        ),
        ({"content": None, "reasoning": "Hm."}, "stop", "thoughts and no answer"),
        ({"content": "<think>Perhaps " + PASS}, "length", "thoughts and no answer"),
        ({"content": ""}, "length", "no answer before its token limit"),
        ({"content": None, "refusal": "I will not."}, "stop", "the model refuses: I will not."),
        ({"content": None}, "content_filter", "content filter"),
    ],
)
def test_thoughts_without_an_answer_are_no_verdict_and_say_why(message, finish_reason, words):
    with serve(lambda request: Answer(message=message, finish_reason=finish_reason)) as server:
        judge = judge_with(server, max_attempts=2)
        (assessment,) = judge.assess([dialogue()])
    assert words in assessment.error and not assessment.labels
    assert judge.cost.num_unreadable == 2 and judge.cost.num_prompt_tokens == 200


def test_mark_of_thoughts_inside_a_quoted_passage_is_part_of_the_answer():
    said = "He wrote </think> here."
    with serve(lambda request: Answer(content=verdict(failure("boundary", span=said)))) as server:
        (assessment,) = judge_with(server).assess([dialogue("d", said)])
    assert [label.span for label in assessment.labels] == [said]
