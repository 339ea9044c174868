"""The simulator pool's Ray actor: an engine that speaks the user and drives whole conversations.

driver --RolloutTask--> SimulatorActor --turns--> ChatbotActor (or the same engine without adapter: colocated)
       <-Conversation--                <-reply---
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from advsim.chatbots.actor import RemoteChatbot
from advsim.chatbots.on_engine import EngineChatbot, chatbot_prompts, named_chatbot
from advsim.chatbots.protocol import ChatbotSpeaker, Utterance
from advsim.config import ChatbotConfig, RolloutConfig, SamplingConfig
from advsim.engine.actor import EngineActor
from advsim.engine.build import build_engine
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest
from advsim.errors import ConfigError, DeliveryError
from advsim.models.adapter import adapter_sha256
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.prompts.text import END_TOKEN, strip_end
from advsim.records import AdapterRef, Candidate, Context, Conversation, NextTurn, Scenario, Turn
from advsim.rollout.choice.spec import ChoiceSpec
from advsim.rollout.delivery import Acknowledgement, Delivery
from advsim.rollout.replay import ReplayedReply, ReplayRequest, replay
from advsim.rollout.scratch import AdapterScratch
from advsim.rollout.turn_loop import RolloutTask, simulate
from advsim.rollout.user_turn import ScriptedSimulator, SimulatorSpeaker, UserTurn, draw_user_turn
from advsim.runtime.actors import redirect_output

if TYPE_CHECKING:
    from advsim.rollout.choice.best_of import BestOf

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSpec:
    """What a simulator actor is started with."""

    engine: EngineSpec
    instructions: str
    budget_tokens: int
    rollout: RolloutConfig
    chatbot: ChatbotConfig | None  # set where the chatbot shares this engine
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
class DrawRequest:
    """Draw ``num_draws`` alternatives for the user turn behind a real prefix."""

    dialogue_id: str
    context: Context
    prefix: tuple[Turn, ...]
    num_draws: int
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
    lines: tuple[str, ...] = ()  # the user says these in turn, and no model is asked
    best_of: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTurnRequest:
    """Write the user's next turn of a dialogue that is held elsewhere."""

    context: Context
    turns: tuple[Turn, ...]  # none, or they end with the chatbot's
    sampling: SamplingConfig
    adapter: AdapterRef | None
    seed: int
    best_of: int = 1


class SimulatorActor(EngineActor):
    """One rollout engine: speaks the user with the current adapter and drives whole conversations."""

    def __init__(self, spec: SimulatorSpec, name: str) -> None:
        redirect_output(spec.log_file)
        self._spec = spec
        self._name = name
        self._engine: Engine = build_engine(spec.engine)
        self._adapter: AdapterRef | None = None
        self._best_of: BestOf | None = None
        self._reader = ThreadPoolExecutor(1, "reader")  # one choice at a time, also where nobody waits for the last
        self._scratch = AdapterScratch()
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

    def use_chatbots(self, actors: Sequence[Any], names: Sequence[str] = ()) -> None:
        """Talk to these chatbot actors instead of the colocated chatbot; ``names`` are the named chatbots they hold."""
        self._chatbots = tuple(RemoteChatbot(actor) for actor in actors)
        self._named |= {name: tuple(RemoteChatbot(actor, name) for actor in actors) for name in names}

    def use_callers(self, actors: Sequence[Any], names: Sequence[str]) -> None:
        """Talk through these calling actors to the chatbots of these names, beside those that are there."""
        self._named |= {name: tuple(RemoteChatbot(actor, name, is_called=True) for actor in actors) for name in names}

    async def load_adapter(self, delivery: Delivery) -> Acknowledgement:
        """Write the adapter to local disk, load it, and say what is held now."""
        started = time.monotonic()
        folder = self._scratch.path / f"v{delivery.adapter.version}"
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, content in delivery.files.items():
            (folder / file_name).write_bytes(content)
        sha256 = adapter_sha256(folder)
        best_of = None if delivery.choice is None else await self._in_reader(self._read_choice, delivery.choice)
        await self._engine.load_adapter(delivery.adapter, folder)
        self._best_of = best_of
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
        self._require(task.adapter, task.best_of)
        return await simulate(
            task,
            simulator=self._speaker(task.adapter, self._spec.rollout.sampling, task.lines, task.best_of),
            chatbot=self._chatbot(task.chatbot, task.seed),
            config=self._spec.rollout,
            instructions=self._spec.instructions,
        )

    async def candidates(self, request: CandidateRequest) -> list[Candidate]:
        """Alternatives for one user turn on its own prefix; index 0 is the text it has."""
        self._require(request.adapter)
        original = request.conversation.turns[request.turn]
        limit = self._spec.rollout.sampling.max_tokens
        candidates = await self._draw(
            request.conversation.id,
            request.context,
            request.conversation.turns[: request.turn],
            num_draws=request.num_candidates,
            sampling=request.sampling,
            version=request.adapter.version,
            seed=request.seed,
        )
        first = Candidate(
            conversation_id=request.conversation.id,
            turn=request.turn,
            index=0,
            text=original.text,
            token_ids=original.token_ids,
            finished=len(original.token_ids) < limit,
            simulator_version=request.adapter.version,
        )
        return [first, *candidates] if original.text else candidates

    async def draws(self, request: DrawRequest) -> list[Candidate]:
        """Alternatives for the user turn behind a real prefix, numbered from 1; empty ones are left out."""
        self._require(request.adapter)
        return await self._draw(
            request.dialogue_id,
            request.context,
            request.prefix,
            num_draws=request.num_draws,
            sampling=request.sampling,
            version=request.adapter.version,
            seed=request.seed,
        )

    async def _draw(
        self,
        conversation_id: str,
        context: Context,
        prefix: tuple[Turn, ...],
        *,
        num_draws: int,
        sampling: SamplingConfig,
        version: int,
        seed: int,
    ) -> list[Candidate]:
        prompt_ids = self._prompts.prompt(context, prefix)
        completions = await self._engine.generate(
            self._request(prompt_ids, sampling, use_adapter=True, num_samples=num_draws, seed=seed)
        )
        texts = [strip_end(completion.text)[0] for completion in completions]
        return [
            Candidate(
                conversation_id=conversation_id,
                turn=len(prefix),
                index=index,
                text=text,
                token_ids=completion.token_ids,
                finished=completion.finished,
                simulator_version=version,
            )
            for index, (text, completion) in enumerate(zip(texts, completions, strict=True), start=1)
            if text
        ]

    async def next_turn(self, request: NextTurnRequest) -> NextTurn:
        """The user's next turn on a real prefix."""
        self._require(request.adapter, request.best_of)
        speaker = self._speaker(request.adapter, request.sampling, request.lines, request.best_of)
        said = await speaker.speak(request.scenario.context, request.prefix, seed=request.seed)
        return NextTurn(
            dialogue_id=request.scenario.id,
            turn=len(request.prefix),
            text=strip_end(said.text)[0],
            finished=said.finished,
        )

    async def user_turn(self, request: UserTurnRequest) -> UserTurn:
        """The user's next turn, drawn as in :meth:`simulate`.

        Raises:
            DeliveryError: this engine does not hold the adapter the request asks for.
            ContextOverflowError: the prompt does not fit.
        """
        self._require(request.adapter, request.best_of)
        return await draw_user_turn(
            self._speaker(request.adapter, request.sampling, best_of=request.best_of),
            request.context,
            request.turns,
            seed=request.seed,
            max_regenerations=self._spec.rollout.max_regenerations,
            instructions=self._spec.instructions,
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

    def close(self) -> None:
        """End the engine and its processes, and remove the adapters on this machine's disk."""
        super().close()
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._scratch.remove()

    def _require(self, adapter: AdapterRef | None, best_of: int = 1) -> None:
        if best_of > 1 and self._best_of is None:
            raise DeliveryError(f"{self._name} holds no probe to choose among {best_of} draws by; push it first")
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

    def _speaker(
        self, adapter: AdapterRef | None, sampling: SamplingConfig, lines: Sequence[str] = (), best_of: int = 1
    ) -> SimulatorSpeaker:
        if lines:
            return ScriptedSimulator(lines)
        return _EngineSimulator(self, sampling, use_adapter=adapter is not None, best_of=best_of)

    async def _choose(self, context: Context, turns: Sequence[Turn], texts: Sequence[str]) -> int:
        """Index of the text that the probe chooses."""
        assert self._best_of is not None, "whoever asks for several draws was refused without it"
        return await self._in_reader(self._best_of.choose, context, turns, texts)

    def _read_choice(self, choice: ChoiceSpec) -> BestOf:
        from advsim.rollout.choice.best_of import BestOf

        return BestOf(choice, use_gpu=self._spec.engine.num_gpus > 0)

    async def _in_reader(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)

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

    def __init__(self, actor: SimulatorActor, sampling: SamplingConfig, *, use_adapter: bool, best_of: int) -> None:
        self._actor = actor
        self._sampling = sampling
        self._use_adapter = use_adapter
        self._best_of = best_of

    async def speak(self, context: Context, turns: Sequence[Turn], *, seed: int) -> Utterance:
        actor = self._actor
        prompt_ids = actor._prompts.prompt(context, turns)
        request = actor._request(
            prompt_ids, self._sampling, use_adapter=self._use_adapter, num_samples=self._best_of, seed=seed
        )
        draws = await actor._engine.generate(request)
        chosen = 0 if len(draws) == 1 else await actor._choose(context, turns, [draw.text for draw in draws])
        return Utterance(
            text=draws[chosen].text,
            token_ids=draws[chosen].token_ids,
            finished=draws[chosen].finished,
            num_prompt_tokens=len(prompt_ids),
            num_drawn_tokens=sum(len(draw.token_ids) for draw in draws),
        )
