"""What a request can be answered with instead of a message, in the shape that OpenAI's clients read."""

from __future__ import annotations

from functools import partial
from typing import Any

from advsim.errors import one_line


class RequestError(Exception):
    """A request that is not answered with a message.

    Args:
        status: of HTTP.
        message: what was got, what was expected, what to do.
        code: for programs, for example ``context_length_exceeded``.
        param: the key of the request that it is about.
        retry_after_s: when to ask again, where that helps.
    """

    def __init__(
        self, status: int, message: str, *, code: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(RequestError, code=self.code, param=self.param, retry_after_s=self.retry_after_s)
        return again, (self.status, self.message)

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = one_line(self.message, max_characters=1_000)
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


_KINDS = {401: "authentication_error", 404: "not_found_error", 409: "conflict_error", 429: "rate_limit_error"}


def invalid(message: str, *, param: str | None, code: str = "invalid_value") -> RequestError:
    """A request that must be changed."""
    return RequestError(400, message, code=code, param=param)
