"""Releases whose setup.py means harm, and sdists that are none: what each does, and the name that its failure must have.

Everything is made here, so that no archive that does harm lies in the repository. The tests of both builders run the whole set.
"""

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kiln_pipeline.core.limits import Limits

PKG_INFO = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
_MIB = 1024**2
_SETUP = "from setuptools import setup\nsetup(name='demo', version='1.0')\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class HostileSetup:
    """A setup.py, and how a build of it ends. ``{mark}`` in the code is a path outside of the build's folder."""

    code: str
    failure: str
    proof: str
    """A regular expression that the proof matches."""
    limits: Limits = field(default_factory=lambda: Limits(time=240))
    container: str | None = ""
    """The class in a container, where that is another one; None: the container is its whole world, and it ends as it likes."""


SETUPS: Mapping[str, HostileSetup] = {
    "forks and never ends": HostileSetup(
        code="import os, time\nfor _ in range(20):\n    os.fork() or time.sleep(3600)\ntime.sleep(3600)\n",
        failure="timeout",
        proof=r"kiln: stopped after [\d.]+ seconds",
        limits=Limits(time=60),
    ),
    "fork bomb": HostileSetup(
        code="import os, time\nwhile True:\n    os.fork()\n    time.sleep(0.01)\n",
        failure="over-limit",
        proof="kiln: stopped with more than 200 processes|Resource temporarily unavailable",
        limits=Limits(time=240, processes=200),
        container=None,  # where the engine has no control groups, nothing bounds it but its time
    ),
    "daemon": HostileSetup(
        code=(
            "import os, sys, time\n"
            "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(3599)'])\n    os._exit(0)\n"
            "time.sleep(0.5)\nraise RuntimeError('left a daemon behind')\n"
        ),
        failure="setup-exception",
        proof="left a daemon behind",
    ),
    "writes outside": HostileSetup(
        code="open({mark!r}, 'w').write('harm')\n", failure="forbidden", proof="PermissionError", container=None
    ),
    "reads the keys": HostileSetup(
        code="import pathlib\nraise RuntimeError(pathlib.Path({mark!r}).read_text())\n",
        failure="forbidden",
        proof="PermissionError",
        container="setup-exception",
    ),
    "deletes its folder": HostileSetup(
        code="import os, shutil\nshutil.rmtree(os.getcwd())\n" + _SETUP,
        failure="setup-exception",
        proof="No such file or directory",
    ),
    "opens the network": HostileSetup(
        code="import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=5)\n",
        failure="forbidden",
        proof="Network is unreachable",
        container=None,
    ),
    "prints ten gigabytes": HostileSetup(
        code="import os\nwhile True:\n    os.write(1, b'x' * 65535 + b'\\n')\n",
        failure="over-limit",
        proof="kiln: stopped after 4194304 bytes of log",
        limits=Limits(time=240, log=4 * _MIB),
    ),
    "fills the disk": HostileSetup(
        code="with open('big', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))\n",
        failure="over-limit",
        proof="File too large",
        limits=Limits(time=240, file_size=256 * _MIB),
    ),
    "fills the disk with many files": HostileSetup(
        code="import itertools, os\nfor n in itertools.count():\n    open(f'f{{n}}', 'wb').write(bytes(1 << 24))\n",
        failure="over-limit",
        proof="kiln: stopped with more than 1073741824 bytes in its folder",
        limits=Limits(time=240, disk=1024 * _MIB),
        container=None,
    ),
    "eats the memory": HostileSetup(
        code="hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 24))\n",
        failure="out-of-memory",
        proof="MemoryError",
        limits=Limits(time=240, memory=1024 * _MIB),
    ),
}


def sdist_of(folder: Path, setup: str) -> Path:
    """Return ``demo-1.0.tar.gz`` with that setup.py."""
    path = folder / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("PKG-INFO", PKG_INFO), ("setup.py", setup.encode())):
            info = tarfile.TarInfo(f"demo-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def _special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def _bomb() -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo("demo-1.0/big")
    info.size = 9 * 1024**3
    return info, b""  # the header alone: nobody must come to read more


_INFO, _SETUP_PY = _file("demo-1.0/PKG-INFO", PKG_INFO), _file("demo-1.0/setup.py", _SETUP.encode())

ARCHIVES: Mapping[str, tuple[Callable[[], list[tuple[tarfile.TarInfo, bytes]]], str]] = {
    "a path above": (lambda: [_INFO, _SETUP_PY, _file("../evil")], "outside the destination"),
    "a path above, hidden": (lambda: [_INFO, _SETUP_PY, _file("demo-1.0/a/../../../evil")], "outside the destination"),
    "an absolute path": (lambda: [_INFO, _SETUP_PY, _file("/evil/x")], "2 entries at its top"),
    "a link to the host's files": (
        lambda: [_INFO, _SETUP_PY, _special("demo-1.0/a", tarfile.SYMTYPE, "/etc/shadow")],
        "absolute path|outside the destination",
    ),
    "a link out": (lambda: [_INFO, _SETUP_PY, _special("demo-1.0/a", tarfile.SYMTYPE, "../../evil")], "outside the destination"),
    "a hard link out": (
        lambda: [_INFO, _SETUP_PY, _special("demo-1.0/a", tarfile.LNKTYPE, "../evil")],
        "outside the destination",
    ),
    "a device": (lambda: [_INFO, _SETUP_PY, _special("demo-1.0/sda", tarfile.BLKTYPE)], "special file"),
    "a pipe": (lambda: [_INFO, _SETUP_PY, _special("demo-1.0/fifo", tarfile.FIFOTYPE)], "special file"),
    "a bomb": (lambda: [_INFO, _SETUP_PY, _bomb()], "unpacks to more than"),
    "no PKG-INFO": (lambda: [_file("demo-1.0/readme")], "neither PKG-INFO nor setup.py"),
    "another version inside": (
        lambda: [_file("demo-1.0/PKG-INFO", PKG_INFO.replace(b"1.0", b"6.6")), _SETUP_PY],
        "is of demo 6.6, not of demo==1.0",
    ),
    "two PKG-INFO, the second another's": (
        lambda: [_INFO, _SETUP_PY, _file("demo-1.0/PKG-INFO", PKG_INFO.replace(b"1.0", b"6.6"))],
        "is of demo 6.6, not of demo==1.0",
    ),
    "nothing": (list, "0 entries at its top"),
}
"""sdists that are none, or mean harm before anything of them runs: their members, and what the proof of ``bad-sdist`` says."""


def archive_of(folder: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Return ``demo-1.0.tar.gz`` with those members, a bomb's without its content."""
    path = folder / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            assert tar.fileobj is not None
            if len(content) == info.size:
                tar.addfile(info, io.BytesIO(content))
            else:
                tar.fileobj.write(info.tobuf())
    return path


IN_ONE_CONTAINER = r"""
import os, shutil, subprocess, sys

def tried(what, code):
    ended = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE)
    print("tried:", what, ended.returncode, ended.stderr.decode().strip().splitlines()[-1:], flush=True)

tried("keys", "print(open({mark!r}).read())")
tried("outside", "open({mark!r}, 'w').write('harm')")
tried("network", "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)")
tried("names", "import socket; socket.getaddrinfo('files.example.org', 443)")
tried("memory", "hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 24))")
tried("file", "with open('big', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(3597)"])
    os._exit(0)
shutil.rmtree(os.getcwd())
raise RuntimeError("all of it tried")
"""
"""What ends by itself, all in one setup.py, since a container costs seconds. ``{mark!r}`` is a path of the host."""
