"""A judge is measured on the labelled dialogues by one command, and evaluated by what was found there."""

import json

import pytest
from judge_server import Answer, failure, serve, verdict
from made_up_dialogues import write

from advsim.cli import main
from advsim.detectors.findings import load_findings
from advsim.detectors.whole_dialogues import load_whole_dialogues

SHOWN = {
    each.dialogue.turns[turn].text: sorted(label.modes)
    for each in load_whole_dialogues("build", "tune")
    for turn, label in each.labels.items()
}


def knows_labels(request):
    """Right on every message but that it calls every second one a boundary, in words that are not there."""
    found = [failure(mode) for mode in SHOWN.get(request.judged["text"], [])]
    made_up = [failure("boundary", span="I will never leave you, my love")] if len(request.judged["text"]) % 2 else []
    return Answer(content=verdict(*found, *made_up))


def judge(server, **changes):
    settings = {"base_url": server.url, "model": "m", "max_attempts": 1, **changes}
    return [word for key, value in settings.items() for word in ("-o", f"evaluate.judge.{key}={value}")]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A saved file, and the JSON that the command printed."""
    path = tmp_path_factory.mktemp("worth") / "judge.json"
    with serve(knows_labels) as server, pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("advsim.commands.detectors.print_json", printed.append)
        assert main(["detectors", "measure", "--detector", "judge", *judge(server), "--save", str(path), "--json"]) == 0
    return path, json.loads(json.dumps(printed[0]))


def test_precision_recall_and_what_fell_are_printed_for_a_judge(measured):
    (worth,) = measured[1]["detectors"]
    every = worth["findings"]
    assert (every["precision"]["value"], every["recall"]["value"]) == (1.0, 1.0)
    cost = worth["judge"]["cost"]
    assert cost["num_messages"] == worth["num_messages"] > 100
    assert cost["num_misquoted"] > 50 and worth["judge"]["self_agreement"] is None
    boundary = next(mode for mode in worth["modes"] if mode["mode"] == "boundary")
    assert boundary["num_not_judged"] > 50, "what fell is no finding and no pass"
    assert any("findings of the judge are not counted" in note for note in worth["notes"])


def test_saved_file_makes_rates_say_what_this_judge_is_worth(measured, tmp_path, capsys):
    path, _ = measured
    texts = write(tmp_path / "a.jsonl")
    with serve(lambda request: Answer(content=verdict(failure("misattunement", span="")))) as server:
        command = ["evaluate", "--conversations", str(texts), "--out", str(tmp_path / "out"), "--detector", "judge"]
        assert main([*command, *judge(server, num_votes=1), "-o", f"evaluate.worth={path}", "--json"]) == 0
        evaluation = json.loads(capsys.readouterr().out)
        assert "misattunement" in evaluation["modes_judged"]
        worth = {mode["mode"]: mode for mode in evaluation["worth"]["modes"]}
        assert worth["misattunement"]["precision"]["low"] > 0.5
        assert evaluation["judge"]["cost"]["num_findings"] == evaluation["judge"]["cost"]["num_messages"] > 0
        # the figures of one judge say nothing of another
        assert main([*command, *judge(server, model="other"), "-o", f"evaluate.worth={path}"]) == 2
    error = capsys.readouterr().err
    assert "got findings of judge with model m, expected them with model other" in error and "measure" in error


def test_judge_with_no_measurable_mode_is_not_said_to_have_given_no_verdict(tmp_path, capsys):
    path = tmp_path / "judge.json"
    with serve(lambda request: Answer(content=verdict(failure("boundary")))) as server:
        assert main(["detectors", "measure", "--detector", "judge", *judge(server), "--save", str(path)]) == 0
        texts = write(tmp_path / "a.jsonl")
        command = ["evaluate", "--conversations", str(texts), "--out", str(tmp_path / "out"), "--detector", "judge"]
        assert main([*command, *judge(server), "-o", f"evaluate.worth={path}"]) == 0
    printed = capsys.readouterr()
    assert "no verdict on any message" not in printed.err and "Not measurable with the detector judge" in printed.out


def test_saved_file_names_the_settings_of_the_judge(measured):
    found = load_findings(str(measured[0]), "judge", settings={"model": "m", "num_votes": 1})
    assert found.settings["model"] == "m" and found.settings["scope"] == "rubric"
    assert found.parts == ("build", "tune"), "a judge is made from neither"


def test_self_agreement_of_votes_is_in_the_json_of_an_evaluation(tmp_path, capsys):
    texts = write(tmp_path / "a.jsonl")

    def answer(request):
        return Answer(content=verdict(*([failure("boundary")] if request.body["seed"] % 1000 < 2 else [])))

    with serve(answer) as server:
        command = ["evaluate", "--conversations", str(texts), "--out", str(tmp_path / "out"), "--detector", "judge"]
        assert main([*command, *judge(server, num_votes=3, modes="[boundary,overload]"), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    agreement = evaluation["judge"]["self_agreement"]
    assert (agreement["num_votes"], agreement["overall"]["value"], agreement["found"]["value"]) == (3, 0.5, 0.0)
    assert any(note.startswith("The judge's self-agreement: all 3 votes") for note in evaluation["notes"])


def test_judge_that_answers_nothing_is_an_error_and_saves_no_file(tmp_path, capsys):
    path = tmp_path / "judge.json"
    with serve(lambda request: Answer(status=401, content="no such key")) as server:
        assert main(["detectors", "measure", "--detector", "judge", *judge(server), "--save", str(path)]) == 3
    assert "gave no verdict on any message" in (error := capsys.readouterr().err) and "no such key" in error
    assert not path.exists()


def test_mode_of_ones_own_that_nobody_labelled_is_not_said_to_be_found_wrongly(tmp_path):
    own = tmp_path / "own.yaml"
    exchanges = [{"user": "a", "reply": "b"}] * 2
    mode = {"name": "Jokes", "definition": "It jokes.", "severities": ["a", "b", "c"], "visibility": "message",
            "cues": ["haha"], "examples": exchanges, "counter_examples": exchanges}  # fmt: skip
    own.write_text(json.dumps({"modes": {"jokes": mode}}))
    path = tmp_path / "judge.json"
    with serve(lambda request: Answer(content=verdict(failure("jokes")))) as server:
        command = ["detectors", "measure", "--detector", "judge", *judge(server), "-o", f"evaluate.taxonomy={own}"]
        assert main([*command, "--save", str(path)]) == 0
    assert "jokes" not in load_findings(str(path), "judge").modes


OWN_TEXT = "modes: {sycophancy: {definition: It agrees with everything.}}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("extra_body", "{top_p: 0.5}"),
        ("extra_body", "{chat_template_kwargs: {enable_thinking: false}}"),
        ("max_tokens", 512),
        ("modes", "[sycophancy, boundary]"),
        ("num_examples", 0),
    ],
)
def test_a_judge_that_is_asked_otherwise_is_another_judge(measured, tmp_path, capsys, key, value):
    texts = write(tmp_path / "a.jsonl")
    with serve(lambda request: Answer(content=verdict())) as server:
        asked = judge(server, **{key: value})
        command = ["evaluate", "--conversations", str(texts), "--out", str(tmp_path / "out"), "--detector", "judge"]
        assert main([*command, *asked, "-o", f"evaluate.worth={measured[0]}"]) == 2
    assert "got findings of judge with " in (said := capsys.readouterr().err) and "measure it as it is now" in said
    assert ("rubric_sha256" if key == "modes" else key) in said and not server.requests


def test_a_judge_with_another_taxonomy_is_another_judge(measured, tmp_path, capsys):
    own = tmp_path / "own.yaml"
    own.write_text(OWN_TEXT)
    texts = write(tmp_path / "a.jsonl")
    with serve(lambda request: Answer(content=verdict())) as server:
        command = ["evaluate", "--conversations", str(texts), "--out", str(tmp_path / "out"), "--detector", "judge"]
        with_own = [*command, *judge(server), "-o", f"evaluate.taxonomy={own}", "-o", f"evaluate.worth={measured[0]}"]
        assert main(with_own) == 2
        assert "rubric_sha256" in capsys.readouterr().err
        own.write_text("modes: {}")  # says nothing new
        assert main(with_own) == 0


def test_findings_of_a_version_that_kept_fewer_settings_are_still_read(measured, tmp_path):
    old = json.loads(measured[0].read_text())
    del old["settings"]["extra_body"], old["settings"]["rubric_sha256"], old["settings"]["max_tokens"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    assert load_findings(str(path), "judge", settings={"model": "m", "extra_body": "{}", "max_tokens": 7}) is not None
