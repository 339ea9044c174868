"""A prediction is what the sweep says, and one that was edited is refused."""

import json

import pytest
from made_up_sweep import messages, write_sweep

from advsim.cli import main
from advsim.errors import ConfigError
from advsim.predictions.prediction import frozen_values, predict, read_prediction, write_prediction
from advsim.rates.rates import failure_rate
from advsim.run_folder.results import text_sha256
from advsim.sweep.outcomes import read_sweep


@pytest.fixture
def folder(tmp_path):
    """A sweep of two simulators and two chatbots."""
    return write_sweep(
        tmp_path / "sweep",
        {
            "sft": {"calm": messages("calm", 3), "loud": messages("loud", 3)},
            "round_1": {"calm": messages("calm", 6), "loud": messages("loud", 24)},
        },
        replay={"calm": messages("calm", 12), "loud": messages("loud", 6)},
    )


@pytest.fixture
def file(folder, tmp_path):
    """A frozen prediction."""
    path = tmp_path / "prediction.json"
    assert main(["predict", folder, "--out", str(path)]) == 0
    return path


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_rates_and_directions_are_those_of_the_last_simulators_messages(folder):
    prediction = predict(read_sweep(folder))
    assert prediction.simulator == "round_1"
    calm, loud = prediction.chatbots
    assert calm.rates["any"] == calm.rates["boundary"] == failure_rate(messages("calm", 6))
    assert loud.rates["any"].estimate == pytest.approx(0.2) and loud.rates["any"].low < 0.2 < loud.rates["any"].high
    (change,) = prediction.changes
    assert (change.a, change.b) == ("loud", "calm")
    assert [d.mode for d in change.differences] == [None, "boundary"]
    assert change.differences[0].difference == pytest.approx(0.15)
    assert change.differences[0].num_paired == 40


def test_another_simulator_or_the_replays_can_be_chosen_and_no_unknown_one(folder):
    sweep = read_sweep(folder)
    assert predict(sweep, simulator="sft").chatbots[1].rates["any"].estimate == pytest.approx(0.025)
    (change,) = predict(sweep, simulator="replay").changes
    assert change.differences[0].difference == pytest.approx(-0.05)
    with pytest.raises(ConfigError, match=r"--simulator round_9: .*sft, round_1, replay"):
        predict(sweep, simulator="round_9")


def test_what_it_was_made_from_stands_in_it(file):
    values = json.loads(file.read_text())
    made_from = values["made_from"]
    assert made_from["corpus_sha256"] == "c" * 64 and made_from["adapters"]["round_1"] == "e" * 64
    assert made_from["chatbots"].keys() == {"calm", "loud"} and len(made_from["detector"]["shipped_sha256"]) == 64
    assert values["versions"]["python"] and values["predicted_at"].endswith("Z") and len(values["sweep_sha256"]) == 64


def test_the_hash_is_of_the_content_and_not_of_its_layout(file):
    values = json.loads(file.read_text())
    frozen = read_prediction(str(file))
    content = {key: value for key, value in values.items() if key != "sha256"}
    assert frozen.sha256 == values["sha256"] == text_sha256(content)
    assert frozen_values(frozen.prediction) == values
    file.write_text(json.dumps(dict(reversed(values.items())), separators=(",", ":")))
    assert read_prediction(str(file)) == frozen


@pytest.mark.parametrize(
    "edit",
    [
        lambda values: values["chatbots"][0]["rates"]["any"].update(estimate=0.5),
        lambda values: values["chatbots"][0]["rates"]["any"].update(high=1.0),
        lambda values: values.update(predicted_at="2020-01-01T00:00:00Z"),
        lambda values: values["changes"].clear(),
        lambda values: values.update(note="a key of one's own"),
        lambda values: values.update(sha256="0" * 64),
    ],
)
def test_an_edited_file_is_refused(file, capsys, edit):
    values = json.loads(file.read_text())
    edit(values)
    file.write_text(json.dumps(values))
    assert "was edited" in refused(capsys, "score", file, "no-logs.jsonl")


def test_an_edited_file_with_a_new_hash_is_refused_by_the_hash_that_was_printed(file, capsys):
    before = read_prediction(str(file)).sha256
    values = json.loads(file.read_text())
    del values["sha256"]
    values["chatbots"][0]["rates"]["any"]["estimate"] = 0.5
    file.write_text(json.dumps({**values, "sha256": text_sha256(values)}))
    read_prediction(str(file))
    assert "another prediction" in refused(capsys, "score", file, "no-logs.jsonl", "--sha256", before)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"kind": "advsim-prediction"}', "[" * 100_000, '{"kind": NaN, "sha256": "a"}', "\0"]
)
def test_what_is_no_prediction_is_refused(tmp_path, capsys, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert "other.json" in refused(capsys, "score", path, "no-logs.jsonl")
    assert "cannot be read" in refused(capsys, "score", tmp_path / "nothing.json", "no-logs.jsonl")
    assert "is no file" in refused(capsys, "score", tmp_path, "no-logs.jsonl")


def test_a_number_that_is_none_is_refused(file, capsys):
    file.write_text(file.read_text().replace('"version": 1,', '"version": NaN,'))
    assert "no prediction that advsim wrote" in refused(capsys, "score", file, "no-logs.jsonl")


def test_a_prediction_is_not_overwritten(folder, file, capsys):
    before = file.read_bytes()
    assert "not overwritten" in refused(capsys, "predict", folder, "--out", file)
    assert file.read_bytes() == before
    with pytest.raises(ConfigError, match="empty path"):
        write_prediction(" ", read_prediction(str(file)).prediction)


def test_printed_json_is_the_file(folder, tmp_path, capsys):
    out = tmp_path / "deep" / "p.json"
    assert main(["predict", folder, "--simulator", "replay", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())


def test_printed_tables_have_rates_differences_and_the_hash(folder, tmp_path, capsys):
    assert main(["predict", folder, "--out", str(tmp_path / "p.json")]) == 0
    said = capsys.readouterr().out
    assert "20.0" in said and "+15.0" in said and "round_1" in said
    assert json.loads((tmp_path / "p.json").read_text())["sha256"] in said


def test_what_is_no_finished_sweep_is_refused_with_the_remedy(folder, tmp_path, capsys):
    out = tmp_path / "p.json"
    assert "no sweep.json there" in refused(capsys, "predict", tmp_path, "--out", out)
    result = tmp_path / "sweep" / "sweep.json"
    values = json.loads(result.read_text())
    (tmp_path / "sweep" / "outcomes.parquet").write_bytes(b"other")
    assert "is not the table" in refused(capsys, "predict", folder, "--out", out)
    del values["made_from"]
    result.write_text(json.dumps(values))
    assert "run the same 'advsim sweep' again" in refused(capsys, "predict", folder, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("damage", [[], None, {}, "x", -1])
def test_a_damaged_sweep_is_an_error_that_names_its_file_whatever_the_key(folder, tmp_path, capsys, damage):
    result = tmp_path / "sweep" / "sweep.json"
    values = json.loads(result.read_text())
    for key in ("detector", "modes", "baseline", "seed", "max_user_turns", "made_from"):
        result.write_text(json.dumps({**values, key: damage}))
        code = main(["predict", folder, "--out", str(tmp_path / f"{key}.json")])
        said = capsys.readouterr().err
        assert code in (0, 2, 3) and "Traceback" not in said
        assert code == 0 or "sweep.json" in said or "measures no mode" in said
    for key in ("chatbots", "adapters", "detector", "outcomes_sha256"):
        result.write_text(json.dumps({**values, "made_from": {**values["made_from"], key: damage}}))
        assert main(["gate", folder, "--baseline", "calm", "--candidate", "loud", "--max-increase", "2"]) in (2, 3)
        assert "Traceback" not in capsys.readouterr().err


def test_a_detector_that_measures_nothing_predicts_nothing(tmp_path, capsys):
    sweep = write_sweep(tmp_path / "s", {"sft": {"calm": messages("calm", 0)}}, modes=())
    assert "measures no mode" in refused(capsys, "predict", sweep, "--out", tmp_path / "p.json")


def test_one_chatbot_alone_is_predicted_without_a_direction(tmp_path):
    sweep = write_sweep(tmp_path / "s", {"sft": {"calm": messages("calm", 4)}})
    prediction = predict(read_sweep(sweep))
    assert prediction.changes == () and prediction.chatbots[0].rates["any"].num_messages == 120
