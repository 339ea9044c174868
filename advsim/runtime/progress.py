"""How long work speaks to the user: progress bars on a terminal, sparse plain lines in a log.

The stream is given by the caller, because the driver may have redirected its file descriptors 1 and 2 to a log file.
Nothing here writes to ``sys.stdout``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from advsim.errors import one_line

PLAIN_INTERVAL_S = 15.0


class Reporter:
    """The one object through which long work speaks to the user. Safe to use from several threads.

    Args:
        file: text stream to the user's terminal or log; None is ``sys.stderr`` as it is now.
        force_plain: plain lines even on a terminal.
        clock: seconds, monotonic; for tests.
    """

    def __init__(
        self, file: TextIO | None = None, force_plain: bool = False, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        stream = sys.stderr if file is None else file
        self.is_live = not force_plain and _is_interactive(stream)
        self.console = (
            Console(file=stream, force_terminal=True, highlight=False)
            if self.is_live
            else Console(
                file=stream, force_terminal=False, no_color=True, color_system=None, highlight=False, width=100
            )
        )
        self._clock = clock
        self._started_s = clock()
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._num_open = 0

    @contextmanager
    def stage(self, name: str, *, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        """Report a stage while the ``with`` block runs; its last note becomes part of the line that stays.

        Args:
            name: for example ``rollout 1/2``.
            total: number of units to come; None where nobody knows.
            unit: what is counted, singular: ``dialogue``.
        """
        progress = self._open_bars() if self.is_live else None
        stage = Stage(reporter=self, name=name, total=total, unit=unit, progress=progress, clock=self._clock)
        if progress is None:
            self._line(f"{name}: started" + (f", {_count(total, unit)}" if total is not None else ""))
        is_complete = False
        try:
            yield stage
            is_complete = True
        finally:
            stage.close()
            if progress is not None:
                self._close_bars()
            summary = stage.summary(is_complete=is_complete)
            self._line(summary, mark="✓" if is_complete else "✗", style="green" if is_complete else "red")

    def message(self, text: str) -> None:
        """Say something that stays."""
        self._line(text)

    def warning(self, text: str) -> None:
        """Say something that stays and that the user should not miss."""
        self._line(f"warning: {text}", mark="!", style="yellow")

    def _open_bars(self) -> Progress:
        with self._lock:
            if self._progress is None:
                # The caller decides where prints of libraries go; rich must not pull them into the bars.
                self._progress = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=24),
                    _Numbers(),
                    TextColumn(
                        "{task.fields[note]}",
                        style="dim",
                        markup=False,
                        table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                    ),
                    console=self.console,
                    transient=True,
                    expand=True,
                    refresh_per_second=4,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._progress.start()
            self._num_open += 1
            return self._progress

    def _close_bars(self) -> None:
        with self._lock:
            self._num_open -= 1
            if self._num_open == 0 and self._progress is not None:
                self._progress.stop()
                self._progress = None

    def _line(self, text: str, *, mark: str = " ", style: str = "") -> None:
        clean = one_line(text)
        with self._lock:
            if self.is_live:
                self.console.print(Text.assemble((mark, style), " ", clean))
            else:
                elapsed = _clock_time(self._clock() - self._started_s)
                self.console.print(Text(f"[{elapsed}] {clean}"), soft_wrap=True)
                self.console.file.flush()


class Stage:
    """A running stage; made by :meth:`Reporter.stage`."""

    def __init__(
        self,
        *,
        reporter: Reporter,
        name: str,
        total: int | None,
        unit: str,
        progress: Progress | None,
        clock: Callable[[], float],
    ) -> None:
        self._reporter = reporter
        self._name = name = one_line(name)
        self._total = total
        self._unit = unit
        self._clock = clock
        self._num_done = 0
        self._note = ""
        self._started_s = self._last_line_s = clock()
        self._progress = progress
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        if progress is not None:
            self._task = progress.add_task(name, total=total, unit=unit, note="")

    def advance(self, num: int = 1) -> None:
        """Count ``num`` more units as done."""
        with self._lock:
            self._num_done += num
            if self._progress is not None and self._task is not None:
                self._progress.advance(self._task, num)
            else:
                self._plain_line()

    def update(self, num_done: int, total: int | None = None, figures: Mapping[str, float] | None = None) -> None:
        """Set the count of a training, whose steps are counted elsewhere, and show its loss.

        Args:
            num_done: steps done.
            total: steps in all; None leaves it as it is.
            figures: what was logged for the step; without a ``loss`` the note stays as it is.
        """
        loss = None if figures is None else figures.get("loss")
        with self._lock:
            self._num_done = num_done
            self._total = self._total if total is None else total
            self._note = self._note if loss is None else f"loss {loss:.3f}"
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, completed=num_done, total=self._total, note=self._note)
            else:
                self._plain_line()

    def note(self, text: str) -> None:
        """Show a short remark beside the count, in place of the one before."""
        with self._lock:
            self._note = one_line(text)
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, note=self._note)
            else:
                self._plain_line()

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def summary(self, *, is_complete: bool) -> str:
        """The line that stays: count, elapsed time, rate and the last note."""
        elapsed_s = self._clock() - self._started_s
        counted = self._total is not None or self._num_done > 0
        if is_complete:
            done = f"{_count(self._num_done, self._unit)} in {duration(elapsed_s)}" if counted else duration(elapsed_s)
            rate = _rate(self._num_done / elapsed_s) if counted and elapsed_s > 0 and self._num_done else ""
        else:
            of = f"/{self._total}" if self._total is not None else ""
            done = f"stopped after {duration(elapsed_s)}" + (f" at {self._num_done}{of}" if counted else "")
            rate = ""
        return f"{self._name}: {done}" + (f" ({rate})" if rate else "") + (f"; {self._note}" if self._note else "")

    def _plain_line(self) -> None:
        now_s = self._clock()
        if now_s - self._last_line_s < PLAIN_INTERVAL_S:
            return
        self._last_line_s = now_s
        per_s = self._num_done / (now_s - self._started_s)
        parts = [_count_of(self._num_done, self._total, self._unit)]
        if self._num_done:
            parts.append(_rate(per_s))
            if self._total is not None and self._total > self._num_done:
                parts.append(f"about {duration((self._total - self._num_done) / per_s)} left")
        if self._note:
            parts.append(self._note)
        self._reporter.message(f"{self._name}: {', '.join(parts)}")


class _Numbers(ProgressColumn):
    """Count, rate, elapsed and remaining time of a bar in one column."""

    def render(self, task: Task) -> Text:
        total = None if task.total is None else int(task.total)
        parts = []
        if total is not None or task.completed:
            parts.append(_count_of(int(task.completed), total, task.fields["unit"]))
        if task.speed:
            parts.append(_rate(task.speed))
        if task.elapsed is not None:
            parts.append(duration(task.elapsed))
        if task.time_remaining:
            parts.append(f"{duration(task.time_remaining)} left")
        return Text(" · ".join(parts), no_wrap=True)


def _is_interactive(stream: TextIO) -> bool:
    quiet = os.environ.get("CI", "").lower() not in ("", "0", "false") or os.environ.get("TERM", "") == "dumb"
    return stream.isatty() and not quiet


def _count(num: int, unit: str) -> str:
    return f"{num:,} {unit}{'s' if num != 1 else ''}" if unit else f"{num:,}"


def _count_of(num: int, total: int | None, unit: str) -> str:
    return _count(num, unit) if total is None else f"{num:,}/{_count(total, unit)}"


def _rate(per_s: float) -> str:
    return f"{per_s:,.1f}/s" if per_s >= 1 else f"{per_s * 60:.1f}/min"


def duration(seconds: float) -> str:
    """A time in words: ``4.2 s``, ``3 min 05 s``, ``1 h 20 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:d}:{minutes % 60:02d}:{rest:02d}"
