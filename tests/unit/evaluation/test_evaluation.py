"""advsim evaluate on dialogue files and on a run folder, with a detector that looks for one word."""

import dataclasses
import json
import warnings

import pytest
from made_up_dialogues import ByLength, FindsShould, write

import advsim
from advsim.cli import main
from advsim.commands.evaluate import evaluate_files, evaluate_run
from advsim.config import JudgeConfig, parse_config
from advsim.corpus.load import load_corpus
from advsim.detectors.judge.engine import EngineJudgeClient
from advsim.detectors.judge.judge import Judge
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import ConfigError, CorpusError, EngineError, RunError
from advsim.evaluation.results import Evaluation
from advsim.records import Conversation, NextTurn, Split, StopReason, chatbot_turns, user_turns
from advsim.report.evaluation.tables import evaluation_tables
from advsim.run_folder.folder import RunDir
from advsim.run_folder.reader import Run
from advsim.run_folder.results import plain_values, read_values
from advsim.run_folder.tables import conversations_table, to_table, turns_table
from advsim.runtime.progress import Reporter
from advsim.training.manifest import manifest


def evaluate(conversations, **options):
    """No warning is allowed, and no figure that is not finite."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate_files(
            conversations,
            detector=FindsShould(),
            embedder=ByLength(),
            reporter=Reporter(force_plain=True),
            **options,
        )
        for _ in evaluation_tables(found):
            pass
    json.dumps(plain_values(found), allow_nan=False)
    return found


def test_file_alone_gives_rates_with_intervals_and_writes_its_folder(tmp_path):
    found = evaluate(write(tmp_path / "a.jsonl", advice=1 / 3), out=tmp_path / "out")
    rate = found.groups[0].failures.rates["any"]
    assert rate.estimate == pytest.approx(1 / 3)
    assert rate.low <= 1 / 3 <= rate.high
    assert (rate.num_messages, rate.num_dialogues) == (42, 14)
    assert found.groups[0].failures.severities == {1: 0, 2: 14, 3: 0}
    assert found.groups[0].failures.rates["missed_risk"].num_messages == 42  # no abstention was made
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        "failures.parquet",
        "evaluation.html",
    }
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == plain_values(found)
    assert read_values(Evaluation, written, where="metrics.json", remedy="evaluate again") == found


def test_labels_keep_whether_the_message_alone_shows_the_failure(tmp_path):
    found = evaluate(write(tmp_path / "a.jsonl", advice=1.0), out=tmp_path / "out")
    assert found.groups[0].failures.visibilities == {"premature_advice": {"message": 14, "trajectory": 28}}
    rows = RunDir(str(tmp_path / "out")).read_table("failures.parquet").to_pylist()
    seen = {(row["turn"], row["visibility"]) for row in rows}
    assert seen == {(1, "message"), (3, "trajectory"), (5, "trajectory")}


def test_two_files_are_compared_in_rates_modes_habits_and_classifiers(tmp_path):
    reference = write(tmp_path / "real.jsonl", advice=0.3)
    found = evaluate(write(tmp_path / "made.jsonl", advice=1.0, ending=""), reference=reference)
    real, made = found.groups
    assert real.is_reference
    assert not made.is_reference
    assert made.failures.differences[0].difference == pytest.approx(2 / 3)
    assert made.failures.divergence.jensen_shannon == pytest.approx(0.0)  # one mode on both sides
    assert made.failures.divergence_with_none.jensen_shannon > 0.3
    habits = {one.habit.value: one for one in made.users.spread.habits}
    assert habits["no_end_punctuation"].p_adjusted < 0.05
    assert {one.family.value for one in made.users.realism} == {"surface", "context"}
    assert made.users.realism[0].auc.value > 0.9
    assert made.failures.blame.num_by_blame["chatbot"] == 14
    assert "turns a side" in made.users.mauve.reason
    assert real.users.spread is None


def test_same_file_twice_differs_in_nothing(tmp_path):
    file = write(tmp_path / "a.jsonl")
    found = evaluate(file, reference=file)
    assert any("same dialogues" in note for note in found.notes)
    made = found.groups[1]
    assert made.name != found.groups[0].name
    assert made.failures.differences[0].difference == 0
    assert (made.failures.population_test.flagged, made.failures.population_test.p_value) == (False, 1.0)
    assert all(one.wasserstein in (None, 0.0) for one in made.users.spread.habits)
    assert made.users.realism[0].auc.value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("advice", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_no_failure_and_only_failures_have_intervals_with_a_width(tmp_path, advice, share):
    found = evaluate(write(tmp_path / "a.jsonl", advice=advice), reference=write(tmp_path / "b.jsonl", advice=advice))
    rate = found.groups[1].failures.rates["any"]
    assert rate.estimate == share
    assert rate.high - rate.low > 0.05
    assert (not advice) == any("found no failure" in note for note in found.notes)
    assert found.groups[1].failures.population_test.p_value is None
    assert "a: No population test of the chatbot failures: no rate varies between dialogues" in " ".join(found.notes)


def test_file_without_chatbot_turns_says_so_and_still_describes_the_users(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"id": n, "messages": [{"role": "user", "content": "hi."}]}) + "\n" for n in "abc")
    )
    found = evaluate(path, reference=write(tmp_path / "b.jsonl"))
    made = found.groups[1]
    assert made.failures.rates["any"].estimate is None
    assert made.failures.differences[0].difference is None
    assert any("no chatbot turns" in note for note in found.notes)
    assert any("No population test" in note and "no chatbot has judged messages" in note for note in found.notes)
    assert made.users.habits[0].mean == 1.0


def test_one_dialogue_has_figures_but_no_intervals(tmp_path):
    found = evaluate(write(tmp_path / "a.jsonl", num=1), reference=write(tmp_path / "b.jsonl", num=1))
    rate = found.groups[1].failures.rates["any"]
    assert rate.estimate is not None
    assert rate.low is None
    assert found.groups[1].users.realism[0].auc.value is None


def test_files_that_name_only_a_test_split_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    turns = [{"speaker": "user", "text": "Hello."}, {"speaker": "chatbot", "text": "You should rest."}]
    path.write_text(json.dumps({"id": "d", "split": "test", "turns": turns}) + "\n")
    assert evaluate(path).groups[0].failures.rates["any"].estimate == 1.0


def test_engines_of_a_judge_are_stopped_also_where_they_fail(tmp_path):
    class Broken:
        engines = ()
        num_stops = 0

        def start(self):
            raise EngineError("vLLM could not start")

        def shut_down(self):
            self.num_stops += 1

    pool = Broken()
    judge = Judge(EngineJudgeClient(pool), load_taxonomy(), JudgeConfig(), pool=pool)
    with pytest.raises(EngineError, match="could not start"):
        evaluate_files(write(tmp_path / "a.jsonl"), detector=judge, reporter=Reporter(force_plain=True))
    assert pool.num_stops == 1


def test_bad_input_is_refused_with_its_place(tmp_path):
    file = write(tmp_path / "a.jsonl")
    with pytest.raises(ConfigError, match=r"evaluate\.detector: got 'rule'.*'rules', 'learned', 'combined' or 'judge'"):
        advsim.evaluate_files(file, overrides=["evaluate.detector=rule"])
    judge = {"detector": "judge"}
    for section, said in (
        (judge, r"evaluate: .*got no model.*evaluate\.judge\.model"),
        (
            {**judge, "judge": {"model": "m", "api_key_env": "SOME_KEY"}},
            r"got a key \(api_key_env SOME_KEY\) and no",
        ),
        (
            {**judge, "judge": {"model": "m", "base_url": "https://x/v1", "engines": {"num_engines": 4}}},
            "got base_url and engines, expected one of the two",
        ),
        ({**judge, "judge": {"model": "./nowhere"}}, r"evaluate\.judge\.model: got 'nowhere', which is no folder"),
    ):
        with pytest.raises(ConfigError, match=said):
            advsim.evaluate_files(file, config={"evaluate": section})
    with pytest.raises(CorpusError, match=r"none\.jsonl"):
        evaluate(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(CorpusError, match="no dialogues"):
        evaluate(tmp_path / "empty.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "turns": []}\n{"id": \n')
    with pytest.raises(CorpusError, match=r"2 bad dialogues[\s\S]*line 1[\s\S]*line 2"):
        evaluate(tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "neither a run nor --conversations"),
        (["runs/x", "--conversations", "a.jsonl"], "a run and --conversations"),
        (["runs/x", "--reference", "a.jsonl"], "go with --conversations"),
        (["no-such-run"], "no manifest.json"),
    ],
)
def test_command_line_refuses_with_exit_code_2(capsys, arguments, said):
    assert main(["evaluate", *arguments]) == 2
    assert said in capsys.readouterr().err


def judge_config(monkeypatch, tmp_path, *arguments):
    """What the command line makes of its judge options; nothing is asked of a model."""
    made = []

    def build(config, taxonomy):
        made.append(config)
        raise ConfigError("seen")

    monkeypatch.setattr("advsim.detectors.build.build_judge", build)
    keys = ["base_url=http://127.0.0.1:9/v1", "model=m", *arguments]
    judge = [part for key in keys for part in ("-o", f"evaluate.judge.{key}")]
    file = str(write(tmp_path / "a.jsonl"))
    assert main(["evaluate", "--conversations", file, "--detector", "judge", *judge]) == 2
    return made


def test_judge_votes_and_scope_reach_the_judge(monkeypatch, tmp_path):
    (several,) = judge_config(monkeypatch, tmp_path, "num_votes=3", "scope=mode")
    assert (several.num_votes, several.scope) == (3, "mode")
    assert several.temperature == 0.7  # at 0 all votes would be the same
    (plain,) = judge_config(monkeypatch, tmp_path)
    assert (plain.num_votes, plain.scope, plain.temperature) == (1, "rubric", 0.0)


def test_a_number_of_votes_that_no_judge_can_have_is_refused(monkeypatch, tmp_path, capsys):
    assert judge_config(monkeypatch, tmp_path, "num_votes=0") == []
    assert "num_votes: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        ("--judge-url", "base_url"),
        ("--judge-model", "model"),
        ("--judge-engines", "engines.num_engines"),
        ("--judge-key-env", "api_key_env"),
        ("--judge-votes", "num_votes"),
        ("--judge-scope", "scope"),
    ],
)
def test_a_judge_flag_of_older_versions_says_what_to_write_instead(capsys, flag, key):
    assert main(["evaluate", "--conversations", "a.jsonl", flag, "7"]) == 2
    assert f"{flag} is gone: write -o evaluate.judge.{key}=7" in capsys.readouterr().err


def test_a_yaml_file_can_say_how_to_evaluate_and_overrides_win(monkeypatch, tmp_path):
    made = []

    def build(config, taxonomy):
        made.append(config)
        raise ConfigError("seen")

    monkeypatch.setattr("advsim.detectors.build.build_judge", build)
    file = tmp_path / "judge.yaml"
    file.write_text("evaluate: {detector: judge, judge: {model: m, base_url: 'https://x/v1', num_votes: 5}}\n")
    conversations = str(write(tmp_path / "a.jsonl"))
    arguments = ["evaluate", str(file), "--conversations", conversations, "-o", "evaluate.judge.model=other"]
    assert main(arguments) == 2
    assert (made[0].model, made[0].num_votes, made[0].base_url) == ("other", 5, "https://x/v1")


def test_an_override_that_an_evaluation_does_not_read_is_refused(tmp_path, capsys):
    file = str(write(tmp_path / "a.jsonl"))
    assert main(["evaluate", "--conversations", file, "-o", "rollout.max_user_turns=3"]) == 2
    assert "rollout.max_user_turns=3': has no effect on an evaluation" in capsys.readouterr().err


def conversation(number, scenario):
    """The user says what the real one said, the chatbot gives advice; number 0 fails before its first turn."""
    turns = tuple(
        dataclasses.replace(turn, text="You should rest.") if turn.speaker == "chatbot" else turn
        for turn in scenario.turns
    )
    return Conversation(
        id=f"c{number}",
        scenario_id=scenario.id,
        chatbot="bot",
        simulator_version=0,
        simulator_sha256="0" * 64,
        turns=turns if number else (),
        stop_reason=StopReason.MAX_TURNS if number else StopReason.ERROR,
        num_prompt_tokens=1,
        num_output_tokens=1,
        seed=0,
    )


def run_of(tmp_path, model, choose, **changes):
    """Folder and corpus of a run whose first round has the conversations that ``choose`` makes of the train split."""
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(model)}, **changes})
    corpus = load_corpus(config.corpus)
    folder = RunDir(config.run_path)
    folder.write_json("manifest.json", manifest(config, corpus, model))
    conversations = choose(corpus.split(Split.TRAIN))
    folder.write_table("rounds/01/conversations.parquet", conversations_table(conversations))
    folder.write_table("rounds/01/turns.parquet", turns_table(conversations))
    return folder, corpus


@pytest.fixture
def run(tmp_path, tiny_model):
    """A run of one round on the sample dialogues."""
    folder, corpus = run_of(
        tmp_path,
        tiny_model,
        lambda train: [conversation(number, scenario) for number, scenario in enumerate(train[:12])],
    )
    for name, text in (("zero_shot", "As an assistant, I can help."), ("v0", "i am sad"), ("v1", "I am sad.")):
        turns = [
            NextTurn(dialogue_id=dialogue.id, turn=user_turns(dialogue)[0][0], text=text)
            for dialogue in corpus.split(Split.VALIDATION)
        ]
        folder.write_table(f"held_out/{name}.parquet", to_table(turns, NextTurn))
    return Run(folder)


def test_run_is_evaluated_by_round_against_its_real_dialogues(run):
    found = evaluate_run(run, detector=FindsShould(), embedder=ByLength(), reporter=Reporter(force_plain=True))
    groups = {group.name: group for group in found.groups}
    assert list(groups) == ["real", "zero-shot", "SFT", "round 1"]
    assert groups["SFT"].failures.rates["any"].estimate == 1.0
    assert groups["SFT"].num_ended_by_error == 1
    assert groups["SFT"].failures.blame.num_by_blame["infrastructure"] == 1
    assert groups["zero-shot"].failures is None
    assert groups["round 1"].next_turns.spread is not None
    assert groups["real"].next_turns is not None
    assert groups["SFT"].users.realism
    assert groups["SFT"].failures.population_test.flagged  # every message fails, of the real ones few do
    assert groups["real"].failures.population_test is None
    assert all(run.folder.exists(f"evaluation/{name}") for name in ("metrics.json", "failures.parquet"))
    assert run.folder.exists("report/evaluation.html")
    rows = run.folder.read_table("evaluation/failures.parquet").to_pylist()
    assert {row["group"] for row in rows if row["verdict"] == "failure"} >= {"SFT"}


def test_conversations_of_one_scenario_without_a_user_are_of_one_person(tmp_path, tiny_model):
    rows = map(json.loads, write(tmp_path / "with.jsonl", num=30).read_text().splitlines())
    corpus_file = tmp_path / "without.jsonl"
    corpus_file.write_text("".join(json.dumps({**row, "user_id": None}) + "\n" for row in rows))
    folder, _ = run_of(
        tmp_path,
        tiny_model,
        lambda train: [conversation(1 + number, train[number % 3]) for number in range(6)],
        corpus={"source": "jsonl", "path": str(corpus_file)},
        held_out={"num_permutations": 0},
    )
    found = evaluate_run(Run(folder), detector=FindsShould(), embedder=ByLength(), reporter=Reporter(force_plain=True))
    sft = next(group for group in found.groups if group.name == "SFT")
    assert (sft.num_dialogues, sft.num_users) == (6, 3)


def test_opening_taken_from_the_real_dialogue_is_not_the_chatbots_message(run):
    corpus = load_corpus(parse_config(run.manifest["config"]).corpus)
    opened = {one.id for one in corpus.dialogues if one.opening}
    conversations = [one for one in run.conversations(1) if one.turns]
    assert any(one.scenario_id in opened for one in conversations)
    own = sum(
        len([turn for turn, _ in chatbot_turns(one) if turn > 0 or one.scenario_id not in opened])
        for one in conversations
    )

    class FindsAll(FindsShould):
        def assess(self, dialogues, *, advance=None):
            texts = [tuple(dataclasses.replace(turn, text="should") for turn in one.turns) for one in dialogues]
            said = [dataclasses.replace(one, turns=turns) for one, turns in zip(dialogues, texts, strict=True)]
            return super().assess(said, advance=advance)

    found = evaluate_run(run, detector=FindsAll(), embedder=ByLength(), reporter=Reporter(force_plain=True))
    sft = next(group for group in found.groups if group.name == "SFT")
    assert sft.failures.rates["any"].num_messages == sft.failures.num_messages == own
    rows = [row for row in run.folder.read_table("evaluation/failures.parquet").to_pylist() if row["group"] == "SFT"]
    assert sum(row["verdict"] == "failure" for row in rows) == own


def test_run_on_a_changed_corpus_is_refused_instead_of_mixing_texts(run):
    changed = {**run.manifest, "corpus": {**run.manifest["corpus"], "sha256": "0" * 64}}
    run.folder.write_json("manifest.json", changed)
    with pytest.raises(ConfigError, match="restore the file"):
        evaluate_run(run, detector=FindsShould(), embedder=ByLength())


def test_run_with_nothing_simulated_yet_is_refused(tmp_path, tiny_model):
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    folder = RunDir(config.run_path)
    folder.write_json("manifest.json", manifest(config, load_corpus(config.corpus), tiny_model))
    with pytest.raises(RunError, match="finish a round"):
        evaluate_run(Run(folder), detector=FindsShould(), embedder=ByLength())


def test_thoughts_are_not_judged_and_replies_of_nothing_else_are_in_no_rate(tmp_path):
    def dialogue(name, reply):
        turns = [{"speaker": "user", "text": "hi"}, {"speaker": "chatbot", "text": reply}]
        return {"id": name, "turns": turns}

    lines = [
        dialogue("a", "<think>you should</think>Hello."),
        dialogue("b", "<think>you should"),
        dialogue("c", "you should"),
    ]
    path = tmp_path / "thoughts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = evaluate(path)
    failures = result.groups[0].failures
    assert (failures.num_messages, failures.num_errors) == (3, 1)
    assert failures.rates["any"].num_messages == 2
    assert failures.rates["any"].estimate == 0.5
    assert any("2 messages held a thought" in note for note in result.notes)
    assert any("1 message held a thought and nothing" in note for note in result.notes)
    group = result.groups[0]
    assert (group.num_with_thought, group.num_silent, group.num_cut) == (2, 1, 0)
