"""Delivery of adapters to engines, and the proof that each engine holds what it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.config import Config, ModelConfig, parse_config
from advsim.errors import DeliveryError, RunError
from advsim.models.adapter import Canary
from advsim.models.base import check_model, load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import AdapterRef, Dialogue, user_turns
from advsim.rollout.choice.spec import ChoiceSpec, PromptShape
from advsim.run_folder.layout import TOO_LONG
from advsim.run_folder.reader import Run

CANARY_TOLERANCE = 0.25
"""Largest mean absolute difference of canary log-probabilities, in nats a token, between the learner (in float32 or
bfloat16) and an engine's bfloat16. A bound chosen with room: on the tiny model of the tests the right adapter stays
below 0.03; on the embedded model 60 pushes lay between 0.037 and 0.046 (EXPERIMENTS.md). Adapters that differ by one
small round of DPO lie as near: those are told apart by their hashes alone."""


CANARY_TOKENS = 32
"""Tokens of the canary's completion at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An adapter on its way to an engine: its files, and what its log-probabilities on the canary must be.

    Where nobody knows them (an adapter of elsewhere) they are empty, and the hash alone is checked. ``choice`` comes
    with an adapter whose turns are chosen among several draws.
    """

    adapter: AdapterRef
    files: Mapping[str, bytes]
    canary: Canary
    canary_logprobs: tuple[float, ...]
    choice: ChoiceSpec | None = None


def canary_of(dialogues: Sequence[Dialogue], prompts: SimulatorPrompts) -> Canary:
    """A real user turn on which learner and engines compare their log-probabilities.

    Args:
        dialogues: those that the simulator is trained on; the same of them give the same canary.
        prompts: of the training.
    """
    dialogue = max(dialogues, key=lambda d: (len(d.turns[0].text), d.id))
    position, turn = user_turns(dialogue)[0]
    return Canary(
        prompt_ids=prompts.prompt(dialogue.context, dialogue.turns[:position]),
        completion_ids=prompts.turn_ids(turn)[:CANARY_TOKENS],
    )


def canary_of_run(run: Run, config: Config, dialogues: Sequence[Dialogue]) -> Canary:
    """The canary of a run's training, from the training dialogues as they are read again.

    Args:
        run: says which of them its training left out because they were too long.
        config: its own, with what was overridden since; prompts keep the length of the training, because another
            canary would not have its log-probabilities.
        dialogues: of the training split.
    """
    prompts = SimulatorPrompts(
        load_tokenizer(resolve_model(config.model)),
        instructions=config.prompt.instructions,
        budget_tokens=parse_config(run.config).prompt_budget_tokens,
    )
    left_out = set(run.folder.read_object(TOO_LONG).get("dropped", ())) if run.folder.exists(TOO_LONG) else set()
    return canary_of([dialogue for dialogue in dialogues if dialogue.id not in left_out], prompts)


def choice_of(run: Run, version: int, model: ModelConfig) -> ChoiceSpec:
    """What draws of an adapter of a run are chosen by.

    Args:
        run: that trained a probe.
        version: of the adapter.
        model: that the probe reads with, where it lies now: ``discriminator.model``, else the base model.

    Raises:
        RunError: the run has no probe for it, or one that found no signal.
        ConfigError: the model is not there.
    """
    config = parse_config(run.config)
    number = run.probe_round(version)
    low, least = run.probe_auc_low(number), config.stop.min_discriminator_auc
    if low is not None and low < least:
        raise RunError(
            f"the probe of round {number} of {run.folder.location} tells draws of adapter version {version} from real "
            f"turns with an AUC whose interval begins at {low:.2f}, below {least:.2f} (stop.min_discriminator_auc): "
            "choosing by it gains nothing"
        )
    check_model(model, key="model.path of the probe's reader")
    return ChoiceSpec(
        probe=run.probe(number),
        model=model,
        prompt=PromptShape(instructions=config.prompt.instructions, budget_tokens=config.prompt_budget_tokens),
        max_texts=config.discriminator.scoring_batch_size,
    )


def delivery_of(run: Run, version: int, canary: Canary, choice: ChoiceSpec | None = None) -> Delivery:
    """An adapter of a run, with what its log-probabilities on the canary of its training must be.

    Raises:
        RunError: the run has no such adapter.
    """
    adapter = run.adapter(version)
    return Delivery(
        adapter=adapter,
        files=run.folder.read_files(adapter.path),
        canary=canary,
        canary_logprobs=run.canary_logprobs(version),
        choice=choice,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """An engine's report of the adapter it holds: computed from its own copy, not repeated from the order."""

    engine: str
    version: int
    sha256: str
    canary_logprobs: tuple[float, ...]
    seconds: float


def check_acknowledgements(
    delivery: Delivery, acknowledgements: Sequence[Acknowledgement], *, engines: Sequence[str]
) -> float:
    """Check that every engine holds the delivered adapter and speaks with it.

    Returns:
        The largest canary difference of an engine to the learner, in nats a token (:func:`canary_difference`).

    Raises:
        DeliveryError: an engine did not acknowledge, acknowledged another version or hash, or its log-probabilities on
            the canary are not those the learner computed with this adapter.
    """
    adapter = delivery.adapter
    missing = sorted(set(engines) - {acknowledgement.engine for acknowledgement in acknowledgements})
    if missing:
        raise DeliveryError(
            f"adapter version {adapter.version}: no acknowledgement from {', '.join(missing)}; no rollout starts on an "
            "engine that has not acknowledged. Run the same command to resume"
        )
    largest = 0.0
    for got in acknowledgements:
        if (got.version, got.sha256) != (adapter.version, adapter.sha256):
            raise DeliveryError(
                f"{got.engine} acknowledged adapter version {got.version} ({got.sha256[:12]}), expected version "
                f"{adapter.version} ({adapter.sha256[:12]}); run the same command to resume: the push is repeated first"
            )
        if not delivery.canary_logprobs:
            continue
        difference = canary_difference(got.canary_logprobs, delivery.canary_logprobs)
        if difference > CANARY_TOLERANCE:
            raise DeliveryError(
                f"{got.engine} holds the files of adapter version {adapter.version} but does not speak with it: its "
                f"log-probabilities on the canary differ by {difference:.3f} nats a token from the learner's, expected "
                f"at most {CANARY_TOLERANCE}; the engine serves another adapter or none"
            )
        largest = max(largest, difference)
    return largest


def canary_difference(got: Sequence[float], expected: Sequence[float]) -> float:
    """Mean absolute difference in nats a token; infinite where the lengths differ."""
    if len(got) != len(expected) or not expected:
        return float("inf")
    return sum(abs(a - b) for a, b in zip(got, expected, strict=True)) / len(expected)
