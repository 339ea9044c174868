"""What lets calls in to an address: headers and keys whose secrets are read from the environment and never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advsim.config import ChatEndpointConfig, HttpApiConfig
from advsim.config.rollout import with_keys
from advsim.engine.endpoint.key import EndpointKey, read_key


class Access(EndpointKey):
    """All headers of a request, its secret keys, and all secrets in them.

    Args:
        key: sent as a bearer token.
        headers: as they are.
        secrets: further headers by name; none of their values is shown.
        body: keys of the request by name; none of their values is shown.
    """

    def __init__(
        self,
        key: EndpointKey,
        *,
        headers: Mapping[str, str],
        secrets: Mapping[str, EndpointKey],
        body: Mapping[str, EndpointKey],
    ) -> None:
        super().__init__("")
        self._all: Sequence[EndpointKey] = (key, *secrets.values(), *body.values())
        self._body = {name: secret.value for name, secret in body.items()}
        self._headers = {**headers, **key.headers, **{name: secret.value for name, secret in secrets.items()}}

    @property
    def headers(self) -> dict[str, str]:
        """What a request says to be let in."""
        return self._headers

    def admitted(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request with its secret keys."""
        return with_keys(request, self._body)

    def masked(self, text: str) -> str:
        """``text`` with ``[key]`` in place of every secret."""
        for key in self._all:
            text = key.masked(text)
        return text

    def masked_reply(self, text: str) -> str:
        """What a chatbot says, with ``[key]`` in place of every value that can be a secret."""
        for key in self._all:
            text = key.masked_reply(text)
        return text


def read_access(config: ChatEndpointConfig | HttpApiConfig, *, section: str) -> Access:
    """The headers and secret keys of a chatbot's configuration, secrets read from the environment.

    Args:
        config: of the chatbot.
        section: its name, for errors.

    Raises:
        ConfigError: a variable is not set, or holds what cannot be sent; its name is shown and never its value.
    """
    return Access(
        read_key(config.api_key_env, setting=f"{section}.api_key_env"),
        headers=config.headers,
        secrets={
            name: read_key(variable, setting=f"{section}.headers_env.{name}")
            for name, variable in config.headers_env.items()
        },
        body={
            name: read_key(variable, setting=f"{section}.body_env.{name}") for name, variable in config.body_env.items()
        },
    )
