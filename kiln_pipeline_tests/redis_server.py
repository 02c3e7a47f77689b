"""A real Redis from Debian for tests: on 127.0.0.1 and a free port, without persistence, so that a restart forgets everything."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from kiln_pipeline_tests.postgres_server import free_port


class RedisServer:
    """A context manager that runs a server; `url` is its address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._program = shutil.which("redis-server")
        if self._program is None:
            pytest.skip("there is no broker: apt-get install redis-server")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        command = [str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("Redis did not begin to serve")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self, *, away: float) -> None:
        """Lose everything, and be back after some seconds."""
        self.stop()
        time.sleep(away)
        self.start()
