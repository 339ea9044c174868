"""What is served: a simulator of a run, its engines, and the scenarios that it can start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advsim.config import Config
from advsim.config.base import MAX_BEST_OF
from advsim.corpus.load import Corpus
from advsim.engine.protocol import EngineSpec
from advsim.errors import ConfigError, RunError
from advsim.models.adapter import Canary
from advsim.records import AdapterRef, Scenario, Split
from advsim.rollout.choice.spec import ChoiceSpec
from advsim.rollout.delivery import canary_of_run, choice_of
from advsim.rollout.simulator_actor import SimulatorSpec
from advsim.run_folder.layout import SFT_METRICS
from advsim.run_folder.reader import Run

NEWEST = "newest"
ZERO_SHOT = "zero_shot"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePlan:
    """A run's simulator on its way to being served.

    Attributes:
        location: the run folder.
        name: of the run, which requests give as ``model``.
        config: the run's, with overrides.
        scenarios: the dialogues that the run keeps from training, by id.
        canary: on which engines prove that they speak with an adapter.
        at: the simulator to begin with.
        best_of: draws of each message, of which one is chosen.
        spec: of each engine.
    """

    location: str
    name: str
    config: Config
    scenarios: Mapping[str, Scenario]
    canary: Canary
    at: str
    best_of: int
    spec: SimulatorSpec


def plan_serving(run: Run, config: Config, corpus: Corpus, *, at: str = NEWEST, best_of: int = 1) -> ServePlan:
    """Read what is to be served.

    Args:
        run: finished, or still training.
        config: its own, with overrides.
        corpus: the dialogues that it was made on.
        at: a simulator of the run, or :data:`NEWEST`.
        best_of: draws of each message, of which the run's probe chooses one.

    Raises:
        ConfigError: the run has no such simulator, or nothing to choose by.
        RunError: the run folder is damaged.
    """
    name, adapter = simulator_of(run, at)
    served_choice(run, name, adapter, config, best_of=best_of)
    return ServePlan(
        location=run.folder.location,
        name=run.name,
        config=config,
        scenarios={d.id: d.scenario for d in corpus.dialogues if d.split is not Split.TRAIN},
        canary=canary_of_run(run, config, corpus.split(Split.TRAIN)),
        at=name,
        best_of=best_of,
        spec=_spec(config),
    )


def simulator_of(run: Run, name: str) -> tuple[str, AdapterRef | None]:
    """A simulator of a run by name, and its adapter; None is the base model.

    Args:
        run: finished, or still training.
        name: ``zero_shot``, ``sft``, ``round_1``, ..., or :data:`NEWEST`, the last that is finished.

    Raises:
        ConfigError: the run has none of that name (yet).
    """
    versions = {ZERO_SHOT: -1}
    if run.folder.exists(SFT_METRICS):
        versions["sft"] = 0
    versions |= {f"round_{number}": number for number in range(1, len(run.rounds) + 1)}
    wanted = list(versions)[-1] if name == NEWEST else name
    if wanted not in versions:
        raise ConfigError(
            f"run {run.folder.location} has no simulator {name[:60]!r}, expected {NEWEST} or one of "
            f"{', '.join(versions)}"
        )
    version = versions[wanted]
    return wanted, run.adapter(version) if version >= 0 else None


def served_choice(
    run: Run, name: str, adapter: AdapterRef | None, config: Config, *, best_of: int
) -> ChoiceSpec | None:
    """What messages of a served simulator are chosen by; None where what is drawn is sent.

    Args:
        run: that is served.
        name: of the simulator.
        adapter: its own; None is the base model.
        config: the run's own, with overrides.
        best_of: draws of each message.

    Raises:
        ConfigError: there is nothing to choose by, or the model that it is read with is not there.
    """
    if not 1 <= best_of <= MAX_BEST_OF:
        raise ConfigError(f"--best-of: got {best_of}, expected 1 to {MAX_BEST_OF} draws")
    if best_of == 1:
        return None
    if adapter is None:
        raise ConfigError(f"--best-of chooses among draws of an adapter, and {name} has none; leave one of them out")
    try:
        return choice_of(run, adapter.version, config.discriminator.model or config.model)
    except RunError as error:
        raise ConfigError(f"--best-of: {error}") from None


def _spec(config: Config) -> SimulatorSpec:
    pool = config.resources.simulator
    return SimulatorSpec(
        engine=EngineSpec(
            kind="vllm",
            config=config.engine,
            model=config.model,
            max_lora_rank=config.lora.r,
            num_gpus=pool.num_gpus,
            seed=config.seed,
            whole_prompts=True,
        ),
        instructions=config.prompt.instructions,
        budget_tokens=config.prompt_budget_tokens,
        rollout=config.rollout,
        chatbot=None,
    )
