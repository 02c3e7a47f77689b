"""Platforms, build identifiers and which cibuildwheel builds them. Nothing here knows releases or recipes.

A build identifier is exactly cibuildwheel's (``cp311-macosx_arm64``). It is parsed once, here; nobody slices it again.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Platform(StrEnum):
    """The platform part of a build identifier, and the platform partition key."""

    MACOSX_ARM64 = "macosx_arm64"
    MACOSX_X86_64 = "macosx_x86_64"
    MANYLINUX_X86_64 = "manylinux_x86_64"
    MANYLINUX_AARCH64 = "manylinux_aarch64"
    MUSLLINUX_X86_64 = "musllinux_x86_64"
    MUSLLINUX_AARCH64 = "musllinux_aarch64"

    @property
    def family(self) -> str:
        """``macosx``, ``manylinux`` or ``musllinux``."""
        return self.value.partition("_")[0]

    @property
    def machine(self) -> str:
        """``arm64``, ``x86_64`` or ``aarch64``."""
        return self.value.partition("_")[2]


_PYTHON = re.compile(r"(?P<implementation>cp|pp)(?P<major>\d)(?P<minor>\d+)(?P<threads>t?)", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class PythonTag:
    """The interpreter of a target: ``cp311``, the free-threaded ``cp313t``, PyPy's ``pp311``."""

    implementation: str
    major: int
    minor: int
    free_threaded: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``cp313t``. Raises `ValueError` with what to write instead."""
        match = _PYTHON.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no Python tag: write for example cp311, cp313t or pp311")
        return cls(
            implementation=match["implementation"],
            major=int(match["major"]),
            minor=int(match["minor"]),
            free_threaded=bool(match["threads"]),
        )

    @property
    def version(self) -> str:
        """``3.11``."""
        return f"{self.major}.{self.minor}"

    def __str__(self) -> str:
        return f"{self.implementation}{self.major}{self.minor}{'t' if self.free_threaded else ''}"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class BuildIdentifier:
    """cibuildwheel's name of one build: an interpreter on a platform."""

    python: PythonTag
    platform: Platform

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``cp311-macosx_arm64``. Raises `ValueError` with what to write instead."""
        python, _, platform = text.partition("-")
        if platform not in Platform.__members__.values():
            raise ValueError(f"{text!r} is no build identifier: the part after '-' is one of {', '.join(Platform)}")
        return cls(python=PythonTag.parse(python), platform=Platform(platform))

    def __str__(self) -> str:
        return f"{self.python}-{self.platform}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Floors:
    """The oldest system that a wheel must run on, per platform family; a wheel that needs a newer one covers nothing."""

    macosx_arm64: tuple[int, int] = (11, 0)
    macosx_x86_64: tuple[int, int] = (10, 13)
    glibc: tuple[int, int] = (2, 28)
    musl: tuple[int, int] = (1, 2)


_BUILDS: dict[str, tuple[tuple[str, str], ...]] = {
    "4.3.3": (
        ("manylinux macosx", "cp39 cp310 cp311 cp312 cp313 cp314 cp314t cp315 cp315t pp39 pp310 pp311 pp312"),
        ("musllinux", "cp39 cp310 cp311 cp312 cp313 cp314 cp314t cp315 cp315t"),
    ),
    "3.4.1": (
        ("manylinux macosx", "cp38 cp39 cp310 cp311 cp312 cp313 cp313t cp314 cp314t pp38 pp39 pp310 pp311"),
        ("musllinux", "cp38 cp39 cp310 cp311 cp312 cp313 cp313t cp314 cp314t"),
    ),
    "2.23.3": (
        ("manylinux macosx_x86_64", "cp36 cp37 cp38 cp39 cp310 cp311 cp312 cp313 cp313t pp37 pp38 pp39 pp310 pp311"),
        ("musllinux", "cp36 cp37 cp38 cp39 cp310 cp311 cp312 cp313 cp313t"),
        ("macosx_arm64", "cp38 cp39 cp310 cp311 cp312 cp313 cp313t pp38 pp39 pp310 pp311"),
    ),
}
"""cibuildwheel version, newest first -> (platforms or families, interpreters), from its resources/build-platforms.toml."""


def _identifiers(version: str) -> frozenset[BuildIdentifier]:
    return frozenset(
        BuildIdentifier(python=PythonTag.parse(python), platform=platform)
        for families, pythons in _BUILDS[version]
        for platform in Platform
        if platform in families.split() or platform.family in families.split()
        for python in pythons.split()
    )


_IDENTIFIERS = {version: _identifiers(version) for version in _BUILDS}
_ALL = tuple(sorted(frozenset[BuildIdentifier]().union(*_IDENTIFIERS.values())))


def cibuildwheel_version(identifier: BuildIdentifier) -> str | None:
    """Return the newest cibuildwheel version that can build an identifier (``4.3.3``), or None when none ever could."""
    return next((version for version, builds in _IDENTIFIERS.items() if identifier in builds), None)


def all_identifiers() -> tuple[BuildIdentifier, ...]:
    """Return every identifier that some known cibuildwheel can build: by implementation, Python, then platform."""
    return _ALL
