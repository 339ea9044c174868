"""What ``advsim evaluate`` measures, and by which detector."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from advsim.config.base import (
    CountOrZero,
    Cpus,
    Flag,
    Gpus,
    Mib,
    Replicas,
    Seconds,
    Section,
    Seed,
    Tokens,
    not_json_place,
    secret_place,
)
from advsim.config.model import EngineConfig
from advsim.config.paths import check_web_address
from advsim.config.resources import PoolConfig

_OF_THE_REQUEST = ("model", "messages", "stream", "response_format", "n")
"""Keys that are the judge's own: with others, its answers would not be what it reads."""


class JudgeEnginesConfig(Section):
    """Engines of the judge's own, for a judge without ``base_url``: how many, and what each takes."""

    num_engines: Replicas = 1
    """Engines that share the work."""
    revision: str | None = None
    """Hub revision of the judge's model; None is the hub's default branch."""
    engine: EngineConfig = EngineConfig(max_model_len=8192, kv_cache_gib=2, startup_timeout_s=1800.0)
    """``max_model_len`` is cut to what the model can have; the start may include a download."""
    num_cpus: Cpus = PoolConfig().num_cpus
    """Logical CPUs each engine reserves."""
    num_gpus: Gpus | None = None
    """GPUs of each engine; None: one where Ray has any, else the engines run on CPU."""
    schedule_timeout_s: Seconds = 30.0
    object_store_mib: Mib = 256
    """Size of the object store of a local Ray."""


class JudgeConfig(Section):
    """A judge: which model, how it is asked, and when its answer counts."""

    name: Annotated[str, Field(min_length=1)] = "judge"
    """Stands in every label it makes; give two judges of one study different names."""
    base_url: str = ""
    """An OpenAI-compatible endpoint, up to and with ``/v1``; empty: ``model`` is started here on engines of its own,
    and stopped when all messages are judged."""
    allow_http: Flag = False
    """Leave to send dialogues and key to another machine in the clear; ``https`` and this machine need none."""
    model: str = ""
    """Name of the model at the endpoint; without one ``embedded:smollm2-135m`` (for a try: far too small to judge
    well), a hub id, or a folder of a chat model."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """NAME of the environment variable with the key, never the key; None: the endpoint needs none."""
    scope: Literal["rubric", "mode"] = "rubric"
    """``rubric``: all modes in one call; ``mode``: one call a mode, for small models, as many times dearer."""
    modes: tuple[str, ...] = ()
    """Ids of the modes to judge; empty: all of the taxonomy."""
    num_examples: Annotated[int, Field(ge=0, le=100, strict=True)] = 1
    """Examples, and as many counter-examples, a mode in the prompt. With 1 the whole rubric is about 5,000 tokens."""
    max_context_turns: CountOrZero = 20
    """Turns before the message that the judge sees."""
    num_votes: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    """How often each question is asked, with another seed each time. Above 1, the confidence is the share of votes, and
    the temperature is 0.7 where none is given, since at 0 all votes would be the same."""
    min_agreement: Annotated[float, Field(gt=0.5, le=1.0, strict=True)] = 0.6
    """Share of the votes that a verdict on a mode needs, present or absent; below, the judge abstains."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0, strict=True)] | None = 0.0
    """None leaves it to the server. A server that refuses this or another key is asked without it."""
    seed: Seed = 0
    max_tokens: Tokens = 1024
    """Of an answer. Models that think first need more."""
    token_limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls that limit; the other name is tried where this one is refused."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further keys of each request, for example ``{top_p: 0.9, chat_template_kwargs: {enable_thinking: false}}``."""
    max_concurrency: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 16
    """Calls under way at once."""
    timeout_s: Seconds = 60.0
    """Seconds for one answer."""
    max_answer_bytes: Annotated[int, Field(ge=1_024, le=2**30, strict=True)] = 2**20
    """Of one answer, also decompressed; what is longer is not read and counts as no answer."""
    max_attempts: Annotated[int, Field(ge=1, le=100, strict=True)] = 4
    """How often a question is asked at most until there is a readable answer."""
    backoff_s: Seconds = 1.0
    """The first wait is up to so long, each next up to twice as long; or what a server asks for, where it is longer."""
    max_backoff_s: Seconds = 30.0
    engines: JudgeEnginesConfig = JudgeEnginesConfig()
    """Not used with ``base_url``: an endpoint has engines of its own."""

    @model_validator(mode="before")
    @classmethod
    def _votes_differ(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("num_votes", 1) != 1 and "temperature" not in values:
            return {**values, "temperature": 0.7}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> JudgeConfig:
        if self.num_votes > 1 and self.temperature == 0.0:
            raise ValueError(
                f"num_votes is {self.num_votes} but temperature is 0, where every vote is the same; set temperature to "
                "0.7 or num_votes to 1"
            )
        if not self.base_url:
            if self.api_key_env:
                raise ValueError(
                    f"got a key (api_key_env {self.api_key_env}) and no endpoint, expected both or neither; give "
                    "base_url http://host:port/v1, or leave api_key_env out to start the model here"
                )
            return self
        if self.engines != JudgeEnginesConfig():
            raise ValueError("got base_url and engines, expected one of the two; an endpoint has engines of its own")
        self._check_address()
        return self

    def _check_address(self) -> None:
        if place := not_json_place(self.extra_body, where="extra_body"):
            raise ValueError(f"{place} is no value that JSON has; write a text, a finite number, true, false or null")
        if place := secret_place(self.extra_body, where="extra_body"):
            raise ValueError(
                f"{place} is a secret, and what stands here is kept with the evaluation; put its value into an "
                "environment variable, take it out here, and set api_key_env to the variable's name: it is sent as "
                "Authorization: Bearer"
            )
        own = [key for key in self.extra_body if key in _OF_THE_REQUEST]
        if own:
            raise ValueError(f"extra_body: got {own[0]}, which the judge sets itself; leave it out")
        check_web_address(
            self.base_url,
            key="base_url",
            form="http(s)://host:port/v1",
            allow_http=self.allow_http,
            allow_key="evaluate.judge.allow_http",
        )


class EvaluateConfig(Section):
    """What ``advsim evaluate`` measures, and by which detector."""

    detector: Literal["rules", "learned", "combined", "judge"] = "combined"
    """``combined`` is rules, the learned detector and the reader weighed together; ``rules`` alone take a millisecond a
    message."""
    weights: str | None = None
    """Folder of ``advsim detectors train``, in place of the learned detector that ships."""
    reader: str | None = None
    """Folder of ``advsim detectors train --reader``, in place of the reader that ships."""
    taxonomy: str | None = None
    """YAML file that adds failure modes or replaces their texts."""
    worth: str | None = "shipped"
    """What the detector is worth: ``shipped``, or a file of ``advsim detectors measure --save``. A mode whose precision
    is not shown to be above .5 is then not measured, and rates are corrected. ``null``: neither is done."""
    calibration: str | None = None
    """File of labelled messages, or ``shipped``, in place of ``worth``: rates are corrected by the errors on them."""
    pairs: tuple[str, ...] = ()
    """``A:B`` each: chatbots to compare, chosen beforehand, where dialogues name several; empty: all with baseline."""
    baseline: str | None = None
    """The chatbot that all others are compared with; None: the first by name."""
    same_users: Flag = False
    """Equal ids in a file and its reference name the same people. False: only where they hold an equal dialogue too."""
    judge: JudgeConfig = JudgeConfig()
    """The model that judges, for the detector ``judge``."""

    @model_validator(mode="after")
    def _consistent(self) -> EvaluateConfig:
        if self.detector == "judge" and not self.judge.model:
            raise ValueError(
                "detector judge: got no model, expected one; set evaluate.judge.model to embedded:smollm2-135m, a hub "
                "id or a folder, which is started here, or to the model's name at an endpoint and "
                "evaluate.judge.base_url to http://host:port/v1"
            )
        if self.pairs and self.baseline is not None:
            raise ValueError(
                "got evaluate.pairs and evaluate.baseline, expected one of the two; pairs name both sides of each"
            )
        return self
