import json
import os
import stat
from pathlib import Path

import pytest

from advsim.errors import RunError
from advsim.run_folder.folder import TEMPORARY, RunDir, config_changes
from advsim.run_folder.journal import JOURNAL, Journal


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(str(tmp_path / "runs" / "r"))


def test_stage_is_done_only_with_journal_line_and_outputs(run):
    run.write_json("sft/metrics.json", {"loss": 1.0})
    assert not Journal(run).is_done("sft")
    Journal(run).complete("sft", outputs=["sft/metrics.json"], seconds=1.5)
    assert Journal(run).is_done("sft")
    assert Journal(run).seconds("sft") == 1.5
    (run.path / "sft" / "metrics.json").unlink()
    assert not Journal(run).is_done("sft")


def test_writes_leave_no_temporary_file_and_replace_whole_files(run):
    run.write_bytes("a/b.txt", b"long content")
    run.write_bytes("a/b.txt", b"short")
    assert run.read_bytes("a/b.txt") == b"short"
    assert [path.name for path in (run.path / "a").iterdir()] == ["b.txt"]


def test_failed_write_keeps_the_file_before(run, monkeypatch):
    run.write_bytes("a.txt", b"before")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    written = run.path / "a.txt"
    monkeypatch.setattr("advsim.run_folder.folder.os.fsync", full_disk)
    with pytest.raises(RunError, match=r"cannot write a\.txt .*No space left on device.* resume"):
        run.write_bytes("a.txt", b"after")
    assert written.read_bytes() == b"before"
    left = list((run.path / TEMPORARY).iterdir()) if (run.path / TEMPORARY).exists() else []
    assert left == [], "what could not be written takes no space"


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match=r"cannot write manifest\.json in run folder"):
        RunDir(str(tmp_path / "file" / "run")).write_json("manifest.json", {})


def test_nan_never_reaches_a_json_file(run):
    with pytest.raises(ValueError, match="JSON compliant"):
        run.write_json("m.json", {"x": float("nan")})


def test_journal_lines_are_appended_whole(run):
    journal = Journal(run)
    for stage in ("a", "b", "c"):
        journal.complete(stage, outputs=[], seconds=0.0)
    lines = [json.loads(line) for line in (run.path / JOURNAL).read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["a", "b", "c"]


def test_storage_by_uri_works_like_a_path(tmp_path):
    run = RunDir(f"file://{tmp_path}/by-uri")
    run.write_files("adapter", {"x.json": b"{}", "y.bin": b"\x00"})
    assert run.read_files("adapter") == {"x.json": b"{}", "y.bin": b"\x00"}
    assert (tmp_path / "by-uri" / "adapter" / "y.bin").read_bytes() == b"\x00"


def test_config_changes_are_named_by_dotted_key():
    before = {"a": {"b": 1, "c": 2}, "d": 3}
    assert config_changes(before, {"a": {"b": 1, "c": 5}, "e": 4}) == {"a.c": (2, 5), "d": (3, None), "e": (None, 4)}


def test_what_a_killed_writer_left_is_in_no_folder_that_is_read_and_is_swept(run):
    run.write_files("adapter", {"x.json": b"{}"})
    assert [path.name for path in run.path.iterdir()] == ["adapter"]
    (run.path / TEMPORARY).mkdir()
    (run.path / TEMPORARY / "123-abcd").write_bytes(b"half a fi")
    assert run.read_files("adapter") == {"x.json": b"{}"}
    assert run.sweep() == 1
    assert not list((run.path / TEMPORARY).iterdir())


def test_files_and_folders_are_for_their_owner_alone(run):
    previous = os.umask(0)
    try:
        run.write_bytes("rounds/01/turns.parquet", b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((run.path / "rounds" / "01" / "turns.parquet").stat().st_mode) == 0o600
    for folder in (run.path, run.path / "rounds", run.path / "rounds" / "01"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_files_under_a_name_are_listed_in_order(run):
    run.write_files("adapter", {"b.bin": b"2", "a.bin": b"1"})
    assert run.files("adapter") == ["adapter/a.bin", "adapter/b.bin"]
    assert run.files("adapter/a.bin") == ["adapter/a.bin"]
    assert run.files("nothing") == []
    run.remove("adapter")
    run.remove("adapter")
    assert not run.exists("adapter")
