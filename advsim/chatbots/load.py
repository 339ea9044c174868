"""Chatbots from YAML files, and whether the engines of a run can serve them."""

from __future__ import annotations

from collections.abc import Sequence

from advsim.config import ChatbotConfig, Config
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
        if chatbot.kind == "scripted":
            continue
        if config.chatbot.kind == "scripted":
            raise ConfigError(
                f"chatbot {chatbot.name} speaks through a model, but the run's own chatbot is scripted and so are its "
                "engines; choose a run with chatbot.kind model"
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
