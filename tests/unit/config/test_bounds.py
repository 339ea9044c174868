"""What a configuration refuses before anything starts: numbers without bounds, loose types, keys that cannot work."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator

import annotated_types
import pytest
from pydantic import BaseModel
from pydantic.types import Strict

from advsim.config import Config, SweepConfig, load_config, parse_config
from advsim.errors import ConfigError
from advsim.lab.config import LabConfig


def leaves(annotation: object, metadata: tuple[object, ...] = ()) -> Iterator[tuple[type, tuple[object, ...]]]:
    """Plain types inside an annotation, each with the metadata around it."""
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        annotation = annotation.__value__
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        yield from leaves(inner, (*metadata, *more))
    elif origin in (typing.Union, types.UnionType, tuple, dict, list):
        for inner in typing.get_args(annotation):
            yield from leaves(inner, metadata)
    elif isinstance(annotation, type):
        yield annotation, metadata


def flat(metadata: tuple[object, ...]) -> list[object]:
    """Metadata with the constraints inside pydantic's ``Field`` taken out."""
    return [part for item in metadata for part in (getattr(item, "metadata", None) or [item])]


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type, list[object]]]:
    for name, field in section.model_fields.items():
        hints = typing.get_type_hints(section, include_extras=True)
        for kind, metadata in leaves(hints[name], tuple(field.metadata)):
            if issubclass(kind, BaseModel):
                yield from fields(kind, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", kind, flat(metadata)


ALL = [*fields(Config), *fields(SweepConfig, "sweep."), *fields(LabConfig, "lab.")]
NUMBERS = [(name, metadata) for name, kind, metadata in ALL if kind in (int, float)]


def test_the_walk_over_the_keys_sees_them() -> None:
    names = {name for name, _, _ in ALL}
    assert {"seed", "lora.r", "evaluate.judge.engines.engine.kv_cache_gib", "resources.simulator.num_gpus"} <= names
    assert len(NUMBERS) > 80


@pytest.mark.parametrize(("name", "metadata"), NUMBERS, ids=[name for name, _ in NUMBERS])
def test_every_number_has_a_lower_and_an_upper_bound_and_a_strict_type(name: str, metadata: list[object]) -> None:
    assert any(isinstance(part, annotated_types.Ge | annotated_types.Gt) for part in metadata), metadata
    assert any(isinstance(part, annotated_types.Le | annotated_types.Lt) for part in metadata), metadata
    assert any(isinstance(part, Strict) and part.strict for part in metadata), metadata


def test_every_boolean_is_strict() -> None:
    loose = [name for name, kind, metadata in ALL if kind is bool and not any(isinstance(p, Strict) for p in metadata)]
    assert loose == []


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse_config({}, overrides)
    return str(refused.value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("sft.batch_size=true", "sft.batch_size"),
        ('sft.batch_size="4"', "sft.batch_size"),
        ("sft.batch_size=4.0", "sft.batch_size"),
        ("sft.batch_size=010", "sft.batch_size"),
        ("sft.batch_size=1:30", "sft.batch_size"),
        ("seed=yes", "seed"),
        ("seed=-1", "seed"),
        ("seed=10000000000", "seed"),
        (f"seed={'1' * 5000}", "seed"),
        ("corpus.merge_consecutive=yes", "corpus.merge_consecutive"),
        ("corpus.merge_consecutive=1", "corpus.merge_consecutive"),
        ("resources.colocate='true'", "resources.colocate"),
        ("rollout.sampling.temperature=1.0e30", "rollout.sampling.temperature"),
        ("rollout.sampling.temperature=.nan", "rollout.sampling.temperature"),
        ("rollout.sampling.temperature=.inf", "rollout.sampling.temperature"),
        ("engine.gpu_memory_utilization=0", "engine.gpu_memory_utilization"),
        ("engine.cpu_threads_bind=banana", "engine.cpu_threads_bind"),
        ("engine.startup_timeout_s=1.0e-9", "engine.startup_timeout_s"),
        ("engine.kv_cache_gib=1.0e-9", "engine.kv_cache_gib"),
        ("lora.r=600", "lora.r"),
        ("lora.dropout=1", "lora.dropout"),
        ("lora.target_modules=[]", "lora.target_modules"),
        ("discriminator.held_out_fraction=0", "discriminator.held_out_fraction"),
        ("discriminator.held_out_fraction=1", "discriminator.held_out_fraction"),
        ("resources.simulator.num_gpus=1.5", "resources.simulator.num_gpus"),
        ("resources.simulator.num_replicas=1000000000", "resources.simulator.num_replicas"),
        ("resources.object_store_mib=1", "resources.object_store_mib"),
        ("chatbot.name=''", "chatbot.name"),
        ('chatbot.name="a\\nb"', "chatbot.name"),
        ('chatbot.name="\\e[31mred"', "chatbot.name"),
        (f"name={'a' * 308}", "name"),
        ("chatbot.replies=[a]", "chatbot.replies"),
        ("corpus.hub_subset=x", "hub_subset"),
        ("rollout.max_user_turns=1", "rollout.max_user_turns"),
        ("preference.sampling.temperature=0", "preference.sampling.temperature"),
        ("held_out.num_folds=100", "held_out.num_folds"),
        ("prompt.max_context_tokens=1", "prompt.max_context_tokens"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(override: str, key: str) -> None:
    message = refusal(override)
    assert key in message
    assert len(message) < 2000


def test_a_scripted_chatbot_with_an_empty_reply_is_refused() -> None:
    assert "empty reply" in refusal("chatbot.kind=scripted", 'chatbot.replies=[""]')


def test_one_user_turn_is_enough_where_there_are_no_rounds() -> None:
    assert parse_config({}, ["rollout.max_user_turns=1", "stop.max_rounds=0"]).rollout.max_user_turns == 1


def test_whole_numbers_serve_where_a_float_is_expected() -> None:
    assert parse_config({}, ["sft.num_epochs=2"]).sft.num_epochs == 2.0


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("sft: {batch_size: 1}\nsft: {num_epochs: 3}\n")
    with pytest.raises(ConfigError, match=r"'sft' stands here a second time.*line 2"):
        load_config(file)
