"""How prompts are built, and the conversations of a round: the simulator's part and the chatbot that it meets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jmespath
from pydantic import Field, field_validator, model_validator

from advsim.config.base import Count, DisplayName, Flag, Seconds, Section, not_json_place, secret_place
from advsim.config.model import ModelConfig, SamplingConfig
from advsim.config.paths import check_web_address

SIMULATOR_INSTRUCTIONS = (
    "You play a person who writes to a support chatbot. Write only this person's next message, the way they would type "
    "it. When they would leave the chat, end the message with [END]."
)


class PromptConfig(Section):
    """How prompts are built (see :mod:`advsim.prompts.frames`)."""

    instructions: str = SIMULATOR_INSTRUCTIONS
    max_context_tokens: Annotated[int, Field(ge=64, le=10_000_000, strict=True)] = 15_000
    """Budget of context layers and history together [paper]; the model's own length limits it further."""


class RolloutConfig(Section):
    """Simulated conversations on the training scenarios."""

    num_conversations: Count = 32
    """Conversations a round. Scenarios are used in a fresh order each round; more than there are repeats them."""
    max_user_turns: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 8
    """User turns of a conversation at most. Real dialogues are cut to the same number where the two are compared."""
    max_concurrent: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 32
    """Conversations under way on one simulator engine at once."""
    sampling: SamplingConfig = SamplingConfig()
    max_regenerations: Annotated[int, Field(ge=0, le=1_000, strict=True)] = 2
    """How often an empty or role-breaking user turn is drawn again before the conversation is ended by it."""
    turn_timeout_s: Seconds = 300.0


class ExampleConfig(Section):
    """One exchange that the chatbot is shown before the dialogue, as if it had been said."""

    user: Annotated[str, Field(min_length=1)]
    chatbot: Annotated[str, Field(min_length=1)]


EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""NAME of an environment variable, never what is in it."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET = re.compile(r"(?i)auth|cookie|passw|secret|token|api.?key|[-_]key$|^key$|credential")
"""Names of headers that hold what may not be written down."""
_OF_EACH_REQUEST = ("content-type", "content-length", "host", "accept-encoding", "transfer-encoding", "connection")
_OF_THE_BODY = ("messages", "stream", "n")
PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
"""A place in a request's template."""


class CallsConfig(Section):
    """How a chatbot outside of advsim is called, and when that has failed."""

    timeout_s: Seconds = 60.0
    """Seconds for one answer; waiting for a place among ``max_concurrency`` is not counted."""
    load_timeout_s: Seconds = 120.0
    """Seconds for loading the code of a ``function``: it must not serve or wait when it is imported."""
    max_concurrency: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 8
    """Calls under way at once; shared out over ``resources.chatbot.num_replicas``."""
    max_per_minute: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] | None = None
    """Calls a minute, evenly spaced, repeated ones too; None: no limit."""
    max_attempts: Annotated[int, Field(ge=1, le=100, strict=True)] = 4
    """How often a message is sent at most. Where the chatbot keeps the dialogue itself, only a message that it cannot
    have heard (no connection, HTTP 429 or 503) is sent again."""
    backoff_s: Seconds = 1.0
    """The first wait is up to so long, each next up to twice as long; or what a server asks for, where it is longer."""
    max_backoff_s: Seconds = 30.0
    max_retry_after_s: Seconds = 300.0
    """A server that asks for a longer wait than this is not asked again for this message."""
    max_answer_bytes: Annotated[int, Field(ge=1_024, le=2**30, strict=True)] = 2**20
    """Of one answer, also decompressed; what is longer is not read."""
    max_reply_characters: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] = 20_000
    """Of one message; a longer one is no message, and would fill every prompt after it."""
    max_failures_in_a_row: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 10
    """Messages in a row without a reply after which the chatbot is not asked again within this piece of work."""
    cache: Flag = False
    """For a chatbot that always answers the same to the same turns: an equal request gets the answer that it got
    before, without a call, as long as the calling actor lives. Not for one that keeps the dialogue."""


class PriceConfig(Section):
    """What the tokens of a chatbot cost. Both prices have to be given; what is free costs 0."""

    per_million_prompt_tokens: Annotated[float, Field(ge=0.0, le=1e9, strict=True)]
    """Money for a million tokens that the chatbot reads."""
    per_million_output_tokens: Annotated[float, Field(ge=0.0, le=1e9, strict=True)]
    """Money for a million tokens that it writes."""
    currency: Annotated[str, Field(pattern=r"^[A-Za-z]{1,12}$")] = "USD"
    """A word that is shown behind every cost; nothing is converted."""


class _Address(Section):
    """An address that dialogues are sent to, and what lets them in."""

    allow_http: Flag = False
    """Leave to send dialogues and key to another machine in the clear; ``https`` and this machine need none."""
    api_key_env: EnvironmentName | None = None
    """NAME of the environment variable with the key, never the key; it is sent as ``Authorization: Bearer``."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers. Secrets do not belong here: what stands here is kept with the run."""
    headers_env: dict[str, EnvironmentName] = Field(default_factory=dict)
    """Headers by the NAME of the environment variable that holds their value, for example ``{X-Api-Key: BOT_KEY}``."""
    body_env: dict[str, EnvironmentName] = Field(default_factory=dict)
    """Keys of each request by the NAME of the environment variable that holds their value, for example ``{api_key:
    BOT_KEY}``; dots reach into mappings: ``{auth.token: BOT_TOKEN}``."""

    @model_validator(mode="after")
    def _headers_can_be_sent(self) -> _Address:
        names = [*self.headers, *self.headers_env]
        for name in names:
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"headers: got {name!r}, which is no name of a header")
            if name.lower() in _OF_EACH_REQUEST:
                raise ValueError(f"headers: got {name}, which each request has of its own; leave it out")
        doubled = sorted({name.lower() for name in names if [other.lower() for other in names].count(name.lower()) > 1})
        if doubled:
            raise ValueError(f"headers: got {doubled[0]} twice, in headers or headers_env; leave one out")
        for name, value in self.headers.items():
            if _SECRET.search(name) or secret_place(value, where=name):
                raise ValueError(
                    f"headers: {name} is a secret, and what stands here is kept with the run; put its value into an "
                    "environment variable and the variable's name into headers_env, or a bearer key's into api_key_env"
                )
            if not value.isprintable() or not value.isascii():
                raise ValueError(f"headers: the value of {name} holds characters that cannot be sent")
        return self

    def _check_body(self, body: Mapping[str, Any], *, key: str) -> Mapping[str, Any]:
        """What each request holds, secrets by the names of their variables.

        Raises:
            ValueError: a secret stands in it, or a key of ``body_env`` fits in no place of it.
        """
        if place := not_json_place(body, where=key):
            raise ValueError(f"{place} is no value that JSON has; write a text, a finite number, true, false or null")
        place = secret_place(body, where=key)
        if place is not None:
            name = place.removeprefix(f"{key}.")
            raise ValueError(
                f"{place} is a secret, and what stands here is kept with the run; put its value into an environment "
                f"variable, take it out here, and name the variable in body_env, as in {{{name}: NAME}} (or in "
                "api_key_env or headers_env, where the server takes it as a header)"
            )
        return with_keys(body, self.body_env)


class ChatEndpointConfig(_Address):
    """An OpenAI-compatible chat endpoint."""

    base_url: str
    """Up to and with ``/v1``."""
    model: DisplayName
    """Name of the model or bot there."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further keys of each request, for example ``{temperature: 0.7, max_tokens: 128}``; without them the server's
    own."""
    session_field: Annotated[str, Field(min_length=1)] | None = None
    """For a chatbot that keeps the dialogue itself: the key of the request that carries the conversation's id. It is
    then sent the new message alone, with the system prompt where there is one. None: all turns are sent each time."""
    stream: Flag = False
    """Ask for the answer in parts, for a chatbot that answers so alone or otherwise when it does; it is read once it is
    whole. Token counts are asked for by ``stream_options``, which ``extra_body`` can override; null leaves it out."""

    @model_validator(mode="after")
    def _address_and_keys(self) -> ChatEndpointConfig:
        check_web_address(
            self.base_url,
            key="base_url",
            form="http(s)://host:port/v1",
            allow_http=self.allow_http,
            allow_key="endpoint.allow_http",
        )
        body = self._check_body(self.extra_body, key="extra_body")
        if self.session_field in body:
            raise ValueError(f"session_field: {self.session_field} is in extra_body or body_env too; leave one out")
        own = [key for key in (*body, self.session_field) if key in _OF_THE_BODY or key == "model"]
        if own:
            raise ValueError(
                f"got the key {own[0]} in extra_body, body_env or session_field, which each request has of its own"
            )
        return self


class HttpApiConfig(_Address):
    """A JSON API of one's own."""

    url: str
    """Where each message is posted to."""
    body: dict[str, Any] = Field(default_factory=lambda: {"messages": "{messages}"})
    """The request, as JSON, with places: ``{message}`` the user's new message, ``{messages}`` all turns as a list,
    ``{session}`` the conversation's id. Without ``{messages}`` but with ``{session}`` the chatbot is taken to keep the
    dialogue itself. ``{{`` and ``}}`` are single braces."""
    turn: dict[str, str] = Field(default_factory=lambda: {"role": "{role}", "content": "{text}"})
    """One turn of ``{messages}``."""
    roles: tuple[str, str] = ("user", "assistant")
    """What the user's turns and the chatbot's are called in ``{role}``."""
    reply: str = "reply"
    """JMESPath to the reply in the answer, for example ``choices[0].message.content``; empty: the answer is plain
    text."""

    @field_validator("reply")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        try:
            if value:
                jmespath.compile(value)
        except jmespath.exceptions.JMESPathError as error:
            raise ValueError(f"is no JMESPath ({' '.join(str(error).split())[:120]}); see jmespath.org") from None
        return value

    @model_validator(mode="after")
    def _address_and_places(self) -> HttpApiConfig:
        check_web_address(
            self.url, key="url", form="http(s)://host/path", allow_http=self.allow_http, allow_key="http.allow_http"
        )
        for key, template, known in (
            ("body", self.body, {"message", "messages", "session"}),
            ("turn", self.turn, {"role", "text"}),
        ):
            unknown = sorted(places_in(template) - known)
            if unknown:
                raise ValueError(
                    f"{key}: there is no {{{unknown[0]}}} to put in, expected some of "
                    f"{', '.join(f'{{{name}}}' for name in sorted(known))}; write {{{{{unknown[0]}}}}} for the braces"
                )
        self._check_body(self.body, key="body")
        if len(set(self.roles)) < 2 or not all(role.strip() for role in self.roles):
            raise ValueError(
                f"roles: got {list(self.roles)}, expected two names, by which the chatbot tells who speaks"
            )
        if "messages" in places_in(self.body) and "text" not in places_in(self.turn):
            raise ValueError("turn: got no {text}, so the chatbot would not hear what was said")
        if place := secret_place(self.turn, where="turn"):
            raise ValueError(f"{place} is a secret, and what stands here is kept with the run; put it into body_env")
        if not places_in(self.body) & {"message", "messages"}:
            raise ValueError("body: got neither {message} nor {messages}, so the chatbot would never hear the user")
        return self


def with_keys(body: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A request with further keys; dots in their names reach into mappings, which are made where they are not there.

    Raises:
        ValueError: a key is there already, is empty, or reaches into what is no mapping.
    """
    filled = dict(body)
    for name, value in values.items():
        inside = filled
        *way, last = name.split(".")
        for part in way:
            nested = inside.get(part, {})
            if not part or not isinstance(nested, Mapping):
                raise ValueError(f"body_env: {name} reaches into {part!r}, which is no mapping in the request")
            inside[part] = inside = dict(nested)
        if not last or last in inside:
            raise ValueError(f"body_env: {name} is in the request already, or is no key; leave it out in one place")
        inside[last] = value
    return filled


def places_in(template: Any) -> set[str]:
    """Names of the places in a request's template, at any depth."""
    if isinstance(template, str):
        return set(PLACEHOLDER.findall(template.replace("{{", "").replace("}}", "")))
    if isinstance(template, Mapping):
        return set().union(*map(places_in, template.values()))
    return set().union(*map(places_in, template)) if isinstance(template, list | tuple) else set()


class ChatbotConfig(Section):
    """The chatbot under test."""

    name: DisplayName = "assistant"
    kind: Literal["model", "scripted", "endpoint", "http", "python"] = "model"
    """``model``: a model on vLLM with a system prompt; ``endpoint``: an OpenAI-compatible chat endpoint; ``http``: a
    JSON API of one's own; ``python``: a function or class; ``scripted``: fixed replies, for tests and examples."""
    model: ModelConfig | None = None
    """None: the simulator's base model, without the adapter."""
    system_prompt: str = (
        "You are a warm, brief support chatbot. Listen first, reflect what you hear, ask one open question at a time."
    )
    """Of kind ``model``; also of an ``endpoint``, which gets none unless one is given."""
    examples: tuple[ExampleConfig, ...] | None = None
    """Few-shot exchanges in front of every dialogue. A small model copies these where it hardly follows a prompt."""
    replies: tuple[str, ...] = ()
    """Replies of a scripted chatbot, used in turn."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.7, top_p=0.95, max_tokens=64)
    endpoint: ChatEndpointConfig | None = None
    """Of kind ``endpoint``."""
    http: HttpApiConfig | None = None
    """Of kind ``http``."""
    function: str | None = None
    """Of kind ``python``: ``package.module:name`` or ``path/to/file.py:name``. A function, sync or async, gets all
    turns as ``[{"role": "user", "content": ...}, ...]`` and returns the reply; a class is made once a conversation, and
    its ``reply`` gets the new message alone. It runs in the chatbot actors, with the rights of who started them."""
    calls: CallsConfig = CallsConfig()
    """Of the kinds ``endpoint``, ``http`` and ``python``."""
    price: PriceConfig | None = None
    """What its tokens cost, of every kind but ``scripted``; None: no cost is shown. Decides nothing that is said."""

    @property
    def is_called(self) -> bool:
        """Whether it is something outside of advsim, without an engine here."""
        return self.kind in ("endpoint", "http", "python")

    @model_validator(mode="before")
    @classmethod
    def _no_prompt_of_ours(cls, values: Any) -> Any:
        """What is called has a character of its own: it gets no system prompt that nobody wrote for it."""
        if isinstance(values, dict) and values.get("kind") in ("endpoint", "http", "python"):
            return {"system_prompt": "", **values}
        return values

    @model_validator(mode="after")
    def _scripted_has_replies(self) -> ChatbotConfig:
        if self.kind == "scripted" and not self.replies:
            raise ValueError("a scripted chatbot needs at least one entry in chatbot.replies")
        if self.kind != "scripted" and self.replies:
            raise ValueError(
                "chatbot.replies are those of a scripted chatbot; set chatbot.kind to scripted, or drop them"
            )
        if not all(reply.strip() for reply in self.replies):
            raise ValueError("chatbot.replies: got an empty reply, expected text in each")
        if self.kind == "scripted" and self.price is not None:
            raise ValueError(
                "chatbot.price does nothing with chatbot.kind scripted, whose replies are free; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> ChatbotConfig:
        for kind, key in (("endpoint", "endpoint"), ("http", "http"), ("python", "function")):
            value = getattr(self, key)
            if kind == self.kind and value is None:
                raise ValueError(f"a chatbot of kind {kind} needs chatbot.{key}")
            if kind != self.kind and value is not None:
                raise ValueError(
                    f"chatbot.{key} is of kind {kind}, but chatbot.kind is {self.kind}; change one of them"
                )
        if self.is_called:
            self._check_called()
        elif self.calls != CallsConfig():
            raise ValueError(
                f"chatbot.calls are of the kinds endpoint, http and python, but chatbot.kind is {self.kind}"
            )
        return self

    def _check_called(self) -> None:
        unused = {"model": self.model is not None, "sampling": self.sampling != ChatbotConfig().sampling}
        if self.kind != "endpoint":
            unused |= {"system_prompt": bool(self.system_prompt), "examples": self.examples is not None}
        for key, is_given in unused.items():
            if is_given:
                hint = (
                    "put the endpoint's own keys into endpoint.model and endpoint.extra_body"
                    if self.kind == "endpoint"
                    else "its prompt is its own"
                )
                raise ValueError(f"chatbot.{key} does nothing with chatbot.kind {self.kind}; leave it out, {hint}")
        is_told_session = (self.endpoint is not None and self.endpoint.session_field is not None) or (
            self.http is not None and "session" in places_in(self.http.body)
        )
        if self.calls.cache and is_told_session:
            raise ValueError(
                "chatbot.calls.cache is for chatbots whose answer hangs on the turns alone, but this one is told the "
                "conversation's id; leave one of them out"
            )
        if self.function is not None and not re.fullmatch(r"[^:\s][^:]*:[A-Za-z_]\w*", self.function):
            raise ValueError(
                f"chatbot.function: got {self.function[:100]!r}, expected package.module:name or path/to/file.py:name"
            )
