"""What the preference losses drive at: apart without end, or to the discriminator's odds."""

from __future__ import annotations

from pathlib import Path

import pytest

from advsim.config import DpoConfig, LearnerConfig, LoraConfig, ModelConfig
from advsim.models.adapter import Canary, adapter_files, load_base, new_adapter
from advsim.records import PreferencePair
from advsim.training.learner.dpo import _Job, train_on_worker

PROMPT = (3, 14, 15, 92, 65)


def pair(chosen: tuple[int, ...], rejected: tuple[int, ...], *, margin: float) -> PreferencePair:
    return PreferencePair(
        conversation_id="c",
        turn=1,
        prompt_ids=PROMPT,
        chosen_ids=chosen,
        rejected_ids=rejected,
        chosen="a",
        rejected="b",
        chosen_reward=margin,
        rejected_reward=0.0,
        margin=margin,
        simulator_version=0,
    )


def train(tiny_model: Path, tmp_path: Path, *, margin: float = 1.0, num_steps: int = 60, pairs=None, **config: object):
    start = new_adapter(load_base(tiny_model, dtype="float32"), LoraConfig(r=4, dropout=0.0), seed=0)
    steps: list[dict[str, float]] = []
    job = _Job(
        pairs=pairs or (pair((35, 89, 79), (32, 38), margin=margin),),
        model=ModelConfig(path=str(tiny_model)),
        adapter=adapter_files(start)[0],
        config=DpoConfig(beta=1.0, learning_rate=5e-3, num_epochs=float(num_steps), batch_size=1, **config),
        learner=LearnerConfig(),
        dtype="float32",
        seed=0,
        canary=Canary(prompt_ids=(1,), completion_ids=(2,)),
        log_dir=tmp_path,
    )
    train_on_worker(job, lambda step, num_steps, figures: steps.append(dict(figures)))
    return steps


def test_a_calibrated_loss_moves_the_odds_to_the_margin_and_stops_there(tiny_model: Path, tmp_path: Path) -> None:
    calibrated = train(tiny_model, tmp_path, margin=1.0, loss="calibrated")
    assert calibrated[0]["rewards/margins"] == 0.0
    assert calibrated[-1]["rewards/margins"] == pytest.approx(1.0, abs=0.15)
    assert train(tiny_model, tmp_path, margin=1.0)[-1]["rewards/margins"] > 2.0


def test_pairs_of_no_margin_are_not_moved_by_a_calibrated_loss(tiny_model: Path, tmp_path: Path) -> None:
    steps = train(tiny_model, tmp_path, margin=0.0, loss="calibrated", num_steps=10)
    assert steps[-1]["rewards/margins"] == pytest.approx(0.0, abs=1e-3)


def test_pairs_of_one_turn_are_one_step_and_each_goes_to_its_own_odds(tiny_model: Path, tmp_path: Path) -> None:
    pairs = (pair((35, 89, 79), (32, 38), margin=1.5), pair((7, 8), (9, 10, 11), margin=0.0))
    steps = train(tiny_model, tmp_path, pairs=pairs, loss="calibrated")
    assert len(steps) == 60
    assert steps[-1]["rewards/margins"] == pytest.approx(0.75, abs=0.15)


def test_the_weight_of_sft_adds_the_chosen_turns_own_loss(tiny_model: Path, tmp_path: Path) -> None:
    plain = train(tiny_model, tmp_path, margin=1.0, num_steps=1)[0]
    with_sft = train(tiny_model, tmp_path, margin=1.0, num_steps=1, sft_weight=0.5)[0]
    nats_a_token = -plain["logps/chosen"] / 3
    assert with_sft["loss"] == pytest.approx(plain["loss"] + 0.5 * nats_a_token, rel=1e-3)


def test_sft_alone_makes_the_chosen_turn_likely_whatever_is_rejected(tiny_model: Path, tmp_path: Path) -> None:
    steps = train(tiny_model, tmp_path, loss="sft", num_steps=20)
    assert steps[0]["loss"] == pytest.approx(-steps[0]["logps/chosen"] / 3, rel=1e-3)
    assert steps[-1]["logps/chosen"] > steps[0]["logps/chosen"] + 5.0
    others = train(tiny_model, tmp_path, pairs=(pair((35, 89, 79), (5, 6, 7), margin=1.0),), loss="sft", num_steps=20)
    assert others[-1]["logps/chosen"] == pytest.approx(steps[-1]["logps/chosen"], abs=1e-3)


def test_sft_alone_takes_no_weight_of_sft() -> None:
    with pytest.raises(ValueError, match="take it out"):
        DpoConfig(loss="sft", sft_weight=0.5)
