import json
from pathlib import Path

import pytest

from advsim.errors import RunError
from advsim.run_folder.folder import RunDir, config_changes
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


def test_failed_write_keeps_the_file_before(run):
    run.write_bytes("a.txt", b"before")

    class FullDisk:
        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def open_output_stream(self, path):
            with self._inner.open_output_stream(path) as stream:
                stream.write(b"aft")
            raise OSError(28, "No space left on device")

    written = run.path / "a.txt"
    run._fs = FullDisk(run._fs)
    with pytest.raises(RunError, match=r"cannot write a\.txt .*No space left on device.* resume"):
        run.write_bytes("a.txt", b"after")
    assert written.read_bytes() == b"before"
    assert [path.name for path in written.parent.iterdir()] == ["a.txt"], "what could not be written takes no space"


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
