"""What a sweep's folder was made with, and whether another start may go on in it."""

from __future__ import annotations

from typing import Any

from advsim.config import ChatbotConfig
from advsim.errors import ConfigError
from advsim.run_folder.folder import config_changes
from advsim.run_folder.results import plain_values, text_sha256
from advsim.runtime.code_files import code_sha256
from advsim.sweep.planning.study import SweepPlan, prefix_name

SETTINGS = "settings.json"
_PARTS = ("rollout", "prompt", "engine")
"""Sections of the configuration that decide what a sweep finds."""
_LAYOUT = 2
"""Of the folder; 1 had one file a cell."""


def keep_settings(sweep_plan: SweepPlan) -> None:
    """Write the sweep's settings into the output folder, or check that those there agree.

    Simulators, chatbots and designs may be added, and scenarios, prefixes and conversations become more, but not less:
    what is there stays. A scenario keeps what it says, and a chatbot that is Python code its files, as far as older
    versions kept them. Caps, the detector and how chatbots are called may change.

    Raises:
        ConfigError: the folder holds another sweep, or one of an older version.
    """
    output = sweep_plan.output
    settings = _settings(sweep_plan)
    before = output.read_object(SETTINGS) if output.exists(SETTINGS) else settings
    with output.reading(SETTINGS):
        if before.get("layout", 1) != _LAYOUT and "adapters" in before and "scenarios" in before:
            raise ConfigError(
                f"{output.location} holds a sweep of an older version of advsim, which cannot be continued; its "
                "results can be read as before. Give another folder with -o output=..."
            )
        before = {"code": {}, **before}  # came with a later version
        for part in _PARTS:  # keys that came since had their defaults then
            defaults = type(getattr(sweep_plan.config, part))().model_dump(mode="json")
            before = {**before, part: {**defaults, **before[part]}}
        if before.get("num_conversations", 0) <= settings["num_conversations"]:
            before = {**before, "num_conversations": settings["num_conversations"]}
        for key in ("scenarios", "prefixes"):
            if settings[key][: len(before[key])] == before[key]:
                before = {**before, key: settings[key]}
        known, shared = _with_both(before, settings), _with_both(settings, before)
    changes = config_changes(known, shared)
    if changes:
        raise ConfigError(
            f"{output.location} holds results of another study ({', '.join(changes)} differ); give another "
            "folder with -o output=..., or remove it"
        )
    output.write_json(SETTINGS, shared)


def _settings(sweep_plan: SweepPlan) -> dict[str, Any]:
    run = sweep_plan.run
    return {
        "layout": _LAYOUT,
        "seed": sweep_plan.seed,
        "shard_size": sweep_plan.settings.shard_size,
        "num_conversations": sweep_plan.settings.num_conversations,
        "scenarios": [start.scenario.id for start in sweep_plan.starts],
        "people": {start.scenario.id: text_sha256(plain_values(start)) for start in sweep_plan.starts},
        "prefixes": [prefix_name(prefix) for prefix in sweep_plan.prefixes],
        **{part: getattr(sweep_plan.config, part).model_dump(mode="json") for part in _PARTS},
        "chatbot_model": (sweep_plan.config.chatbot.model or sweep_plan.config.model).model_dump(mode="json"),
        "model": None if run is None else run.manifest.get("model"),
        "adapters": {simulator.name: simulator.sha256 for simulator in sweep_plan.simulators},
        "chatbots": {chatbot.name: what_it_says(chatbot) for chatbot in sweep_plan.chatbots},
        "code": {
            chatbot.name: sha256
            for chatbot in sweep_plan.chatbots
            if (sha256 := code_sha256(chatbot.function, key=f"chatbot {chatbot.name}"))
        },
    }


def _with_both(settings: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Settings with what the others know besides: what both know must be the same."""
    return {
        **settings,
        **{key: {**other[key], **settings[key]} for key in ("people", "adapters", "code")},
        "chatbots": {**other["chatbots"], **settings["chatbots"]},
    }


def what_it_says(chatbot: ChatbotConfig) -> dict[str, Any]:
    """What decides what a chatbot says, and not how it is called or what it costs."""
    return chatbot.model_dump(mode="json", exclude={"calls": True, "price": True, "endpoint": {"stream"}})
