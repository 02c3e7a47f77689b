"""A real PostgreSQL from Debian for tests: on 127.0.0.1 and a free port, in a folder of its own, as an unprivileged user."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file():
        pytest.skip("there is no PostgreSQL: apt-get install postgresql")
    return found[-1].parent


class PostgresServer:
    """A context manager that runs a server; `url` is its database, `restart` ends it hard and starts it again."""

    def __enter__(self) -> Self:
        self._programs = programs()
        # not below pytest's folder, which no other user may enter
        self._folder = Path(tempfile.mkdtemp(prefix="kiln-postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self.port = free_port()
        self.url = f"postgresql+psycopg2://kiln@127.0.0.1:{self.port}/postgres"
        self._do("initdb", "-D", str(self._folder / "data"), "-U", "kiln", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        settings = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=200"
        )
        log = str(self._folder / "log")
        self._do("pg_ctl", "-D", str(self._folder / "data"), "-l", log, "-o", settings, "-w", "-t", "60", "start")

    def stop(self) -> None:
        self._do("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def restart(self, *, away: float) -> None:
        """End every connection as a crash does, and be back after some seconds."""
        self.stop()
        time.sleep(away)
        self.start()

    def _do(self, program: str, *arguments: str) -> None:
        # its children keep what they inherit: a pipe would never end
        with (self._folder / "said").open("wb") as said:
            subprocess.run(
                [self._programs / program, *arguments],
                cwd=self._folder,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=True,
                timeout=120,
            )
