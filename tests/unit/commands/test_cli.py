import gzip
import json
from pathlib import Path

import pytest
import yaml
from chatbot_server import Sends, completion, serve_chatbot

from advsim.cli import main
from advsim.config import parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import ConfigError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.results import plain_values
from advsim.training.manifest import check_unchanged, manifest


def write_config(tmp_path: Path, **sections: object) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"output_dir": str(tmp_path / "runs"), **sections}))
    return str(path)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("advsim: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_check_accepts_every_shipped_config_and_says_what_pools_ask_for(capsys):
    assert main(["check", "configs/paper.yaml"]) == 0
    assert "28 GPUs" in capsys.readouterr().out
    assert main(["check", "configs/quickstart.yaml", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {pool["pool"] for pool in printed["pools"]} == {"simulator", "scorer", "learner"}
    assert printed["splits"]["train"] > 0


def test_misspelt_key_is_refused_with_the_nearest_one(tmp_path, capsys):
    assert "did you mean rollout.num_conversations?" in refusal(
        capsys, "check", write_config(tmp_path, rollout={"num_conversation": 3})
    )


def test_check_sends_a_chatbot_one_message_and_shows_its_answer_and_time(capsys, tmp_path):
    with serve_chatbot(lambda got: Sends(body=completion("What happened today?"))) as server:
        chatbot = {"kind": "endpoint", "endpoint": {"base_url": f"{server.url}/v1", "model": "m"}}
        file = tmp_path / "bot.yaml"
        file.write_text(yaml.safe_dump(chatbot))
        assert main(["check", str(file)]) == 0
        printed = capsys.readouterr().out
        assert "bot (endpoint)" in printed and "What happened today?" in printed and " s; 11 tokens in" in printed
        assert main(["check", str(file), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)["chatbot_answer"]
        assert answer["reply"] == "What happened today?" and answer["effort"]["seconds"] > 0
        assert answer["cost"] is None and "cost" not in printed
        priced = ["-o", "price={per_million_prompt_tokens: 2.0, per_million_output_tokens: 6.0, currency: EUR}"]
        assert main(["check", str(file), *priced]) == 0
        assert "0.000040 EUR" in capsys.readouterr().out  # 11 tokens in, 3 out
        assert main(["check", str(file), *priced, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["chatbot_answer"]["cost"] == {"amount": 4e-05, "currency": "EUR"}
        server.answer = lambda got: Sends(body=completion("Yes?", usage=False))
        assert main(["check", str(file), *priced]) == 0
        assert "the chatbot tells no tokens" in capsys.readouterr().out
        server.answer = lambda got: Sends(body=completion("What happened today?"))
        assert main(["check", write_config(tmp_path, chatbot=chatbot)]) == 0
        assert "What happened today?" in capsys.readouterr().out
        assert len(server.requests) == 6
        assert main(["check", str(file), "--no-call"]) == 0
        assert len(server.requests) == 6
        server.answer = lambda got: Sends(status=500, body="db down")
        assert "chatbot bot (endpoint) does not answer: HTTP 500: db down" in refusal(capsys, "check", str(file))
    assert "no connection to" in refusal(capsys, "check", str(file))
    override = "endpoint.api_key_env=NOT_SET_HERE"
    assert "NOT_SET_HERE is not set" in refusal(capsys, "check", str(file), "--no-call", "-o", override)
    file.write_text("kind: python\nfunction: not_there.py:reply\n")
    assert "there is no file" in refusal(capsys, "check", str(file), "--no-call")


def test_check_of_a_chatbots_file_looks_at_its_own_model(tmp_path, capsys):
    file = tmp_path / "bot.yaml"
    file.write_text("system_prompt: Be kind.\nmodel: {path: /nonexistent/model}\n")
    assert "chatbot bot: model.path: got '/nonexistent/model', which is no folder" in refusal(
        capsys, "check", str(file)
    )


def test_check_knows_a_chatbots_file_by_a_mistyped_key(tmp_path, capsys):
    file = tmp_path / "bot.yaml"
    file.write_text("name: big\nsytem_prompt: Be kind.\n")
    assert "unknown key sytem_prompt: did you mean system_prompt?" in refusal(capsys, "check", str(file))


def test_check_says_what_it_took_a_file_for_that_may_be_either(tmp_path, capsys):
    file = tmp_path / "big.yaml"
    file.write_text("name: big\n")
    assert main(["check", str(file)]) == 0
    assert "if it is a chatbot's, add kind: model" in capsys.readouterr().out
    assert main(["check", str(file), "-o", "kind=model"]) == 0
    assert "the chatbot's file is sound" in capsys.readouterr().out
    assert main(["check", write_config(tmp_path)]) == 0
    assert "if it is a chatbot's" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("evaluate.judge.modes=[overload, foo]", "evaluate.judge.modes: got 'foo', expected some of missed_risk"),
        ("evaluate.pairs=[ab]", "evaluate.pairs: got 'ab', expected NAME:NAME"),
        ("evaluate.pairs=['a: a', 'a:']", "evaluate.pairs: got 'a: a', expected NAME:NAME"),
        ("evaluate.taxonomy=pyproject.toml", "pyproject.toml: "),
    ],
)
def test_check_refuses_what_evaluate_would(tmp_path, capsys, override, named):
    assert named in refusal(capsys, "check", write_config(tmp_path), "-o", override)


def test_pairs_of_names_with_colons_pass_check(tmp_path):
    pairs = "evaluate.pairs=['model:large:small', 'a:b']"
    assert main(["check", write_config(tmp_path), "-o", pairs]) == 0


@pytest.mark.parametrize("command", ["check", "train"])
def test_missing_files_are_named_and_leave_nothing_behind(tmp_path, capsys, command):
    assert "no-such.yaml" in refusal(capsys, command, str(tmp_path / "no-such.yaml"))
    missing = str(tmp_path / "no-such.jsonl")
    assert "no-such.jsonl" in refusal(capsys, command, write_config(tmp_path), "-o", f"corpus.path={missing}")
    assert not (tmp_path / "runs").exists()


def test_malformed_line_is_refused_with_file_and_line_number(tmp_path, capsys):
    dialogues = tmp_path / "chats.jsonl.gz"
    with gzip.open(dialogues, "wt") as stream:
        stream.write('{"id": "a", "turns": [{"speaker": "user", "text": "hi"}]}\n{"id": \n')
    message = refusal(capsys, "train", write_config(tmp_path), "-o", f"corpus.path={dialogues}")
    assert "chats.jsonl.gz" in message
    assert "line 2" in message or ":2" in message


def test_model_folder_without_weights_is_refused(tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert "safetensors" in refusal(capsys, "check", write_config(tmp_path, model={"path": str(folder)}))


def test_changed_config_on_resume_is_refused_with_the_difference(tmp_path, tiny_model):
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    corpus = load_corpus(config.corpus)
    run = RunDir(config.run_path)
    run.write_json("manifest.json", manifest(config, corpus, tiny_model))
    check_unchanged(run, config, corpus, tiny_model, allow_changed=[])
    changed = parse_config(config.model_dump(mode="json"), ["dpo.beta=0.5"])
    with pytest.raises(ConfigError, match=r"dpo\.beta was 1\.0, is now 0\.5.*--allow-changed dpo\.beta"):
        check_unchanged(run, changed, corpus, tiny_model, allow_changed=[])
    check_unchanged(run, changed, corpus, tiny_model, allow_changed=["dpo.beta"])
    more_rounds = parse_config(config.model_dump(mode="json"), ["stop.max_rounds=9", "resources.scorer.num_cpus=2"])
    check_unchanged(run, more_rounds, corpus, tiny_model, allow_changed=[])
    price = "chatbot.price={per_million_prompt_tokens: 1.0, per_million_output_tokens: 2.0}"
    priced = parse_config(config.model_dump(mode="json"), [price])
    check_unchanged(run, priced, corpus, tiny_model, allow_changed=[])


def test_run_of_an_older_version_resumes_where_keys_came_since_and_not_where_keys_are_gone(tmp_path, tiny_model):
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    corpus = load_corpus(config.corpus)
    run = RunDir(config.run_path)
    old = plain_values(manifest(config, corpus, tiny_model))
    del old["config"]["held_out"]["num_permutations"]
    run.write_json("manifest.json", old)
    check_unchanged(run, config, corpus, tiny_model, allow_changed=[])
    with pytest.raises(ConfigError, match=r"held_out\.num_permutations was 99, is now 7"):
        changed = parse_config(config.model_dump(mode="json"), ["held_out.num_permutations=7"])
        check_unchanged(run, changed, corpus, tiny_model, allow_changed=[])
    old["config"]["dpo"]["gone"] = 1
    run.write_json("manifest.json", old)
    with pytest.raises(ConfigError, match=r"dpo\.gone was 1, is now None"):
        check_unchanged(run, config, corpus, tiny_model, allow_changed=[])


def test_manifest_holds_no_secret_of_the_environment(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    config = parse_config({"output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    assert "very_secret" not in json.dumps(plain_values(manifest(config, load_corpus(config.corpus), tiny_model)))


def test_corpus_stats_prints_json_for_the_sample(capsys):
    assert main(["corpus", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_dialogues"] >= 60


def test_report_of_something_that_is_no_run_is_refused(tmp_path, capsys):
    assert "no manifest.json" in refusal(capsys, "report", str(tmp_path))


def test_other_weights_on_resume_are_refused(tmp_path, tiny_model):
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    corpus = load_corpus(config.corpus)
    run = RunDir(config.run_path)
    written = plain_values(manifest(config, corpus, tiny_model))
    run.write_json("manifest.json", {**written, "model": {**written["model"], "sha256": "0" * 64}})
    with pytest.raises(ConfigError, match=r"started on other weights of .*--allow-changed model"):
        check_unchanged(run, config, corpus, tiny_model, allow_changed=[])
    check_unchanged(run, config, corpus, tiny_model, allow_changed=["model"])


def test_other_code_of_the_chatbot_on_resume_is_refused(tmp_path, tiny_model):
    (tmp_path / "helper.py").write_text('SAID = "Hm."')
    (tmp_path / "bot.py").write_text("from helper import SAID\n\n\ndef reply(messages):\n    return SAID\n")
    chatbot = {"kind": "python", "function": f"{tmp_path}/bot.py:reply"}
    values = {"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}, "chatbot": chatbot}
    config = parse_config(values)
    corpus = load_corpus(config.corpus)
    run = RunDir(config.run_path)
    written = plain_values(manifest(config, corpus, tiny_model))
    run.write_json("manifest.json", written)
    check_unchanged(run, config, corpus, tiny_model, allow_changed=[])
    (tmp_path / "helper.py").write_text('SAID = "Mhm."')
    with pytest.raises(ConfigError, match=r"with other code of .*bot\.py:reply.*--allow-changed chatbot"):
        check_unchanged(run, config, corpus, tiny_model, allow_changed=[])
    check_unchanged(run, config, corpus, tiny_model, allow_changed=["chatbot"])
    run.write_json("manifest.json", {key: value for key, value in written.items() if key != "code_sha256"})
    check_unchanged(run, config, corpus, tiny_model, allow_changed=[])


def run_of_two_stages(tmp_path) -> RunDir:
    run = RunDir(str(tmp_path / "r"))
    run.write_json("manifest.json", {})
    run.write_files("sft/adapter", {"weights.bin": b"weights"})
    journal = Journal(run)
    journal.complete("sft", outputs=["sft/adapter"], seconds=1.0)
    run.write_json("baseline.json", {})
    journal.complete("baseline", outputs=["baseline.json"], inputs=["sft/adapter"], seconds=1.0)
    return run


def test_verify_says_which_stages_stand(tmp_path, capsys):
    run = run_of_two_stages(tmp_path)
    assert main(["verify", run.location]) == 0
    assert capsys.readouterr().out.count("as written") == 2
    run.write_bytes("sft/adapter/weights.bin", b"damaged")
    assert main(["verify", run.location]) == 3
    printed = capsys.readouterr()
    assert "2 of 2 stages do not stand (sft, baseline)" in printed.err
    assert main(["verify", run.location, "--json"]) == 3
    stages = json.loads(capsys.readouterr().out)
    assert stages[1]["problems"] == ["input sft/adapter/weights.bin is not what it was when the stage was done"]


def test_a_run_whose_defaults_of_reading_were_others_resumes_on_the_same_dialogues(tmp_path, tiny_model):
    config = parse_config({"name": "r", "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
    corpus = load_corpus(config.corpus)
    run = RunDir(config.run_path)
    old = plain_values(manifest(config, corpus, tiny_model))
    old["config"]["corpus"]["columns"]["user_values"] = ["user", "usr"]
    for key in ("chatbot_values", "user_id"):
        old["config"]["corpus"]["columns"].pop(key, None)
    run.write_json("manifest.json", old)
    check_unchanged(run, config, corpus, tiny_model, allow_changed=[])
    assert parse_config(run.read_json("manifest.json")["config"]).corpus.source == "sample"
