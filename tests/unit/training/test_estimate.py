"""How long a run will take, from the times of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from advsim.config import Config, parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import ConfigError, RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.reader import Run
from advsim.training.estimate import RunEstimate, estimate_run

SECONDS = {
    "sft": 100.0,
    "baseline": 30.0,
    "rounds/01/rollout": 20.0,
    "rounds/02/rollout": 40.0,
    "rounds/01/discriminator": 50.0,
    "rounds/01/preference": 7.0,
    "rounds/01/dpo": 60.0,
    "rounds/01/push": 1.0,
    "rounds/01/held_out": 15.0,
    "rounds/01/metrics": 0.0,
}


def config(**sections: object) -> Config:
    return parse_config({"name": "a", "stop": {"max_rounds": 2}, "held_out": {"temperatures": [0.8]}, **sections})


def measured(folder: Path, there: Config, seconds: dict[str, float]) -> Run:
    run = RunDir(str(folder / "measured"))
    run.write_json("manifest.json", {"name": "measured", "config": there.model_dump(mode="json")})
    run.write_json("x.json", {})
    journal = Journal(run)
    for stage, spent in seconds.items():
        journal.complete(stage, outputs=["x.json"], seconds=spent)
    return Run(run)


def estimate(
    folder: Path, here: Config, there: Config | None = None, seconds: dict[str, float] = SECONDS
) -> RunEstimate:
    corpus = load_corpus(here.corpus)
    run = measured(folder, there or config(), seconds)
    return estimate_run(here, corpus, measured=run, measured_corpus=corpus)


def of(expected: RunEstimate) -> dict[str, float | None]:
    return {each.stage: each.seconds for each in expected.stages}


def test_a_run_like_the_measured_one_takes_its_time_and_each_round_the_mean(tmp_path: Path) -> None:
    expected = estimate(tmp_path, config())
    assert of(expected)["sft"] == 100.0 and of(expected)["rollout"] == 2 * 30.0 and of(expected)["dpo"] == 2 * 60.0
    assert expected.seconds == pytest.approx(100 + 30 + 2 * (30 + 50 + 7 + 60 + 1 + 15))
    assert expected.unknown == ()


@pytest.mark.parametrize(
    ("sections", "stage", "times"),
    [
        ({"sft": {"num_epochs": 2 * config().sft.num_epochs}}, "sft", 2.0),
        ({"held_out": {"temperatures": [0.7, 0.8, 0.9]}}, "baseline", 5 / 3),
        ({"held_out": {"temperatures": [0.8], "num_prefixes": 128}}, "held_out", 2.0),
        ({"rollout": {"num_conversations": 96}}, "rollout", 3.0),
        ({"rollout": {"num_conversations": 96}}, "dpo", 3.0),
        ({"preference": {"num_candidates": 4}}, "preference", 0.5),
        ({"dpo": {"num_epochs": 3.0}}, "dpo", 3.0),
        ({"stop": {"max_rounds": 4}}, "push", 2.0),
        ({"stop": {"max_rounds": 0}}, "dpo", 0.0),
    ],
)
def test_a_stage_takes_longer_with_what_it_has_to_do(
    sections: dict[str, object], stage: str, times: float, tmp_path: Path
) -> None:
    usual = of(estimate(tmp_path / "usual", config()))[stage]
    assert usual is not None
    assert of(estimate(tmp_path / "other", config(**sections)))[stage] == pytest.approx(times * usual)


def test_what_the_measured_run_did_not_do_is_not_known_and_not_counted(tmp_path: Path) -> None:
    expected = estimate(tmp_path, config(discriminator={"on": "prefixes"}))
    assert expected.unknown == ("discriminator", "preference", "dpo")
    assert expected.seconds == pytest.approx(100 + 30 + 2 * (30 + 1 + 15))
    only_sft = estimate(tmp_path / "b", config(stop={"max_rounds": 0}), seconds={"sft": 9.0})
    assert only_sft.unknown == ("baseline",) and only_sft.seconds == 9.0


def test_a_run_of_another_model_and_one_without_times_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="measured with the model elsewhere/model, expected"):
        estimate(tmp_path / "a", config(), config(model={"path": "elsewhere/model"}))
    with pytest.raises(RunError, match="no finished stage"):
        estimate(tmp_path / "b", config(), seconds={})
