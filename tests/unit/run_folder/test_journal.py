"""What a resume trusts: a stage stands where its outputs are what it wrote and its inputs what it read."""

from __future__ import annotations

from pathlib import Path

import pytest

from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.layout import JOURNAL


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of two stages, the second made from what the first wrote."""
    run = RunDir(str(tmp_path / "r"))
    run.write_files("sft/adapter", {"weights.bin": b"weights", "config.json": b"{}"})
    journal = Journal(run)
    journal.complete("sft", outputs=["sft/adapter"], seconds=1.0)
    run.write_json("baseline.json", {"auc": 0.5})
    journal.complete("baseline", outputs=["baseline.json"], inputs=["sft/adapter"], seconds=2.0)
    return run


def test_untouched_stages_stand(run: RunDir) -> None:
    journal = Journal(run)
    assert journal.is_done("sft") and journal.is_done("baseline")
    assert journal.stages == ("sft", "baseline")
    assert journal.check("rollout") is None


def test_a_changed_output_undoes_its_stage_and_what_was_made_from_it(run: RunDir) -> None:
    run.write_bytes("sft/adapter/weights.bin", b"other weights")
    journal = Journal(run)
    checked = journal.check("sft")
    assert checked is not None
    assert checked.problems == ("output sft/adapter/weights.bin is not what it was when the stage was done",)
    assert not journal.is_done("baseline")


def test_a_cut_file_is_seen(run: RunDir) -> None:
    (run.path / "baseline.json").write_bytes((run.path / "baseline.json").read_bytes()[:-3])
    assert Journal(run).is_done("sft") and not Journal(run).is_done("baseline")


def test_a_lost_file_of_a_folder_is_seen(run: RunDir) -> None:
    run.remove("sft/adapter/config.json")
    checked = Journal(run).check("sft")
    assert checked is not None and checked.problems == ("output sft/adapter/config.json is missing",)


def test_a_stage_done_again_with_the_same_bytes_leaves_the_next_in_place(run: RunDir) -> None:
    run.write_files("sft/adapter", {"weights.bin": b"weights", "config.json": b"{}"})
    Journal(run).complete("sft", outputs=["sft/adapter"], seconds=1.0)
    assert Journal(run).is_done("baseline")


def test_lines_of_older_versions_without_hashes_stand_while_their_files_are_there(run: RunDir) -> None:
    run.write_bytes(JOURNAL, b'{"stage": "sft", "outputs": ["sft/adapter"], "seconds": 1.0, "at": "then"}\n')
    checked = Journal(run).check("sft")
    assert checked is not None and not checked.problems and not checked.is_verified
    run.remove("sft/adapter")
    assert not Journal(run).is_done("sft")
