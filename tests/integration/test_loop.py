"""The whole loop on a tiny model: real vLLM on CPU, Ray, SFT and DPO. One engine start serves all tests here."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import psutil
import pytest
import ray

from advsim.config import Config, parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import ConfigError, DeliveryError
from advsim.models.adapter import Canary, completion_logprobs, load_trainable
from advsim.models.base import load_tokenizer
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import AdapterRef, Speaker, Split, StopReason
from advsim.rollout.delivery import Delivery, canary_difference, delivery_of
from advsim.rollout.pool import RolloutPool
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.reader import Run
from advsim.runtime.placement import Pools, pool_requests
from advsim.runtime.progress import Reporter
from advsim.training.discriminator.pool import ScorerPool
from advsim.training.held_out import HeldOut
from advsim.training.learner.workers import Workers
from advsim.training.rounds import Training

pytestmark = pytest.mark.slow

BFLOAT16_TOLERANCE = 0.03
"""Mean absolute difference in nats a token between vLLM in bfloat16 and transformers in float32 on the tiny model."""


class KilledError(BaseException):
    """Stands for a kill: nothing in advsim catches it."""


class MortalJournal(Journal):
    """Dies once at every stage boundary: before the journal line (work lost) or after it (work kept)."""

    died: set[tuple[str, str]]

    def complete(self, stage, *, outputs, seconds, inputs=()):
        self._die("before", stage)
        super().complete(stage, outputs=outputs, seconds=seconds, inputs=inputs)
        self._die("after", stage)

    def _die(self, moment, stage):
        if moment == "before" and stage.split("/")[-1] not in ("rollout", "push", "metrics"):
            return  # the stages that train are done once only, to save time
        if (moment, stage) not in self.died:
            self.died.add((moment, stage))
            raise KilledError(f"{moment} {stage}")


@dataclasses.dataclass
class Loop:
    config: Config
    run: RunDir
    rollouts: RolloutPool
    scorers: ScorerPool
    died: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def training(self) -> Training:
        """As a fresh process would build it, but for the engines."""
        corpus = load_corpus(self.config.corpus)
        journal = MortalJournal(self.run)
        journal.died = self.died
        return Training(
            config=self.config,
            run=self.run,
            journal=journal,
            corpus=corpus,
            prompts=SimulatorPrompts(
                load_tokenizer(Path(self.config.model.path)),
                instructions=self.config.prompt.instructions,
                budget_tokens=self.config.prompt_budget_tokens,
            ),
            rollouts=self.rollouts,
            scorers=self.scorers,
            held_out=HeldOut(self.config, corpus, self.run),
            reporter=Reporter(force_plain=True),
            workers=Workers(config=self.config.resources.learner, log_dir=self.run.path / "logs"),
        )

    def train_through_kills(self) -> list[str]:
        deaths = []
        while True:
            try:
                self.training().train_all()
            except KilledError as killed:
                deaths.append(str(killed))
            else:
                return deaths

    def delivery(self, version: int, **changes) -> Delivery:
        return dataclasses.replace(delivery_of(Run(self.run), version, self.training()._canary()), **changes)


def tiny_config(tiny_model: Path, output_dir: Path, **sections) -> Config:
    sampling = {"temperature": 1.0, "max_tokens": 12}
    return parse_config(
        {
            "name": "loop",
            "output_dir": str(output_dir),
            "model": {"path": str(tiny_model)},
            "lora": {"r": 8, "alpha": 16},
            "sft": {"max_steps": 3, "learning_rate": 1e-2},
            "rollout": {"num_conversations": 6, "max_user_turns": 2, "sampling": sampling},
            "chatbot": {"sampling": sampling},
            "discriminator": {"batch_size": 4},
            "preference": {"num_candidates": 3, "sampling": sampling},
            "dpo": {"learning_rate": 1e-2, "beta": 0.1, "max_steps": 2},
            "held_out": {"num_prefixes": 14, "num_bootstrap": 20, "num_folds": 2, "sampling": sampling},
            "stop": {"max_rounds": 2},
            **sections,
        }
    )


@pytest.fixture(scope="module")
def loop(local_ray, tiny_model, tmp_path_factory):
    config = tiny_config(tiny_model, tmp_path_factory.mktemp("runs"))
    run = RunDir(config.run_path)
    run.write_bytes("logs/README", b"")
    pools = Pools(timeout_s=30)
    rollouts = RolloutPool(config, pools, log_dir=str(run.path / "logs"))
    scorers = ScorerPool(config, pools)
    rollouts.wait_until_ready()
    yield Loop(config, run, rollouts, scorers)
    pools.release_all()


@pytest.fixture(scope="module")
def trained(loop) -> Loop:
    """The loop after both rounds, having been killed at every stage boundary on the way."""
    loop.deaths = loop.train_through_kills()
    return loop


def test_run_killed_at_every_boundary_finishes_with_each_dialogue_once(trained):
    stages = ["sft", "baseline"]
    for number in (1, 2):
        names = ("rollout", "discriminator", "preference", "dpo", "push", "held_out", "metrics")
        stages += [f"rounds/{number:02d}/{stage}" for stage in names]
    assert [death for death in trained.deaths if death.startswith("after")] == [f"after {stage}" for stage in stages]
    assert [line["stage"] for line in trained.run.read_lines("journal.jsonl")] == stages
    for number in (1, 2):
        ids = [conversation.id for conversation in Run(trained.run).conversations(number)]
        assert ids == [f"r{number:02d}-{index:05d}" for index in range(6)]


def test_every_turn_is_stamped_with_the_adapter_of_the_round_before(trained):
    run = Run(trained.run)
    for number in (1, 2):
        adapter = run.adapter(number - 1)
        stamps = {(c.simulator_version, c.simulator_sha256) for c in run.conversations(number)}
        assert stamps == {(number - 1, adapter.sha256)}
        rows = trained.run.read_table(f"rounds/{number:02d}/turns.parquet").to_pylist()
        assert {(row["simulator_version"], row["simulator_sha256"]) for row in rows} == stamps


def test_first_dpo_step_has_loss_ln2_and_no_reward_in_every_round(trained):
    for metrics in Run(trained.run).rounds:
        assert metrics["dpo"]["first_step_loss"] == pytest.approx(math.log(2), abs=1e-4)
        assert metrics["dpo"]["first_step_margin"] == pytest.approx(0.0, abs=1e-4)


def test_metrics_hold_what_is_promised(trained):
    rounds = Run(trained.run).rounds
    assert [metrics["round"] for metrics in rounds] == [1, 2]
    for metrics in rounds:
        assert metrics["rollout"]["num_conversations"] == 6
        assert metrics["rollout"]["output_tokens_per_s"] > 0
        assert sum(metrics["rollout"]["stop_reasons"].values()) == 6
        assert {"accuracy", "auc", "f1", "mcc", "accuracy_at_turn"} <= metrics["discriminator"].keys()
        for family in ("surface", "context"):
            assert {"accuracy", "low", "high", "auc", "power"} <= metrics["held_out"][family].keys()
        assert {"num_pairs", "mean_margin"} <= metrics["preference"].keys()
        assert {"first_step_loss", "last_step_loss", "reward_accuracy"} <= metrics["dpo"].keys()
        assert {"version", "sha256", "num_engines", "max_ms"} <= metrics["push"].keys()
        assert 0 < metrics["push"]["max_canary_difference"] < BFLOAT16_TOLERANCE
        kinds = {"ttr", "mattr", "mtld", "distinct_1", "distinct_2", "distinct_3", "entropy", "mean_turn_words"}
        assert kinds <= metrics["diversity"]["real"].keys() & metrics["diversity"]["simulated"].keys()
        assert all(seconds > 0 for stage, seconds in metrics["seconds"].items() if stage != "push")
    assert rounds[-1]["stop"]["reason"] != "continue"


def test_pairs_share_their_prefix_and_are_the_sampled_tokens(trained):
    run = Run(trained.run)
    candidates = {(c.conversation_id, c.turn, c.text): c for c in run.candidates(1)}
    pairs = run.pairs(1)
    assert pairs
    for pair in pairs:
        chosen = candidates[pair.conversation_id, pair.turn, pair.chosen]
        assert pair.chosen_ids[: len(chosen.token_ids)] == chosen.token_ids
        assert pair.chosen_reward > pair.rejected_reward
        assert pair.simulator_version == 0


@pytest.fixture(scope="module")
def on_prefixes(trained, tiny_model, tmp_path_factory) -> Loop:
    """A run of one round on prefixes, with the same engines; it would not train without a signal, and then may."""
    sampling = {"temperature": 1.0, "max_tokens": 12}
    sections = {
        "corpus": {"validation_fraction": 0.4},  # ten users at least, or the AUC has no interval
        "discriminator": {"on": "prefixes", "prefixes": {"num_prefixes": 12, "num_folds": 2, "num_components": 4}},
        "preference": {
            "num_candidates": 3,
            "max_pairs_per_turn": 2,
            "sampling": sampling,
        },
        "dpo": {"learning_rate": 1e-2, "beta": 1.0, "loss": "calibrated", "max_steps": 2},
        "held_out": {
            "num_prefixes": 14,
            "num_bootstrap": 5,
            "num_folds": 2,
            "temperatures": [0.7],
            "sampling": sampling,
        },
    }
    folder = tmp_path_factory.mktemp("prefixes")
    config = tiny_config(tiny_model, folder, **sections, stop={"max_rounds": 1, "min_discriminator_auc": 1.0})
    run = RunDir(config.run_path)
    run.write_bytes("logs/README", b"")
    without_signal = Loop(config, run, trained.rollouts, trained.scorers)
    without_signal.train_through_kills()
    assert not run.exists("rounds/01/pairs.parquet")
    assert Run(run).no_signal["reason"] == "no_signal" and "Round 1 is not trained" in Run(run).no_signal["explanation"]
    assert run.read_json("rounds/01/discriminator.json")["num_train_turns"] > 12
    config = tiny_config(tiny_model, folder, **sections, stop={"max_rounds": 1, "min_discriminator_auc": 0.0})
    loop = Loop(config, run, trained.rollouts, trained.scorers, died=without_signal.died)
    loop.train_through_kills()
    assert not Run(run).no_signal and not run.exists("rounds/01/no_signal.json")
    return loop


def test_a_round_on_prefixes_pairs_draws_on_real_prefixes(on_prefixes):
    run = Run(on_prefixes.run)
    training = on_prefixes.training()
    dialogues = {dialogue.id: dialogue for dialogue in training.corpus.split(Split.TRAIN)}
    candidates = run.candidates(1)
    assert {c.conversation_id for c in candidates} <= dialogues.keys()
    assert all(dialogues[c.conversation_id].turns[c.turn].speaker is Speaker.USER for c in candidates)
    drawn = {(c.conversation_id, c.turn, c.text): c for c in candidates}
    pairs = run.pairs(1)
    assert pairs
    for pair in pairs:
        dialogue = dialogues[pair.conversation_id]
        assert pair.prompt_ids == training.prompts.prompt(dialogue.context, dialogue.turns[: pair.turn])
        assert pair.margin == pytest.approx(
            drawn[pair.conversation_id, pair.turn, pair.chosen].reward
            - drawn[pair.conversation_id, pair.turn, pair.rejected].reward
        )


def test_a_round_on_prefixes_says_what_it_could_gain_and_what_it_gained(on_prefixes):
    run = Run(on_prefixes.run)
    (metrics,) = run.rounds
    assert metrics["dpo"]["first_step_margin"] == pytest.approx(0.0, abs=1e-4)
    assert (
        metrics["discriminator"]["auc_low"] <= metrics["discriminator"]["auc"] <= metrics["discriminator"]["auc_high"]
    )
    for which in ("best", "random", "worst"):
        assert 0.0 <= metrics["headroom"][which]["held_out"]["context"]["auc"] <= 1.0
    assert metrics["against_sft"].keys() == metrics["headroom"]["best"]["against_sft"].keys() == {"0.7", "1"}
    assert metrics["against_sft"]["0.7"].keys() == {"surface", "context"}
    sft = on_prefixes.run.read_json("baseline.json")["sft"]
    assert sft["curve"].keys() == {"0.7"} and 0.5 <= sft["most_likely_temperature"] <= 1.5


def engine_logprobs(loop: Loop, canary: Canary) -> list[float]:
    (actor,) = loop.rollouts._simulators.actors
    return ray.get(actor.logprobs.remote(canary.prompt_ids, canary.completion_ids))


def test_after_a_push_the_engine_speaks_with_that_adapter_and_not_with_the_one_before(trained, tmp_path):
    canary = trained.training()._canary()
    expected = {}
    for version in (0, 2):
        delivery = trained.delivery(version)
        folder = tmp_path / str(version)
        folder.mkdir()
        for name, content in delivery.files.items():
            (folder / name).write_bytes(content)
        peft_model = load_trainable(
            Path(trained.config.model.path), folder, dtype="float32", lora=trained.config.lora, seed=0
        )
        expected[version] = completion_logprobs(peft_model, canary)
        trained.rollouts.push(delivery)
        assert canary_difference(engine_logprobs(trained, canary), expected[version]) < BFLOAT16_TOLERANCE
    assert canary_difference(engine_logprobs(trained, canary), expected[0]) > 5 * BFLOAT16_TOLERANCE


def test_requests_without_adapter_are_untouched_by_adapter_requests_in_the_same_batch(trained):
    """A chatbot that shares the engine must not speak with the simulator's adapter."""
    trained.rollouts.push(trained.delivery(2))
    (actor,) = trained.rollouts._simulators.actors
    canary = trained.training()._canary()
    prompts = [(*canary.prompt_ids[:1], 100 + number, *canary.prompt_ids[1:]) for number in range(8)]

    def start(prompt_ids, use_adapter):
        return actor.logprobs.remote(prompt_ids, canary.completion_ids, use_adapter=use_adapter)

    alone = [ray.get(start(prompt, False)) for prompt in prompts]
    mixed = [(start(prompt, False), start(prompt, True)) for prompt in prompts]
    without, with_adapter = ([ray.get(one) for one in both] for both in zip(*mixed, strict=True))
    assert max(map(canary_difference, alone, without)) < BFLOAT16_TOLERANCE
    assert min(map(canary_difference, alone, with_adapter)) > 5 * BFLOAT16_TOLERANCE


def test_stale_engine_blocks_the_next_round(trained):
    training = trained.training()
    trained.rollouts.push(trained.delivery(1))
    newer = Run(trained.run).adapter(2)
    scenario = training.corpus.split(Split.TRAIN)[0].scenario
    task = RolloutTask(conversation_id="x", scenario=scenario, chatbot="bot", adapter=newer, seed=0)
    with pytest.raises(DeliveryError, match="acknowledged version 1"):
        list(trained.rollouts.simulate([task]))
    (actor,) = trained.rollouts._simulators.actors
    with pytest.raises(DeliveryError, match="holds version 1"):
        ray.get(actor.simulate.remote(task))


def test_damaged_delivery_is_noticed_and_blocks_rollouts(trained):
    delivery = trained.delivery(2)
    config = delivery.files["adapter_config.json"] + b"\n"
    damaged = trained.delivery(2, files={**delivery.files, "adapter_config.json": config})
    with pytest.raises(DeliveryError, match="acknowledged adapter version 2"):
        trained.rollouts.push(damaged)
    assert trained.rollouts.pushed is None


def test_engine_that_speaks_otherwise_than_the_learner_is_noticed(trained):
    wrong = tuple(logprob - 1.0 for logprob in trained.delivery(2).canary_logprobs)
    with pytest.raises(DeliveryError, match="does not speak with it"):
        trained.rollouts.push(trained.delivery(2, canary_logprobs=wrong))


def test_pool_that_cannot_be_scheduled_is_named_with_what_it_asks_and_what_there_is(local_ray, tiny_model, tmp_path):
    config = tiny_config(tiny_model, tmp_path, resources={"scorer": {"num_gpus": 2}})
    request = next(request for request in pool_requests(config) if request.pool == "scorer")
    with pytest.raises(ConfigError, match=r"scorer pool cannot be scheduled: it asks for 1 x 1 CPU, 2 GPU .*0 GPU"):
        Pools(timeout_s=1).place(request)


def test_adapter_reference_of_another_hash_is_refused(trained):
    adapter = trained.delivery(2).adapter
    with pytest.raises(DeliveryError):
        trained.rollouts.push(trained.delivery(2, adapter=dataclasses.replace(adapter, sha256="0" * 64)))
    assert isinstance(adapter, AdapterRef)


def test_engine_killed_with_a_rollout_in_its_hands_is_started_again_and_finishes_it(trained):
    """Last: it takes the shared engine's processes away."""
    trained.rollouts.push(trained.delivery(2))
    started_here = psutil.Process().children(recursive=True)  # and not by another run on this machine
    engines = [one for one in started_here if "VLLM::EngineCore" in " ".join(one.cmdline())]
    assert engines
    for engine in engines:
        engine.kill()
    training = trained.training()
    scenario = training.corpus.split(Split.TRAIN)[0].scenario
    adapter = Run(trained.run).adapter(2)
    tasks = [
        RolloutTask(conversation_id=f"x{seed}", scenario=scenario, chatbot="bot", adapter=adapter, seed=seed)
        for seed in range(3)
    ]
    said = list(trained.rollouts.simulate(tasks))
    assert sorted(conversation.id for conversation in said) == ["x0", "x1", "x2"]
    assert {conversation.simulator_sha256 for conversation in said} == {adapter.sha256}
    assert not [conversation for conversation in said if conversation.stop_reason is StopReason.ERROR]
