"""The configuration: what is refused, how it is said, and what follows from what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advsim.config import ColumnsConfig, Config, SweepConfig, load_config, parse_config, read_yaml
from advsim.config.load import parse_section
from advsim.errors import ConfigError

FOLDER = Path(__file__).parents[3] / "configs"
CONFIGS = [file for file in sorted(FOLDER.glob("*.yaml")) if file.name != "lab.yaml"]  # test_shipped_files parses that


def refusal(values: dict[str, object], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"sft": {"learning_rat": 1}}, "unknown key sft.learning_rat: did you mean sft.learning_rate?"),
        ({"rollouts": {}}, "unknown key rollouts: did you mean rollout?"),
        ({"chatbot": {"model": {"pth": "x"}}}, "unknown key chatbot.model.pth: did you mean chatbot.model.path?"),
        ({"max_rounds": 3}, "unknown key max_rounds: did you mean stop.max_rounds?"),
        ({"rollout": {"max_tokens": 9}}, "unknown key rollout.max_tokens: did you mean rollout.sampling.max_tokens?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(values: dict[str, object], hint: str) -> None:
    assert hint in refusal(values)


def test_a_key_like_no_other_is_refused_with_the_valid_ones() -> None:
    assert "unknown key stop.zzz: valid: chance_margin, divergence_margin, max_rounds" in refusal({"stop": {"zzz": 1}})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sft": {"learning_rate": "fast"}}, "sft.learning_rate: got 'fast'; input should be a valid number"),
        ({"stop": {"max_rounds": 1.5}}, "stop.max_rounds: got 1.5; input should be a valid integer"),
        ({"corpus": 5}, "corpus: got 5; input should be a valid dictionary"),
        ({"corpus": {"source": "csv"}}, "corpus.source: got 'csv'; input should be 'sample', 'jsonl'"),
        ({"lora": {"target_modules": "q_proj"}}, "lora.target_modules: got 'q_proj'; input should be a valid tuple"),
        ({1: "x"}, "keys should be strings"),
    ],
)
def test_a_wrong_type_is_refused_with_key_and_value(values: dict[str, object], named: str) -> None:
    assert named in refusal(values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rollout": {"sampling": {"top_p": 1.2}}}, "rollout.sampling.top_p: got 1.2"),
        ({"rollout": {"num_conversations": 0}}, "rollout.num_conversations: got 0"),
        ({"corpus": {"validation_fraction": -0.1}}, "corpus.validation_fraction: got -0.1"),
        ({"sft": {"learning_rate": float("inf")}}, "sft.learning_rate: got inf; input should be a finite number"),
        ({"dpo": {"beta": float("nan")}}, "dpo.beta: got nan"),
        ({"name": "../elsewhere"}, "name: got '../elsewhere'"),
        ({"corpus": {"validation_fraction": 0.6, "test_fraction": 0.4}}, "must stay below 1"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, object], named: str) -> None:
    assert named in refusal(values)


def test_all_mistakes_are_named_at_once() -> None:
    message = refusal({"sft": {"learning_rat": 1}, "stop": {"max_rounds": -1}})
    assert "sft.learning_rat" in message and "stop.max_rounds" in message


class TestOverrides:
    def test_an_override_wins_over_the_file_and_has_yaml_types(self, tmp_path: Path) -> None:
        file = tmp_path / "c.yaml"
        file.write_text("stop: {max_rounds: 5, chance_margin: 0.1}\n")
        config = load_config(
            file, ["stop.max_rounds=1", "lora.target_modules=[q_proj]", "sft.learning_rate=1e-5", "corpus.path=null"]
        )
        assert (config.stop.max_rounds, config.stop.chance_margin) == (1, 0.1)
        assert config.lora.target_modules == ("q_proj",)
        assert config.sft.learning_rate == 1e-5
        assert config.corpus.path is None

    def test_a_value_may_hold_an_equals_sign(self) -> None:
        assert parse_config({}, ["chatbot.system_prompt=a=b"]).chatbot.system_prompt == "a=b"

    def test_an_override_reaches_into_a_section_that_is_empty_or_off(self) -> None:
        values = {"sft": None, "resources": {"colocate": False}, "chatbot": {"model": None}}
        config = parse_config(values, ["sft.batch_size=2", "chatbot.model.path=other/model"])
        assert config.sft.batch_size == 2
        assert config.chatbot.model is not None and config.chatbot.model.path == "other/model"

    def test_overrides_leave_the_given_mapping_alone(self) -> None:
        values = {"stop": {"max_rounds": 5}}
        parse_config(values, ["stop.max_rounds=1", "seed=3"])
        assert values == {"stop": {"max_rounds": 5}}

    @pytest.mark.parametrize("override", ["stop.max_rounds", "=1", "stop..max_rounds=1", ".seed=1", ""])
    def test_a_malformed_override_is_refused_with_an_example(self, override: str) -> None:
        assert f"override {override!r}: expected key.path=value" in refusal({}, override)

    def test_a_value_that_is_not_yaml_is_refused(self) -> None:
        assert "override 'seed=[1': the value: not valid YAML" in refusal({}, "seed=[1")

    def test_an_override_below_a_plain_value_is_refused(self) -> None:
        assert "seed holds the value 3, not a section" in refusal({"seed": 3}, "seed.x=1")

    def test_an_unknown_override_is_refused_with_the_nearest(self) -> None:
        assert "did you mean stop.max_rounds?" in refusal({}, "stop.max_round=1")


class TestCorpus:
    @pytest.mark.parametrize(
        ("path", "source"), [("logs.jsonl", "jsonl"), ("logs.jsonl.gz", "jsonl"), ("logs.parquet", "parquet")]
    )
    def test_a_path_alone_implies_the_source(self, path: str, source: str) -> None:
        assert parse_config({"corpus": {"path": path}}).corpus.source == source
        assert parse_config({}, [f"corpus.path={path}"]).corpus.source == source

    def test_an_explicit_source_is_kept(self) -> None:
        assert parse_config({"corpus": {"source": "hub", "path": "org/set"}}).corpus.source == "hub"

    def test_a_source_without_a_path_is_refused(self) -> None:
        assert "source jsonl needs corpus.path" in refusal({"corpus": {"source": "jsonl"}})


class TestConsistency:
    def test_colocation_with_another_chatbot_model_is_refused(self) -> None:
        values = {"chatbot": {"model": {"path": "org/other"}}}
        message = refusal(values)
        assert "'org/other'" in message and "set resources.colocate to false" in message
        parse_config(values, ["resources.colocate=false"])

    def test_colocation_with_another_revision_is_refused(self) -> None:
        values = {"model": {"path": "org/m", "revision": "a"}, "chatbot": {"model": {"path": "org/m", "revision": "b"}}}
        assert "resources.colocate" in refusal(values)
        parse_config(values, ["chatbot.model.revision=a"])

    def test_colocation_with_merged_adapters_is_refused(self) -> None:
        assert "adapter_serving is merged" in refusal({"engine": {"adapter_serving": "merged"}})
        parse_config({"engine": {"adapter_serving": "merged"}}, ["resources.colocate=false"])

    def test_a_scripted_chatbot_needs_replies(self) -> None:
        assert "chatbot.replies" in refusal({"chatbot": {"kind": "scripted"}})
        parse_config({"chatbot": {"kind": "scripted", "replies": ["Tell me more."]}})

    @pytest.mark.parametrize("section", ["rollout", "preference", "held_out", "chatbot"])
    def test_an_answer_longer_than_the_model_is_refused(self, section: str) -> None:
        values = {section: {"sampling": {"max_tokens": 1024}}, "engine": {"max_model_len": 1024}}
        assert "raise engine.max_model_len" in refusal(values)

    def test_the_prompt_budget_leaves_room_for_the_longest_answer(self) -> None:
        config = parse_config({"engine": {"max_model_len": 1000}, "preference": {"sampling": {"max_tokens": 300}}})
        assert config.prompt_budget_tokens == 700
        assert parse_config({"engine": {"max_model_len": 32_000}}).prompt_budget_tokens == 15_000


class TestFiles:
    def test_a_missing_file_is_refused_with_its_name(self) -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
            load_config("nowhere.yaml")

    def test_an_empty_file_is_the_default_configuration(self, tmp_path: Path) -> None:
        file = tmp_path / "c.yaml"
        file.write_text("# nothing\n")
        assert load_config(file) == Config()

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (b"- a\n- b\n", "got a list at the top level"),
            (b"a: [1\n", "not valid YAML"),
            (b"\xff\xfe\x00", "cannot be read as UTF-8"),
        ],
    )
    def test_a_file_that_is_no_yaml_mapping_is_refused(self, tmp_path: Path, content: bytes, named: str) -> None:
        file = tmp_path / "c.yaml"
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=named) as caught:
            read_yaml(file)
        assert str(file) in str(caught.value)

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
    def test_every_shipped_configuration_parses(self, file: Path) -> None:
        load_config(file)

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
    def test_every_shipped_configuration_survives_the_manifest(self, file: Path) -> None:
        config = load_config(file)
        assert Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_a_configuration_survives_the_manifest() -> None:
    config = parse_config(
        {"name": "x.1", "corpus": {"path": "a.parquet"}, "lora": {"target_modules": ["q_proj"]}, "prompt": {}},
        ["resources.colocate=false", "chatbot.model.path=org/other", "sft.max_steps=3"],
    )
    written = json.dumps(config.model_dump(mode="json"))
    assert Config.model_validate(json.loads(written)) == config


def test_a_configuration_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().stop.max_rounds = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("output_dir", "path"),
    [
        ("runs", "runs/run"),
        ("runs/", "runs/run"),
        ("s3://bucket/x/", "s3://bucket/x/run"),
        ("s3://b/x?region=r&scheme=http", "s3://b/x/run?region=r&scheme=http"),
    ],
)
def test_run_path_joins_folders_and_uris(output_dir: str, path: str) -> None:
    assert Config(output_dir=output_dir).run_path == path


class TestReadBack:
    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
    @pytest.mark.parametrize(
        "overrides",
        [
            [],
            ["corpus.columns.user_values=[Agent, model]"],
            ["corpus.columns.chatbot_values=[human]"],
            ["corpus.columns={user_values: [bot], chatbot_values: [user, AI]}"],
            ["corpus.path=a.parquet", "corpus.columns.id=null"],
            ["corpus={preset: esconv}"],
            ["evaluate.judge={model: m, num_votes: 3}"],
            ["chatbot={kind: endpoint, endpoint: {base_url: 'http://localhost:1/v1', model: m}}"],
        ],
        ids=lambda overrides: overrides[0] if overrides else "as shipped",
    )
    def test_a_configuration_that_was_written_out_reads_as_the_same(self, file: Path, overrides: list[str]) -> None:
        config = load_config(file, overrides)
        assert parse_config(json.loads(json.dumps(config.model_dump(mode="json")))) == config

    @pytest.mark.parametrize(
        ("name", "role", "other"),
        [("user_values", "agent", "chatbot_values"), ("chatbot_values", "human", "user_values")],
    )
    def test_a_run_that_wrote_the_other_sides_default_out_opens(self, name: str, role: str, other: str) -> None:
        default = list(getattr(ColumnsConfig(), other))
        columns = parse_config({"corpus": {"columns": {name: [role], other: default}}}).corpus.columns
        assert getattr(columns, name) == (role,)
        assert getattr(columns, other) == tuple(each for each in default if each != role)

    def test_a_role_that_is_named_for_both_sides_is_refused(self) -> None:
        columns = {"user_values": ["agent", "x"], "chatbot_values": ["X", "y"]}
        assert "x is in user_values and in chatbot_values; leave it in one" in refusal({"corpus": {"columns": columns}})


def test_an_empty_section_has_its_defaults() -> None:
    empty = {"sft": None, "rollout": {"sampling": None}, "corpus": {"columns": None}, "evaluate": {"judge": None}}
    assert parse_config(empty) == Config()
    assert "seed: got None" in refusal({"seed": None})


@pytest.mark.parametrize(
    ("simulator", "said"),
    [
        ({"name": "x", "runs": "y"}, "unknown key simulators.0.runs: did you mean simulators.0.run?"),
        ({"name": "x y", "lines": ["a"]}, "simulators.0.name: got 'x y'; string should match pattern"),
        ({"name": "x", "lines": [5]}, "simulators.0.lines.0: got 5; input should be a valid string"),
        (5, "simulators.0: got 5; input should be a valid dictionary"),
    ],
)
def test_a_defect_of_a_sweeps_simulator_is_named_by_its_keys_alone(simulator: object, said: str) -> None:
    values = {"simulators": [simulator], "output": "o", "scenarios": "s.jsonl"}
    with pytest.raises(ConfigError) as caught:
        parse_section(SweepConfig, values, where="sweep.yaml")
    assert said in str(caught.value)
    assert "str" not in str(caught.value).split(said)[0] and "function-after" not in str(caught.value)


def test_a_sweep_that_was_written_out_reads_as_the_same() -> None:
    simulators = ["sft", {"name": "x", "lines": ["a"]}, {"name": "y", "mixture": {"sft": 1.0}}]
    sweep = parse_section(SweepConfig, {"run": "runs/a", "simulators": simulators}, where="sweep.yaml")
    assert parse_section(SweepConfig, sweep.model_dump(mode="json"), where="sweep.yaml") == sweep
