"""Child processes: their own session, an exact environment, a log file, a timeout, and nothing left behind. Knows no tool.

A child never inherits this process's environment: what a build may see is stated by the caller, so that a host's settings
cannot change a wheel and a host's secrets cannot leak into a log.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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

_GRACE_SECONDS = 10.0
"""What a child gets to clean up after SIGINT (cibuildwheel removes its container then) before it is killed."""


class ProcessTimedOut(Exception):
    """The child ran longer than it was allowed to; it is gone, and the log says so."""


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
    children: Children | None = None,
) -> int:
    """Run a command, append everything it prints to `log`, and return its exit status (negative: killed by that signal).

    `timeout` is in seconds. Raises `ProcessTimedOut`, `BuildCancelled` when `children` are cancelled meanwhile, or `BuildError`
    when there is no such program. Whatever happens, the child's whole process group is gone when this returns or raises.
    """
    words = [str(word) for word in command]
    with log.open("ab") as output:
        output.write(f"kiln: $ {shlex.join(words)}\n".encode())
        output.flush()
        try:
            child = subprocess.Popen(
                words,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o022,
            )
        except OSError as error:
            raise BuildError(subject=words[0], reason=error.strerror or str(error), hint="is it installed?") from error
        with (children or Children()).holding(child):
            try:
                return child.wait(timeout)
            except subprocess.TimeoutExpired:
                _stop(child)
                output.write(f"kiln: stopped after {timeout:g} seconds\n".encode())
                raise ProcessTimedOut(words[0]) from None
            finally:
                _stop(child)


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
