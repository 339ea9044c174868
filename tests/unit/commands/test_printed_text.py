"""No command prints what a terminal would obey, whatever its files, arguments and models hold."""

import json
import logging
import re
import sys
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from judge_server import Answer, serve, verdict
from made_up_run import write_run

from advsim.cli import main
from advsim.commands.show import print_json, print_parts, say
from advsim.errors import one_line, printable
from advsim.report.evaluation.tables import figure_tables
from advsim.report.page.figures import Cell, FigureTable, Row, RowGroup

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "clear": "\x1b[2J\x1b[H",
    "C1": "\x9b31m\x9d0;owned\x9c\x90q\x9c\x85",
    "unended": "\x1b]0;kept\x1b",
    "carriage return": "fine\rrm -rf\x08\x08",
    "bidi": "\u202egpj.exe\u202c \u2066x\u2069",
    "separators": "a\u2028b\u2029c\x0bd\x0ce",
    "null": "a\x00b\x7f",
    "markup": "[bold]x[/bold] [link=http://evil]y[/link] [/] :smile:",
}
ALL = " ".join(HOSTILE.values())


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    text = printed.out + printed.err
    found = OBEYED.findall(text)
    assert not found, (found, text[:2000])
    return text


@given(st.text(st.characters(exclude_categories=())))
def test_printable_text_holds_nothing_that_is_obeyed_and_is_left_as_it_is(text):
    once = printable(text)
    assert not OBEYED.search(once)
    assert printable(once) == once
    assert "\n" not in one_line(text)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp"))))
def test_plain_text_is_shown_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", ["שלום\u200f!", "می\u200cخواهم", "👩\u200d🚒", "e\u0301", "a\tb\nc"])
def test_marks_that_scripts_need_are_kept(text):
    assert printable(text) == text


def test_words_around_a_sequence_are_kept():
    assert printable("a\x1b[1;31mb\x1b]0;t\x07c\x1b]0;d\r\ne") == "abc]0;d\ne"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_tables_lines_and_json_show_hostile_text(capsys, text):
    cells = (Cell(value=text, interval=text),)
    rows = (Row(label=text, cells=cells),)
    table = FigureTable(columns=(text,), groups=(RowGroup(title=text, rows=rows),))
    print_parts([*figure_tables(table), text], sys.stdout)
    say(text)
    print_json({text: text})
    shown(capsys)


def test_json_keeps_what_it_was_given(capsys):
    print_json({"a": ALL, "é": "ü\ud83d"})
    text = shown(capsys)
    assert json.loads(text) == {"a": ALL, "é": "ü\ud83d"} and "ü" in text


def dialogues(tmp_path, name="chats.jsonl"):
    """Dialogues whose ids, users, sources and words are hostile; names of chatbots must be visible characters."""
    file = tmp_path / name
    lines = [
        {
            "id": f"{text} {number}",
            "source": text,
            "user_id": f"{text}{number % 7}",
            "turns": [
                {"speaker": "user", "text": f"i feel {text} {number}"},
                {"speaker": "chatbot", "text": f"You must calm down. {text}"},
                {"speaker": "user", "text": f"why {ALL}"},
                {"speaker": "chatbot", "text": f"I am a doctor {text}"},
            ],
        }
        for number, text in enumerate(list(HOSTILE.values()) * 3)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize("name, code", [("chats.jsonl", 0), ("cha\x1b[31mts\x9b\u202e.jsonl", 2)])
def test_corpus_stats_and_evaluate_print_nothing_that_is_obeyed(tmp_path, capsys, name, code):
    file = dialogues(tmp_path, name)
    for command in (
        ["corpus", "stats", str(file)],
        ["corpus", "stats", str(file), "--json"],
        ["evaluate", "--conversations", str(file)],
        ["evaluate", "--conversations", str(file), "--json", "--detector", "rules"],
    ):
        assert main(command) == code, command
        shown(capsys)
    main(["evaluate", "--conversations", str(file), "--detector", "rules", "--out", str(tmp_path / "o\x1b[2Jut")])
    shown(capsys)


def test_words_of_a_judges_server_are_shown_without_what_is_obeyed(tmp_path, capsys):
    file = dialogues(tmp_path)

    def answer(request):
        if "seed" in request.body:
            return Answer(status=400, content=f"'seed' is not supported {ALL}")
        return Answer(status=401, content=f"who are you {ALL}")

    with serve(answer) as server:
        judge = ["-o", f"evaluate.judge.base_url={server.url}", "-o", "evaluate.judge.model=m"]
        assert main(["evaluate", "--conversations", str(file), "--detector", "judge", *judge]) == 3
    assert "no verdict on any message: no verdict after 1 call: HTTP 401: who are you" in shown(capsys)

    def named(request):
        return Answer(content=verdict({"mode": ALL, "severity": 1, "span": ALL, "confidence": 1}))

    with serve(named) as server:
        judge = ["-o", f"evaluate.judge.base_url={server.url}", "-o", "evaluate.judge.model=m"]
        fast = ["-o", "evaluate.judge.max_attempts=1"]
        assert main(["evaluate", "--conversations", str(file), "--detector", "judge", *judge, *fast]) == 3
    assert "which was not asked for" in shown(capsys)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_errors_show_hostile_arguments_files_and_keys(tmp_path, capsys, text):
    config = tmp_path / "a.yaml"
    written = tmp_path / "b.jsonl"
    written.write_text(json.dumps({"id": "a", text: 1, "turns": [{"speaker": text, "text": text}]}) + "\n")
    config.write_text(yaml.safe_dump({"name": text, text: text, "corpus": {"path": text}}))
    safe = text.replace("\x00", "").replace("/", "")
    for command in (
        ["check", str(config)],
        ["check", f"{tmp_path}/{safe}.yaml"],
        ["check", "configs/quickstart.yaml", "-o", f"{safe}={safe}"],
        ["check", "configs/quickstart.yaml", "-o", f"corpus.path={json.dumps(text)}"],
        ["check", "configs/quickstart.yaml", "-o", f"evaluate.taxonomy={safe}"],
        ["corpus", "stats", f"/nowhere/{safe}.jsonl"],
        ["corpus", "stats", str(written)],
        ["evaluate", "--conversations", f"/nowhere/{safe}"],
        ["evaluate", f"/nowhere/{safe}"],
        ["report", f"/nowhere/{safe}"],
        ["verify", f"/nowhere/{safe}"],
    ):
        assert main(command) in (0, 2, 3), command
        shown(capsys)
    with pytest.raises(SystemExit):
        main(["check", "a.yaml", f"x{safe}"])
    shown(capsys)


def test_check_shows_a_sound_configuration_without_what_is_obeyed(tmp_path, capsys):
    file = dialogues(tmp_path, "ch\x1b]0;ats.jsonl")
    command = ["check", "configs/quickstart.yaml", "-o", f"corpus.path={json.dumps(str(file))}"]
    main([*command, "-o", f"output_dir={json.dumps(str(tmp_path) + '/r uns')}"])
    shown(capsys)


def test_report_evaluation_and_verification_of_a_run_show_its_text(tmp_path, capsys):
    run = write_run(str(tmp_path / "r\x1b[31mun"), name=ALL, text=ALL, num_rounds=1)
    for command in (
        ["report"],
        ["verify"],
        ["report", "--json"],
        ["evaluate", "-o", "held_out.num_permutations=0", "--detector", "rules"],
    ):
        assert main([command[0], run.location, *command[1:]]) == 0, command
        shown(capsys)


def test_warnings_are_shown_without_what_is_obeyed(capsys):
    main(["report", "/nowhere"])
    handler = logging.lastResort
    assert handler is not None
    record = logging.LogRecord("advsim", logging.WARNING, "", 0, "left out %s", (ALL,), None)
    assert not OBEYED.search(handler.format(record))


def test_the_pattern_of_this_file_finds_every_control_character():
    controls = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cc"]
    assert [letter for letter in controls if not OBEYED.match(letter)] == ["\t", "\n"]
