"""Where a wheel's files end up when it is installed, and what an installer may add or change. Bytes in, values out.

Specification: https://packaging.python.org/specifications/binary-distribution-format/#installing-a-wheel-distribution-1-0-py32-none-any-whl
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from packaging.tags import Tag

from kiln_pipeline.errors import VerificationError

_DATA = re.compile(r"[^/]+\.data/(?P<scheme>[^/]+)/(?P<path>.+)")
_ADDED = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")
"""What installers write into ``.dist-info`` themselves."""
_SHEBANG = re.compile(rb"\A#!.*pythonw?[^\n]*\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """One distribution in an environment, as its ``.dist-info`` describes it."""

    project: str
    """Normalised."""
    version: str
    """Normalised PEP 440."""
    build: str
    """The build tag in its WHEEL file; empty when there is none."""
    tags: frozenset[Tag]
    recorded: tuple[str, ...]
    """The paths in its ``RECORD``, relative to site-packages, in their order."""
    read: Callable[[str, str], bytes | None]
    """(scheme, path) -> the bytes of a file; None when there is none. A scheme is ``lib`` (site-packages), ``scripts``,
    ``headers`` or ``data``.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An installed wheel that is file by file the one that was published."""

    same: int
    """Files that are byte for byte in the wheel."""
    added: int
    """Files that the installer made: bytecode, entry points, its own notes. They are not covered by any signature."""


def compare_installed(filename: str, wheel: bytes, installed: Installed) -> Comparison:
    """Compare a verified wheel with what is installed of it.

    Raises `VerificationError` for a file that is gone, altered, or that neither the wheel nor an installer has put there.
    """
    problems: list[str] = []
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        members = [info.filename for info in archive.infolist() if not info.is_dir()]
        info = next(name.split("/")[0] for name in members if name.split("/")[0].endswith(".dist-info"))
        expected: set[str] = set()
        for member in members:
            scheme, path = _place(member)
            if scheme == "lib":
                expected.add(path)
            if path == f"{info}/RECORD":
                continue
            found = installed.read(scheme, path)
            if found is None:
                problems.append(f"{path} is gone")
            elif _digest(found, scheme) != _digest(archive.read(member), scheme):
                problems.append(f"{path} has been altered")
    added = [path for path in installed.recorded if path not in expected and not path.startswith("../")]
    problems += [f"{path} is not in the wheel" for path in added if not _by_installer(path, info)]
    if problems:
        raise VerificationError(
            subject=filename, reason="; ".join(problems), hint="install it again, and find out what changed it"
        )
    elsewhere = len(members) - len(expected)
    return Comparison(
        same=len(members) - 1, added=max(0, len(installed.recorded) - len(expected.intersection(installed.recorded)) - elsewhere)
    )


def _place(member: str) -> tuple[str, str]:
    match = _DATA.fullmatch(member)
    if match is None or match["scheme"] in ("purelib", "platlib"):
        return "lib", match["path"] if match else member
    return match["scheme"], match["path"]


def _digest(data: bytes, scheme: str) -> bytes:
    """Return the sha256; a script's first line is rewritten to the environment's own Python, and nothing else of it."""
    return hashlib.sha256(_SHEBANG.sub(b"#!python\n", data) if scheme == "scripts" else data).digest()


def _by_installer(path: str, info: str) -> bool:
    folder, _, name = path.rpartition("/")
    bytecode = name.endswith(".pyc") and (folder == "__pycache__" or folder.endswith("/__pycache__"))
    return bytecode or (folder == info and name in _ADDED)
