"""One HTTP request to an endpoint, and no more than was asked for: no redirect, no endless or inflated answer.

Whoever answers at an address is not trusted: the answer is read up to a bound, decompressed up to the same bound, and a
redirect is an answer like any other, because the dialogues would go where it points.
"""

from __future__ import annotations

import asyncio
import codecs
import html
import json
import re
import ssl
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from advsim.config import is_loopback
from advsim.errors import ConfigError, printable

if TYPE_CHECKING:
    import httpx

_NO_WORDS_TAGS = re.compile(r"<(script|style|head)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]{0,1000}>")
_MAX_WORDS_READ = 20_000  # characters of a body among which the server's words are looked for
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)
_CHARSETS = ("utf", "iso", "latin", "windows", "cp12", "us-ascii", "koi8", "gb", "big5", "euc", "shift", "mac")
"""How names of character sets begin; Python's codecs are more, and some are slow."""
_ZLIB_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class NoAnswerError(Exception):
    """There is no whole answer.

    Attributes:
        is_lasting: another request would fare alike.
        may_be_taken: the server may have read the request and acted on it.
    """

    def __init__(self, reason: str, *, is_lasting: bool, may_be_taken: bool = True) -> None:
        super().__init__(reason)
        self.is_lasting = is_lasting
        self.may_be_taken = may_be_taken


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a server sent: ``headers`` by their names in small letters, ``body`` decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the server says that all went well."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, in the character set that the server names, else in UTF-8."""
        named = _CHARSET.search(self.headers.get("content-type", ""))
        return self.body.decode(named[1] if named and _is_charset(named[1]) else "utf-8-sig", "replace")

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except UnicodeDecodeError:
            body = self.text
        except (ValueError, RecursionError):
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None


class Endpoint:
    """Requests to one address. Connections belong to one event loop until :meth:`close`.

    Args:
        base_url: what the user named, for errors.
        key: configuration key of ``base_url``.
        bytes_key: configuration key of ``max_answer_bytes``.
        path: of the requests, behind ``base_url`` and before its query.
        headers: of each request.
        timeout_s: seconds for a whole answer.
        max_answer_bytes: of an answer, as sent and decompressed.

    Raises:
        ConfigError: the address cannot be one.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        bytes_key: str,
        path: str = "",
        headers: Mapping[str, str],
        timeout_s: float,
        max_answer_bytes: int,
    ) -> None:
        import httpx

        try:
            place, mark, query = base_url.partition("?")
            self._url = httpx.URL(f"{place.rstrip('/')}{path}{mark}{query}" if path else base_url)
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigError(f"{key}: got {base_url!r}, which is no address: {error}") from None
        self._base_url = base_url
        self._bytes_key = bytes_key
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._client: httpx.AsyncClient | None = None

    async def post(self, body: Mapping[str, Any]) -> HttpAnswer:
        """The server's answer to ``body``, whatever its status.

        Raises:
            NoAnswerError: no connection, no end within time and size, or a body that cannot be decompressed.
        """
        import httpx

        content = json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._connected().stream("POST", self._url, content=content) as response,
            ):
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpAnswer(status=response.status_code, headers=headers, body=await self._read(response))
        except (TimeoutError, httpx.TimeoutException):
            raise NoAnswerError(f"no answer within {self._timeout_s:g} s", is_lasting=False) from None
        except httpx.HTTPError as error:
            raise self._no_connection(error) from None

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            # loopback is reached past every proxy of the environment, which would carry the dialogues away
            past_proxies: dict[str, httpx.AsyncBaseTransport | None] = (
                {"all://": None, "http://": None, "https://": None} if is_loopback(self._url.host) else {}
            )
            self._client = httpx.AsyncClient(
                headers={**self._headers, "Content-Type": "application/json"},
                timeout=self._timeout_s,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=None),
                mounts=past_proxies,
            )
        return self._client

    async def _read(self, response: httpx.Response) -> bytes:
        """The body, decompressed; nothing past the bound is kept."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity", *_ZLIB_WINDOW):
            reason = f"the answer is compressed as {encoding[:40]!r}, which was not asked for"
            raise NoAnswerError(reason, is_lasting=True)
        inflate = zlib.decompressobj(_ZLIB_WINDOW[encoding]) if encoding in _ZLIB_WINDOW else None
        parts: list[bytes] = []
        room = num_left_to_send = self._max_answer_bytes
        async for sent in response.aiter_raw():
            num_left_to_send -= len(sent)
            try:
                part = sent if inflate is None else inflate.decompress(sent, room + 1)
            except zlib.error as error:
                raise NoAnswerError(f"the answer cannot be decompressed: {error}", is_lasting=False) from None
            room -= len(part)
            if min(room, num_left_to_send) < 0:
                raise NoAnswerError(
                    f"the answer is longer than {self._max_answer_bytes:,} bytes and was not read further; raise "
                    f"{self._bytes_key} if that is right",
                    is_lasting=False,
                )
            parts.append(part)
        if inflate is not None and parts and not inflate.eof:
            raise NoAnswerError("the compressed answer broke off before its end", is_lasting=False)
        return b"".join(parts)

    def _no_connection(self, error: Exception) -> NoAnswerError:
        import httpx

        causes = list(_causes(error))
        words = str(error) or type(error).__name__
        may_be_taken = not isinstance(error, httpx.ConnectError)
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            scheme = urlsplit(self._base_url).scheme
            return NoAnswerError(
                f"no TLS connection to {self._base_url}: {words}; check that the address is right for {scheme}, or "
                "name the certificate to trust in the environment variable SSL_CERT_FILE",
                is_lasting=True,
                may_be_taken=may_be_taken,
            )
        reason = f"no connection to {self._base_url}: {words}"
        return NoAnswerError(reason, is_lasting=False, may_be_taken=may_be_taken)


def _is_charset(name: str) -> bool:
    try:
        return name.lower().startswith(_CHARSETS) and bool(codecs.lookup(name)) and name.lower() != "utf-8"
    except LookupError:
        return False


def server_words(answer: HttpAnswer) -> str:
    """What a server says in an answer that is no completion: its error message, or the words of its page or text."""
    content = answer.json()
    if content is not None:
        return _message_in(content) or json.dumps(content, ensure_ascii=False)[:_MAX_WORDS_READ]
    text = answer.text[:_MAX_WORDS_READ]
    if "html" in answer.headers.get("content-type", "") or text.lstrip()[:1] == "<":
        title = _TITLE.search(text)
        body = _TAG.sub(" ", _NO_WORDS_TAGS.sub(" ", text))
        text = html.unescape(f"{title.group(1) if title else ''} {body}")
    return printable(text).strip()


def error_in(content: Any) -> dict[str, Any]:
    """The error object of an OpenAI-like answer, or the answer itself where that is one; else empty."""
    if not isinstance(content, dict):
        return {}
    return content["error"] if isinstance(content.get("error"), dict) else content


def _message_in(content: Any) -> str:
    """The message of an error in any of the shapes that servers give it; empty where there is none."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "; ".join(filter(None, map(_message_in, content[:5])))
    if not isinstance(content, dict):
        return ""
    for key in ("error", "message", "msg", "detail", "errors"):
        message = _message_in(content.get(key))
        if message:
            place = content.get("loc")
            return f"{message} ({'.'.join(map(str, place))})" if isinstance(place, list) else message
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
