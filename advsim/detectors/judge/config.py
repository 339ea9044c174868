"""The settings of a judge: which model, how it is asked, and when its answer counts."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from advsim.config import NonNegativeInt, PositiveFloat, PositiveInt, Section


class JudgeConfig(Section):
    """A judge: which model, how it is asked, and when its answer counts."""

    name: Annotated[str, Field(min_length=1)] = "judge"
    """Stands in every label it makes; give two judges of one study different names."""
    base_url: str = "http://127.0.0.1:8000/v1"
    """An OpenAI-compatible endpoint, up to and with ``/v1``. The default is a vLLM server on this machine."""
    model: str = ""
    """Name of the model at the endpoint."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """NAME of the environment variable with the key, never the key; None: the endpoint needs none."""
    scope: Literal["rubric", "mode"] = "rubric"
    """``rubric``: all modes in one call; ``mode``: one call a mode, for small models, as many times dearer."""
    modes: tuple[str, ...] = ()
    """Ids of the modes to judge; empty: all of the taxonomy."""
    num_examples: NonNegativeInt = 1
    """Examples, and as many counter-examples, a mode in the prompt. With 1 the whole rubric is about 5,000 tokens."""
    max_context_turns: NonNegativeInt = 20
    """Turns before the message that the judge sees."""
    num_votes: Annotated[int, Field(ge=1, le=100)] = 1
    """How often each question is asked, with another seed each time. Above 1, the confidence is the share of votes."""
    min_agreement: Annotated[float, Field(gt=0.5, le=1.0)] = 0.6
    """Share of the votes that a verdict on a mode needs, present or absent; below, the judge abstains."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = 0.0
    """None leaves it to the server, for models that refuse the key."""
    seed: int = 0
    max_tokens: PositiveInt = 1024
    """Of an answer. Models that think first need more."""
    token_limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls that limit."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further keys of each request, for example ``{chat_template_kwargs: {enable_thinking: false}}``."""
    max_concurrency: PositiveInt = 16
    """Calls under way at once."""
    timeout_s: PositiveFloat = 60.0
    """Seconds for one answer."""
    max_attempts: PositiveInt = 4
    """How often a question is asked at most until there is a readable answer."""
    backoff_s: PositiveFloat = 1.0
    """The first wait is up to so long, each next up to twice as long; or what a server asks for, where it is longer."""
    max_backoff_s: PositiveFloat = 30.0

    @model_validator(mode="after")
    def _consistent(self) -> JudgeConfig:
        if self.num_votes > 1 and self.temperature == 0.0:
            raise ValueError(
                f"num_votes is {self.num_votes} but temperature is 0, where every vote is the same; set temperature to "
                "0.7 or num_votes to 1"
            )
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url: expected http(s)://host.../v1")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "base_url holds credentials or a query; put the key into an environment variable and that variable's "
                "name into api_key_env"
            )
        return self
