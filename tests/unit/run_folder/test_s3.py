"""Runs, predictions and evaluations on ``s3://``, against a server of moto that speaks S3 over HTTP on this machine."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from made_up_sweep import messages, write_sweep

from advsim.cli import main
from advsim.config.paths import under
from advsim.errors import ConfigError, RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.lease import lease

BUCKET = "dialogues"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Settings of a URI that lead to a server with one bucket."""
    server_of = pytest.importorskip("moto.server", reason="moto is of the extra dev")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_of.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")):
        pass
    yield f"?endpoint_override={address}&region=us-east-1"
    server.stop()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def folder(s3: str, request: pytest.FixtureRequest) -> RunDir:
    return RunDir(f"s3://{BUCKET}/runs/{abs(hash(request.node.name))}{s3}")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "Traceback" not in said
    return said


def test_what_is_written_is_read_listed_and_taken_away(folder: RunDir) -> None:
    assert not folder.exists("a/x.json") and folder.files("") == [] and folder.read_lines("journal.jsonl") == []
    for value in (1, 2):
        folder.write_json("a/x.json", {"value": value})
        assert folder.read_json("a/x.json") == {"value": value}
    folder.write_table("t.parquet", pa.table({"n": [1, 2]}))
    assert folder.read_table("t.parquet").to_pylist() == [{"n": 1}, {"n": 2}]
    folder.write_files("adapter", {"x": b"1", "y": b"2"})
    assert folder.read_files("adapter") == {"x": b"1", "y": b"2"}
    assert folder.files("") == ["a/x.json", "adapter/x", "adapter/y", "t.parquet"]  # and nothing half-written
    folder.remove("adapter/x")
    assert folder.files("adapter") == ["adapter/y"]
    folder.remove("adapter")
    assert not folder.exists("adapter") and folder.exists("a/x.json")
    folder.remove("adapter")  # nothing is there
    with pytest.raises(RunError, match="cannot read b in run folder"):
        folder.read_bytes("b")
    with pytest.raises(RunError, match="remote storage"):
        folder.path  # noqa: B018


def test_the_journal_of_a_run_goes_on_where_it_was(folder: RunDir) -> None:
    folder.write_bytes("sft/x", b"1")
    Journal(folder).complete("sft", outputs=["sft"], seconds=1.0)
    assert Journal(folder).is_done("sft")
    folder.write_bytes("sft/x", b"2")
    assert not Journal(folder).is_done("sft")


def test_one_process_owns_a_run_and_gives_it_back(folder: RunDir) -> None:
    with (
        lease(folder),
        pytest.raises(RunError, match="is being written by process"),
        lease(RunDir(folder.location)),
    ):
        pass
    with lease(folder):
        assert folder.exists(".lease.json")
    assert folder.files("") == []


def test_what_a_killed_writer_left_is_swept(folder: RunDir) -> None:
    folder.write_bytes(".tmp/1-abcd", b"half a file")
    assert folder.sweep() == 1 and folder.files("") == []


def test_a_sweep_is_predicted_from_and_scored_on_storage(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, prediction, scores = (f"s3://{BUCKET}/{name}{s3}" for name in ("sweep", "p/prediction.json", "scores"))
    write_sweep(sweep, {"sft": {"calm": messages("calm", 12, mode="invalidation")}}, modes=("invalidation",))  # type: ignore[arg-type]
    assert main(["predict", sweep, "--out", prediction]) == 0
    assert "is there already" in refused(capsys, "predict", sweep, "--out", prediction)
    logs = tmp_path / "logs.jsonl"
    turns = [{"speaker": "user", "text": "i feel so sad"}, {"speaker": "chatbot", "text": "What happened at work?"}]
    logs.write_text("".join(json.dumps({"id": f"d{i}", "chatbot": "calm", "turns": turns}) + "\n" for i in range(12)))
    assert main(["score", prediction, str(logs), "--out", scores]) == 0
    assert f"report: {under(scores, 'score.html')}" in capsys.readouterr().out
    assert RunDir(scores).files("") == ["score.html", "score.json"]
    assert main(["gate", sweep, "--baseline", "calm", "--candidate", "nobody", "--max-increase", "2"]) == 2
    assert main(["evaluate", "--conversations", str(logs), "--detector", "rules", "--out", scores]) == 0
    assert RunDir(scores).exists("evaluation.html") and RunDir(scores).exists("metrics.json")


def test_a_bucket_that_cannot_be_written_is_one_sentence_and_named_before_the_work(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path / "sweep", {"sft": {"calm": messages("calm", 12)}})
    nowhere = f"s3://no-such-bucket/x{s3}"
    assert "--out: s3://no-such-bucket" in refused(capsys, "predict", sweep, "--out", under(nowhere, "p.json"))
    logs = tmp_path / "logs.jsonl"
    turns = [{"speaker": "user", "text": "hi"}, {"speaker": "chatbot", "text": "hello"}]
    logs.write_text(json.dumps({"id": "d", "turns": turns}))
    assert "cannot be written" in refused(capsys, "evaluate", "--conversations", str(logs), "--out", nowhere)
    said = refused(capsys, "train", "configs/quickstart.yaml", "-o", f"output_dir={nowhere}")
    assert "output_dir: s3://no-such-bucket/x/quickstart?" in said and "not found" in said


@pytest.mark.parametrize("address", ["s3://", "s3:///", "s3://?region=x", "s3://p.json", "s3://bucket/"])
def test_an_address_that_names_no_bucket_or_no_file_is_refused(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path / "sweep", {"sft": {"calm": messages("calm", 12)}})
    assert "names no" in refused(capsys, "predict", sweep, "--out", address)


def test_storage_that_is_silent_for_a_moment_does_not_end_the_owner(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advsim.run_folder.lease.REFRESH_S", 0.02)
    written: list[float] = []
    write = RunDir.write_json

    def fails_once(self: RunDir, name: str, value: object) -> None:
        written.append(1.0)
        if len(written) == 2:
            raise RunError("no connection")
        write(self, name, value)

    monkeypatch.setattr(RunDir, "write_json", fails_once)
    with lease(folder):
        import time

        give_up_at = time.monotonic() + 20
        while len(written) < 4 and time.monotonic() < give_up_at:
            time.sleep(0.02)
    assert len(written) >= 4


def test_no_path_of_this_machine_is_made_of_an_address() -> None:
    from advsim.config.paths import local_path

    with pytest.raises(ConfigError, match="an address; expected a path of this machine"):
        local_path("s3://bucket/x", key="--save")
