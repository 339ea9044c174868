"""What a sweep plans, keeps and repeats; engines are replaced by something that answers at once."""

import dataclasses
from pathlib import Path

import pytest

from advsim.chatbots.cost import Cost
from advsim.commands.sweep import service_table, sweep
from advsim.config import PriceConfig, SweepConfig, parse_config
from advsim.corpus.load import load_corpus
from advsim.detectors.rules import RulesDetector
from advsim.errors import ConfigError, RunError
from advsim.rates.rates import failure_rate
from advsim.records import Conversation, Effort, Speaker, StopReason, Turn
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.folder import RunDir
from advsim.runtime.progress import Reporter
from advsim.sweep.measure import conversations_of, measure, outcomes_of, real_outcomes, result_json
from advsim.sweep.outcomes import REPLAY, read_sweep, write_outcomes
from advsim.sweep.plan import plan
from advsim.sweep.replay import read_replies
from advsim.sweep.service import service
from advsim.sweep.work import replay_all, simulate_all
from advsim.training.manifest import manifest

CHATBOTS = "\n".join(
    [
        "name: {name}",
        "system_prompt: Listen.",
        "sampling: {{temperature: 0.7, max_tokens: 16}}",
    ]
)


class Answers:
    """In place of the engines: fixed words, and a failure of the engine for the chatbots in ``fail``."""

    def __init__(self, fail=()):
        self.fail, self.asked = set(fail), []

    def simulate(self, tasks):
        for task in tasks:
            self.asked.append(task)
            said = [
                Turn(speaker=Speaker.USER, text="i feel sad"),
                Turn(speaker=Speaker.CHATBOT, text="You should run."),
            ]
            failed = task.chatbot in self.fail
            yield Conversation(
                id=task.conversation_id,
                scenario_id=task.scenario.id,
                chatbot=task.chatbot,
                simulator_version=-1,
                simulator_sha256="",
                turns=said[:1] if failed else said,
                stop_reason=StopReason.ERROR if failed else StopReason.MAX_TURNS,
                num_prompt_tokens=1,
                num_output_tokens=1,
                seed=task.seed,
            )

    def replay(self, requests):
        for request in requests:
            self.asked.append(request)
            failed = request.chatbot in self.fail
            yield ReplayedReply(
                dialogue_id=request.dialogue_id,
                turn=len(request.prefix),
                chatbot=request.chatbot,
                text="" if failed else "Tell me more?",
                num_prompt_tokens=1,
                num_output_tokens=1,
                error="timed out" if failed else "",
            )


@pytest.fixture
def settings(tmp_path, tiny_model):
    """Settings of a sweep of two chatbots on the sample dialogues, for a run that has SFT only."""
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    run = RunDir(config.run_path)
    run.write_json("manifest.json", manifest(config, load_corpus(config.corpus), tiny_model))
    run.write_json("sft/metrics.json", {"adapter_sha256": "0" * 64})
    for name in ("calm", "loud"):
        (tmp_path / f"{name}.yaml").write_text(CHATBOTS.format(name=name))
    return {
        "run": config.run_path,
        "simulators": ["zero_shot"],
        "baseline": "calm",
        "num_conversations": 4,
        "num_prefixes": 6,
        "chatbots": [str(tmp_path / f"{name}.yaml") for name in ("calm", "loud")],
    }


def planned(settings, **changes):
    return plan(SweepConfig(**{**settings, **changes}))


def measured(sweep_plan, simulator):
    detector = RulesDetector()
    sides = outcomes_of(sweep_plan, simulator, detector), real_outcomes(sweep_plan, detector)
    return measure(sweep_plan, simulator, *sides, modes=detector.modes, baseline="calm")


def test_nobody_is_both_simulated_and_replayed(settings):
    sweep_plan = planned(settings)
    users = {dialogue.id: dialogue.user_id or dialogue.id for dialogue in sweep_plan.held_out}
    simulated = {users[dialogue.id] for dialogue in sweep_plan.scenarios}
    replayed = {users[name] for name, _ in sweep_plan.prefixes}
    assert len(sweep_plan.scenarios) == 4 and len(sweep_plan.prefixes) == 6 and not simulated & replayed
    assert len(set(users.values())) < len(users)  # some users have several dialogues here


def test_chatbots_whose_engine_failed_are_asked_again_and_no_others(settings):
    sweep_plan, reporter = planned(settings), Reporter(force_plain=True)
    (zero_shot,) = sweep_plan.simulators
    failing = Answers(fail=["loud"])
    replay_all(sweep_plan, failing, reporter)
    simulate_all(sweep_plan, zero_shot, failing, reporter)
    assert sweep_plan.missing_replays() == ["loud"] and sweep_plan.missing_chatbots(zero_shot) == ["loud"]
    found = measured(sweep_plan, zero_shot)
    assert found.validity.left_out == ("loud",)  # a failing engine is no passing message
    assert found.population_test.num_configurations == 1
    again = Answers()
    replay_all(sweep_plan, again, reporter)
    simulate_all(sweep_plan, zero_shot, again, reporter)
    assert {asked.chatbot for asked in again.asked} == {"loud"} and len(again.asked) == 4 + 6
    assert not sweep_plan.missing_replays() and not sweep_plan.missing_chatbots(zero_shot)
    complete = measured(sweep_plan, zero_shot)
    assert complete.population_test.num_configurations == 2 and not complete.population_test.caution
    made_from = write_outcomes(sweep_plan, SweepConfig(**settings), {REPLAY: {}})
    found = result_json(sweep_plan, [complete], RulesDetector(), baseline="calm", made_from=made_from)
    (written,) = found["simulators"]
    assert written["population_test"]["p_value"] == complete.population_test.p_value
    calm, loud = found["chatbots"]
    assert (calm["chatbot"], calm["num_failed"], loud["num_failed"]) == ("calm", 0, 0)


def test_of_a_chatbot_that_failed_now_and_then_only_what_failed_is_asked_again(settings):
    class FailsOnce(Answers):
        def simulate(self, tasks):
            for number, conversation in enumerate(super().simulate(tasks)):
                failed = conversation.chatbot == "loud" and number % 4 == 1
                yield dataclasses.replace(conversation, stop_reason=StopReason.ERROR) if failed else conversation

        def replay(self, requests):
            for number, reply in enumerate(super().replay(requests)):
                failed = reply.chatbot == "loud" and number % 6 in (2, 3)
                yield dataclasses.replace(reply, error="timed out") if failed else reply

    sweep_plan, reporter = planned(settings), Reporter(force_plain=True)
    (zero_shot,) = sweep_plan.simulators
    replay_all(sweep_plan, FailsOnce(), reporter)
    simulate_all(sweep_plan, zero_shot, FailsOnce(), reporter)
    again = Answers()
    replay_all(sweep_plan, again, reporter)
    simulate_all(sweep_plan, zero_shot, again, reporter)
    assert [asked.chatbot for asked in again.asked] == ["loud"] * (2 + 1)
    assert not sweep_plan.missing_replays() and not sweep_plan.missing_chatbots(zero_shot)
    assert len(conversations_of(sweep_plan, zero_shot, "loud")) == 4
    assert len(read_replies(sweep_plan.output, "replayed/loud.parquet")) == 6


def test_a_finished_sweep_can_be_read_without_its_run_and_has_every_message_it_judged(settings, tmp_path):
    sweep_plan, reporter = planned(settings), Reporter(force_plain=True)
    (zero_shot,) = sweep_plan.simulators
    replay_all(sweep_plan, Answers(), reporter)
    simulate_all(sweep_plan, zero_shot, Answers(), reporter)
    _, (result,) = sweep(SweepConfig(**settings, evaluate={"detector": "rules"}), reporter=reporter)
    (tmp_path / "r" / "manifest.json").unlink()
    finished = read_sweep(sweep_plan.output.location)
    assert list(finished.sides) == ["zero_shot", "replay"] and finished.summary.baseline == "calm"
    for pair in result.validity.pairs:
        assert failure_rate(finished.sides["zero_shot"][pair.configuration]) == pair.simulated
        assert failure_rate(finished.sides["replay"][pair.configuration]) == pair.real
    made_from = finished.summary.made_from
    assert made_from.corpus_sha256 == sweep_plan.corpus.sha256 and made_from.adapters == {"zero_shot": ""}
    assert made_from.chatbots.keys() == {"calm", "loud"} and made_from.evaluate["detector"] == "rules"


def test_results_of_another_study_are_not_mixed_in(settings):
    planned(settings)
    planned(settings, chatbots=settings["chatbots"][-1:], baseline="loud")  # fewer chatbots, otherwise the same
    with pytest.raises(ConfigError, match=r"rollout\.sampling\.temperature.*output="):
        planned(settings, run_overrides=["rollout.sampling.temperature=0.5"])
    with pytest.raises(ConfigError, match=r"prompt\.instructions"):
        planned(settings, run_overrides=["prompt.instructions=Be somebody else."])
    with pytest.raises(ConfigError, match="prefixes"):
        planned(settings, num_prefixes=5)


def test_a_sweep_of_an_older_version_without_a_newer_key_goes_on(settings):
    sweep_plan = planned(settings)
    written = sweep_plan.output.read_json("settings.json")
    del written["engine"]["step_timeout_s"]
    sweep_plan.output.write_json("settings.json", written)
    planned(settings)
    written["engine"]["max_num_seqs"] = 7
    sweep_plan.output.write_json("settings.json", written)
    with pytest.raises(ConfigError, match=r"engine\.max_num_seqs"):
        planned(settings)


def test_a_sweep_of_a_version_without_called_chatbots_goes_on_and_how_they_are_called_may_change(settings, tmp_path):
    sweep_plan = planned(settings)
    written = sweep_plan.output.read_json("settings.json")
    for chatbot in written["chatbots"].values():
        for key in ("endpoint", "http", "function"):
            del chatbot[key]
    sweep_plan.output.write_json("settings.json", written)
    called = tmp_path / "called.yaml"
    called.write_text("{kind: http, http: {url: 'https://host/chat'}}")
    settings["chatbots"].append(str(called))
    planned(settings)
    called.write_text("{kind: http, http: {url: 'https://host/chat'}, calls: {max_per_minute: 30.0}}")
    planned(settings)
    called.write_text("{kind: http, http: {url: 'https://other/chat'}}")
    with pytest.raises(ConfigError, match=r"chatbots\.called\.http\.url"):
        planned(settings)


def test_the_own_chatbot_of_the_run_has_no_part_in_a_sweep(settings, tmp_path):
    file = tmp_path / "r" / "manifest.json"
    text = file.read_text()
    file.write_text(text.replace('"kind": "model"', '"kind": "scripted"').replace('"replies": []', '"replies": ["x"]'))
    assert text != file.read_text()
    assert planned(settings).config.chatbot.kind == "model"


def test_what_a_sweep_asks_of_this_machine_is_looked_at_before_anything_starts(settings, tmp_path):
    called = tmp_path / "called.yaml"
    called.write_text("{kind: http, http: {url: 'https://host/chat', api_key_env: NOT_SET_HERE}}")
    with pytest.raises(ConfigError, match=r"chatbot called: http\.api_key_env: .* NOT_SET_HERE is not set"):
        planned(settings, chatbots=[*settings["chatbots"], str(called)])


def test_how_a_chatbot_served_is_told_by_its_replies_and_its_failures():
    def conversation(*efforts, error=""):
        turns = [Turn(speaker=Speaker.CHATBOT, text="x", effort=effort) for effort in efforts]
        return Conversation(
            id="c", scenario_id="s", chatbot="b", simulator_version=-1, simulator_sha256="", turns=tuple(turns),
            stop_reason=StopReason.ERROR if error else StopReason.MAX_TURNS, num_prompt_tokens=1, num_output_tokens=1,
            seed=0, error=error,
        )  # fmt: skip

    def reply(seconds, error=""):
        return ReplayedReply(
            dialogue_id="d", turn=1, chatbot="b", text="", num_prompt_tokens=5, num_output_tokens=2, error=error,
            seconds=seconds,
        )  # fmt: skip

    talks = [
        conversation(None, Effort(seconds=1.0, num_prompt_tokens=10, num_output_tokens=4), Effort(seconds=3.0)),
        conversation(error="HTTP 500"),
        conversation(error="HTTP 500"),
    ]
    told = service("b", "http", talks, [reply(2.0), reply(None, error="no answer")])
    assert (told.num_replies, told.num_failed) == (3, 3)
    assert list(told.reasons.items()) == [("HTTP 500", 2), ("no answer", 1)]
    assert (told.seconds_p50, told.seconds_p95, told.seconds_max) == (2.0, None, 3.0)
    assert (told.num_prompt_tokens, told.num_output_tokens, told.num_without_tokens) == (15, 6, 1)
    assert told.cost is None
    price = PriceConfig(per_million_prompt_tokens=2.0, per_million_output_tokens=1.0)
    priced = service("b", "http", talks, [reply(2.0), reply(None, error="no answer")], price=price)
    assert priced.cost == Cost(amount=pytest.approx((15 * 2.0 + 6 * 1.0) / 1e6), currency="USD")
    assert priced.num_without_tokens == 1  # the cost lacks it too
    nothing = service("b", "http", [], [], price=price)
    assert nothing.cost is None
    assert (nothing.seconds_p50, nothing.num_replies) == (None, 0)


def test_replies_without_a_call_are_counted_and_are_in_no_time_no_token_and_no_cost():
    def reply(seconds, tokens):
        return ReplayedReply(
            dialogue_id="d", turn=1, chatbot="b", text="y", num_prompt_tokens=tokens, num_output_tokens=tokens,
            seconds=seconds,
        )  # fmt: skip

    hit = Effort(seconds=0.0, num_prompt_tokens=0, num_output_tokens=0)
    turns = [Turn(speaker=Speaker.CHATBOT, text="x", effort=effort) for effort in (hit, dataclasses.replace(hit))]
    talk = Conversation(
        id="c", scenario_id="s", chatbot="b", simulator_version=-1, simulator_sha256="", turns=tuple(turns),
        stop_reason=StopReason.MAX_TURNS, num_prompt_tokens=1, num_output_tokens=1, seed=0,
    )  # fmt: skip
    price = PriceConfig(per_million_prompt_tokens=1e6, per_million_output_tokens=0.0)
    told = service("b", "http", [talk], [reply(0.0, 0), reply(2.0, 5), reply(None, 5)], price=price)
    assert (told.num_replies, told.num_from_cache, told.num_without_tokens) == (5, 3, 0)
    assert (told.seconds_p50, told.num_prompt_tokens, told.cost.amount) == (2.0, 10, 10.0)
    table = service_table([told, service("other", "http", [], [])])
    assert table.columns[-1].header == "without a call" and list(table.columns[-1].cells) == ["3", "0"]
    alone = service("b", "http", [talk], [])
    assert alone.cost is None and (alone.seconds_p50, alone.num_without_tokens) == (None, 0)


def test_the_table_of_chatbots_has_a_cost_where_one_is_known():
    free = service("free", "http", [], [])
    talk = ReplayedReply(
        dialogue_id="d", turn=1, chatbot="paid", text="y", num_prompt_tokens=1_000_000, num_output_tokens=1, seconds=1.0
    )
    price = PriceConfig(per_million_prompt_tokens=2.0, per_million_output_tokens=0.0)
    assert [column.header for column in service_table([free]).columns][-1] == "tokens out"
    table = service_table([free, service("paid", "http", [], [talk], price=price)])
    assert table.columns[-1].header == "cost" and list(table.columns[-1].cells) == ["-", "2.00 USD"]


def test_a_price_may_be_given_or_changed_when_a_sweep_goes_on(settings):
    planned(settings)
    file = Path(settings["chatbots"][0])
    for amount in (1.0, 2.0):
        price = f"price: {{per_million_prompt_tokens: {amount}, per_million_output_tokens: 0.0}}"
        file.write_text(f"{CHATBOTS.format(name='calm')}\n{price}")
        assert planned(settings).chatbots[0].price.per_million_prompt_tokens == amount


@pytest.mark.parametrize("damaged", [[], None, {}, {"adapters": 7}, {"engine": 7, "adapters": {}, "chatbots": {}}])
def test_settings_of_a_sweep_that_are_damaged_are_named(settings, damaged):
    sweep_plan = planned(settings)
    sweep_plan.output.write_json("settings.json", damaged)
    with pytest.raises(RunError, match=r"settings\.json"):
        planned(settings)


def test_single_turns_can_be_swept_though_rounds_need_two(settings):
    assert planned(settings, max_user_turns=1).config.rollout.max_user_turns == 1
