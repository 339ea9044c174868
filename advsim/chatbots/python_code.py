"""A chatbot that is Python code: a function of all turns, or a class with one instance a conversation.

The code is the user's own and runs with their rights; it is loaded from where the configuration says, in the chatbot
actors. A call that does not end keeps its thread, and the caller goes on without it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import importlib.util
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from advsim.chatbots.called import Said
from advsim.chatbots.endpoint import messages_of
from advsim.config.paths import local_path
from advsim.engine.endpoint.completions import CallError, CallFault
from advsim.errors import ConfigError, one_line
from advsim.records import Turn

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
        self._instances: dict[str, Any] = {}  # by session, of a class
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def keeps_dialogue(self) -> bool:
        """Whether it is a class, whose instances remember what was said."""
        return inspect.isclass(self._code)

    async def ask(self, turns: Sequence[Turn], *, session: str) -> Said:
        """See :class:`advsim.chatbots.called.Callee`."""
        try:
            if inspect.isclass(self._code):
                if session not in self._instances:
                    self._instances[session] = await self._run(self._code)
                reply = await self._run(self._instances[session].reply, turns[-1].text)
            else:
                reply = await self._run(self._code, messages_of(turns))
        except Exception as error:
            raise self._failure(f"it raised {_words_of(error)}") from None
        if not isinstance(reply, str):
            what = "nothing" if reply is None else f"a {type(reply).__name__}"
            raise self._failure(f"it returned {what}, expected text")
        return Said(text=reply)

    def forget(self, session: str) -> None:
        """Drop the instance of a session."""
        self._instances.pop(session, None)

    async def close(self) -> None:
        """Stop the loop of asynchronous code."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _failure(self, reason: str) -> CallError:
        return CallError(f"{self._function}: {reason}", fault=CallFault.TRANSIENT)

    async def _run(self, code: Callable[..., Any], *arguments: Any) -> Any:
        """What the code returns. It never runs on this loop: code that blocks delays no other chatbot."""
        result = await asyncio.wrap_future(_in_a_thread(code, *arguments))
        if not inspect.isawaitable(result):
            return result
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(result), self._running_loop()))

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """One loop for all asynchronous code, so that clients it keeps stay usable from call to call."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name=f"chatbot {self._function}").start()
        return self._loop


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
    load = _load_file if _is_file(place) else _load_module
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
    if _is_file(place):
        _file_of(place, folder)


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or os.sep in place


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
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{_KEY}: {file} is no Python file; expected path/to/file.py:name")
    _look_in(str(file.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    _loaded(place, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]  # checked above
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
        raise ConfigError(f"{_KEY}: {place} cannot be loaded: {_words_of(error)}; mend it, or the path") from error


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


def _in_a_thread(code: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future[Any]:
    """The result of code in a thread of its own, which ends with the process where the code does not."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(code(*arguments))
        except Exception as error:
            traceback.print_exc()
            future.set_exception(error)
        except BaseException as error:  # sys.exit in a chatbot is no reason to wait for ever
            future.set_exception(RuntimeError(f"{type(error).__name__}: {said_by(error)}"))

    threading.Thread(target=run, daemon=True, name="chatbot").start()
    return future


async def _awaited(result: Any) -> Any:
    try:
        return await result
    except asyncio.CancelledError:
        raise RuntimeError("it was cancelled") from None
    except Exception:
        traceback.print_exc()
        raise


def _words_of(error: BaseException) -> str:
    """An error of foreign code on one line, with the line of the code where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = next((frame for frame in reversed(frames) if "importlib" not in frame.filename), None)
    at = f" ({Path(where.filename).name}, line {where.lineno})" if where is not None else ""
    return one_line(f"{type(error).__name__}: {said_by(error)}", max_characters=300) + at


def said_by(error: BaseException) -> str:
    """The text of an error of foreign code, which may fail to have one."""
    try:
        return str(error)
    except Exception:
        return "(an error without a text)"
