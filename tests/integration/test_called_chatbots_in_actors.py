"""Chatbots that are called, through real actors of Ray: the one of a run, and several beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from chatbot_server import Sends, completion, serve_chatbot

from advsim.chatbots.load import load_chatbots
from advsim.config import parse_config
from advsim.engine.protocol import EngineSpec
from advsim.errors import ConfigError
from advsim.records import Context, Scenario, StopReason, chatbot_turns
from advsim.rollout import pool as rollout_pool
from advsim.rollout.pool import RolloutPool
from advsim.rollout.turn_loop import RolloutTask
from advsim.runtime.placement import Pools

pytestmark = pytest.mark.slow

CODE = """
import os
from pathlib import Path

class Bot:
    def __init__(self):
        self.num = 0
    async def reply(self, message):
        self.num += 1
        armed = Path(__file__).with_name("armed")
        if armed.exists() and self.num == 2:
            armed.unlink()
            os._exit(1)
        return f"I have heard {self.num} messages."

def boom(messages):
    raise ValueError("no database")
"""


def scripted(**spec):
    return EngineSpec(**{**spec, "kind": "scripted", "replies": ("I worry, what now?", "And then?")})


def tasks(*chatbots: str) -> list[RolloutTask]:
    scenario = Scenario(id="s", context=Context())
    return [
        RolloutTask(conversation_id=f"{name}-{number}", scenario=scenario, chatbot=name, adapter=None, seed=number)
        for name in chatbots
        for number in range(4)
    ]


@pytest.fixture
def folder(local_ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rollout_pool, "EngineSpec", scripted)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code_of_bots.py").write_text(CODE)
    return tmp_path


@pytest.fixture
def open_pool(folder: Path, tiny_model: Path):
    opened = []

    def start(chatbot: dict, *named: dict) -> tuple[RolloutPool, list[str]]:
        config = parse_config(
            {
                "model": {"path": str(tiny_model)},
                "rollout": {"max_user_turns": 3},
                "chatbot": chatbot,
                "resources": {"simulator": {"num_cpus": 0.5}, "chatbot": {"num_replicas": 2, "num_cpus": 0.5}},
            }
        )
        for number, values in enumerate(named):
            (folder / f"{number}.yaml").write_text(str(values))
        chatbots = load_chatbots(folder) if named else []
        notices: list[str] = []
        pools = Pools(timeout_s=30)
        pool = RolloutPool(config, pools, log_dir=str(folder / "logs"), chatbots=chatbots, notice=notices.append)
        opened.append((pool, pools))
        pool.wait_until_ready()
        return pool, notices

    yield start
    for pool, pools in opened:
        pool.close()
        pools.release_all()


def test_a_runs_own_chatbot_is_called_and_what_its_code_kills_is_repeated(open_pool, folder: Path) -> None:
    pool, notices = open_pool({"name": "mine", "kind": "python", "function": "code_of_bots.py:Bot"})
    (folder / "armed").touch()
    talks = list(pool.simulate(tasks("mine")))
    assert {talk.stop_reason for talk in talks} == {StopReason.MAX_TURNS} and len(talks) == 4
    for talk in talks:
        heard = [turn.text for _, turn in chatbot_turns(talk)]
        assert heard == [f"I have heard {number} messages." for number in (1, 2, 3)]
    (said,) = notices
    assert said.startswith("chatbot-") and "started again" in said


def test_a_run_whose_chatbot_does_not_answer_does_not_begin(open_pool) -> None:
    with pytest.raises(ConfigError, match=r"chatbot mine does not answer: .*no database"):
        open_pool(
            {
                "name": "mine",
                "kind": "python",
                "function": "code_of_bots.py:boom",
                "calls": {"max_attempts": 1},
            }
        )


def test_kinds_meet_the_same_users_beside_each_other_and_one_that_only_fails_ends_alone(open_pool) -> None:
    with serve_chatbot(lambda got: Sends(body=completion("What happened?"))) as server:
        pool, notices = open_pool(
            {},
            {"name": "code", "kind": "python", "function": "code_of_bots.py:Bot"},
            {"name": "near", "kind": "endpoint", "endpoint": {"base_url": f"{server.url}/v1", "model": "m"}},
            {"name": "fixed", "kind": "scripted", "replies": ["Tell me more."]},
            {
                "name": "gone",
                "kind": "http",
                "http": {"url": "http://127.0.0.1:9/chat"},
                "calls": {"max_attempts": 1, "max_failures_in_a_row": 2},
            },
        )
        talks = list(pool.simulate(tasks("code", "near", "fixed", "gone")))
    said = {
        name: {t.text for c in talks if c.chatbot == name for _, t in chatbot_turns(c)} for name in ("near", "fixed")
    }
    assert said == {"near": {"What happened?"}, "fixed": {"Tell me more."}}
    ends = {talk.id: talk.stop_reason for talk in talks}
    assert len(ends) == 16
    assert {name for name, reason in ends.items() if reason is StopReason.ERROR} == {f"gone-{n}" for n in range(4)}
    assert all("no connection to" in talk.error for talk in talks if talk.chatbot == "gone")
    assert not notices
