"""Paths and addresses in a configuration.

``~`` is the home folder everywhere. What can name no file, and what would send dialogues or keys where others can read
them, is refused.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from advsim.config.base import can_be_secret, looks_secret, names_secret
from advsim.errors import ConfigError

STORAGE = ("file", "s3", "gs", "gcs", "hdfs", "abfs", "abfss")
"""Schemes of a run folder's storage."""
_SIGNATURES = ("sig", "signature", "code", "hmac", "pw", "pwd", "pass")
"""Names of secrets in the query of an address."""


def local_path(text: str, *, key: str) -> Path:
    """A path as it is meant.

    Args:
        text: as it stands in the configuration.
        key: that holds it, for errors.

    Raises:
        ConfigError: it is empty, an address, holds a control character or a shell variable, or ``~`` names an unknown
            user.
    """
    check_path_text(text, key=key)
    if "://" in text:
        raise ConfigError(f"{key}: got {text!r}, an address; expected a path of this machine")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.split("/", 1)[0]
        raise ConfigError(
            f"{key}: got {text!r}; there is no home folder of {user!r} here, write the path out"
        ) from None


def check_path_text(text: str, *, key: str) -> None:
    """Check what can be wrong with a path or address as text; see :func:`local_path`."""
    if not text.strip():
        raise ConfigError(f"{key}: got an empty path; name a file or folder")
    if not text.isprintable():
        raise ConfigError(f"{key}: got {text!r}, which holds a control character; write the path without it")
    if "${" in text or text.startswith("$"):
        raise ConfigError(f"{key}: got {text!r}; variables are not put in here, write the path out, or use ~")


def read_file(file: Path, *, max_bytes: int, where: str) -> bytes:
    """Content of a small file that somebody names.

    Args:
        file: its path.
        max_bytes: more is not read.
        where: begins the error.

    Raises:
        ConfigError: it is not there, is no regular file (a device never ends), cannot be read, or is larger.
    """
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{where}: is no file (a folder, pipe or device); name the file itself")
        with file.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from None
    if len(content) > max_bytes:
        raise ConfigError(f"{where}: has more than {max_bytes:,} bytes; check that it is the right file")
    return content


def check_writable(folder: Path, *, key: str, got: str) -> None:
    """Check that a folder can be written, or made; makes none.

    Args:
        folder: its path.
        key: that names it, for errors.
        got: how it was named.

    Raises:
        ConfigError: what is there is no folder or cannot be written.
    """
    folder = folder.absolute()
    try:
        there = next(part for part in (folder, *folder.parents) if part.exists())
    except OSError as error:
        raise ConfigError(f"{key}: {folder} cannot be looked at ({error.strerror or error})") from None
    if not there.is_dir():
        raise ConfigError(f"{key}: got {got!r}, but {there} is a file; name a folder")
    if not os.access(there, os.W_OK | os.X_OK) or Path("/proc") in (there, *there.parents):
        raise ConfigError(f"{key}: got {got!r}, but {there} cannot be written; name another folder")


def writable_file(text: str, *, key: str) -> Path:
    """The path of a file that will be written when the work is done: whether it can be is asked before.

    Raises:
        ConfigError: it is a folder, or its folder cannot be written or made.
    """
    file = local_path(text, key=key)
    if file.is_dir():
        raise ConfigError(f"{key}: got {text!r}, which is a folder; name a file")
    check_writable(file.parent, key=key, got=text)
    return file


def check_storage(text: str, *, key: str) -> None:
    """Check an address of a run folder: a path, or a URI of storage that can hold one.

    Raises:
        ConfigError: see :func:`local_path`; or the scheme is not known, or the address holds a password.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        local_path(text, key=key)
        return
    check_path_text(text, key=key)
    if scheme not in STORAGE:
        raise ConfigError(f"{key}: got {text!r}; expected a path, or a URI that begins with {', '.join(STORAGE)}://")
    if scheme != "file" and not rest.split("?", 1)[0].strip("/"):
        raise ConfigError(f"{key}: got {text!r}, which names no bucket; write {scheme}://bucket/folder")
    if "@" in rest.split("/", 1)[0] or "secret_key=" in rest or "access_key=" in rest:
        raise ConfigError(
            f"{key}: the address holds a key or password; take it out and set the storage's environment variables "
            "(for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )


def under(location: str, name: str) -> str:
    """The address of what is called ``name`` in a folder; settings of a URI (``?region=...``) stay at its end.

    Args:
        location: a path, or a URI of storage.
        name: relative to it, with ``/``.
    """
    folder, mark, settings = location.partition("?") if "://" in location else (location, "", "")
    return f"{folder.rstrip('/')}/{name}{mark}{settings}"


def parent_of(location: str, *, key: str) -> tuple[str, str]:
    """The folder of a file, as an address of its own, and the file's name in it.

    Args:
        location: a path, or a URI of storage.
        key: that holds it, for errors.

    Raises:
        ConfigError: see :func:`check_storage`; or a URI names no file.
    """
    check_storage(location, key=key)
    if "://" not in location:
        file = local_path(location, key=key)
        return str(file.parent), file.name
    address, mark, settings = location.partition("?")
    folder, _, name = address.rpartition("/")
    if not name or folder.endswith("/"):
        raise ConfigError(f"{key}: got {location!r}, which names no file; write its folder and its name")
    return f"{folder}{mark}{settings}", name


def is_loopback(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified  # servers print 0.0.0.0 as their address


def check_web_address(address: str, *, key: str, form: str, allow_http: bool, allow_key: str) -> None:
    """Check an address that dialogues are sent to.

    Args:
        address: as it stands in the configuration.
        key: that holds it, for errors.
        form: what is expected, for errors.
        allow_http: also another machine may be sent to in the clear.
        allow_key: key of that leave.

    Raises:
        ValueError: it is none, holds what can be a secret, or others could read what is sent to it.
    """
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  # raises where it is none
    except ValueError as error:
        raise ValueError(f"{key}: {error}; expected {form}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not address.isprintable():
        raise ValueError(f"{key}: expected {form}")
    secret = "credentials" if parts.username or parts.password else _secret_in(parts.path, parts.query)
    if secret or parts.fragment:
        raise ValueError(
            f"{key} holds {secret or 'a fragment (#...)'}, and what stands here is kept; put a key into an environment "
            "variable and that variable's name into api_key_env, or where the server takes it as a header, headers_env"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_http:
        raise ValueError(
            f"{key}: got http to {parts.hostname}, another machine, where all on the way can read dialogues and key; "
            f"use https, or set {allow_key} to true where that network is yours"
        )


def _has_long_word(text: str) -> bool:
    return any(map(can_be_secret, re.findall(r"\w+", text)))


def _secret_in(path: str, query: str) -> str:
    """What of a web address can be a secret, without the secret; empty: nothing."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if looks_secret(name) or _has_long_word(name):
            return "in its query a name that can be a secret"
        if names_secret(name) or name.lower() in _SIGNATURES or looks_secret(value) or _has_long_word(value):
            return f"in its query {name}, which can be a secret (by its name, or as its value has a long word)"
    return "in its path what looks like a key" if any(map(looks_secret, unquote(path).split("/"))) else ""
