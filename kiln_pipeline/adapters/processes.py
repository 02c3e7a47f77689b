"""Child processes: their own session, an exact environment, a log file, a timeout, and nothing left behind. Knows no tool.

A child never inherits this process's environment: what a build may see is stated by the caller, so that a host's settings
cannot change a wheel and a host's secrets cannot leak into a log.
"""

import contextlib
import io
import os
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from kiln_pipeline.errors import BuildCancelled, BuildError

PASSED_THROUGH = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",  # rootless podman keeps its state there
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
"""The only variables of the host that a tool gets: where programs are, and how to reach the index (certificates, proxies)."""

_POLL_SECONDS, _WATCH_SECONDS = 0.1, 2.0
_CHUNK, _CHUNKS = 1 << 16, 64
_GRACE_SECONDS = 10.0
"""What a child gets to clean up after SIGINT (cibuildwheel removes its container then) before it is killed."""


class ProcessStopped(Exception):
    """The child took more time, or printed more, than it was allowed to; it is gone, and the log's last line says why."""


class Children:
    """The children of builds that are under way in several threads, so that any thread can end them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled: dict[subprocess.Popen[bytes], bool] = {}

    @contextlib.contextmanager
    def holding(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Know of `child` for the time of the block, which ends in `BuildCancelled` when it was ended from outside."""
        with self._lock:
            self._cancelled[child] = False
        try:
            yield
        finally:
            with self._lock:
                cancelled = self._cancelled.pop(child)
            if cancelled:
                raise BuildCancelled

    def cancel(self) -> None:
        """End every child that is known now, with its group: all are asked first, and none gets more than the one grace."""
        with self._lock:
            ended = [child for child, cancelled in self._cancelled.items() if not cancelled]
            self._cancelled.update(dict.fromkeys(ended, True))
        deadline = time.monotonic() + _GRACE_SECONDS
        try:
            for child in ended:
                _interrupt(child)
            for child in ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for child in ended:
                _kill(child)


def passed_through(host: Mapping[str, str]) -> dict[str, str]:
    """Return the allow-listed part of a host's environment. pip's own settings are never among it."""
    return {name: host[name] for name in PASSED_THROUGH if host.get(name)}


def run_logged(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    timeout: float | None = None,
    max_log: int | None = None,
    watch: Callable[[], str] | None = None,
    pass_fds: Sequence[int] = (),
    shown: Sequence[str | Path] | None = None,
    children: Children | None = None,
) -> int:
    """Run a command, append everything it prints to `log`, and return its exit status (negative: killed by that signal).

    `timeout` is in seconds; `max_log` is how many bytes the log may have, and bounds it while the child runs; `watch` is asked
    every two seconds, and what it answers is a reason to stop; the log shows `shown` as the command, if it is given. Raises
    `ProcessStopped`, `BuildCancelled` when `children` are cancelled meanwhile, or `BuildError` when there is no such program.
    Whatever happens, the child's whole process group is gone when this returns or raises.
    """
    words = [str(word) for word in command]
    with log.open("ab", buffering=0) as output:
        output.write(f"kiln: $ {shlex.join(map(str, shown or words))}\n".encode())
        reading, writing = os.pipe()
        try:
            child = subprocess.Popen(
                words,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o022,
                pass_fds=pass_fds,
            )
        except OSError as error:
            os.close(reading)
            raise BuildError(subject=words[0], reason=error.strerror or str(error), hint="is it installed?") from error
        finally:
            os.close(writing)
        try:
            with (children or Children()).holding(child):
                pump = _Pump(reading, output, max_log)
                reason = pump.attend(child, timeout, watch)
        finally:
            os.close(reading)
        if reason:
            output.write(f"{pump.line_end}kiln: stopped {reason}\n".encode())
            raise ProcessStopped(reason)
        return child.returncode


class _Pump:
    """Carries what a child prints into its log, and no more of it than the log may hold."""

    def __init__(self, reading: int, output: io.FileIO, max_log: int | None) -> None:
        os.set_blocking(reading, False)
        self._poll = select.poll()  # select.select takes no descriptor above 1023
        self._poll.register(reading, select.POLLIN)
        self._reading, self._output, self._max, self._open = reading, output, max_log, True
        self.line_end = ""
        """What ends the last line that was carried: empty when it has ended."""

    def attend(self, child: subprocess.Popen[bytes], timeout: float | None, watch: Callable[[], str] | None) -> str:
        """Carry until the child has ended, and end it with its group whatever happens; return why it was stopped, if it was."""
        try:
            return self._until_end(child, timeout, watch)
        finally:
            _stop(child)
            self._carry()  # what it said at its end

    def _until_end(self, child: subprocess.Popen[bytes], timeout: float | None, watch: Callable[[], str] | None) -> str:
        deadline = None if timeout is None else time.monotonic() + timeout
        asked = time.monotonic()
        while True:
            ended = child.poll() is not None  # asked first: what it printed is then already in the pipe
            if not self._carry():
                return f"after {self._max} bytes of log"
            if ended:
                return ""
            if deadline is not None and time.monotonic() > deadline:
                return f"after {timeout:g} seconds"
            if watch is not None and time.monotonic() > asked + _WATCH_SECONDS:
                if reason := watch():
                    return reason
                asked = time.monotonic()
            if self._open:
                self._poll.poll(_POLL_SECONDS * 1000)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_POLL_SECONDS)

    def _carry(self) -> bool:
        """Carry what is in the pipe; False when the log is full."""
        for _ in range(_CHUNKS if self._open else 0):
            room = _CHUNK if self._max is None else self._max - os.fstat(self._output.fileno()).st_size
            if room <= 0:
                return False
            try:
                data = os.read(self._reading, min(room, _CHUNK))
            except BlockingIOError:
                return True
            self._output.write(data)
            if not data:
                self._open = False
                break
            self.line_end = "" if data.endswith(b"\n") else "\n"
        return True


def capture(command: Sequence[str | Path], *, environment: Mapping[str, str], timeout: float = 60) -> str | None:
    """Return what a short question prints, or None when it fails, is not there or takes longer than `timeout` seconds."""
    try:
        answer = subprocess.run(
            [str(word) for word in command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=True,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", errors="replace")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask the leader to clean up, then end its whole group; a group whose leader has ended can still hold children."""
    try:
        if child.poll() is None:
            _interrupt(child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_SECONDS)
    finally:
        _kill(child)


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGINT)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
