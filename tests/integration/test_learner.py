"""SFT and two rounds of DPO by real Ray Train and TRL, on a tiny model."""

from __future__ import annotations

import math
import os
import signal
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import PreTrainedModel

from advsim.config import DpoConfig, LearnerConfig, LoraConfig, ModelConfig, SftConfig
from advsim.errors import RunError
from advsim.models.adapter import Canary, adapter_sha256, completion_logprobs, load_base, load_trainable
from advsim.records import PreferencePair, TrainingExample
from advsim.training.learner.dpo import train_dpo
from advsim.training.learner.sft import train_sft
from advsim.training.learner.workers import OnStep, TrainedAdapter, Workers, run_on_workers
from advsim.training.metrics import DpoMetrics, SftMetrics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

Trained = TrainedAdapter[SftMetrics] | TrainedAdapter[DpoMetrics]
CANARY = Canary(prompt_ids=(50, 60, 70, 80), completion_ids=(90, 100, 110))
LORA = LoraConfig(r=4, alpha=8)
LEARNER = LearnerConfig(num_threads=1)
PROMPTS = [tuple(range(100 + 7 * i, 120 + 9 * i)) for i in range(8)]
EXAMPLES = [
    TrainingExample(
        dialogue_id=f"d{i}",
        input_ids=(*prompt, 33, 34, 35, 36),
        labels=(*(-100 for _ in prompt), 33, 34, 35, 36),
    )
    for i, prompt in enumerate(PROMPTS)
]
PAIRS = [
    PreferencePair(
        conversation_id=f"c{i}",
        turn=2,
        prompt_ids=prompt,
        chosen_ids=(40, 41 + i, 42),
        rejected_ids=(43, 44, 45, 46 + i, 47),
        chosen="",
        rejected="",
        chosen_reward=1.0,
        rejected_reward=-1.0,
        margin=2.0,
        simulator_version=0,
    )
    for i, prompt in enumerate(PROMPTS)
]


@dataclass(frozen=True, kw_only=True)
class TwoRounds:
    sft: TrainedAdapter[SftMetrics]
    sft_steps: list[tuple[int, int, Mapping[str, float]]]
    first: TrainedAdapter[DpoMetrics]
    second: TrainedAdapter[DpoMetrics]
    model: Path
    folder: Path

    def load(self, result: Trained) -> PeftModel:
        folder = write_adapter(result, self.folder / result.adapter_sha256)
        return load_trainable(self.model, folder, dtype="float32", lora=LORA, seed=0)


def write_adapter(result: Trained, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in result.files.items():
        (folder / name).write_bytes(content)
    return folder


def dpo(model: Path, before: Trained, log_dir: Path, *, learner: LearnerConfig = LEARNER) -> TrainedAdapter[DpoMetrics]:
    return train_dpo(
        PAIRS,
        model=ModelConfig(path=str(model)),
        adapter=before.files,
        config=DpoConfig(learning_rate=2e-2, beta=0.1, batch_size=2, num_epochs=2),
        workers=Workers(config=learner, log_dir=log_dir),
        seed=1,
        canary=CANARY,
        on_step=lambda *_: None,
    )


def sft(model: Path, log_dir: Path, on_step: OnStep, *, learner: LearnerConfig = LEARNER) -> TrainedAdapter[SftMetrics]:
    return train_sft(
        EXAMPLES,
        model=ModelConfig(path=str(model)),
        config=SftConfig(learning_rate=1e-2, batch_size=4, num_epochs=3),
        lora=LORA,
        workers=Workers(config=learner, log_dir=log_dir),
        seed=0,
        canary=CANARY,
        on_step=on_step,
    )


@pytest.fixture(scope="module")
def trained(local_ray: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TwoRounds:
    folder = tmp_path_factory.mktemp("learner")
    steps: list[tuple[int, int, Mapping[str, float]]] = []
    tuned = sft(tiny_model, folder / "logs", lambda *step: steps.append(step))
    first = dpo(tiny_model, tuned, folder / "logs")
    second = dpo(tiny_model, first, folder / "logs")
    return TwoRounds(sft=tuned, sft_steps=steps, first=first, second=second, model=tiny_model, folder=folder)


def gap_of(causal_lm: PeftModel | PreTrainedModel) -> float:
    """Mean over pairs of log p(chosen) - log p(rejected)."""
    return statistics.mean(
        sum(completion_logprobs(causal_lm, Canary(prompt_ids=pair.prompt_ids, completion_ids=pair.chosen_ids)))
        - sum(completion_logprobs(causal_lm, Canary(prompt_ids=pair.prompt_ids, completion_ids=pair.rejected_ids)))
        for pair in PAIRS
    )


def pair_gap(trained: TwoRounds, result: Trained) -> float:
    return gap_of(trained.load(result))


def base_gap(trained: TwoRounds) -> float:
    return gap_of(load_base(trained.model, dtype="float32"))


def test_sft_lowers_the_loss_and_reports_every_step(trained: TwoRounds) -> None:
    result = trained.sft
    assert result.metrics.last_step_loss < result.metrics.first_step_loss - 1.0
    assert result.metrics.num_steps == 6
    assert result.metrics.num_tokens == 3 * 4 * len(EXAMPLES)  # three epochs, four labelled tokens each
    assert [(step, total) for step, total, _ in trained.sft_steps] == [(step, 6) for step in range(1, 7)]
    assert trained.sft_steps[-1][2]["loss"] == result.metrics.last_step_loss


def test_sft_first_loss_is_that_of_the_base_on_labelled_tokens(trained: TwoRounds) -> None:
    base = load_base(trained.model, dtype="float32")
    by_token = [
        logprob
        for example in EXAMPLES
        for logprob in completion_logprobs(
            base, Canary(prompt_ids=example.input_ids[:-4], completion_ids=example.input_ids[-4:])
        )
    ]
    # A step sees half of the examples, which hardly differ.
    assert trained.sft.metrics.first_step_loss == pytest.approx(-statistics.mean(by_token), abs=0.3)


def test_every_round_starts_at_ln_2_and_margin_0(trained: TwoRounds) -> None:
    for result in (trained.first, trained.second):
        assert result.metrics.first_step_loss == pytest.approx(math.log(2), abs=1e-4)
        assert result.metrics.first_step_margin == pytest.approx(0.0, abs=1e-4)


def test_dpo_prefers_the_chosen_texts(trained: TwoRounds) -> None:
    gaps = [pair_gap(trained, result) for result in (trained.sft, trained.first, trained.second)]
    assert gaps[0] + 5.0 < min(gaps[1:])
    assert trained.first.metrics.reward_accuracy > 0.9
    assert trained.first.metrics.reward_margin > 0.0
    assert trained.first.metrics.last_step_loss < trained.first.metrics.first_step_loss


def test_second_round_refers_to_the_first_rounds_adapter(trained: TwoRounds) -> None:
    # What the first step of round 2 would show, had TRL taken adapter 0 or the bare base model as reference.
    gap = pair_gap(trained, trained.first)
    assert 0.1 * (gap - pair_gap(trained, trained.sft)) > 0.5
    assert 0.1 * (gap - base_gap(trained)) > 0.5
    assert trained.second.metrics.first_step_margin == pytest.approx(0.0, abs=1e-4)


def test_canary_is_what_the_saved_adapter_gives(trained: TwoRounds) -> None:
    for result in (trained.sft, trained.first, trained.second):
        saved = completion_logprobs(trained.load(result), CANARY)
        rounding = 1e-4 if result.metrics.dtype == "float32" else 1e-2  # where this machine computes bfloat16 faster
        assert result.canary_logprobs == pytest.approx(saved, abs=rounding)
        assert adapter_sha256(trained.folder / result.adapter_sha256) == result.adapter_sha256
    assert trained.first.canary_logprobs != pytest.approx(trained.second.canary_logprobs, abs=5e-2)


def test_saved_adapters_hold_nothing_of_the_reference(trained: TwoRounds) -> None:
    assert all(b".ref." not in content for content in trained.second.files.values())
    assert {len(content) for content in (trained.sft.files["adapter_model.safetensors"],)} == {
        len(trained.second.files["adapter_model.safetensors"])
    }


def test_equal_runs_give_equal_adapters(trained: TwoRounds, tmp_path: Path) -> None:
    assert dpo(trained.model, trained.sft, tmp_path).adapter_sha256 == trained.first.adapter_sha256


def test_two_workers_train_one_adapter(trained: TwoRounds, tmp_path: Path) -> None:
    workers = LearnerConfig(num_workers=2, num_threads=1)
    tuned = sft(trained.model, tmp_path, lambda *_: None, learner=workers)
    assert tuned.metrics.num_steps == 3  # twice the batch
    assert tuned.metrics.num_tokens == trained.sft.metrics.num_tokens
    assert tuned.metrics.last_step_loss < tuned.metrics.first_step_loss
    result = dpo(trained.model, trained.sft, tmp_path, learner=workers)
    assert result.metrics.first_step_loss == pytest.approx(math.log(2), abs=1e-4)
    assert result.metrics.reward_accuracy > 0.9


def test_a_failed_worker_is_explained_in_one_line(tmp_path: Path) -> None:
    def fail(job: str, on_step: OnStep) -> None:
        raise ValueError(f"first line\nno such {job}")

    with pytest.raises(RunError, match=r"sft: worker 0 failed: .*no such adapter\.") as raised:
        workers = Workers(config=LEARNER, log_dir=tmp_path, max_restarts=2, notice=pytest.fail)  # it would fail again
        run_on_workers(fail, "adapter", name="sft", workers=workers, on_step=lambda *_: None)
    assert "\n" not in str(raised.value)


def test_a_training_whose_worker_is_killed_begins_anew_from_the_same_job(local_ray: None, tmp_path: Path) -> None:
    armed, notices, steps = tmp_path / "armed", list[str](), list[int]()
    armed.mkdir()

    def train(job: str, on_step: OnStep) -> str:
        for number in range(1, 5):
            on_step(number, 4, {"loss": 0.0})
            files = sorted(armed.iterdir())
            if number == 2 and files:
                time.sleep(2.0)  # until the driver has seen the step
                files[0].unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return f"{job} trained"

    def run(max_restarts: int) -> str:
        workers = Workers(config=LEARNER, log_dir=tmp_path, max_restarts=max_restarts, notice=notices.append)
        return run_on_workers(train, "a", name="sft", workers=workers, on_step=lambda number, *_: steps.append(number))

    (armed / "0").touch()
    assert run(1) == "a trained" and steps == [1, 2, 1, 2, 3, 4]
    (said,) = notices
    assert said.startswith("sft: worker 0 died: ") and "killed or crashed" in said
    assert "begins anew (restart 1 of at most 1)" in said and "\n" not in said and len(said) < 400
    assert "Traceback" in (tmp_path / "failures.log").read_text()

    (armed / "0").touch()
    with pytest.raises(RunError, match=r"worker 0 died.*more than resources\.max_restarts \(0\).*memory") as died:
        run(0)
    assert died.value.exit_code == 3 and "\n" not in str(died.value) and len(notices) == 1


def test_nothing_to_train_on_is_refused_before_ray(tmp_path: Path) -> None:
    silent = TrainingExample(dialogue_id="d", input_ids=(1, 2), labels=(-100, -100))
    with pytest.raises(RunError, match="without a single token"):
        train_sft(
            [silent],
            model=ModelConfig(),
            config=SftConfig(),
            lora=LORA,
            workers=Workers(config=LEARNER, log_dir=tmp_path),
            seed=0,
            canary=CANARY,
            on_step=lambda *_: None,
        )
