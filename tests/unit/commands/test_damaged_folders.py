"""Folders of runs that are damaged, half deleted or of another version: a sentence with a remedy, never a traceback."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from made_up_run import write_run

from advsim.cli import main
from advsim.errors import RunError

JSON_FILES = ("manifest.json", "baseline.json", "rounds/01/metrics.json", "rounds/02/metrics.json", "journal.jsonl")
TABLES = (
    "rounds/01/conversations.parquet",
    "rounds/01/turns.parquet",
    "rounds/02/conversations.parquet",
    "rounds/02/turns.parquet",
    "held_out/zero_shot.parquet",
    "held_out/v0.parquet",
    "held_out/v1.parquet",
)
COMMANDS = (["report"], ["verify", "--json"], ["evaluate"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_run(str(tmp_path_factory.mktemp("whole") / "run")).path


def test_a_whole_run_is_read_to_its_end(run, capsys):
    assert check_all(run, capsys) == {"report": 0, "verify --json": 0, "evaluate": 3}
    assert main(["evaluate", str(run)]) == 3
    assert "all was read" in capsys.readouterr().err


@pytest.fixture
def run(whole, tmp_path, monkeypatch) -> Path:
    """A copy of a whole run; what ``evaluate`` measures, once all is read, is no matter of the folder."""

    def measure(*args: object, **kwargs: object) -> None:
        raise RunError("all was read")

    monkeypatch.setattr("advsim.evaluation.runs.measure", measure)
    return Path(shutil.copytree(whole, tmp_path / "run"))


def check_all(
    run: Path, capsys: pytest.CaptureFixture[str], commands: tuple[list[str], ...] = COMMANDS
) -> dict[str, int]:
    """Run the commands on a folder; each gives an exit code that is documented, and a sentence where it is not 0."""
    codes = {}
    for command, *flags in commands:
        code = main([command, str(run), *flags])
        printed = capsys.readouterr()
        assert code in (0, 2, 3), (command, code)
        assert "Traceback" not in printed.out + printed.err
        if code:
            assert printed.err.startswith("advsim: ") or "\nadvsim: " in printed.err, printed.err
            assert len(printed.err) < 3000
        codes[" ".join([command, *flags])] = code
    return codes


def as_folder(file: Path) -> None:
    file.unlink()
    (file / "inside").mkdir(parents=True)


def _table(file: Path, table: pa.Table) -> None:
    pyarrow.parquet.write_table(table, file)


def one_column(file: Path, value: object) -> None:
    """The table with its first column replaced by a value of another type."""
    table = pyarrow.parquet.read_table(file)
    _table(file, table.set_column(0, table.column_names[0], pa.array([value] * len(table))))


WAYS: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "a blank": lambda file: file.write_bytes(b" \n"),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "without its end": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "with a tail": lambda file: file.write_bytes(file.read_bytes() + b"\x00tail"),
    "zeros": lambda file: file.write_bytes(b"\x00" * 500),
    "binary": lambda file: file.write_bytes(random.Random(0).randbytes(2_000)),
    "UTF-16": lambda file: file.write_bytes('{"a": 1}'.encode("utf-16")),
    "a folder": as_folder,
    "a link to nothing": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "a page": lambda file: file.write_text("<html>not found</html>"),
    "nested too deep": lambda file: file.write_text("[" * 100_000),
    **{f"JSON {text}": lambda file, text=text: file.write_text(text) for text in
       ("null", "[]", "{}", "7", '"x"', "NaN", '[{"a": 1}]', '{"rounds": []}', '{"config": 7, "corpus": 7, "name": 7}',
        '{"config": {"evaluate": 7}, "corpus": {}}', '{"config": {"x": 1}, "corpus": {"sha256": 1}}', '{"stage": 7}',
        '{"stage": "a", "outputs": 7}', '{"stage": [1], "outputs": []}', '{"stage": "a", "outputs": ["../../etc"]}',
        '{"stage": "a", "outputs": [], "sha256": 7, "inputs": [1]}', '{"round": "x"}', '{"round": 1, "rollout": []}')},
}  # fmt: skip
TABLE_WAYS: dict[str, Callable[[Path], object]] = {
    "no rows": lambda file: _table(file, pyarrow.parquet.read_table(file).slice(0, 0)),
    "half of the rows": lambda file: _table(file, pyarrow.parquet.read_table(file).slice(0, 5)),
    "no columns": lambda file: _table(file, pa.table({})),
    "other columns": lambda file: _table(file, pa.table({"x": [1, 2]})),
    "one column more": lambda file: _table(
        file, pyarrow.parquet.read_table(file).append_column("x", pa.nulls(len(pyarrow.parquet.read_table(file))))
    ),
    "one column less": lambda file: _table(file, pyarrow.parquet.read_table(file).drop_columns(["text"] if "text" in
        pyarrow.parquet.read_schema(file).names else ["scenario_id"])),
    "numbers for texts": lambda file: one_column(file, 7),
    "nulls": lambda file: one_column(file, None),
    "unknown ids": lambda file: one_column(file, "nobody"),
}  # fmt: skip


def some(ways: dict[str, Callable[[Path], object]], names: tuple[str, ...], *, every: int) -> list[Any]:
    """Each way on some of the files, so that each file is damaged in some of the ways."""
    return [
        pytest.param(name, way, id=f"{name}: {what}")
        for number, (what, way) in enumerate(ways.items())
        for place, name in enumerate(names)
        if (number + place) % every == 0
    ]


@pytest.mark.parametrize("name, way", some(WAYS, (*JSON_FILES, *TABLES), every=7))
def test_damaged_file_of_a_run_is_named_in_a_sentence(run, capsys, name, way):
    way(run / name)
    check_all(run, capsys)


@pytest.mark.parametrize("name, way", some(TABLE_WAYS, TABLES, every=2))
def test_table_of_another_form_is_named_in_a_sentence(run, capsys, name, way):
    way(run / name)
    check_all(run, capsys)


@pytest.mark.parametrize("first", (*JSON_FILES, *TABLES)[::2])
@pytest.mark.parametrize("second", ("manifest.json", "rounds/01/turns.parquet"))
def test_files_that_changed_places_are_named_in_a_sentence(run, capsys, first, second):
    one, other = (run / first).read_bytes(), (run / second).read_bytes()
    (run / first).write_bytes(other)
    (run / second).write_bytes(one)
    check_all(run, capsys)


@pytest.mark.parametrize("name", JSON_FILES[:3])
@pytest.mark.parametrize("value", [None, 7, [{"x": 7}], 10**400], ids=["null", "7", "list", "huge"])
def test_every_key_of_another_type_is_named_in_a_sentence(run, capsys, name, value):
    content = json.loads((run / name).read_text())
    for key in content:
        (run / name).write_text(json.dumps({**content, key: value}))
        check_all(run, capsys, COMMANDS if name == "manifest.json" else (["report"],))


@pytest.mark.parametrize("value", [7, {"x": 7}], ids=["7", "unknown key"])
def test_every_section_of_the_configuration_of_another_type_is_named_in_a_sentence(run, capsys, value):
    manifest = json.loads((run / "manifest.json").read_text())
    for key in manifest["config"]:
        (run / "manifest.json").write_text(json.dumps({**manifest, "config": {**manifest["config"], key: value}}))
        check_all(run, capsys, (["report"], ["evaluate"]) if key == "corpus" else (["evaluate"],))


def test_round_in_the_middle_that_is_gone_and_conversations_of_other_dialogues(run, capsys):
    shutil.rmtree(run / "rounds" / "01")
    codes = check_all(run, capsys)
    assert codes["verify --json"] == 3


def test_folders_that_are_no_run(tmp_path, capsys):
    for name in ("", "nothing", "\x00", "a" * 300, "s3://", "x://y", "file:///nowhere"):
        for command, *flags in COMMANDS:
            assert main([command, name, *flags]) in (2, 3), (command, name)
            assert "advsim: " in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_that_may_not_be_read_is_named_in_a_sentence(run, capsys):
    for part in (run / "rounds", run / "rounds" / "01" / "metrics.json", run):
        mode = part.stat().st_mode
        part.chmod(0)
        codes = check_all(run, capsys)
        part.chmod(mode)
        assert codes["verify --json"] in (2, 3)


@pytest.mark.parametrize("name", ["metrics.json", "failures.parquet", "evaluation.html", ""])
def test_evaluation_that_cannot_be_written_is_named_in_a_sentence(tmp_path, capsys, name):
    out = tmp_path / "out"
    if name:
        (out / name / "inside").mkdir(parents=True)
    else:
        out.write_text("a file")
    dialogues = tmp_path / "a.jsonl"
    turns = [{"speaker": "user", "text": "hi there"}, {"speaker": "chatbot", "text": "Calm down."}]
    dialogues.write_text("".join(json.dumps({"id": f"d{i}", "source": "t", "turns": turns}) + "\n" for i in range(3)))
    code, said = (3, "cannot write") if name else (2, "cannot be written (Not a directory)")  # seen before the work
    assert main(["evaluate", "--conversations", str(dialogues), "--out", str(out)]) == code
    assert said in capsys.readouterr().err
