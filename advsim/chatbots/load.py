"""Chatbots from YAML files, and whether the engines of a run can serve them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from advsim.chatbots.access import read_access
from advsim.chatbots.python_code import check_file
from advsim.config import ChatbotConfig, Config
from advsim.config.load import explain, read_yaml, set_override
from advsim.config.paths import local_path
from advsim.errors import ConfigError


def check_named_chatbots(chatbots: Sequence[ChatbotConfig], config: Config) -> None:
    """Check that all of them can be served by the engines of one run.

    Raises:
        ConfigError: two have one name, one needs another model, or its answers do not fit the engine.
    """
    names = [chatbot.name for chatbot in chatbots]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"two chatbots are called {doubled[0]!r}; give each its own name")
    served = config.chatbot.model or config.model
    for chatbot in chatbots:
        if chatbot.kind != "model":
            continue
        if config.chatbot.kind != "model":
            raise ConfigError(
                f"chatbot {chatbot.name} speaks through a model, but the run's own chatbot is of kind "
                f"{config.chatbot.kind}, so there is no engine for it; choose a run with chatbot.kind model"
            )
        model = chatbot.model or served
        if (model.path, model.revision) != (served.path, served.revision):
            raise ConfigError(
                f"chatbot {chatbot.name} needs the model {model.path!r} (revision {model.revision}), but the engines "
                f"hold {served.path!r} (revision {served.revision}); leave its model out, or use other engines"
            )
        if chatbot.sampling.max_tokens >= config.engine.max_model_len:
            raise ConfigError(
                f"chatbot {chatbot.name}: a reply may take {chatbot.sampling.max_tokens} tokens, but "
                f"engine.max_model_len is {config.engine.max_model_len}; lower its sampling.max_tokens"
            )


def check_called_chatbots(chatbots: Sequence[ChatbotConfig]) -> None:
    """Check what this machine can tell of chatbots that are called from it: files of code, and variables with keys.

    Nothing is loaded or called. On a cluster the actors check it where they run.

    Raises:
        ConfigError: a file is not there, or the environment variable of a secret is not set.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    for chatbot in chatbots:
        try:
            if chatbot.function is not None:
                check_file(chatbot.function, folder=os.getcwd())
            for section, address in (("endpoint", chatbot.endpoint), ("http", chatbot.http)):
                if address is not None:
                    read_access(address, section=section)
        except ConfigError as error:
            raise ConfigError(f"chatbot {chatbot.name}: {error}") from None


def load_chatbots(*paths: str | Path, overrides: Sequence[str] = ()) -> list[ChatbotConfig]:
    """Read chatbots from YAML files, each with the keys of the ``chatbot`` section at its top level.

    A chatbot without a name is called after its file.

    Args:
        paths: files, or folders of ``*.yaml`` files, which are read in the order of their names; ``~`` is the home
            folder.
        overrides: ``key.path=value`` each, of every file.

    Raises:
        ConfigError: a file cannot be read or a key or value in it is wrong, a folder has no such file, or two chatbots
            have one name.
    """
    files: list[Path] = []
    for path in (local_path(str(path), key="chatbot file") for path in paths):
        inside = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path}: no *.yaml file in this folder; give chatbot files, e.g. configs/chatbots")
        files += inside
    chatbots: list[ChatbotConfig] = []
    where_first: dict[str, Path] = {}
    for file in files:
        try:
            values = {"name": file.stem, **read_yaml(file)}
            for override in overrides:
                set_override(values, override)
            chatbot = ChatbotConfig.model_validate(values)
        except ValidationError as error:
            details = [{**detail, "loc": ("chatbot", *detail["loc"])} for detail in error.errors()]
            explained = "; ".join(map(explain, details)).replace("chatbot.", "")
            raise ConfigError(f"{file} (a chatbot's keys, without a section around them): {explained}") from None
        if chatbot.name in where_first:
            raise ConfigError(
                f"{file}: got a chatbot called {chatbot.name!r}, as {where_first[chatbot.name]} has one; rename it"
            )
        where_first[chatbot.name] = file
        chatbots.append(chatbot)
    return chatbots
