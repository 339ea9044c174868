"""A chat request -> what the simulator is asked: whose next message, how it is drawn, and how it is sent back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advsim.config import SamplingConfig
from advsim.records import Context, Scenario, Speaker, Turn
from advsim.serve.body import ChatBody, OwnKeys, chat_body
from advsim.serve.dialogue import Heard, Roles, SystemUse, context_of, hear
from advsim.serve.errors import RequestError, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where a request does not say otherwise.

    Attributes:
        sampling: of the run's rollouts; no answer is longer than its ``max_tokens``.
        roles: who is ``assistant``; see :mod:`advsim.serve.dialogue`.
        system: whether system messages are the person's context.
        end_text: put behind the last message of a person who leaves.
    """

    sampling: SamplingConfig
    roles: Roles = "caller"
    system: SystemUse = "context"
    end_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A request for the person's next message."""

    model: str
    scenario: str | None
    context: Context
    turns: tuple[Turn, ...]
    sampling: SamplingConfig
    seed: int
    end_text: str
    stream: bool
    include_usage: bool


def read_chat(values: dict[str, Any], *, scenarios: Mapping[str, Scenario], defaults: Defaults) -> Chat:
    """Read a request.

    Args:
        values: its JSON.
        scenarios: that may be asked for, by id.
        defaults: of what it does not say.

    Raises:
        RequestError: it cannot be answered, and why.
    """
    body = chat_body(values)
    own = body.advsim or OwnKeys()
    heard = hear(body.messages, roles=own.roles or defaults.roles)
    context = _context(own, heard, scenarios=scenarios, use=own.system or defaults.system)
    if not heard.turns:
        _check_may_open(own, heard, scenarios)
    options = body.stream_options
    return Chat(
        model=body.model,
        scenario=own.scenario,
        context=context,
        turns=heard.turns,
        sampling=_sampling(body, defaults.sampling),
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        end_text=defaults.end_text if own.end_text is None else own.end_text,
        stream=bool(body.stream),
        include_usage=bool(options is not None and options.include_usage),
    )


def _context(own: OwnKeys, heard: Heard, *, scenarios: Mapping[str, Scenario], use: SystemUse) -> Context:
    system = heard.system if use == "context" else ""
    given = [name for name, value in (("scenario", own.scenario), ("context", own.context)) if value is not None]
    if len(given) == 2:
        raise invalid("advsim: got scenario and context, which say the same thing; give one of them", param="advsim")
    if given and system:
        raise invalid(
            f"advsim.{given[0]} and a system message both say who the person is; leave one out, or send advsim.system "
            "= 'ignore' where your program writes system messages by itself",
            param="messages",
            code="two_contexts",
        )
    if own.context is not None:
        return context_of(own.context)
    if own.scenario is not None:
        return _scenario(own.scenario, scenarios).context
    return Context(session=system)


def _scenario(name: str, scenarios: Mapping[str, Scenario]) -> Scenario:
    scenario = scenarios.get(name)
    if scenario is None:
        some = ", ".join(list(scenarios)[:3])
        raise RequestError(
            404,
            f"advsim.scenario: there is no {name[:100]!r} among the {len(scenarios)} dialogues that the run keeps from "
            f"training ({some}, ...); GET /v1/scenarios lists them",
            code="unknown_scenario",
            param="advsim",
        )
    return scenario


def _check_may_open(own: OwnKeys, heard: Heard, scenarios: Mapping[str, Scenario]) -> None:
    """Without a message of the chatbot the person writes first: where it is known who they are, and they did."""
    if own.scenario is not None and (scenario := _scenario(own.scenario, scenarios)).opens_with is Speaker.CHATBOT:
        raise invalid(
            "messages are empty, but in this scenario the chatbot writes first; send its greeting. The real one was: "
            f"{scenario.opening[:300]!r}",
            param="messages",
            code="empty_messages",
        )
    if own.scenario is None and own.context is None and not heard.system:
        raise invalid(
            "messages are empty; send your chatbot's first message, or say who writes first by advsim.scenario, "
            "advsim.context or a system message",
            param="messages",
            code="empty_messages",
        )


def _sampling(body: ChatBody, default: SamplingConfig) -> SamplingConfig:
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
    given = {"temperature": body.temperature, "top_p": body.top_p}
    changes: dict[str, Any] = {name: float(value) for name, value in given.items() if value is not None}
    return default.model_copy(update={**changes, "max_tokens": min([default.max_tokens, *limits])})
