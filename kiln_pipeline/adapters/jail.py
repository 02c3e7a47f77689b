"""Jails for builds on this host itself: what is closed to them, as far as the kernel goes along. The closing is `jail_init`'s.

Of what a kernel or a container around kiln refuses, nothing is pretended: `enforced` says what held.
"""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kiln_pipeline.adapters import jail_init
from kiln_pipeline.adapters.index_bounds import ServedIndex
from kiln_pipeline.adapters.processes import Children, run_logged
from kiln_pipeline.core.limits import COUNTED, EACH, FOLDER, NAMES, NOT_ENFORCED, TOGETHER, Limits

_READ = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/opt", "/nix/store", "/proc", "/dev/zero", "/dev/full",
    "/dev/random", "/dev/urandom", "/sys/devices/system/cpu",
)  # fmt: skip
"""What of a host every build reads, beside its public settings: programs and libraries."""
_WRITE = ("/dev/null", "/dev/tty", "/dev/shm")  # noqa: S108 (each jail has its own)


@cache
def public_settings(folder: Path = Path("/etc")) -> tuple[str, ...]:
    """Return the files and folders of ``/etc`` that hold nothing but what everyone may read, whoever runs kiln."""
    found: list[str] = []
    for path in folder.iterdir():
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode) and mode & 0o004:
                found.append(str(path))
            elif stat.S_ISDIR(mode) and mode & 0o001 and not path.is_symlink():
                below = public_settings(path)
                found += [str(path)] if set(below) == _entries(path) else below
        except OSError:
            continue
    return tuple(sorted(found))


def _entries(folder: Path) -> set[str]:
    return {str(path) for path in folder.iterdir()}


@cache
def namespaces_work() -> bool:
    """Return whether this host lets a build have namespaces of its own; tried once, with a program that does nothing."""
    if sys.platform != "linux":
        return False
    ours, its = socket.socketpair()
    spec = _spec(its.fileno(), namespaces=True, sealed=True, port=9, limits=Limits(), read=(), write=("/",))
    with ours, its:
        command = [sys.executable, "-I", "-S", jail_init.__file__, spec, "true"]
        try:
            ended = subprocess.run(command, pass_fds=[its.fileno()], capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
    return ended.returncode == 0


def _spec(
    descriptor: int, *, namespaces: bool, sealed: bool, port: int, limits: Limits, read: Sequence[str], write: Sequence[str]
) -> str:
    return json.dumps({
        "socket": descriptor, "namespaces": namespaces, "sealed": sealed, "port": port,
        "limits": {name: getattr(limits, name) for name in NAMES}, "read": list(read), "write": list(write),
    })  # fmt: skip


@dataclass(kw_only=True)
class Jail:
    """What one build on this host may have. `enforced` is complete after the first `run`."""

    limits: Limits
    folder: Path
    """The build's own, and the only one that it may write to."""
    readable: Sequence[Path]
    """What it reads besides the system's programs: interpreters, tools."""
    index: ServedIndex
    sealed: bool
    """Whether the index is all that it may reach of the network."""
    _landlock: int = field(default=0, init=False)
    _namespaces: bool = field(default=False, init=False)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        timeout: float,
        children: Children,
        also: Sequence[Path] = (),
    ) -> int:
        """Run a command in the jail, as `run_logged` does; `also` are further folders that it may write to."""
        max_log = self.limits.log
        if sys.platform != "linux":
            return run_logged(
                command, cwd=cwd, environment=environment, log=log, timeout=timeout, max_log=max_log, children=children
            )
        ours, its = socket.socketpair()
        self._namespaces = namespaces_work()
        read = (*_READ, *public_settings(), *(str(path) for path in self.readable))
        write = (*_WRITE, str(self.folder), *(str(path) for path in also))
        limits, port = self.limits, self.index.port
        spec = _spec(
            its.fileno(), namespaces=self._namespaces, sealed=self.sealed, port=port, limits=limits, read=read, write=write
        )
        listener = threading.Thread(target=self._listen, args=(ours,), daemon=True)
        listener.start()
        try:
            return run_logged(
                [sys.executable, "-I", "-S", jail_init.__file__, spec, *command],
                cwd=cwd,
                environment=environment,
                log=log,
                timeout=timeout,
                max_log=max_log,
                watch=self._too_large,
                pass_fds=[its.fileno()],
                shown=command,
                children=children,
            )
        finally:
            its.close()
            listener.join()
            ours.close()

    @property
    def enforced(self) -> Mapping[str, str]:
        """Each limit, and each part of the host that is closed to the build -> how."""
        jailed = sys.platform == "linux"
        network = NOT_ENFORCED
        if self.sealed and self._namespaces:
            network = "the index alone (its own network namespace)"
        elif self.sealed and self._landlock >= 4:
            network = "the index's TCP port alone (Landlock)"
        return {
            **dict.fromkeys(("memory", "cpu_time", "file_size"), EACH if jailed else NOT_ENFORCED),
            "cpus": NOT_ENFORCED,
            "time": TOGETHER,
            "log": TOGETHER,
            "processes": TOGETHER if self._namespaces or (jailed and os.getuid()) else COUNTED if jailed else NOT_ENFORCED,
            "disk": FOLDER if jailed else NOT_ENFORCED,
            "files": f"its own folder and the system's programs (Landlock, ABI {self._landlock})"
            if self._landlock >= 2
            else NOT_ENFORCED,
            "network": network if self.sealed else "open",
            "leftovers": f"ended by their {'namespace' if self._namespaces else 'reaper'}" if jailed else NOT_ENFORCED,
        }

    def _listen(self, ours: socket.socket) -> None:
        """Hear what holds in the jail, and serve the index on the socket that comes along."""
        data, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
        if data:
            self._landlock = int(json.loads(data)["landlock"])
        for descriptor in descriptors:
            self.index.serve_on(socket.socket(fileno=descriptor))

    def _too_large(self) -> str:
        size = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    size += Path(folder, name).lstat().st_blocks * 512
        return f"with more than {self.limits.disk} bytes in its folder" if size > self.limits.disk else ""
