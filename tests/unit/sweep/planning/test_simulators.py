"""Which simulators a sweep can have, and what their adapters are checked for."""

import json
import shutil

import numpy as np
import pytest
from made_up_probe import add_probe, likes_likely_turns
from safetensors.numpy import save_file

from advsim.config import SweepConfig, parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import ConfigError, DeliveryError
from advsim.models.adapter import adapter_sha256
from advsim.rollout.delivery import Acknowledgement, check_acknowledgements
from advsim.run_folder.folder import RunDir
from advsim.run_folder.reader import load_run
from advsim.sweep.planning.simulators import FIRST_OTHER_VERSION, choose_simulators, delivery, drawn
from advsim.training.manifest import manifest


@pytest.fixture
def made_run(tmp_path, tiny_model):
    """Makes a run that has SFT and one round; returns its configuration."""

    def make(name):
        config = parse_config({"name": name, "output_dir": str(tmp_path), "model": {"path": str(tiny_model)}})
        run = RunDir(config.run_path)
        run.write_json("manifest.json", manifest(config, load_corpus(config.corpus), tiny_model))
        for number, folder in ((0, "sft"), (1, "rounds/0001")):
            adapter = f"{folder}/adapter"
            run.write_bytes(f"{adapter}/adapter_model.safetensors", f"{name} {number}".encode())
            run.write_bytes(f"{adapter}/adapter_config.json", b"{}")
            sha256 = adapter_sha256(run.path / adapter)
            values = {"adapter_sha256": sha256, "canary_logprobs": [-1.0], "round": number}
            file = "metrics.json" if number == 0 else "dpo/metrics.json"
            run.write_json(f"{folder}/{file}", values)
            run.write_json(f"{folder}/metrics.json", values)
        return config

    return make


def wanted(*simulators, run="r"):
    return SweepConfig(run=run, simulators=simulators).simulators


def test_an_adapter_of_a_folder_is_delivered_by_its_hash_alone(made_run, tmp_path, tiny_model):
    config = made_run("r")
    folder = tmp_path / "lora"
    folder.mkdir()
    width = json.loads((tiny_model / "config.json").read_text())["hidden_size"]
    module = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({module: np.zeros((8, width), np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"r": 8}')
    own = load_run(config.run_path)
    sft, other = choose_simulators(own, wanted("sft", {"name": "lora", "adapter": str(folder)}), config)
    assert (sft.adapter.version, other.adapter.version) == (0, FIRST_OTHER_VERSION + 1)
    sent = delivery(other, own, None, config=config)
    assert set(sent.files) == {"adapter_config.json", "adapter_model.safetensors"} and sent.canary_logprobs == ()
    got = Acknowledgement(
        engine="e", version=other.adapter.version, sha256=adapter_sha256(folder), canary_logprobs=(-9.0,), seconds=0.1
    )
    check_acknowledgements(sent, [got], engines=["e"])
    (folder / "adapter_model.safetensors").write_bytes(b"others")
    changed = Acknowledgement(
        engine="e", version=other.adapter.version, sha256=adapter_sha256(folder), canary_logprobs=(-9.0,), seconds=0.1
    )
    with pytest.raises(DeliveryError, match="expected version"):
        check_acknowledgements(sent, [changed], engines=["e"])


@pytest.mark.parametrize(
    ("simulator", "said"),
    [
        ("round_7", "got round_7, expected some of zero_shot, sft"),
        ({"name": "a", "run": "{run}", "at": "round_7"}, "has no round_7, expected one of zero_shot, sft"),
        ({"name": "a", "adapter": "{run}"}, r"simulator a: .*adapter"),
        ({"name": "a", "run": "{run}/no"}, "no manifest.json there"),
    ],
)
def test_a_simulator_that_is_not_there_is_refused_by_its_name(made_run, simulator, said):
    config = made_run("r")
    if isinstance(simulator, dict):
        simulator = json.loads(json.dumps(simulator).replace("{run}", config.run_path))
    with pytest.raises(ConfigError, match=said):
        choose_simulators(load_run(config.run_path), wanted(simulator), config)


def test_a_simulator_of_another_base_model_is_refused(made_run, tmp_path):
    config, other = made_run("r"), made_run("other")
    file = tmp_path / "other" / "manifest.json"
    values = json.loads(file.read_text())
    values["model"]["sha256"] = "f" * 64
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"simulator a: .*another base model \(ffffffffffff\).*tokenizer"):
        choose_simulators(load_run(config.run_path), wanted({"name": "a", "run": other.run_path}), config)
    with pytest.raises(ConfigError, match="another base model"):  # nor where the sweep has no run of its own
        choose_simulators(None, wanted({"name": "a", "run": other.run_path}), config)


@pytest.mark.parametrize(("said", "shown"), [('{"r": 64}', "rank 64"), ("{}", "rank None"), ("[]", "cannot be read")])
def test_an_adapter_that_the_engines_could_not_serve_is_refused_before_they_start(made_run, tmp_path, said, shown):
    config = made_run("r")
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text(said)
    with pytest.raises(ConfigError, match=f"simulator a: .*{shown}"):
        choose_simulators(load_run(config.run_path), wanted({"name": "a", "adapter": str(folder)}), config)


def test_an_adapter_of_another_model_is_refused_before_engines_start(made_run, tmp_path):
    config = made_run("r")
    folder = tmp_path / "lora"
    folder.mkdir()
    module = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({module: np.zeros((8, 7), np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"r": 8}')
    with pytest.raises(ConfigError, match=r"simulator a: .*another base model: .* has shape \(8, 7\)"):
        choose_simulators(load_run(config.run_path), wanted({"name": "a", "adapter": str(folder)}), config)


def test_a_simulator_that_was_trained_with_other_instructions_is_refused(made_run, tmp_path):
    config, other = made_run("r"), made_run("other")
    file = tmp_path / "other" / "manifest.json"
    values = json.loads(file.read_text())
    values["config"]["prompt"]["instructions"] = "Be somebody else."
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"trained with another prompt \(instructions differ\)"):
        choose_simulators(load_run(config.run_path), wanted({"name": "a", "run": other.run_path}), config)


def test_the_parts_of_a_mixture_are_drawn_by_their_weights_and_alike_for_every_chatbot():
    config = parse_config({})
    simulators = wanted(
        {"name": "a", "lines": ["x"]}, {"name": "b", "lines": ["y"]}, {"name": "m", "mixture": {"a": 1.0, "b": 3.0}}
    )
    mixture = choose_simulators(None, simulators, config)[-1]
    names = [drawn(mixture, f"scenario {i}", 0) for i in range(2000)]
    assert 0.22 < names.count("a") / 2000 < 0.28  # three standard deviations of .25
    assert names == [drawn(mixture, f"scenario {i}", 0) for i in range(2000)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"simulators": ["sft"]}, "sft is one of a run"),
        ({"simulators": []}, "there is none, but the sweep has no run"),
        ({"scenarios": None}, "scenarios: there is no run"),
        ({"output": None}, "output: there is no run"),
        ({"designs": ["free", "replay"]}, "replay and paired need real dialogues"),
        ({"designs": ["free", "free"]}, "a design twice"),
        ({"simulators": [{"name": "a"}]}, "nothing that speaks"),
        ({"simulators": [{"name": "a", "lines": ["x"], "adapter": "y"}]}, "adapter and lines, expected one"),
        ({"simulators": [{"name": "a", "lines": [" "]}]}, "an empty line"),
        ({"simulators": [{"name": "a", "lines": ["x"], "at": "sft"}]}, "there is no run; leave it out"),
        ({"simulators": [{"name": "a", "run": "r", "at": "last"}]}, "expected zero_shot, sft or round_N"),
        ({"simulators": [{"name": "replay", "lines": ["x"]}]}, "is of the real side"),
        ({"simulators": [{"name": "a/b", "lines": ["x"]}]}, "name"),
        ({"simulators": [{"name": "a", "lines": ["x"]}] * 2}, "got a twice"),
        ({"simulators": [{"name": "a", "lines": ["x"]}, {"name": "m", "mixture": {"b": 1.0}}]}, "names b, which is no"),
        ({"simulators": [{"name": "m", "mixture": {"m": 1.0}}]}, "a mixture"),
        ({"simulators": [{"name": "a", "lines": ["x"]}, {"name": "m", "mixture": {"a": 0.0}}]}, "mixture"),
        (
            {"stop_early": True, "simulators": [{"name": "a", "lines": ["x"]}, {"name": "m", "mixture": {"a": 1.0}}]},
            "other people in a mixture",
        ),
        ({"caps": {"max_minutes": 0.0}}, "max_minutes"),
        ({"shard_size": 0}, "shard_size"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused_with_its_key(changes, said):
    sound = {"simulators": [{"name": "a", "lines": ["x"]}], "scenarios": "people.jsonl", "output": "out"}
    SweepConfig(**sound)
    with pytest.raises(ValueError, match=said):
        SweepConfig(**{**sound, **changes})


def test_best_of_n_is_a_simulator_of_its_own_for_each_n_and_each_probe(made_run, tiny_model):
    config = made_run("r")
    folder = RunDir(config.run_path)
    add_probe(folder, 1, tiny_model)
    own = load_run(config.run_path)

    def best_of(n, at="sft"):
        keys = {"name": f"best_of_{n}", "run": config.run_path, "at": at, "best_of": n}
        (chosen,) = choose_simulators(own, wanted(keys), config)
        return chosen

    plain, of_4, of_8 = best_of(1), best_of(4), best_of(8)
    assert plain.sha256 == own.adapter(0).sha256
    assert len({plain.sha256, of_4.sha256, of_8.sha256}) == 3
    sent = delivery(of_8, own, None, config=config)
    assert sent.choice.probe == likes_likely_turns(tiny_model)
    assert sent.choice.prompt.instructions == config.prompt.instructions
    assert delivery(plain, own, None, config=config).choice is None
    add_probe(folder, 1, tiny_model, slope=2.0)
    assert best_of(8).sha256 != of_8.sha256
    with pytest.raises(ConfigError, match=r"best_of_8: the probe of .* has changed since the sweep was planned"):
        delivery(of_8, own, None, config=config)
    add_probe(folder, 1, tiny_model, auc_low=0.5)
    with pytest.raises(ConfigError, match=r"interval begins at 0\.50, below 0\.55 .* choosing by it gains nothing"):
        best_of(8)


def test_a_probe_reads_with_the_model_from_where_the_engines_have_it(made_run, tiny_model, tmp_path):
    config = made_run("r")
    add_probe(RunDir(config.run_path), 1, tiny_model)
    moved = tmp_path / "moved"
    shutil.copytree(tiny_model, moved)
    elsewhere = config.model_copy(update={"model": config.model.model_copy(update={"path": str(moved)})})
    keys = {"name": "a", "run": config.run_path, "at": "sft", "best_of": 2}
    own = load_run(config.run_path)
    (chosen,) = choose_simulators(own, wanted(keys), elsewhere)
    assert delivery(chosen, own, None, config=elsewhere).choice.model.path == str(moved)
    shutil.rmtree(moved)
    with pytest.raises(ConfigError, match="moved"):
        choose_simulators(own, wanted(keys), elsewhere)


def test_best_of_without_a_probe_is_refused(made_run, tmp_path):
    config = made_run("r")
    keys = {"name": "a", "run": config.run_path, "at": "sft", "best_of": 8}
    with pytest.raises(ConfigError, match=r"simulator a, best_of: .*no probe .* discriminator.on: prefixes"):
        choose_simulators(load_run(config.run_path), wanted(keys), config)
    for other in ({"adapter": str(tmp_path)}, {"lines": ["hi"]}, {"run": config.run_path, "at": "zero_shot"}):
        with pytest.raises(ValueError, match="best_of chooses by the probe of a run"):
            wanted({"name": "a", "best_of": 8, **other})
