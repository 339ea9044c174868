"""What travels with a job, and to whom."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from advsim.chatbots.load import load_chatbots
from advsim.cli import main
from advsim.config import ChatbotConfig, Config, SweepConfig, parse_config
from advsim.errors import ConfigError
from advsim.runtime import submit


@pytest.fixture
def head() -> Iterator[type[http.server.BaseHTTPRequestHandler]]:
    """A head on this machine; ``status`` is what it answers to somebody without a token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 200
        address = ""

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Handler
    server.shutdown()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is of this machine."""
    monkeypatch.setattr(submit, "_is_this_machine", lambda address: False)


def test_dialogues_are_not_sent_to_a_head_that_takes_anybody_in(head, elsewhere) -> None:
    with pytest.raises(ConfigError, match=r"asks nobody for a token.*--allow-open-head"):
        submit._check_closed(head.address)
    head.status = 401
    submit._check_closed(head.address)
    head.status = 500
    with pytest.raises(ConfigError, match="HTTP status 500"):
        submit._check_closed(head.address)


def test_a_head_that_is_not_there_is_named(elsewhere) -> None:
    with pytest.raises(ConfigError, match=r"cannot submit to http://127\.0\.0\.1:9"):
        submit._check_closed("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("address", "is_this_machine"),
    [
        ("http://127.0.0.1:8265", True),
        ("https://localhost:8265/", True),
        ("http://[::1]:8265", True),
        ("127.0.0.5:8265", True),
        ("http://head:8265", False),
        ("http://127.0.0.1.example.org:8265", False),
        ("http://10.0.0.7:8265", False),
        ("http://localhost@evil.example:8265", False),
    ],
)
def test_only_loopback_is_this_machine(address: str, is_this_machine: bool) -> None:
    assert submit._is_this_machine(address) is is_this_machine


def config(path: str) -> Config:
    return parse_config({"corpus": {"source": "parquet", "path": path}})


def test_home_folders_and_folders_of_parquet_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "chats" / "a").mkdir(parents=True)
    (tmp_path / "chats" / "a" / "1.parquet").write_bytes(b"one")
    job = tmp_path / "job"
    job.mkdir()
    shipped = submit._shipped(config("~/chats"), job)
    assert shipped.corpus.path == "corpus/path/chats"
    assert (job / "corpus" / "path" / "chats" / "a" / "1.parquet").read_bytes() == b"one"


def test_a_relative_path_is_the_same_in_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "chats.parquet").write_bytes(b"one")
    job = tmp_path / "job"
    job.mkdir()
    assert submit._shipped(config("data/chats.parquet"), job).corpus.path == "data/chats.parquet"
    assert (job / "data" / "chats.parquet").is_file()


def test_the_file_of_a_chatbots_code_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (tmp_path / "bots" / "mine.py", tmp_path / "elsewhere" / "other.py"):
        file.parent.mkdir()
        file.write_text("def reply(messages): ...")
    job = tmp_path / "job"
    job.mkdir()
    for function, there in (
        ("bots/mine.py:reply", "bots/mine.py:reply"),
        (f"{tmp_path}/elsewhere/other.py:reply", "chatbot/function/other.py:reply"),
        ("installed.package:reply", "installed.package:reply"),
    ):
        shipped = submit._shipped(parse_config({"chatbot": {"kind": "python", "function": function}}), job)
        assert shipped.chatbot.function == there
    assert {file.name for file in job.rglob("*.py")} == {"mine.py", "other.py"}
    with pytest.raises(ConfigError, match=r"chatbot\.function: got 'gone\.py'"):
        submit._shipped(parse_config({"chatbot": {"kind": "python", "function": "gone.py:reply"}}), job)


LINES = ({"name": "a", "lines": ["x"]},)


def python_bots(job: Path, *functions: str) -> list[str]:
    """Where the code of a sweep's chatbots lies in its job."""
    job.mkdir(exist_ok=True)
    bots = [ChatbotConfig(name=f"b{i}", kind="python", function=text) for i, text in enumerate(functions)]
    submit._shipped_sweep(
        SweepConfig(chatbots=("x",), scenarios="people.yaml", simulators=LINES, output="out"), bots, None, job
    )
    read = {bot.name: bot.function for path in (job / "chatbots").glob("*.yaml") for bot in load_chatbots(path)}
    return [str(read[bot.name]).rpartition(":")[0] for bot in bots]


def test_code_files_of_one_name_and_the_helpers_beside_them_travel_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.yaml").write_text("x")
    elsewhere = tmp_path / "elsewhere"
    for folder in (elsewhere / "v1", elsewhere / "v2", tmp_path / "here"):
        (folder / "words").mkdir(parents=True)
        (folder / "bot.py").write_text("from words import said\ndef reply(messages): return said.WORD")
        (folder / "words" / "__init__.py").write_text("")
        (folder / "words" / "said.py").write_text(f"WORD = {folder.name!r}")
        (folder / "notes.py").write_text("'nobody imports this'")
    functions = [f"{elsewhere}/v1/bot.py:reply", f"{elsewhere}/v2/bot.py:reply", "here/bot.py:reply"]
    first, second, third = python_bots(tmp_path / "job", *functions, functions[0])[:3]
    assert (first, third) == ("chatbot/function/bot.py", "here/bot.py") and first != second
    for place, word in ((first, "v1"), (second, "v2"), (third, "here")):
        file = tmp_path / "job" / place
        assert (file.parent / "words" / "said.py").read_text() == f"WORD = {word!r}"
        assert (file.parent / "words" / "__init__.py").is_file() and not (file.parent / "notes.py").exists()
    assert python_bots(tmp_path / "again", *functions) == [first, second, third]
    (tmp_path / "link.py").symlink_to(elsewhere / "v2" / "bot.py")
    assert python_bots(tmp_path / "linked", "link.py:reply") == ["link.py"]
    assert {path.name for path in (tmp_path / "linked").rglob("*.py")} == {"link.py", "__init__.py", "said.py"}


def test_a_package_that_is_not_installed_travels_with_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.yaml").write_text("x")
    (tmp_path / "mine").mkdir()
    for name, text in {"__init__": "", "bot": "from .lines import A\nimport plain", "lines": "A = 1"}.items():
        (tmp_path / "mine" / f"{name}.py").write_text(text)
    (tmp_path / "plain.py").write_text("")
    assert python_bots(tmp_path / "job", "mine.bot:reply") == ["mine.bot"]
    there = {path.relative_to(tmp_path / "job").as_posix() for path in (tmp_path / "job").rglob("*.py")}
    assert there == {"mine/__init__.py", "mine/bot.py", "mine/lines.py", "plain.py"}


def test_scenarios_in_a_folder_called_chatbots_are_no_chatbots_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chatbots").mkdir()
    (tmp_path / "chatbots" / "people.yaml").write_text("- id: a")
    job = tmp_path / "job"
    job.mkdir()
    settings = SweepConfig(chatbots=("x",), scenarios="chatbots/people.yaml", simulators=LINES, output="out")
    shipped = submit._shipped_sweep(settings, [ChatbotConfig(name="../people")], None, job)
    assert (job / str(shipped.scenarios)).read_text() == "- id: a"
    assert [chatbot.name for chatbot in load_chatbots(job / "chatbots")] == ["../people"]
    assert {path.parent.name for path in job.rglob("*.yaml")} == {"chatbots", "scenarios"}


def test_a_folder_that_is_too_large_is_refused_by_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "_MAX_SHIPPED_BYTES", 10)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"123456")
    with pytest.raises(ConfigError, match="at most 0 travel with a job"):
        submit._shipped(config(str(tmp_path)), tmp_path / "job")


def test_allowed_changes_are_passed_on_as_they_were_written() -> None:
    assert submit._entrypoint(["dpo.beta", "x; rm -rf /"]).endswith(
        "config.yaml --allow-changed dpo.beta --allow-changed 'x; rm -rf /'"
    )


def test_nothing_is_sent_where_the_dialogues_cannot_be_read(
    tmp_path: Path, head, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chats.jsonl").write_text("no dialogue\n")
    settings = tmp_path / "config.yaml"
    settings.write_text(f"corpus: {{source: jsonl, path: {tmp_path / 'chats.jsonl'}}}\n")
    assert main(["submit", str(settings), "--address", head.address]) == 2
    assert "chats.jsonl line 1" in capsys.readouterr().err


def test_a_sweep_travels_with_all_that_it_reads_and_its_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "job"
    job.mkdir()
    for name in ("people.jsonl", "worth.json", "chats.jsonl", "bot.py"):
        (tmp_path / name).write_text("x")
    for folder in "ab":
        (tmp_path / folder / "mine").mkdir(parents=True)
        (tmp_path / folder / "mine" / "weights.safetensors").write_text(folder)
    settings = SweepConfig(
        run="runs/r",
        chatbots=("a.yaml", "folder"),
        scenarios="people.jsonl",
        simulators=("sft", {"name": "other", "run": "runs/o"}, {"name": "lora", "adapter": "adapters/x"}),
        evaluate={"worth": "worth.json", "weights": str(tmp_path / "a/mine"), "reader": str(tmp_path / "b/mine")},
        output="out",
    )
    chatbots = [ChatbotConfig(name="a", kind="python", function="bot.py:reply", price=None), ChatbotConfig(name="b")]
    shipped = submit._shipped_sweep(settings, chatbots, config("chats.jsonl").corpus, job)
    assert (shipped.run, shipped.output) == (str(tmp_path / "runs/r"), str(tmp_path / "out"))
    assert [each if isinstance(each, str) else each.run or each.adapter for each in shipped.simulators] == [
        "sft",
        str(tmp_path / "runs/o"),
        str(tmp_path / "adapters/x"),
    ]
    assert shipped.run_overrides == ("corpus.path=chats.jsonl",) and shipped.chatbots == ("chatbots",)
    travelled = {path.relative_to(job).as_posix() for path in job.rglob("*") if path.is_file()}
    read = {"people.jsonl", "worth.json", "chats.jsonl", "bot.py", "chatbots/a.yaml", "chatbots/b.yaml"}
    assert travelled == read | {f"evaluate/{key}/mine/weights.safetensors" for key in ("weights", "reader")}
    assert (job / shipped.evaluate.reader / "weights.safetensors").read_text() == "b"
    monkeypatch.chdir(job)
    assert load_chatbots("chatbots") == chatbots
