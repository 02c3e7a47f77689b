"""What a person sees in the terminal while kiln works: one line per step, and a spinner with the time while it lasts.

Writes to a copy of the original stderr, because Dagster redirects the process's own while a step runs.
"""

import os
import time
from threading import Lock
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

WIDTH_OF_A_FILE = 160
"""Columns where the output is no terminal and has no width of its own."""


def console(file: TextIO) -> Console:
    """Return a console on `file` that does not colour what it does not understand, nor fold a log into 80 columns."""
    return Console(file=file, highlight=False, width=None if file.isatty() else WIDTH_OF_A_FILE)


class TerminalProgress:
    """A `Progress` with a spinner on a terminal and plain lines elsewhere. Use as a context manager."""

    def __init__(self) -> None:
        self.console = console(os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1))
        self._spinner = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=self.console, transient=True
        )
        self._task = self._spinner.add_task("", total=None)
        self._bar: Progress | None = None
        self._begun, self._lock = time.monotonic(), Lock()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._spinner.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._spinner.stop()  # elsewhere it would leave an empty line
        if self._bar is not None:
            self._bar.stop()
        self.console.file.close()

    def meter(self, received: int, total: int) -> None:
        """Show how much of a long download is there: a bar on a terminal, nothing elsewhere. Any thread may tell."""
        if not self.console.is_terminal:
            return
        with self._lock:
            if self._bar is None:
                self._spinner.stop()
                columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
                self._bar = Progress(*columns, console=self.console, transient=True)
                self._bar.add_task("", total=total)
                self._bar.start()
            self._bar.advance(self._bar.task_ids[0], received)

    def step(self, text: str) -> None:
        elapsed = time.monotonic() - self._begun
        self.console.print(f"[dim]{elapsed:6.1f}s[/dim] {escape(text)}", soft_wrap=True)
        self._spinner.reset(self._task, description=escape(text[:100]))
