"""The server without Ray: one scripted engine behind the real routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up_probe import add_probe
from served_run import add_adapter, plan_of, scripted_plan, write_served_run
from starlette.testclient import TestClient

from advsim.config import parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import ConfigError, DeliveryError, EngineDiedError, EngineError
from advsim.records import Split
from advsim.rollout.delivery import Acknowledgement, Delivery
from advsim.run_folder.folder import RunDir
from advsim.run_folder.reader import Run
from advsim.serve.answer import Served, Spoken
from advsim.serve.chat import Chat, Defaults
from advsim.serve.front import Front, FrontSettings
from advsim.serve.key import key_sha256
from advsim.serve.plan import ServePlan, simulator_of
from advsim.serve.routes import build_app
from advsim.serve.speaking import SpeakingEngine

KEY = "a-key-of-tests"
GREETING = {"role": "assistant", "content": "What brings you here?"}


class OneEngine:
    """The engines of a server, of which there is one, in this process."""

    def __init__(self, plan: ServePlan) -> None:
        self.engine = SpeakingEngine(plan.spec, "simulator-0")
        self.delivery: Delivery | None = None
        self.failure: Exception | None = None
        self.is_slow = False

    async def _fetch(self) -> Delivery | None:
        return self.delivery

    async def speak(self, chat: Chat, served: Served, *, pinned: str | None) -> Spoken:
        if self.failure is not None:
            raise self.failure
        if self.is_slow:
            await asyncio.sleep(60)
        return await self.engine.speak(chat, served, self._fetch, pinned=pinned)

    async def hold(self, served: Served, delivery: Delivery | None) -> Sequence[Acknowledgement | None]:
        self.delivery = delivery
        return [await self.engine.hold(served, self._fetch)]

    async def held(self) -> Sequence[Served | None]:
        return [self.engine.served]

    async def num_ready(self) -> int:
        return 1


class Server:
    def __init__(
        self,
        run: Run,
        *replies: str,
        at: str = "newest",
        timeout_s: float = 30.0,
        best_of: int = 1,
        **defaults: Any,
    ) -> None:
        plan = scripted_plan(run, *replies, at=at, best_of=best_of)
        self.run = run
        self.engines = OneEngine(plan)
        self.settings = FrontSettings(
            location=plan.location,
            name=plan.name,
            at=plan.at,
            scenarios=plan.scenarios,
            canary=plan.canary,
            defaults=Defaults(sampling=plan.config.rollout.sampling, **defaults),
            key_sha256=key_sha256(KEY),
            timeout_s=timeout_s,
            config=plan.config,
            best_of=plan.best_of,
            max_body_bytes=4_000,
        )
        self.front = Front(self.settings, self.engines)
        self.client = TestClient(build_app(self.front), headers={"Authorization": f"Bearer {KEY}"})

    def ask(self, **keys: Any) -> Any:
        return self.client.post("/v1/chat/completions", json={"model": "made-up", "messages": [GREETING], **keys})

    def text(self, **keys: Any) -> str:
        answer = self.ask(**keys)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])

    def change(self, at: str) -> Any:
        return self.client.post("/v1/adapter", json={"at": at})


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_served_run(tmp_path_factory.mktemp("runs") / "run", tiny_model)


@pytest.fixture
def own_run(tiny_model: Path, tmp_path: Path) -> Run:
    """One that a test may change."""
    return write_served_run(tmp_path / "run", tiny_model)


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Server]:
    yield Server(run, "cant sleep lately")


def test_person_answers_in_openais_shape_and_says_which_adapter_spoke(server: Server) -> None:
    answer = server.ask(seed=7).json()
    adapter = server.run.adapter(1)
    assert answer["object"] == "chat.completion" and answer["model"] == "made-up"
    [choice] = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "cant sleep lately", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["advsim"] == {
        "ended": False,
        "simulator": "round_1",
        "adapter_version": 1,
        "adapter_sha256": adapter.sha256,
        "best_of": 1,
        "probe_sha256": None,
        "scenario": None,
        "seed": 7,
        "num_regenerated": 0,
    }
    assert answer["system_fingerprint"] == f"round_1-{adapter.sha256[:12]}"
    usage = answer["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"] > 0


def test_stream_says_the_same_in_pieces_and_ends_as_openais_does(server: Server) -> None:
    answer = server.ask(stream=True, stream_options={"include_usage": True}, seed=1)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    *chunks, usage = [json.loads(line) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant" and len(deltas) > 3
    assert "".join(delta.get("content", "") for delta in deltas) == "cant sleep lately"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]
    assert chunks[-1]["advsim"]["simulator"] == "round_1"
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        KEY,
        f"Basic {KEY}",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer ü",
    ],
)
def test_nobody_gets_in_without_the_key(server: Server, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    stranger = TestClient(build_app(server.front), headers=headers)
    for method, path in [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/made-up"),
        ("GET", "/v1/scenarios"),
        ("GET", "/v1/adapter"),
        ("POST", "/v1/adapter"),
    ]:
        answer = stranger.request(method, path, content=b"{")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert KEY not in answer.text


def test_health_and_metrics_are_open_and_hold_no_text(server: Server) -> None:
    server.ask()
    stranger = TestClient(build_app(server.front))
    assert stranger.get("/health").json() == {"status": "ok", "num_engines": 1, "simulator": "round_1"}
    metrics = stranger.get("/metrics")
    assert 'advsim_serve_requests_total{status="200"}' in metrics.text
    assert 'advsim_serve_simulator{adapter_sha256="' in metrics.text
    assert "sleep" not in metrics.text and KEY not in metrics.text


def test_health_says_no_before_somebody_can_answer(run: Run) -> None:
    assert Server(run, "hi").client.get("/health").status_code == 503


def test_models_are_the_run_and_the_simulator_that_is_served(server: Server) -> None:
    models = server.client.get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["made-up", "made-up/round_1"]
    assert server.client.get("/v1/models/made-up/round_1").json()["object"] == "model"
    assert server.client.get("/v1/models/gpt-4").status_code == 404


def test_scenarios_are_those_kept_from_training_and_tell_nothing_of_people(server: Server) -> None:
    listed = server.client.get("/v1/scenarios").json()["data"]
    plan = plan_of(server.run.folder, parse_config(server.run.config))
    assert [one["id"] for one in listed] == list(plan.scenarios) and listed
    assert {tuple(one) for one in listed} == {("id", "object", "opens_with")}
    assert server.text(advsim={"scenario": listed[0]["id"]}) == "cant sleep lately"


@pytest.mark.parametrize("model", ["gpt-4o", "made-up/", "made-up/round_9", "other/round_1"])
def test_model_that_is_not_served_is_refused(server: Server, model: str) -> None:
    answer = server.ask(model=model)
    assert answer.status_code in (404, 409) and answer.json()["error"]["param"] == "model"


def test_unknown_routes_and_methods_are_refused_in_openais_shape(server: Server) -> None:
    for method, path, status in [
        ("GET", "/v1/embeddings", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/", 404),
    ]:
        answer = server.client.request(method, path)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})


@pytest.mark.parametrize("tells_length", [True, False])
def test_body_that_is_too_large_is_refused(server: Server, tells_length: bool) -> None:
    body = b" " * 5_000
    content = body if tells_length else iter([body[:3_000], body[3_000:]])
    answer = server.client.post("/v1/chat/completions", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_dialogue_that_does_not_fit_is_refused_as_too_long(tiny_model: Path, tmp_path: Path) -> None:
    run = write_served_run(tmp_path / "run", tiny_model, engine={"max_model_len": 640})
    answer = Server(run, "hi").ask(messages=[{"role": "assistant", "content": "word " * 700}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_person_who_leaves_is_marked_and_the_callers_end_text_stands_behind(run: Run) -> None:
    server = Server(run, "thanks, bye [END]", end_text="###STOP###")
    answer = server.ask().json()
    assert answer["advsim"]["ended"] is True
    assert answer["choices"][0]["message"]["content"] == "thanks, bye ###STOP###"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert server.text(advsim={"end_text": ""}) == "thanks, bye"
    assert Server(run, "[END]", end_text="STOP").text() == "STOP"


def test_fault_is_drawn_again_and_counted(run: Run) -> None:
    server = Server(run, "fine, thanks", "As an AI I cannot feel")
    answers = [server.ask(seed=seed).json() for seed in range(2)]
    # seeds of draws are 1000 apart, an even number: with one parity the fault stays
    kept = [answer for answer in answers if "error" not in answer]
    refused = [answer["error"] for answer in answers if "error" in answer]
    assert [answer["choices"][0]["message"]["content"] for answer in kept] == ["fine, thanks"]
    assert [error["code"] for error in refused] == ["simulator_fault"]
    assert "3 times in a row" in refused[0]["message"]


def test_fault_of_one_draw_does_not_reach_the_caller(run: Run) -> None:
    server = Server(run, "fine, thanks", "As an AI I cannot feel", "  ")
    answers = [server.ask(seed=seed).json() for seed in range(3)]
    assert {answer["choices"][0]["message"]["content"] for answer in answers} == {"fine, thanks"}
    assert sorted(answer["advsim"]["num_regenerated"] for answer in answers) == [0, 1, 2]


def test_seed_decides_what_is_said(run: Run) -> None:
    server = Server(run, *[f"line {number}" for number in range(50)])
    assert server.text(seed=5) == server.text(seed=5) != server.text(seed=6)
    assert len({server.text() for _ in range(6)}) > 1


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (EngineDiedError("the simulator process died"), 503, "engine_died"),
        (EngineError("vLLM refused a request"), 500, "engine_failed"),
        (RuntimeError("secret detail"), 500, "internal_error"),
    ],
)
def test_failing_engines_are_no_message_and_no_traceback(run: Run, failure: Exception, status: int, code: str) -> None:
    server = Server(run, "hi")
    server.engines.failure = failure
    answer = server.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "secret" not in answer.text
    assert f'requests_total{{status="{status}"}} 1.0' in server.client.get("/metrics").text


def test_message_that_takes_too_long_is_given_up(run: Run) -> None:
    server = Server(run, "hi", timeout_s=0.05)
    server.engines.is_slow = True
    answer = server.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_new_round_is_swapped_in_and_answers_say_so(own_run: Run) -> None:
    server = Server(own_run, "hi")
    assert server.ask().json()["advsim"]["simulator"] == "round_1"
    add_adapter(own_run.folder, 2)
    changed = server.change("newest").json()
    assert (changed["simulator"], changed["adapter_sha256"]) == ("round_2", own_run.adapter(2).sha256)
    assert server.ask().json()["advsim"]["adapter_sha256"] == own_run.adapter(2).sha256
    assert server.client.get("/v1/adapter").json() == changed
    assert server.ask(model="made-up/round_1").status_code == 409
    assert server.change("zero_shot").json()["adapter_version"] is None
    assert server.ask().json()["system_fingerprint"] == "zero_shot"


@pytest.mark.parametrize("body", [{"at": "round_9"}, {"at": ""}, {"at": 2}, {}, {"at": "sft", "now": True}])
def test_change_to_what_is_not_there_is_refused_and_changes_nothing(server: Server, body: dict[str, Any]) -> None:
    answer = server.client.post("/v1/adapter", json=body)
    assert (answer.status_code, answer.json()["error"]["param"] in ("at", None)) == (400, True)
    assert server.ask().json()["advsim"]["simulator"] == "round_1"


def let_learner_say_otherwise(run: Run, name: str) -> None:
    """Let the training's figures of an adapter be of another one than the engine speaks with."""
    metrics = run.folder.read_object(name)
    run.folder.write_json(name, {**metrics, "canary_logprobs": [-3.0] * len(metrics["canary_logprobs"])})


@pytest.mark.parametrize("damage", ["files", "canary"])
def test_damaged_adapter_is_refused_and_the_one_before_is_served_on(own_run: Run, damage: str) -> None:
    server = Server(own_run, "hi")
    server.ask()
    add_adapter(own_run.folder, 2)
    if damage == "files":
        (own_run.folder.path / "rounds/02/adapter/adapter_model.safetensors").write_bytes(b"torn")
    else:
        let_learner_say_otherwise(own_run, "rounds/02/dpo.json")
    answer = server.change("round_2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_failed")
    assert server.ask().json()["advsim"]["simulator"] == "round_1"


def test_front_that_was_started_again_serves_what_the_engines_hold(own_run: Run) -> None:
    server = Server(own_run, "hi")
    server.change("sft")
    again = Front(server.settings, server.engines)
    assert TestClient(build_app(again), headers=server.client.headers).get("/v1/adapter").json()["simulator"] == "sft"


def test_merged_weights_cannot_go_back_to_the_base_model(tiny_model: Path, tmp_path: Path) -> None:
    merged = {"engine": {"adapter_serving": "merged"}, "resources": {"colocate": False}}
    server = Server(write_served_run(tmp_path / "run", tiny_model, **merged), "hi")
    server.ask()
    answer = server.change("zero_shot")
    assert answer.status_code == 400 and "--at zero_shot" in answer.json()["error"]["message"]
    assert server.ask().json()["advsim"]["simulator"] == "round_1"


class HeldEngine:
    """Puts a scripted engine's answers off until it is let go."""

    def __init__(self, engine: SpeakingEngine) -> None:
        self.inner = engine._actor._engine
        engine._actor._engine = self  # type: ignore[assignment]
        self.go = asyncio.Event()
        self.num_asked = 0
        self.loaded: list[int] = []

    async def generate(self, request: Any) -> Any:
        self.num_asked += 1
        await self.go.wait()
        return await self.inner.generate(request)

    async def load_adapter(self, adapter: Any, folder: Path) -> None:
        self.loaded.append(adapter.version)

    async def logprobs(self, *arguments: Any, **keys: Any) -> list[float]:
        return await self.inner.logprobs(*arguments, **keys)


def swap_under_load(run: Run, *, cancel_change: bool = False) -> tuple[list[str], list[int]]:
    """Simulators of messages that were under way at a change, and of those that came while it waited."""

    async def scenario() -> tuple[list[str], list[int]]:
        server = Server(run, "hi", at="sft")
        front = server.front
        values = {"model": "made-up", "messages": [GREETING]}
        await front.served()
        held = HeldEngine(server.engines.engine)
        before = [asyncio.create_task(front.chat(values)) for _ in range(3)]
        while held.num_asked < 3:
            await asyncio.sleep(0.001)
        change = asyncio.create_task(front.change("round_1"))
        while not server.engines.engine._turns._num_waiting_alone:
            await asyncio.sleep(0.001)
        after = [asyncio.create_task(front.chat(values)) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert held.num_asked == 3 and held.loaded == []
        if cancel_change:
            change.cancel()
        held.go.set()
        answers = await asyncio.gather(*before, *after)
        return [answer.marks["simulator"] for _, answer in answers], held.loaded

    return asyncio.run(asyncio.wait_for(scenario(), 20))


def test_messages_under_way_keep_their_adapter_and_those_that_wait_get_the_new_one(own_run: Run) -> None:
    assert swap_under_load(own_run) == (["sft"] * 3 + ["round_1"] * 3, [1])


def test_change_that_is_given_up_holds_nobody_back(own_run: Run) -> None:
    assert swap_under_load(own_run, cancel_change=True) == (["sft"] * 6, [])


def test_engine_that_starts_late_loads_what_is_served_before_it_speaks(run: Run) -> None:
    server = Server(run, "hi")
    server.ask()
    server.engines.engine = SpeakingEngine(scripted_plan(run, "hi").spec, "simulator-1")
    assert server.ask().json()["advsim"]["simulator"] == "round_1"


def test_older_news_does_not_take_a_change_back(run: Run) -> None:
    async def names() -> list[str]:
        server = Server(run, "hi", at="sft")
        old = await server.front.served()
        await server.front.change("round_1")
        chat, _ = await server.front.chat({"model": "made-up", "messages": [GREETING]})
        spoken = await server.engines.speak(chat, old, pinned=None)
        return [spoken.served.name]

    assert asyncio.run(names()) == ["round_1"]


def test_simulators_of_a_run_are_found_by_name(own_run: Run) -> None:
    assert simulator_of(own_run, "zero_shot") == ("zero_shot", None)
    assert simulator_of(own_run, "newest") == ("round_1", own_run.adapter(1))
    assert simulator_of(own_run, "sft") == ("sft", own_run.adapter(0))
    with pytest.raises(ConfigError, match="expected newest or one of zero_shot, sft, round_1"):
        simulator_of(own_run, "round_2")


def test_canary_is_of_a_dialogue_that_the_training_kept(own_run: Run) -> None:
    config = parse_config(own_run.config)
    before = plan_of(own_run.folder, config).canary
    training = [d for d in load_corpus(config.corpus).dialogues if d.split is Split.TRAIN]
    longest = max(training, key=lambda d: (len(d.turns[0].text), d.id))
    own_run.folder.write_json("too_long.json", {"dropped": [longest.id], "cut": []})
    assert plan_of(own_run.folder, config).canary != before


def test_run_without_training_serves_the_base_model_alone(tmp_path: Path, tiny_model: Path) -> None:
    folder = RunDir(str(tmp_path / "run"))
    assert simulator_of(Run(folder), "newest") == ("zero_shot", None)


def test_engine_does_not_speak_with_an_adapter_that_it_failed_to_prove(own_run: Run) -> None:
    server = Server(own_run, "hi")
    let_learner_say_otherwise(own_run, "rounds/01/dpo.json")
    with pytest.raises(DeliveryError, match="does not speak with it"):
        asyncio.run(server.front.served())
    assert server.ask().status_code == 500


def test_of_several_draws_the_one_is_sent_that_the_runs_probe_chooses(own_run: Run, tiny_model: Path) -> None:
    add_probe(own_run.folder, 1, tiny_model)
    lines = ("cant sleep lately", "idk, everything? mostly that i will fail", "my exams")
    server = Server(own_run, *lines, best_of=3)
    answers = [server.ask(seed=seed).json() for seed in range(3)]
    assert len({answer["choices"][0]["message"]["content"] for answer in answers}) == 1  # alone, each would come
    alone = Server(own_run, *lines)
    assert len({alone.text(seed=seed) for seed in range(3)}) == 3
    probe_sha256 = answers[0]["advsim"]["probe_sha256"]
    assert answers[0]["advsim"]["best_of"] == 3
    assert answers[0]["system_fingerprint"].endswith(f"-best-of-3-{probe_sha256[:12]}")
    assert answers[0]["usage"]["completion_tokens"] == sum(map(len, lines))  # all that was drawn
    assert server.change("sft").status_code == 200 and server.ask().json()["advsim"]["simulator"] == "sft"
    refused = server.change("zero_shot")
    assert refused.status_code >= 400 and "draws of an adapter" in refused.text
    assert server.ask().json()["advsim"]["simulator"] == "sft"
    add_probe(own_run.folder, 2, tiny_model, slope=2.0)  # a round that has drawn from round 1 knows its draws better
    assert server.change("round_1").json()["probe_sha256"] != probe_sha256
    add_probe(own_run.folder, 2, tiny_model, auc_low=0.5)
    refused = server.change("newest")
    assert refused.status_code >= 400 and "choosing by it gains nothing" in refused.text


@pytest.mark.parametrize(
    ("at", "best_of", "said"),
    [
        ("newest", 4, "--best-of: .* has no probe that knows draws of adapter version 1; train .* prefixes"),
        ("zero_shot", 4, "zero_shot has none"),
        ("newest", 0, "got 0, expected 1 to 256 draws"),
        ("newest", 300, "got 300, expected 1 to 256 draws"),
    ],
)
def test_best_of_what_cannot_be_chosen_is_refused_before_an_engine_starts(
    run: Run, at: str, best_of: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_of(run.folder, parse_config(run.config), at=at, best_of=best_of)
