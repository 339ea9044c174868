"""What a sweep plans, keeps and repeats; engines are replaced by something that answers at once."""

import contextlib
import dataclasses
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from made_up_probe import add_probe

from advsim.chatbots.cost import Cost
from advsim.commands import sweep as sweep_command
from advsim.commands.sweep import service_table, sweep
from advsim.config import ChatbotConfig, PriceConfig, SweepConfig, parse_config
from advsim.corpus.load import load_corpus
from advsim.corpus.prefixes import user_of
from advsim.detectors.rules import RulesDetector
from advsim.errors import ConfigError, RunError
from advsim.models.adapter import adapter_sha256
from advsim.rates.rates import failure_rate
from advsim.records import Conversation, Effort, NextTurn, Speaker, StopReason, Turn
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.folder import RunDir
from advsim.runtime.progress import Reporter
from advsim.sweep import work as sweep_work
from advsim.sweep.caps import Meter
from advsim.sweep.early import Deciding
from advsim.sweep.judge import judge_all, read_judged
from advsim.sweep.measure import all_sides, measure
from advsim.sweep.outcomes import read_sweep
from advsim.sweep.planning.estimate import TOKENS_A_MESSAGE, describe_work, estimate
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.settings import keep_settings, what_it_says
from advsim.sweep.planning.study import plan
from advsim.sweep.service import service, services
from advsim.sweep.shards import all_said, read_decided
from advsim.sweep.user_turns import write_turns_of
from advsim.sweep.work import missing, work
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
        self.fail, self.asked, self.turns_asked, self.pushed = set(fail), [], [], []

    def push(self, delivery):
        self.pushed.append(delivery.adapter)

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
                turns=tuple(said[:1] if failed else said),
                stop_reason=StopReason.ERROR if failed else StopReason.MAX_TURNS,
                num_prompt_tokens=1,
                num_output_tokens=1,
                seed=task.seed,
            )

    def next_turns(self, requests):
        for request in requests:
            self.turns_asked.append(request)
            yield NextTurn(dialogue_id=request.scenario.id, turn=len(request.prefix), text="and i am so tired")

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
                id=request.id,
            )


@pytest.fixture
def worked(monkeypatch):
    """Does the work of a plan with other engines; returns these and the cap that stopped it."""

    def with_answers(sweep_plan, answers=None, **options):
        answers = answers or Answers()
        monkeypatch.setattr(sweep_work, "engines", lambda study, reporter: contextlib.nullcontext(answers))
        return answers, work(sweep_plan, missing(sweep_plan), Reporter(force_plain=True), **options)

    return with_answers


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
        "evaluate": {"detector": "rules"},
        "chatbots": [str(tmp_path / f"{name}.yaml") for name in ("calm", "loud")],
    }


def planned(settings, **changes):
    sweep_plan = plan(SweepConfig(**{**settings, **changes}))
    keep_settings(sweep_plan)
    return sweep_plan


def tasks_of(sweep_plan):
    for cell, number in sweep_plan.shards((Design.FREE,)):
        yield from (sweep_work._task(sweep_plan, item) for item in sweep_plan.shard(cell, number))


def conversations(sweep_plan, simulator, chatbot):
    return list(all_said(sweep_plan, Cell(design=Design.FREE, simulator=simulator, chatbot=chatbot)))


def replies(sweep_plan, chatbot):
    return list(all_said(sweep_plan, Cell(design=Design.REPLAY, simulator="", chatbot=chatbot)))


def measured(sweep_plan):
    detector = RulesDetector()
    judge_all(sweep_plan, detector, Reporter(force_plain=True))
    return measure(sweep_plan, sweep_plan.simulators[0], all_sides(sweep_plan), modes=detector.modes)


def test_nobody_is_both_simulated_and_replayed(settings):
    sweep_plan = planned(settings)
    users = {dialogue.id: user_of(dialogue) for dialogue in sweep_plan.held_out}
    simulated = {start.cluster for start in sweep_plan.starts}
    replayed = {users[name] for name, _ in sweep_plan.prefixes}
    assert len(sweep_plan.starts) == 4 and len(sweep_plan.prefixes) == 6 and not simulated & replayed
    assert len(set(users.values())) < len(users)  # some users have several dialogues here


def test_the_best_of_several_draws_is_asked_for_in_conversations_and_on_real_prefixes(settings, worked, tiny_model):
    run = RunDir(settings["run"])
    files = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": b"weights"}
    run.write_files("sft/adapter", files)
    run.write_json("sft/metrics.json", {"adapter_sha256": adapter_sha256(run.path / "sft/adapter")})
    add_probe(run, 1, tiny_model)
    best = {"name": "best_of_8", "run": settings["run"], "at": "sft", "best_of": 8}
    keys = {"simulators": ["zero_shot", best], "designs": ["free", "replay", "paired"]}
    sweep_plan = planned(settings, **keys)
    tokens = estimate(sweep_plan, missing(sweep_plan)).num_tokens
    plain = planned({**settings, "output": f"{settings['run']}/plain"}, **{**keys, "simulators": ["zero_shot", "sft"]})
    further = 7 * (2 * 4 * sweep_plan.config.rollout.max_user_turns + 2 * 6)
    assert tokens - estimate(plain, missing(plain)).num_tokens == further * TOKENS_A_MESSAGE
    assert {task.best_of for task in tasks_of(sweep_plan)} == {1, 8}
    answers = Answers()
    simulator = sweep_plan.simulator("best_of_8")
    write_turns_of(sweep_plan, answers, simulator, Reporter(force_plain=True), Meter(sweep_plan.settings, ()))
    assert {request.best_of for request in answers.turns_asked} == {8}


def test_how_an_endpoint_is_called_may_change_in_a_sweep_and_what_it_is_may_not():
    keys = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    plain, streams, other = (
        what_it_says(ChatbotConfig.model_validate({"kind": "endpoint", "endpoint": {**keys, **more}}))
        for more in ({}, {"stream": True}, {"model": "n"})
    )
    assert plain == streams != other and "stream" not in plain["endpoint"]  # as older sweeps have it


def test_edited_code_of_a_chatbot_is_another_study_and_folders_that_never_kept_it_go_on(settings, tmp_path):
    folder = tmp_path / "bots"
    folder.mkdir()
    for name, text in {"bot": "def reply(messages):\n    import words", "words": "A = 1", "notes": "B = 1"}.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "mine.yaml").write_text(f"kind: python\nfunction: {folder}/bot.py:reply\n")
    with_code = {**settings, "chatbots": (*settings["chatbots"], str(folder / "mine.yaml")), "output": str(folder)}
    planned(with_code)
    (folder / "notes.py").write_text("B = 2")  # nothing imports it
    planned(with_code)
    (folder / "words.py").write_text("A = 2")
    with pytest.raises(ConfigError, match=r"results of another study \(code\.mine differ\)"):
        planned(with_code)
    kept = json.loads((folder / "settings.json").read_text())
    del kept["code"]
    (folder / "settings.json").write_text(json.dumps(kept))
    planned(with_code)
    (folder / "words.py").write_text("A = 3")
    with pytest.raises(ConfigError, match="another study"):
        planned(with_code)


def test_every_item_has_an_id_of_its_own_that_does_not_hang_on_the_others(settings):
    small, large = planned(settings), plan(SweepConfig(**{**settings, "num_conversations": 9, "shard_size": 2}))
    ids = [[item.id for cell, number in p.shards() for item in p.shard(cell, number)] for p in (small, large)]
    assert all(len(set(each)) == len(each) for each in ids) and set(ids[0]) < set(ids[1])
    assert len(ids[0]) == 2 * 4 + 2 * 6 and len(ids[1]) == 2 * 9 + 2 * 6
    other = plan(SweepConfig(**{**settings, "seed": 1}))
    assert not set(ids[0]) & {item.id for cell, number in other.shards() for item in other.shard(cell, number)}


def test_a_simulator_begins_alike_with_every_chatbot(settings, worked):
    answers, _ = worked(planned(settings))
    tasks = [asked for asked in answers.asked if hasattr(asked, "scenario")]
    by_chatbot = {
        name: [(task.scenario.id, task.seed) for task in tasks if task.chatbot == name] for name in ("calm", "loud")
    }
    assert by_chatbot["calm"] == by_chatbot["loud"] and len({seed for _, seed in by_chatbot["calm"]}) == 4


def test_chatbots_whose_engine_failed_are_asked_again_and_no_others(settings, worked):
    sweep_plan = planned(settings)
    worked(sweep_plan, Answers(fail=["loud"]))
    assert {cell.chatbot for cell, _ in missing(sweep_plan)} == {"loud"} and sum(missing(sweep_plan).values()) == 10
    found = measured(sweep_plan)
    assert found.validity.left_out == ("loud",)  # a failing engine is no passing message
    assert found.population_test.num_configurations == 1
    again, _ = worked(sweep_plan)
    assert {asked.chatbot for asked in again.asked} == {"loud"} and len(again.asked) == 4 + 6
    assert not missing(sweep_plan)
    complete = measured(sweep_plan)
    assert complete.population_test.num_configurations == 2 and not complete.population_test.caution
    calm, loud = services(sweep_plan)
    assert (calm.chatbot, calm.num_failed, loud.num_failed) == ("calm", 0, 0)


def test_of_a_chatbot_that_failed_now_and_then_only_what_failed_is_asked_again(settings, worked):
    class FailsOnce(Answers):
        def simulate(self, tasks):
            for number, conversation in enumerate(super().simulate(tasks)):
                failed = conversation.chatbot == "loud" and number % 4 == 1
                yield dataclasses.replace(conversation, stop_reason=StopReason.ERROR) if failed else conversation

        def replay(self, requests):
            for number, reply in enumerate(super().replay(requests)):
                failed = reply.chatbot == "loud" and number % 6 in (2, 3)
                yield dataclasses.replace(reply, error="timed out") if failed else reply

    sweep_plan = planned(settings)
    worked(sweep_plan, FailsOnce())
    again, _ = worked(sweep_plan)
    assert [asked.chatbot for asked in again.asked] == ["loud"] * (2 + 1)
    assert not missing(sweep_plan)
    assert len(conversations(sweep_plan, "zero_shot", "loud")) == 4 and len(replies(sweep_plan, "loud")) == 6


class Killed(BaseException):
    """What a kill is to the code: nothing after it runs but what stands in a ``finally``."""


@pytest.mark.parametrize("num_done", [0, 1, 3, 5, 7, 12, 19])
def test_what_was_done_before_a_kill_is_kept_once_and_the_rest_is_done_after_it(settings, worked, num_done):
    class Dies(Answers):
        def _all(self, results):
            for result in results:
                if len(self.asked) > num_done:
                    raise Killed
                yield result

        def simulate(self, tasks):
            yield from self._all(super().simulate(tasks))

        def replay(self, requests):
            yield from self._all(super().replay(requests))

    sweep_plan = planned(settings, shard_size=3)
    with pytest.raises(Killed):
        worked(sweep_plan, Dies())
    again, _ = worked(sweep_plan)
    assert len(again.asked) == 20 - num_done and not missing(sweep_plan)
    there = [said.id for cell in [*sweep_plan.cells(Design.FREE), *sweep_plan.cells(Design.REPLAY)]
             for said in all_said(sweep_plan, cell)]  # fmt: skip
    planned_ids = [item.id for cell, number in sweep_plan.shards() for item in sweep_plan.shard(cell, number)]
    assert sorted(there) == sorted(planned_ids)


def test_a_shard_that_is_filled_slowly_is_written_before_it_is_full(settings, worked):
    class Looks(Answers):
        written = 0

        def simulate(self, tasks):
            for conversation in super().simulate(tasks):
                time.sleep(0.003)
                yield conversation
                self.written += bool(sweep_plan.output.exists("free/zero_shot/calm/00000.parquet"))

    sweep_plan = planned(settings, write_every_s=0.001, shard_size=100)
    answers, _ = worked(sweep_plan, Looks())
    assert answers.written == 8  # after each of them, not only after the last


def test_a_cap_stops_cleanly_and_a_higher_one_goes_on(settings, worked):
    settings["shard_size"] = 2
    first, stopped_by = worked(planned(settings, caps={"max_dialogues": 15}))
    assert len(first.asked) == 15 and "caps.max_dialogues (15)" in stopped_by
    simulated = [asked.chatbot for asked in first.asked if hasattr(asked, "scenario")]
    assert sorted(simulated) == ["calm", "loud", "loud"] or sorted(simulated) == ["calm", "calm", "loud"]
    second, stopped_by = worked(planned(settings))
    assert len(second.asked) == 5 and stopped_by == ""
    with pytest.raises(ConfigError, match="shard_size"):
        planned({**settings, "shard_size": 3})


def test_a_cap_on_cost_stops_once_it_is_spent_and_needs_one_price(settings, worked, tmp_path):
    class Costs(Answers):
        def replay(self, requests):
            for reply in super().replay(requests):
                yield dataclasses.replace(reply, num_prompt_tokens=1_000_000, num_output_tokens=1)

    with pytest.raises(ConfigError, match="no chatbot of the sweep has a price"):
        planned(settings, caps={"max_cost": 2.5})
    for name, currency in (("calm", "USD"), ("loud", "EUR")):
        with (tmp_path / f"{name}.yaml").open("a") as file:
            price = f"per_million_prompt_tokens: 1.0, per_million_output_tokens: 0.0, currency: {currency}"
            file.write(f"\nprice: {{{price}}}\n")
    with pytest.raises(ConfigError, match="EUR and USD"):
        planned(settings, caps={"max_cost": 2.5})
    file = tmp_path / "loud.yaml"
    file.write_text(file.read_text().replace("EUR", "USD"))
    study = planned(settings, caps={"max_cost": 2.5})
    todo = estimate(study, missing(study))
    tokens = 2 * 35 * (4 * 3**2 + 6 * 3)  # of each chatbot: conversations of three turns, replies to three messages
    assert todo.cost == {"USD": round(tokens / 1e6, 4)}
    answers, stopped_by = worked(study, Costs())
    assert len(answers.asked) == 3 and stopped_by == "caps.max_cost (2.5 USD)"
    assert sum(len(replies(study, name)) for name in ("calm", "loud")) == 3


def test_a_sweep_that_is_complete_was_not_stopped_by_the_cap_it_just_reached(settings, worked):
    answers, stopped_by = worked(planned(settings, caps={"max_dialogues": 20}))
    assert len(answers.asked) == 20 and stopped_by == ""


def test_fewer_conversations_than_there_are_are_refused_also_where_scenarios_repeat(settings, worked, tmp_path):
    personas = tmp_path / "personas.jsonl"
    personas.write_text("".join(f'{{"id": "p{i}", "profile": "somebody"}}\n' for i in range(3)))
    changes = {
        "run": None,
        "simulators": [{"name": "a", "lines": ["i am sad"]}],
        "scenarios": str(personas),
        "output": str(tmp_path / "out"),
    }
    worked(planned(settings, **changes, num_conversations=9))
    with pytest.raises(ConfigError, match=r"num_conversations.*differ"):
        planned(settings, **changes, num_conversations=6)
    planned(settings, **changes, num_conversations=12)


def test_a_scenario_that_says_something_else_is_another_study(settings, worked, tmp_path):
    personas = tmp_path / "personas.yaml"
    changes = {
        "run": None,
        "simulators": [{"name": "a", "lines": ["i am sad"]}],
        "scenarios": str(personas),
        "output": str(tmp_path / "out"),
    }
    personas.write_text("- {id: p, profile: a nurse}\n- {id: q, profile: a cook}")
    worked(planned(settings, **changes))
    for changed in ("- {id: p, profile: a pilot}", "- {id: p, profile: a nurse, user_id: u}"):
        personas.write_text(f"{changed}\n- {{id: q, profile: a cook}}")
        with pytest.raises(ConfigError, match=r"people\.p differ"):
            planned(settings, **changes)


def test_user_turns_of_paired_replay_that_are_there_are_kept_after_a_kill(settings, worked):
    class Dies(Answers):
        def next_turns(self, requests):
            for number, turn in enumerate(super().next_turns(requests)):
                if number == 4:
                    raise Killed
                yield turn

    class Counts(Answers):
        num_turns = 0

        def next_turns(self, requests):
            for turn in super().next_turns(requests):
                self.num_turns += 1
                yield turn

    sweep_plan = planned(settings, designs=["free", "paired"])
    with pytest.raises(Killed):
        worked(sweep_plan, Dies())
    again, _ = worked(sweep_plan, Counts())
    assert again.num_turns == 2 and not missing(sweep_plan)


def test_a_mixture_of_a_sweep_that_was_cut_has_only_scenarios_that_all_its_parts_have(settings, worked, tmp_path):
    personas = tmp_path / "personas.jsonl"
    personas.write_text("".join(f'{{"id": "p{i}", "profile": "somebody"}}\n' for i in range(40)))
    sweep_plan = planned(
        settings,
        run=None,
        simulators=[
            {"name": "a", "lines": ["i am sad"]},
            {"name": "b", "lines": ["i am glad"]},
            {"name": "m", "mixture": {"a": 1.0, "b": 1.0}},
        ],
        scenarios=str(personas),
        num_conversations=40,
        shard_size=10,
        caps={"max_dialogues": 80 + 40},
        output=str(tmp_path / "out"),
    )
    worked(sweep_plan)
    judge_all(sweep_plan, RulesDetector(), Reporter(force_plain=True))
    free = all_sides(sweep_plan).free
    people = {name: {row.user_id for row in free[name]["calm"].rows} for name in "abm"}
    assert len(people["a"]) == 40 and people["m"] == people["b"] and len(people["b"]) == 20


def test_what_a_chatbot_tells_of_its_tokens_counts_against_the_cap_though_it_does_not_tell_all(settings, tmp_path):
    price = PriceConfig(per_million_prompt_tokens=1.0, per_million_output_tokens=0.0)
    study = planned(settings)
    calm = study.chatbots[0].model_copy(update={"price": price})
    meter = Meter(SweepConfig(**{**settings, "caps": {"max_cost": 1.0}}), (calm,))
    told = Effort(seconds=1.0, num_prompt_tokens=2_000_000, num_output_tokens=1)
    turns = [Turn(speaker=Speaker.CHATBOT, text="x", effort=effort) for effort in (told, Effort(seconds=1.0))]
    (talk,) = Answers().simulate([next(tasks_of(study))])
    meter.add(dataclasses.replace(talk, chatbot="calm", turns=tuple(turns)))
    assert not meter.take() and meter.stopped_by == "caps.max_cost (1 USD)"


def test_a_longer_sweep_goes_on_from_a_shorter_one(settings, worked):
    worked(planned(settings))
    longer, _ = worked(planned(settings, num_conversations=7))
    assert len(longer.asked) == 2 * 3
    with pytest.raises(ConfigError, match="scenarios differ"):  # with fewer, others would be counted besides
        planned(settings)


def test_paired_replay_changes_the_users_last_turn_and_nothing_else(settings, worked):
    answers, _ = worked(planned(settings, designs=["free", "paired"]))
    requests = [asked for asked in answers.asked if hasattr(asked, "prefix")]
    real = {(r.dialogue_id, len(r.prefix), r.chatbot): r.prefix for r in requests[:12]}
    for request in requests[12:]:
        prefix = real[request.dialogue_id, len(request.prefix), request.chatbot]
        assert request.prefix[:-1] == prefix[:-1] and request.prefix[-1].text == "and i am so tired" != prefix[-1].text
    assert len(requests) == 24


def test_paired_rates_take_the_gap_apart(settings, worked):
    class WorseForSimulated(Answers):
        def replay(self, requests):
            for request, reply in zip(requests := list(requests), super().replay(requests), strict=True):
                bad = request.prefix[-1].text == "and i am so tired"
                yield dataclasses.replace(reply, text="I feel just like you, I lost my mother too.") if bad else reply

    sweep_plan = planned(settings, designs=["free", "paired"])
    worked(sweep_plan, WorseForSimulated())
    found = measured(sweep_plan).paired
    assert found.turn_effect == 1.0 and found.gap is not None and found.design_effect == found.gap - 1.0
    assert [each.paired.estimate for each in found.chatbots] == [1.0, 1.0]
    assert all(each.turn_effect.num_paired == each.turn_effect.num_clusters[0] for each in found.chatbots)
    assert "100.0 points more fail" in found.sentence


def test_a_user_turn_that_stays_faulty_is_asked_of_no_chatbot(settings, worked):
    class Silent(Answers):
        def next_turns(self, requests):
            for number, turn in enumerate(super().next_turns(requests)):
                yield dataclasses.replace(turn, text="As an AI, I cannot say." if number < 2 else turn.text)

    sweep_plan = planned(settings, designs=["free", "paired"])
    answers, _ = worked(sweep_plan, Silent())
    assert sum(hasattr(asked, "prefix") for asked in answers.asked) == 12 + 2 * 4 and not missing(sweep_plan)
    assert measured(sweep_plan).paired.num_faulty_turns == 2


def test_a_mixture_takes_whole_conversations_of_its_parts_by_their_weights(settings, worked, tmp_path):
    personas = tmp_path / "personas.yaml"
    personas.write_text("\n".join(f"- {{id: p{i}, profile: somebody}}" for i in range(200)))
    lines = {"a": ["i am sad"], "b": ["i am glad"]}
    sweep_plan = planned(
        settings,
        run=None,
        simulators=[
            *({"name": name, "lines": said} for name, said in lines.items()),
            {"name": "m", "mixture": {"a": 3.0, "b": 1.0}},
        ],
        scenarios=str(personas),
        num_conversations=200,
        output=str(tmp_path / "out"),
    )  # fmt: skip
    worked(sweep_plan)
    judge_all(sweep_plan, RulesDetector(), Reporter(force_plain=True))
    sides = all_sides(sweep_plan)
    ids = {name: {row.dialogue_id for row in sides.free[name]["calm"].rows} for name in "abm"}
    assert len(ids["m"]) == 200 and ids["m"] <= ids["a"] | ids["b"]
    assert 130 <= len(ids["m"] & ids["a"]) <= 170  # 150 expected, 6 a standard deviation
    clusters = {name: {row.user_id for row in sides.free["m"][name].rows if row.dialogue_id in
                       {r.dialogue_id for r in sides.free["a"][name].rows}} for name in ("calm", "loud")}  # fmt: skip
    assert clusters["calm"] == clusters["loud"]  # the same people from the same part, whatever the chatbot


class Differ(Answers):
    """Loud fails nearly always, the others now and then."""

    def simulate(self, tasks):
        for number, talk in enumerate(super().simulate(tasks)):
            is_failing = (talk.chatbot == "loud") != (number % 9 == 0)
            text = "I feel just like you, I lost my mother too." if is_failing else "Hm?"
            turns = (talk.turns[0], Turn(speaker=Speaker.CHATBOT, text=text))
            yield talk if talk.stop_reason is StopReason.ERROR else dataclasses.replace(talk, turns=turns)


@pytest.fixture
def early(settings, tmp_path):
    """Plans a sweep of a hundred people, in waves of twenty, that may stop early."""

    def planned_early(**changes):
        personas = tmp_path / "personas.jsonl"
        personas.write_text("".join(f'{{"id": "p{i}", "profile": "somebody"}}\n' for i in range(100)))
        fixed = {
            "run": None,
            "simulators": [{"name": "a", "lines": ["i am sad"]}],
            "scenarios": str(personas),
            "num_conversations": 100,
            "shard_size": 20,
            "stop_early": True,
            "output": str(tmp_path / "out"),
        }
        return planned(settings, **{**fixed, **changes})

    return planned_early


def test_a_chatbot_whose_sign_is_decided_is_asked_no_more(settings, worked, tmp_path, early):
    (tmp_path / "like_calm.yaml").write_text(CHATBOTS.format(name="like_calm"))
    study = early(chatbots=[*settings["chatbots"], str(tmp_path / "like_calm.yaml")])
    reporter = Reporter(force_plain=True)
    answers, _ = worked(study, Differ(), decide=Deciding(study, RulesDetector(), reporter))
    asked = Counter(task.chatbot for task in answers.asked)
    assert asked == {"calm": 100, "like_calm": 100, "loud": 40}  # after 40 people: with 20 nothing is decided
    assert not missing(study)  # what is decided is not asked for by a later start
    again, _ = worked(study, Differ(), decide=Deciding(study, RulesDetector(), reporter))
    assert not again.asked
    judge_all(study, RulesDetector(), reporter)
    found = measure(study, study.simulators[0], all_sides(study), modes=RulesDetector().modes).anytime
    assert found["loud"].is_decided and found["loud"].low > 0 and found["loud"].num_clusters == 40
    assert not found["like_calm"].is_decided and found["like_calm"].alpha == 0.025


def test_nothing_is_missing_of_the_baseline_once_all_others_are_decided(worked, early):
    study, reporter = early(), Reporter(force_plain=True)
    answers, stopped_by = worked(study, Differ(), decide=Deciding(study, RulesDetector(), reporter))
    assert Counter(task.chatbot for task in answers.asked) == {"calm": 40, "loud": 40} and not stopped_by
    assert not missing(study)


def test_what_failed_before_a_chatbot_was_decided_is_asked_again(worked, early):
    class FailsOnce(Differ):
        def simulate(self, tasks):
            for talk in super().simulate(tasks):
                failed = talk.chatbot == "loud" and talk.scenario_id in ("p3", "p23")
                yield dataclasses.replace(talk, turns=talk.turns[:1], stop_reason=StopReason.ERROR) if failed else talk

    study, reporter = early(), Reporter(force_plain=True)
    worked(study, FailsOnce(), decide=Deciding(study, RulesDetector(), reporter))
    assert sum(missing(study).values()) == 2
    again, _ = worked(study, Differ(), decide=Deciding(study, RulesDetector(), reporter))
    assert sorted(task.scenario.id for task in again.asked) == ["p23", "p3"] and not missing(study)


def test_a_cap_inside_a_wave_decides_nothing_and_the_next_start_goes_on(worked, early):
    reporter, study = Reporter(force_plain=True), early(caps={"max_dialogues": 70})
    _, stopped_by = worked(study, Differ(), decide=Deciding(study, RulesDetector(), reporter))
    assert "max_dialogues" in stopped_by and not read_decided(study.output).get("a")
    study = early()
    again, stopped_by = worked(study, Differ(), decide=Deciding(study, RulesDetector(), reporter))
    assert len(again.asked) == 10 and not stopped_by  # the rest of the wave
    assert not missing(study) and read_decided(study.output) == {"a": {"loud": 2}}
    todo = estimate(study, missing(study))
    assert todo.num_conversations == 0 and "200 are there or need not be held" in describe_work(study, todo)


def test_messages_are_judged_once_and_again_where_they_or_the_detector_changed(settings, worked):
    class Counts(RulesDetector):
        judged = 0

        def assess(self, dialogues, *, advance=None):
            type(self).judged += len(dialogues)
            return super().assess(dialogues, advance=advance)

    sweep_plan, reporter = planned(settings), Reporter(force_plain=True)
    worked(sweep_plan, Answers(fail=["loud"]))
    judge_all(sweep_plan, Counts(), reporter)
    judge_all(sweep_plan, Counts(), reporter)
    before = Counts.judged
    worked(sweep_plan)
    judge_all(sweep_plan, Counts(), reporter)
    assert before == 4 + 4 + 6 and Counts.judged - before == 4 + 6  # loud's alone
    other = planned(settings, evaluate={"detector": "rules", "same_users": True})
    judge_all(other, Counts(), reporter)
    assert Counts.judged - before == 2 * (4 + 6) + 10


def test_a_conversation_in_which_the_simulator_was_at_fault_is_left_out_of_the_rate_without_faults(settings, worked):
    class SaysItTwice(Answers):
        def simulate(self, tasks):
            for number, conversation in enumerate(super().simulate(tasks)):
                bad = Turn(speaker=Speaker.CHATBOT, text="I feel just like you, I lost my mother too.")
                turns = (Turn(speaker=Speaker.USER, text="i feel so sad"), bad)
                yield dataclasses.replace(conversation, turns=turns * 2) if number % 2 else conversation

    sweep_plan = planned(settings)
    worked(sweep_plan, SaysItTwice())
    found = measured(sweep_plan)
    assert found.blame["simulator"] == 4 and found.rates_without_faults["calm"].num_dialogues == 2
    judged = read_judged(sweep_plan, Cell(design=Design.FREE, simulator="zero_shot", chatbot="calm"))
    assert len(judged.at_fault) == 2 and len({row.dialogue_id for row in judged.rows}) == 4


def test_a_finished_sweep_can_be_read_without_its_run_and_has_every_message_it_judged(settings, worked, tmp_path):
    worked(planned(settings))
    found = sweep(SweepConfig(**settings), reporter=Reporter(force_plain=True))
    (result,) = found.results
    (tmp_path / "r" / "manifest.json").unlink()
    finished = read_sweep(found.study.output.location)
    assert list(finished.sides) == ["zero_shot", "replay"] and finished.summary.baseline == "calm"
    for pair in result.validity.pairs:
        assert failure_rate(finished.sides["zero_shot"][pair.configuration]) == pair.simulated
        assert failure_rate(finished.sides["replay"][pair.configuration]) == pair.real
    made_from = finished.summary.made_from
    assert made_from.corpus_sha256 == found.study.corpus.sha256 and made_from.adapters == {"zero_shot": ""}
    assert made_from.chatbots.keys() == {"calm", "loud"} and made_from.evaluate["detector"] == "rules"
    assert finished.summary.is_complete and not found.stopped_by


def test_two_sweeps_do_not_write_into_one_folder(settings):
    sweep_plan = planned(settings)
    with sweep_command.lease(sweep_plan.output), pytest.raises(RunError, match="is being"):
        sweep(SweepConfig(**settings), reporter=Reporter(force_plain=True))


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
    assert told.tells_tokens and list(table.columns[7].cells) == ["10", "–"]
    untold = service("b", "http", [talk], [reply(2.0, 0)])
    assert not untold.tells_tokens and list(service_table([untold]).columns[7].cells) == ["–"]
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
