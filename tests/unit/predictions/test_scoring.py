"""A prediction is held against live logs: factors, directions and intervals are those of the live rates."""

import json
import math

import pytest
from made_up_sweep import messages, write_sweep

from advsim.cli import main
from advsim.config import CorpusConfig, EvaluateConfig
from advsim.detectors.rules import RulesDetector
from advsim.errors import ConfigError, CorpusError
from advsim.predictions.live import LiveLogs, live_outcomes, read_logs
from advsim.predictions.prediction import FrozenPrediction, predict
from advsim.predictions.scoring import score
from advsim.records import Dialogue, Speaker, Split, Turn
from advsim.sweep.outcomes import read_sweep

BAD, GOOD = "Just cheer up, you should go for a run.", "What happened at work today?"
MODES = ("invalidation", "premature_advice")


def dialogue(number, chatbot, replies, *, opening=""):
    turns = [{"speaker": "chatbot", "text": opening}] if opening else []
    for reply in replies:
        turns += [{"speaker": "user", "text": "i feel so sad today"}, {"speaker": "chatbot", "text": reply}]
    return {"id": f"{chatbot}-{number}", "chatbot": chatbot, "user_id": f"u{number}", "turns": turns}


def write_logs(path, failing, *, num_dialogues=40, num_messages=2):
    """Logs in which so many messages of each chatbot fail."""
    lines = [
        dialogue(i, name, [BAD if j * num_dialogues + i < count else GOOD for j in range(num_messages)])
        for name, count in failing.items()
        for i in range(num_dialogues)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


def prediction_of(tmp_path, failing, *, modes=MODES, evaluate=None, max_user_turns=3):
    """A frozen prediction in which so many of 120 messages of each chatbot fail."""
    simulated = {name: messages(name, count, mode="invalidation") for name, count in failing.items()}
    sweep = write_sweep(
        tmp_path / "sweep", {"sft": simulated}, modes=modes, evaluate=evaluate, max_user_turns=max_user_turns
    )
    path = tmp_path / "prediction.json"
    assert main(["predict", sweep, "--out", str(path)]) == 0
    return str(path)


def scored(capsys, *arguments):
    capsys.readouterr()
    assert main(["score", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@pytest.fixture
def direct(tmp_path_factory):
    """Scores made-up outcomes without files: failing messages by chatbot, predicted and live."""

    def scored_outcomes(predicted, live, *, num_predicted=120, num_live=120):
        sides = [
            {name: messages(name, count, num_dialogues=number // 3) for name, count in failing.items()}
            for failing, number in ((predicted, num_predicted), (live, num_live))
        ]
        sweep = write_sweep(tmp_path_factory.mktemp("sweep"), {"sft": sides[0]})
        frozen = FrozenPrediction(prediction=predict(read_sweep(sweep)), sha256="0")
        return score(frozen, sides[1], LiveLogs(files=("l",), dialogues=()))

    return scored_outcomes


def test_factors_directions_and_coverage_are_those_of_live_rates(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12, "loud": 36})
    logs = write_logs(tmp_path / "logs.jsonl", {"calm": 8, "loud": 60})  # 10 and 75 %; predicted 10 and 30 %
    found = scored(capsys, prediction, logs)
    rates = {rate["chatbot"]: rate for rate in found["rates"] if rate["mode"] == "any"}
    assert rates["calm"]["live"]["estimate"] == pytest.approx(0.1) and rates["calm"]["factor"] == pytest.approx(1)
    assert rates["calm"]["is_covered"] and rates["calm"]["is_consistent"]
    assert rates["loud"]["factor"] == pytest.approx(2.5)
    assert rates["loud"]["is_covered"] is rates["loud"]["is_consistent"] is False
    any_mode = found["any_mode"]
    assert any_mode["median_factor"] == pytest.approx(1.75) and any_mode["worst_factor"] == pytest.approx(2.5)
    assert any_mode["worst"] == ["loud", "any"]
    assert (any_mode["num_covered"], any_mode["num_intervals"]) == (1, 2)
    (change,) = [change for change in found["changes"] if change["mode"] == "any"]
    assert change["change"] == pytest.approx(7.5) and change["is_right"] and change["is_significant"]
    assert (any_mode["num_right"], any_mode["num_large_changes"]) == (1, 1)
    assert found["num_dialogues"] == {"calm": 40, "loud": 40} and found["logs"] == ["logs"]
    assert "worst 2.50x (loud)" in found["sentence"]


def test_a_wrong_direction_and_one_that_was_not_predicted_are_not_right(direct):
    assert direct({"calm": 30, "loud": 10}, {"calm": 10, "loud": 30}).any_mode.num_right == 0
    same = direct({"calm": 20, "loud": 20}, {"calm": 10, "loud": 30}).any_mode
    assert (same.num_right, same.num_large_changes) == (0, 1)


def test_changes_below_one_and_a_half_ask_for_no_direction(direct):
    assert direct({"calm": 10, "loud": 30}, {"calm": 20, "loud": 29}).any_mode.num_large_changes == 0
    assert direct({"calm": 10, "loud": 30}, {"calm": 20, "loud": 30}).any_mode.num_large_changes == 1


def test_rates_of_zero_are_finite_and_no_part_of_the_median_where_both_are(direct):
    found = direct({"calm": 0, "loud": 0}, {"calm": 0, "loud": 24})
    assert found.any_mode.num_both_zero == found.any_mode.num_rates == found.any_mode.num_intervals == 1
    assert found.any_mode.worst_factor == pytest.approx(0.2 / (0.5 / 120))
    assert all(math.isfinite(rate.factor) for rate in found.rates if rate.factor is not None)
    rare = direct({"calm": 1}, {"calm": 0}, num_predicted=3000, num_live=30)  # 30 live messages cannot tell
    assert rare.any_mode.worst_factor == 1


def test_the_table_shows_both_rates_and_the_error(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12, "loud": 36})
    logs = write_logs(tmp_path / "logs.jsonl", {"calm": 8, "loud": 60})
    assert main(["score", prediction, logs]) == 0
    said = capsys.readouterr().out
    assert "75.0" in said and "30.0" in said and "2.50x" in said and "beyond chance" in said


def test_figures_and_page_are_written_where_asked_and_the_json_is_the_same(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12})
    logs = write_logs(tmp_path / "logs.jsonl", {"calm": 8})
    found = scored(capsys, prediction, logs, "--out", tmp_path / "march")
    assert json.loads((tmp_path / "march" / "score.json").read_text()) == found
    assert found["prediction_sha256"] in (tmp_path / "march" / "score.html").read_text()
    assert main(["score", prediction, logs, "--out", f"{tmp_path}/march/"]) == 0
    assert f"report: {tmp_path}/march/score.html" in capsys.readouterr().out
    assert "--out" in refused(capsys, "score", prediction, logs, "--out", "ftp://host/x")


def test_logs_without_the_chatbots_predicted_are_refused_by_name(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12, "loud": 36})
    other = write_logs(tmp_path / "other.jsonl", {"shy": 8})
    assert "no dialogue with calm, loud, as predicted; the logs name shy" in refused(capsys, "score", prediction, other)
    some = write_logs(tmp_path / "some.jsonl", {"calm": 8, "shy": 1})
    said = refused(capsys, "score", prediction, some)
    assert "no dialogue with loud" in said and "add --chatbot calm" in said
    nameless = tmp_path / "nameless.jsonl"
    line = {key: value for key, value in dialogue(1, "calm", [GOOD]).items() if key != "chatbot"}
    nameless.write_text(json.dumps(line))
    assert "the logs name no chatbot" in refused(capsys, "score", prediction, nameless)
    found = scored(capsys, prediction, some, nameless, "--chatbot", "calm")
    assert {rate["chatbot"] for rate in found["rates"]} == {"calm"} and found["changes"] == []
    assert any("loud" in note for note in found["notes"]) and any("shy (40)" in note for note in found["notes"])
    assert any("name no chatbot, in no figure: 1." in note for note in found["notes"])
    assert "was not predicted" in refused(capsys, "score", prediction, some, "--chatbot", "shy")


def test_replies_beyond_the_turns_predicted_and_openings_are_not_counted():
    turns = [Turn(speaker=Speaker.CHATBOT, text=BAD)]
    for reply in (GOOD, BAD, BAD):
        turns += [Turn(speaker=Speaker.USER, text="i feel so sad"), Turn(speaker=Speaker.CHATBOT, text=reply)]
    one = Dialogue(id="a", source="s", split=Split.TEST, chatbot="calm", turns=tuple(turns))
    live, num_later = live_outcomes([one], RulesDetector(), max_user_turns=2)
    assert [row.turn for row in live["calm"]] == [2, 4] and num_later == 1


def test_a_reply_that_is_a_thought_alone_is_not_judged():
    turns = (
        Turn(speaker=Speaker.USER, text="i feel so sad"),
        Turn(speaker=Speaker.CHATBOT, text="", thought="What would help?"),
    )
    one = Dialogue(id="a", source="s", split=Split.TEST, chatbot="calm", turns=turns)
    live, _ = live_outcomes([one], RulesDetector(), max_user_turns=2)
    assert [row.error for row in live["calm"]] == [True]


def test_messages_that_could_not_be_judged_are_counted_beside_the_rates(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12})
    path = tmp_path / "logs.jsonl"
    lines = [dialogue(i, "calm", [GOOD]) for i in range(12)]
    lines[0]["turns"][0]["text"] = "Estoy muy triste hoy y no sé qué hacer"
    lines[0]["turns"][1]["text"] = "¿Qué ha pasado hoy en tu trabajo?"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = scored(capsys, prediction, path)
    assert found["rates"][0]["live"]["num_messages"] == 11 and found["rates"][0]["live"]["num_not_judged"] == 1
    assert any("could not judge, in no rate: calm (1)" in note for note in found["notes"])


def test_a_dialogue_given_twice_is_refused_and_numbers_that_begin_anew_are_not(tmp_path, capsys):
    first, second = (write_logs(tmp_path / f"{name}.jsonl", {"calm": count}) for name, count in (("a", 4), ("b", 80)))
    prediction = prediction_of(tmp_path, {"calm": 12})
    assert "would count twice" in refused(capsys, "score", prediction, first, first)
    logs = read_logs([first, second], ["calm"], corpus=CorpusConfig())
    assert len({one.id for one in logs.dialogues}) == len(logs.dialogues) == 80


def test_a_dialogue_is_given_twice_whichever_of_several_files_has_it(tmp_path):
    files = [
        write_logs(tmp_path / f"{name}.jsonl", {"calm": count}) for name, count in (("a", 4), ("b", 80), ("c", 80))
    ]
    with pytest.raises(CorpusError, match=r"c\.jsonl: dialogue .* is in .*b\.jsonl too.*would count twice"):
        read_logs(files, ["calm"], corpus=CorpusConfig())


def test_every_dialogue_keeps_an_id_of_its_own_whatever_the_ids_are(tmp_path):
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    taken = f"{paths[1]}: 1"  # what the second file's dialogue would be called
    for path, ids in zip(paths, ((1, taken), (1,), (1, taken)), strict=True):
        lines = [{**dialogue(0, "calm", [f"{path.name} {number}"]), "id": str(number)} for number in ids]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    logs = read_logs([str(path) for path in paths], ["calm"], corpus=CorpusConfig())
    assert len({one.id for one in logs.dialogues}) == len({str(one.turns) for one in logs.dialogues}) == 5


def test_only_the_modes_that_were_predicted_count(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12}, modes=("boundary", "invalidation"))
    path = tmp_path / "logs.jsonl"
    risk = {**dialogue(1, "calm", [GOOD]), "turns": []}
    risk["turns"] = [{"speaker": "user", "text": "i want to kill myself"}, {"speaker": "chatbot", "text": GOOD}]
    path.write_text(json.dumps(risk))
    (any_failure, *_) = scored(capsys, prediction, path)["rates"]
    assert any_failure["live"]["estimate"] == 0  # missed_risk is found there by the rules, and is not predicted
    assert any_failure["live"]["low"] is None and any_failure["is_consistent"] is None


def test_the_same_detector_judges_or_none(tmp_path, capsys):
    taxonomy = tmp_path / "taxonomy.yaml"
    taxonomy.write_text("modes: {}\n")
    prediction = prediction_of(
        tmp_path, {"calm": 12}, evaluate=EvaluateConfig(detector="rules", taxonomy=str(taxonomy))
    )
    logs = write_logs(tmp_path / "logs.jsonl", {"calm": 4})
    assert scored(capsys, prediction, logs)["detector"] == "rules"
    taxonomy.write_text("modes: {}\n# changed since\n")
    assert "taxonomy.yaml: is another than the prediction was made with" in refused(capsys, "score", prediction, logs)
    taxonomy.unlink()
    assert "taxonomy.yaml" in refused(capsys, "score", prediction, logs)


def test_logs_that_call_the_chatbot_otherwise_are_read_by_an_override_and_no_other_key_is(tmp_path, capsys):
    prediction = prediction_of(tmp_path, {"calm": 12})
    path = tmp_path / "logs.jsonl"
    lines = [dialogue(i, "calm", [GOOD]) for i in range(12)]
    path.write_text("".join(json.dumps({**line, "variant": line.pop("chatbot")}) + "\n" for line in lines))
    keys = ("chatbot=variant", "turns=turns", "id=id", "user_id=user_id")
    found = scored(capsys, prediction, path, *(part for key in keys for part in ("-o", f"corpus.columns.{key}")))
    assert found["num_dialogues"] == {"calm": 12}
    assert "has no effect on a score" in refused(capsys, "score", prediction, path, "-o", "evaluate.detector=judge")


def test_live_chatbots_that_nobody_predicted_are_an_error(direct):
    with pytest.raises(ValueError, match="shy"):
        direct({"calm": 1}, {"shy": 1})


def test_missing_logs_are_named(tmp_path, capsys):
    assert "nothing.jsonl" in refused(capsys, "score", prediction_of(tmp_path, {"calm": 1}), tmp_path / "nothing.jsonl")
    with pytest.raises(ConfigError):
        read_logs([" "], ["calm"], corpus=CorpusConfig())
