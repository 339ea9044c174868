"""Which failures of a training are deaths, after which it begins anew, and which would only fail again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from advsim.config import LearnerConfig
from advsim.errors import RunError
from advsim.training.learner import workers as learner

KILLED = WorkerHealthCheckFailedError("A worker health check failed.", failure=ActorDiedError())
RAISED = ValueError("the loss is nan")


class Scene:
    """A learner whose trainings fail as they are told to, and then succeed."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.jobs: list[Any] = []
        self.notices: list[str] = []
        patch.setattr(ray, "put", lambda job: job)
        patch.setattr(ray, "available_resources", dict)
        patch.setattr(ray, "cluster_resources", dict)
        self._patch = patch

    def run(self, *failures: Exception, max_restarts: int = 2) -> str:
        left = list(failures)

        def train_once(train: object, job: object, **_: object) -> str:
            self.jobs.append(job)
            if left:
                raise left.pop(0)
            return "trained"

        self._patch.setattr(learner, "_train_once", train_once)
        workers = learner.Workers(
            config=LearnerConfig(), log_dir=self.folder, max_restarts=max_restarts, notice=self.notices.append
        )
        return learner.run_on_workers(pytest.fail, "job", name="dpo", workers=workers, on_step=lambda *_: None)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def died(*failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("Training failed.", dict(enumerate(failures)))


def test_a_training_whose_worker_died_begins_anew_with_the_same_job(scene: Scene) -> None:
    assert scene.run(died(KILLED)) == "trained" and scene.jobs == ["job", "job"]
    (said,) = scene.notices
    assert said.startswith("dpo: worker 0 died: ") and "restart 1 of at most 2" in said and "\n" not in said
    assert (scene.folder / "failures.log").exists()


def test_the_death_is_named_and_not_what_the_other_workers_say_of_it(scene: Scene) -> None:
    assert scene.run(died(RuntimeError("Connection closed by peer"), KILLED)) == "trained"
    assert scene.notices[0].startswith("dpo: worker 1 died: ")


def test_one_death_too_many_ends_with_the_cause_and_what_to_do(scene: Scene) -> None:
    with pytest.raises(RunError, match=r"worker 0 died.*death number 3.*max_restarts \(2\).*memory") as ended:
        scene.run(died(KILLED), died(KILLED), died(KILLED))
    assert len(scene.jobs) == 3 and len(scene.notices) == 2 and "\n" not in str(ended.value)


def test_what_a_training_raises_is_not_tried_again(scene: Scene) -> None:
    with pytest.raises(RunError, match="dpo: worker 0 failed: ValueError: the loss is nan"):
        scene.run(died(RAISED))
    assert len(scene.jobs) == 1 and not scene.notices


def test_a_controller_that_died_is_a_death_too(scene: Scene) -> None:
    gone = ActorUnavailableError("its node is gone", None)
    assert scene.run(gone) == "trained"
    assert scene.notices[0].startswith("dpo: Ray Train's controller died: ")
