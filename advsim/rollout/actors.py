"""Ray actors of the rollout: thin shells around an engine. A simulator actor drives its conversations itself.

driver --RolloutTask--> SimulatorActor --turns--> ChatbotActor (or the same engine without adapter: colocated)
       <-Conversation--                <-reply---
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advsim.config import ChatbotConfig, RolloutConfig, SamplingConfig
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest, build_engine
from advsim.errors import ChatbotError, ConfigError, DeliveryError, EngineError
from advsim.lora import adapter_sha256
from advsim.models import load_tokenizer, resolve_model
from advsim.records import AdapterRef, Candidate, Context, Conversation, NextTurn, Scenario, Turn
from advsim.roles import END_TOKEN, ChatbotPrompts, SimulatorPrompts, strip_end
from advsim.rollout.delivery import Acknowledgement, Delivery
from advsim.rollout.turn_loop import (
    ChatbotSpeaker,
    ReplayedReply,
    ReplayRequest,
    RolloutTask,
    SimulatorSpeaker,
    Utterance,
    replay,
    simulate,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSpec:
    """How a simulator actor speaks."""

    engine: EngineSpec
    instructions: str
    budget_tokens: int
    rollout: RolloutConfig
    chatbot: ChatbotConfig | None  # set where the chatbot shares this engine
    log_file: str = ""
    named_chatbots: tuple[ChatbotConfig, ...] = ()  # further chatbots on this engine, which tasks ask for by name


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotSpec:
    """How a chatbot actor speaks."""

    engine: EngineSpec
    chatbot: ChatbotConfig
    budget_tokens: int
    log_file: str = ""
    named_chatbots: tuple[ChatbotConfig, ...] = ()  # further chatbots on this engine, which tasks ask for by name


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRequest:
    """Draw ``num_candidates`` alternatives for user turn ``turn`` of a conversation."""

    conversation: Conversation
    context: Context
    turn: int
    num_candidates: int
    sampling: SamplingConfig
    adapter: AdapterRef
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTurnRequest:
    """Write the next user turn on a real prefix."""

    scenario: Scenario
    prefix: tuple[Turn, ...]
    sampling: SamplingConfig
    adapter: AdapterRef | None
    seed: int


class SimulatorActor:
    """One rollout engine: speaks the user with the current adapter and drives whole conversations."""

    def __init__(self, spec: SimulatorSpec, name: str) -> None:
        redirect_output(spec.log_file)
        self._spec = spec
        self._name = name
        self._engine: Engine = build_engine(spec.engine)
        self._adapter: AdapterRef | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="advsim-adapters-")
        tokenizer = load_tokenizer(resolve_model(spec.engine.model))
        self._prompts = SimulatorPrompts(tokenizer, instructions=spec.instructions, budget_tokens=spec.budget_tokens)
        self._chatbots: tuple[ChatbotSpeaker, ...] = ()
        if spec.chatbot is not None:
            budget_tokens = spec.engine.config.max_model_len - spec.chatbot.sampling.max_tokens
            prompts = chatbot_prompts(spec.chatbot, tokenizer, budget_tokens=budget_tokens)
            self._chatbots = (EngineChatbot(self._engine, prompts, spec.chatbot.sampling),)
        self._named: dict[str, tuple[ChatbotSpeaker, ...]] = {
            config.name: (named_chatbot(config, self._engine, spec.engine, tokenizer),)
            for config in spec.named_chatbots
        }

    async def start(self) -> float:
        """Start the engine; returns the seconds it took."""
        started = time.monotonic()
        await self._engine.start()
        return time.monotonic() - started

    def use_chatbots(self, actors: Sequence[Any], names: Sequence[str] = ()) -> None:
        """Talk to these chatbot actors instead of the colocated chatbot; ``names`` are the named chatbots they hold."""
        self._chatbots = tuple(RemoteChatbot(actor) for actor in actors)
        self._named = {name: tuple(RemoteChatbot(actor, name) for actor in actors) for name in names}

    async def load_adapter(self, delivery: Delivery) -> Acknowledgement:
        """Write the adapter to local disk, load it, and say what is held now."""
        started = time.monotonic()
        folder = Path(self._folder.name) / f"v{delivery.adapter.version}"
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, content in delivery.files.items():
            (folder / file_name).write_bytes(content)
        sha256 = adapter_sha256(folder)
        await self._engine.load_adapter(delivery.adapter, folder)
        self._adapter = AdapterRef(version=delivery.adapter.version, path=delivery.adapter.path, sha256=sha256)
        canary = delivery.canary
        logprobs = await self._engine.logprobs(canary.prompt_ids, canary.completion_ids, use_adapter=True)
        return Acknowledgement(
            engine=self._name,
            version=delivery.adapter.version,
            sha256=sha256,
            canary_logprobs=tuple(logprobs),
            seconds=time.monotonic() - started,
        )

    async def simulate(self, task: RolloutTask) -> Conversation:
        """Run one conversation.

        Raises:
            DeliveryError: this engine does not hold the adapter the task asks for.
        """
        self._require(task.adapter)
        return await simulate(
            task,
            simulator=self._speaker(task.adapter, self._spec.rollout.sampling),
            chatbot=self._chatbot(task.chatbot, task.seed),
            config=self._spec.rollout,
            instructions=self._spec.instructions,
        )

    async def candidates(self, request: CandidateRequest) -> list[Candidate]:
        """Alternatives for one user turn on its own prefix; index 0 is the text it has."""
        self._require(request.adapter)
        prefix = request.conversation.turns[: request.turn]
        original = request.conversation.turns[request.turn]
        completions = await self._engine.generate(
            self._request(
                self._prompts.prompt(request.context, prefix),
                request.sampling,
                use_adapter=True,
                num_samples=request.num_candidates,
                seed=request.seed,
            )
        )
        drawn = [(strip_end(c.text)[0], c.token_ids, c.finished) for c in completions]
        limit = self._spec.rollout.sampling.max_tokens
        texts = [(original.text, original.token_ids, len(original.token_ids) < limit), *drawn]
        return [
            Candidate(
                conversation_id=request.conversation.id,
                turn=request.turn,
                index=index,
                text=text,
                token_ids=token_ids,
                finished=finished,
                simulator_version=request.adapter.version,
            )
            for index, (text, token_ids, finished) in enumerate(texts)
            if text
        ]

    async def next_turn(self, request: NextTurnRequest) -> NextTurn:
        """The user's next turn on a real prefix."""
        self._require(request.adapter)
        speaker = self._speaker(request.adapter, request.sampling)
        said = await speaker.speak(request.scenario.context, request.prefix, seed=request.seed)
        return NextTurn(
            dialogue_id=request.scenario.id,
            turn=len(request.prefix),
            text=strip_end(said.text)[0],
            finished=said.finished,
        )

    async def replay(self, request: ReplayRequest) -> ReplayedReply:
        """A chatbot's reply to a real prefix."""
        return await replay(
            request,
            chatbot=self._chatbot(request.chatbot, request.seed),
            timeout_s=self._spec.rollout.turn_timeout_s,
        )

    async def logprobs(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, use_adapter: bool = True
    ) -> list[float]:
        """Natural-log probabilities of completion tokens under the adapter being served, or the base model."""
        return await self._engine.logprobs(prompt_ids, completion_ids, use_adapter=use_adapter)

    def _require(self, adapter: AdapterRef | None) -> None:
        if adapter is None:
            return
        held = self._adapter
        if held is None or (held.version, held.sha256) != (adapter.version, adapter.sha256):
            has = "no adapter" if held is None else f"version {held.version} ({held.sha256[:12]})"
            raise DeliveryError(
                f"{self._name} holds {has}, expected version {adapter.version} ({adapter.sha256[:12]}); it was "
                "not pushed to it. Run the same command to resume: the push is repeated first"
            )

    def _chatbot(self, name: str, seed: int) -> ChatbotSpeaker:
        """Where chatbots were named, the one of that name; else the run's own, whatever the task calls it."""
        speakers = self._named.get(name) if self._named else self._chatbots
        if not speakers:
            raise ConfigError(f"no chatbot is called {name!r}, expected one of {', '.join(sorted(self._named))}")
        return speakers[seed % len(speakers)]

    def _speaker(self, adapter: AdapterRef | None, sampling: SamplingConfig) -> SimulatorSpeaker:
        return _EngineSimulator(self, sampling, use_adapter=adapter is not None)

    def _request(
        self, prompt_ids: tuple[int, ...], sampling: SamplingConfig, *, use_adapter: bool, num_samples: int, seed: int
    ) -> GenerationRequest:
        return GenerationRequest(
            prompt_ids=prompt_ids,
            num_samples=num_samples,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop_token_ids=self._prompts.stop_token_ids,
            stop_texts=(END_TOKEN,),
            use_adapter=use_adapter,
            seed=seed,
        )


class _EngineSimulator:
    """Speaks the user through an actor's engine."""

    def __init__(self, actor: SimulatorActor, sampling: SamplingConfig, *, use_adapter: bool) -> None:
        self._actor = actor
        self._sampling = sampling
        self._use_adapter = use_adapter

    async def speak(self, context: Context, turns: Sequence[Turn], *, seed: int) -> Utterance:
        actor = self._actor
        prompt_ids = actor._prompts.prompt(context, turns)
        request = actor._request(prompt_ids, self._sampling, use_adapter=self._use_adapter, num_samples=1, seed=seed)
        completion = (await actor._engine.generate(request))[0]
        return Utterance(
            text=completion.text,
            token_ids=completion.token_ids,
            finished=completion.finished,
            num_prompt_tokens=len(prompt_ids),
        )


class EngineChatbot:
    """Speaks the chatbot through an engine in this process."""

    def __init__(self, engine: Engine, prompts: ChatbotPrompts, sampling: SamplingConfig) -> None:
        self._engine = engine
        self._prompts = prompts
        self._sampling = sampling

    async def reply(self, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """See :class:`advsim.rollout.turn_loop.ChatbotSpeaker`."""
        prompt_ids = self._prompts.prompt(turns)
        request = GenerationRequest(
            prompt_ids=prompt_ids,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_tokens,
            stop_token_ids=self._prompts.stop_token_ids,
            seed=seed,
        )
        completion = (await self._engine.generate(request))[0]
        return Utterance(
            text=completion.text,
            token_ids=completion.token_ids,
            finished=completion.finished,
            num_prompt_tokens=len(prompt_ids),
        )


class RemoteChatbot:
    """Speaks the chatbot through a chatbot actor; ``name`` is one of its named chatbots, empty for its own."""

    def __init__(self, actor: Any, name: str = "") -> None:
        self._actor = actor
        self._name = name

    async def reply(self, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """See :class:`advsim.rollout.turn_loop.ChatbotSpeaker`."""
        from ray.exceptions import RayActorError

        try:
            said: Utterance = await self._actor.reply.remote(turns, seed, self._name)
        except (RayActorError, EngineError) as error:
            raise ChatbotError(f"the chatbot engine failed: {error}") from error
        return said


class ChatbotActor:
    """One engine of the chatbot pool."""

    def __init__(self, spec: ChatbotSpec) -> None:
        redirect_output(spec.log_file)
        self._engine = build_engine(spec.engine)
        tokenizer = load_tokenizer(resolve_model(spec.engine.model))
        prompts = chatbot_prompts(spec.chatbot, tokenizer, budget_tokens=spec.budget_tokens)
        self._chatbot = EngineChatbot(self._engine, prompts, spec.chatbot.sampling)
        self._named = {
            config.name: named_chatbot(config, self._engine, spec.engine, tokenizer) for config in spec.named_chatbots
        }

    async def start(self) -> float:
        """Start the engine; returns the seconds it took."""
        started = time.monotonic()
        await self._engine.start()
        return time.monotonic() - started

    async def reply(self, turns: Sequence[Turn], seed: int, name: str = "") -> Utterance:
        """The reply to ``turns`` of the chatbot of that name, or of this actor's own."""
        return await (self._named[name] if name else self._chatbot).reply(turns, seed=seed)


def named_chatbot(
    config: ChatbotConfig, engine: Engine, spec: EngineSpec, tokenizer: PreTrainedTokenizerBase
) -> EngineChatbot:
    """A chatbot that is a system prompt and a sampling on an engine that is there anyway; a scripted one needs none."""
    prompts = chatbot_prompts(config, tokenizer, budget_tokens=spec.config.max_model_len - config.sampling.max_tokens)
    if config.kind == "scripted":
        engine = build_engine(EngineSpec(kind="scripted", config=spec.config, model=spec.model, replies=config.replies))
    return EngineChatbot(engine, prompts, config.sampling)


def chatbot_prompts(config: ChatbotConfig, tokenizer: PreTrainedTokenizerBase, *, budget_tokens: int) -> ChatbotPrompts:
    """The prompts that a chatbot's configuration describes."""
    return ChatbotPrompts(
        tokenizer,
        system_prompt=config.system_prompt,
        budget_tokens=budget_tokens,
        examples=[(example.user, example.chatbot) for example in config.examples or ()],
    )


def redirect_output(log_file: str) -> None:
    """Send this process's (and its children's) output to a file of the run folder, off the user's screen."""
    if not log_file:
        return
    try:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        return  # on another machine the run folder may not exist: Ray keeps the output in its own logs there
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
