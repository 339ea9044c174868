"""A chatbot that is Python code: a function of all turns, or a class with one instance a conversation.

The code is the user's own and runs with their rights; it is loaded from where the configuration says, in the chatbot
actors.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from advsim.chatbots.called import Said
from advsim.chatbots.code.calls import CodeCalls
from advsim.chatbots.code.modules import load_file, with_plain_names
from advsim.chatbots.endpoint import messages_of
from advsim.config.paths import local_path
from advsim.engine.endpoint.completions import CallError, CallFault
from advsim.errors import ConfigError, one_line
from advsim.records import Turn
from advsim.runtime.code_files import is_file

_KEY = "function"


class PythonCode:
    """Calls Python code; see :class:`advsim.chatbots.called.Callee`.

    Args:
        function: ``package.module:name`` or ``path/to/file.py:name``.
        folder: where a relative path, or a package that is not installed, is looked for.
        load_timeout_s: seconds that loading it may take.

    Raises:
        ConfigError: it cannot be loaded, or is no function or class that answers.
    """

    def __init__(self, function: str, *, folder: str, load_timeout_s: float) -> None:
        self._function = function
        self._code = load_code(function, folder=folder, timeout_s=load_timeout_s)
        self._folder = _folder_of(function.rpartition(":")[0], folder)
        self._instances: dict[str, Any] = {}  # by session, of a class
        self._calls = CodeCalls()

    @property
    def keeps_dialogue(self) -> bool:
        """Whether it is a class, whose instances remember what was said."""
        return inspect.isclass(self._code)

    async def ask(self, turns: Sequence[Turn], *, session: str) -> Said:
        """See :class:`advsim.chatbots.called.Callee`."""
        if inspect.isclass(self._code):
            if session not in self._instances:
                self._instances[session] = await self._run(self._code)
            reply = await self._run(self._instances[session].reply, turns[-1].text)
        else:
            reply = await self._run(self._code, messages_of(turns))
        if not isinstance(reply, str):
            what = "nothing" if reply is None else f"a {type(reply).__name__}"
            raise self._failure(f"it returned {what}, expected text")
        return Said(text=reply)

    async def why_slow(self) -> str:
        """See :class:`advsim.chatbots.called.Callee`."""
        if not await self._calls.is_blocked():
            return ""
        return "its asynchronous code blocks, so that all calls wait for one: write def reply, or await its client"

    def forget(self, session: str) -> None:
        """Drop the instance of a session."""
        self._instances.pop(session, None)

    async def close(self) -> None:
        """Stop the loop of asynchronous code."""
        self._calls.close()

    def _failure(self, reason: str) -> CallError:
        return CallError(f"{self._function}: {reason}", fault=CallFault.TRANSIENT)

    async def _run(self, code: Callable[..., Any], *arguments: Any) -> Any:
        done = await self._calls.run(code, *arguments)
        if done.error is not None:
            raise self._failure(f"it raised {_words_of(done.error, folder=self._folder)}")
        return done.value


def load_code(function: str, *, folder: str, timeout_s: float) -> Callable[..., Any]:
    """The function or class that a configuration names.

    Args:
        function: ``package.module:name`` or ``path/to/file.py:name``.
        folder: where a relative path, or a package that is not installed, is looked for.
        timeout_s: seconds that loading may take.

    Raises:
        ConfigError: there is no such file, module or name, its code fails when loaded or does not end, or it cannot be
            called so.
    """
    place, _, name = function.rpartition(":")
    load = _load_file if is_file(place) else _load_module
    try:
        with _time_limit(timeout_s):
            module = load(place, folder)
    except _TookTooLongError:
        raise ConfigError(
            f"{_KEY}: {place} was not loaded after {timeout_s:g} s (calls.load_timeout_s). Does it serve, wait for "
            "input or work when it is imported? Put that behind 'if __name__ == \"__main__\":'; or raise the limit"
        ) from None
    code: Any = getattr(module, name, None)
    if code is None:
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        has = f"it has {one_line(', '.join(there), max_characters=200)}" if there else "it has no function"
        raise ConfigError(f"{_KEY}: {place} has no {name!r}; {has}")
    if not callable(code):
        raise ConfigError(f"{_KEY}: {function} is of type {type(code).__name__}, expected a function or a class")
    if inspect.isclass(code) and not callable(getattr(code, "reply", None)):
        raise ConfigError(
            f"{_KEY}: the class {function} has no method reply, expected reply(self, message) that returns text"
        )
    _check_takes(function, code)
    checked: Callable[..., Any] = code
    return checked


def check_file(function: str, *, folder: str) -> None:
    """Check that the file which a configuration names is there; loads nothing.

    Raises:
        ConfigError: it is not.
    """
    place = function.rpartition(":")[0]
    if is_file(place):
        _file_of(place, folder)


def _file_of(place: str, folder: str) -> Path:
    path = local_path(place, key=_KEY)
    file = next((file for file in (Path(folder) / path, Path.cwd() / path) if file.is_file()), None)
    if file is None:  # a job's files are in another folder on each machine: the current one
        raise ConfigError(
            f"{_KEY}: there is no file {Path(folder) / path}; give the path from the folder where advsim is started"
        )
    return file


def _load_file(place: str, folder: str) -> ModuleType:
    file = _file_of(place, folder).resolve()
    module: ModuleType = _loaded(place, lambda: load_file(file))
    return module


def _load_module(place: str, folder: str) -> ModuleType:
    _look_in(folder)
    module: ModuleType = _loaded(place, lambda: importlib.import_module(place))
    return module


def _loaded(place: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except _TookTooLongError:
        raise
    except (Exception, SystemExit) as error:
        words = _words_of(error, folder=None)
        raise ConfigError(f"{_KEY}: {place} cannot be loaded: {words}; mend it, or the path") from error


class _TookTooLongError(BaseException):
    """No Exception, so that code which catches all of these does not go on."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise where what is done within takes longer; only in the main thread, which alone gets signals.

    A thread of its own would bound it anywhere, but there is code that can be loaded in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _TookTooLongError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)


def _look_in(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)


def _check_takes(function: str, code: Callable[..., Any]) -> None:
    """Check that code can be called as it will be: a class with nothing, a function with the turns."""
    is_class = inspect.isclass(code)
    try:
        inspect.signature(code).bind(*(() if is_class else ([],)))
    except TypeError as error:
        expected = "a class that is made without arguments" if is_class else "a function of one argument, the turns"
        raise ConfigError(f"{_KEY}: {function} cannot be called so ({error}); expected {expected}") from None
    except ValueError:
        return  # code without a signature that could be read, such as a builtin


def _folder_of(place: str, folder: str) -> Path | None:
    """The folder of loaded code; None where it has no file."""
    if is_file(place):
        return _file_of(place, folder).resolve().parent
    file = getattr(sys.modules.get(place), "__file__", None)
    return Path(file).parent if isinstance(file, str) else None


def _words_of(error: BaseException, *, folder: Path | None) -> str:
    """An error of foreign code on one line, with the last line of the code in ``folder`` that it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_on_the_way(frame.filename)]
    own = [frame for frame in frames if folder is not None and _is_under(frame.filename, folder)]
    where = next(reversed(own or frames), None)
    at = f" ({Path(where.filename).name}, line {where.lineno})" if where is not None else ""
    return one_line(with_plain_names(f"{type(error).__name__}: {said_by(error)}"), max_characters=300) + at


def _is_on_the_way(filename: str) -> bool:
    """Whether it is a file of what loads and calls code."""
    return "importlib" in filename or _is_under(filename, Path(__file__).parent)


def _is_under(filename: str, folder: Path) -> bool:
    return Path(filename).is_relative_to(folder) and "site-packages" not in Path(filename).parts


def said_by(error: BaseException) -> str:
    """The text of an error of foreign code, which may fail to have one."""
    try:
        return str(error)
    except Exception:
        return "(an error without a text)"
