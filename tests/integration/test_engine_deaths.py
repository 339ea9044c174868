"""Engines that die in the middle of work: scripted engines in real actors, killed from inside or outside."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import ray
from ray import cloudpickle
from safetensors.numpy import save

from advsim.chatbots.actor import ChatbotActor
from advsim.config import parse_config
from advsim.engine.protocol import EngineSpec
from advsim.errors import ConfigError, DeliveryError, EngineError
from advsim.models.adapter import Canary, adapter_sha256
from advsim.records import AdapterRef, Context, Scenario, Speaker, Turn
from advsim.rollout import pool as rollout_pool
from advsim.rollout.delivery import Delivery
from advsim.rollout.pool import RolloutPool
from advsim.rollout.replay import ReplayRequest
from advsim.rollout.simulator_actor import SimulatorActor
from advsim.rollout.turn_loop import RolloutTask
from advsim.runtime.placement import Pools
from advsim.training.discriminator import pool as scorer_pool

USER_LINES = tuple(f"I worry about thing {number}, what now?" for number in range(7))
REPLIES = tuple(f"What is it about thing {number}?" for number in range(5))


def die_if_armed(armed: Path, method: str) -> None:
    """End this process: once for each file of that name."""
    for file in armed.glob(f"{method}-*"):
        try:
            file.unlink()
        except FileNotFoundError:
            continue  # another actor took it
        os._exit(1)


def dying_simulator(armed: Path):
    class DyingSimulator(SimulatorActor):
        async def simulate(self, task):
            if task.seed % 5 == 3:
                die_if_armed(armed, "simulate")
            return await SimulatorActor.simulate(self, task)

    return DyingSimulator


def dying_chatbot(armed: Path):
    class DyingChatbot(ChatbotActor):
        async def reply(self, turns, seed, name="", session=""):
            if seed % 5 == 3:
                die_if_armed(armed, "reply")
            return await ChatbotActor.reply(self, turns, seed, name, session)

    return DyingChatbot


def pool_config(model: Path):
    return parse_config(
        {
            "model": {"path": str(model)},
            "rollout": {"max_user_turns": 3, "max_concurrent": 3},
            "chatbot": {"kind": "scripted", "replies": list(REPLIES)},
            "resources": {
                "simulator": {"num_replicas": 2, "num_cpus": 0.5},
                "chatbot": {"num_cpus": 0.5},
                "max_restarts": 1,
            },
        }
    )


def scripted(**spec):
    return EngineSpec(
        **{"replies": USER_LINES} | {key: value for key, value in spec.items() if value} | {"kind": "scripted"}
    )


def a_delivery(folder: Path) -> Delivery:
    files = {"adapter_model.safetensors": save({}), "adapter_config.json": b"{}"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Delivery(
        adapter=AdapterRef(version=3, path="rounds/03/adapter", sha256=adapter_sha256(folder)),
        files=files,
        canary=Canary(prompt_ids=(1, 2), completion_ids=(3, 4)),
        canary_logprobs=(0.0, 0.0),
    )


class Scene:
    """One pool for all tests: two simulators and a chatbot, which die where they are told to."""

    def __init__(self, folder: Path, model: Path, patch: pytest.MonkeyPatch) -> None:
        self.armed, self.logs, adapter = folder / "armed", folder / "logs", folder / "adapter"
        self.armed.mkdir()
        adapter.mkdir()
        self.delivery = a_delivery(adapter)
        self.notices: list[str] = []
        patch.setattr(rollout_pool, "EngineSpec", scripted)
        patch.setattr(rollout_pool, "SimulatorActor", dying_simulator(self.armed))
        patch.setattr(rollout_pool, "ChatbotActor", dying_chatbot(self.armed))
        self.pools = Pools(timeout_s=30)
        self.pool = RolloutPool(pool_config(model), self.pools, log_dir=str(self.logs), notice=self.notices.append)
        self.pool.wait_until_ready()
        self.pool.push(self.delivery)
        self.undisturbed = self.conversations()
        assert not self.notices and len(self.undisturbed) == 24
        assert len({str(conversation.turns) for conversation in self.undisturbed}) > 1

    def arm(self, method: str, *, times: int = 1) -> None:
        for number in range(times):
            (self.armed / f"{method}-{number}").touch()

    def tasks(self) -> list[RolloutTask]:
        return [
            RolloutTask(
                conversation_id=f"c{number:02d}",
                scenario=Scenario(id=f"s{number}", context=Context(profile=f"A nurse of {20 + number}.")),
                chatbot="bot",
                adapter=self.delivery.adapter,
                seed=number,
            )
            for number in range(24)
        ]

    def conversations(self):
        return sorted(self.pool.simulate(self.tasks()), key=lambda conversation: conversation.id)


@pytest.fixture(scope="module")
def shared(local_ray, tiny_model, tmp_path_factory):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the actors' processes cannot import this file
    with pytest.MonkeyPatch.context() as patch:
        scene = Scene(tmp_path_factory.mktemp("deaths"), tiny_model, patch)
        yield scene
        scene.pool.close()
        scene.pools.release_all()


@pytest.fixture
def scene(shared):
    shared.notices.clear()
    (shared.logs / "failures.log").unlink(missing_ok=True)
    yield shared
    for file in shared.armed.iterdir():
        file.unlink()


@pytest.mark.parametrize(("pool", "method"), [("simulator", "simulate"), ("chatbot", "reply")])
def test_a_rollout_is_the_same_whether_an_engine_died_in_it_or_not(scene, pool, method):
    scene.arm(method)
    assert scene.conversations() == scene.undisturbed
    (said,) = scene.notices
    assert said.startswith(f"{pool}-")
    assert "killed or crashed" in said and "started again (restart 1 of at most 1)" in said
    assert "\n" not in said and len(said) < 400
    assert "Traceback" in (scene.logs / "failures.log").read_text()


def test_an_engine_killed_between_stages_is_started_again_by_the_push(scene):
    ray.kill(scene.pool._simulators.actors[1])
    scene.pool.push(scene.delivery)
    assert scene.pool.last_push.num_engines == 2 and scene.pool.pushed == scene.delivery.adapter
    (said,) = scene.notices
    assert said.startswith("simulator-1 died: ")
    assert scene.conversations() == scene.undisturbed


def test_a_replay_is_the_same_whether_the_chatbot_died_in_it_or_not(scene):
    prefix = (Turn(speaker=Speaker.USER, text="hello"),)
    asked = [ReplayRequest(dialogue_id=f"d{i}", prefix=prefix, chatbot="bot", seed=i) for i in range(9)]
    undisturbed = list(scene.pool.replay(asked))
    scene.arm("reply")
    replies = list(scene.pool.replay(asked))
    assert len(scene.notices) == 1 and not any(reply.error for reply in replies)
    assert sorted(map(str, replies)) == sorted(map(str, undisturbed))


def test_an_error_of_an_actor_arrives_as_its_sentence(scene):
    stale = dataclasses.replace(scene.delivery.adapter, sha256="0" * 64)
    task = dataclasses.replace(scene.tasks()[0], adapter=stale)
    with pytest.raises(DeliveryError) as refused:
        next(scene.pool._map(lambda actor, one: actor.simulate.remote(one), [task]))
    assert str(refused.value).startswith("simulator-0 holds version 3") and "\n" not in str(refused.value)
    assert "Traceback" in (scene.logs / "failures.log").read_text()


def test_an_unexpected_error_of_an_actor_is_one_line_and_names_its_log(scene):
    with pytest.raises(EngineError) as failed:
        next(scene.pool._map(lambda actor, one: actor.simulate.remote(one), [None]))
    assert str(failed.value).startswith("the simulator-0 process failed: AttributeError: ")
    assert str(scene.logs / "failures.log") in str(failed.value) and "\n" not in str(failed.value)


def test_a_constructor_that_fails_says_why(local_ray, tmp_path):
    pools = Pools(timeout_s=30)
    pool = RolloutPool(pool_config(tmp_path / "nothing"), pools, log_dir="")
    with pytest.raises(ConfigError) as failed:
        pool.wait_until_ready()
    pools.release_all()
    assert str(tmp_path / "nothing") in str(failed.value) and "\n" not in str(failed.value)


class CountingScorer:
    """In place of the discriminator's actor, whose process has to import torch."""

    def __init__(self, model, config, use_gpu):
        self._held = None

    def ping(self):
        return True

    def load(self, files):
        self._held = files

    def release(self):
        self._held = None

    def train(self, real, simulated, seed):
        return len(real), {"weights": b"%d" % seed}

    def score(self, views):
        return [(self._held["weights"], view) for view in views]


def test_a_scorer_killed_in_between_is_given_the_discriminator_again(shared, tiny_model, monkeypatch):
    monkeypatch.setattr(scorer_pool, "DiscriminatorActor", CountingScorer)
    pools, notices = Pools(timeout_s=30), []
    scorers = scorer_pool.ScorerPool(pool_config(tiny_model), pools, notice=notices.append)
    ray.kill(scorers._scorers.actors[0])
    _, files = scorers.train(real=["a"], simulated=["b"], seed=5)
    scorers.load(files)
    ray.kill(scorers._scorers.actors[0])
    batches = list(scorers.score(list(range(7)), batch_size=2))
    pools.release_all()
    assert sorted(view for batch in batches for view in batch) == [(b"5", number) for number in range(7)]
    assert len(notices) == 2 and all(said.startswith("scorer-0 died: ") for said in notices)


def test_an_engine_that_dies_again_and_again_ends_with_the_cause_and_what_to_do(scene):
    """Last: it leaves a dead engine."""
    scene.arm("simulate", times=9)
    with pytest.raises(
        EngineError, match=r"killed or crashed.*more than resources\.max_restarts \(1\).*memory"
    ) as died:
        scene.conversations()
    assert died.value.exit_code == 3 and "\n" not in str(died.value)
    assert len(scene.notices) == 1
