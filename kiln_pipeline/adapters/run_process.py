"""A run as a process of its own, with its group, that outlives neither its end nor the worker's, however that one dies.

A guard beside it, in a session of its own, waits for the end of a pipe that only the worker holds open: when the worker is
killed, the guard asks the run to end, and kills its group after a grace. Works alike on Linux and macOS.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

GRACE_SECONDS = 30
"""What a run gets to clean up after SIGTERM: its builds end within ten seconds, and then it tells Dagster."""
_GUARD = f'cat >/dev/null; kill -TERM -"$1"; sleep {GRACE_SECONDS}; kill -KILL -"$1"'


class RunProcess:
    """A started process; always `close` it."""

    def __init__(self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        reading, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(command), cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL, start_new_session=True
            )
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", str(self._process.pid)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(reading)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status (negative: killed by that signal), or None when it has not ended within `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> int:
        """Ask the run to end, kill its group after the grace, and return the exit status."""
        self._signal(signal.SIGTERM)
        status = self.wait(GRACE_SECONDS)
        if status is None:
            self._signal(signal.SIGKILL)
            status = self._process.wait()
        return status

    def close(self) -> None:
        """End what is left of the group, and the guard."""
        if self._process.poll() is None:
            self.end()
        self._signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait()
        os.close(self._pipe)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
