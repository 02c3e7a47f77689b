"""The single values of a recipe, each with the one function that reads it. Every function raises `ValueError` with what to write.

What the values are for, and which keys hold them, is `core.recipe_toml`'s business.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.strategies import Rung
from kiln_pipeline.core.toml_tables import did_you_mean

PACKAGE_MANAGERS = ("dnf", "apt", "apk", "brew")

FLOORS: tuple[tuple[str, str, tuple[int, int], str], ...] = (
    ("glibc", "glibc", (2, 17), "manylinux2014 is the oldest image"),
    ("musl", "musl", (1, 2), "musllinux_1_2 is the oldest image"),
    ("macosx_arm64", "macos-arm64", (11, 0), "there is no older macOS for arm64"),
    ("macosx_x86_64", "macos-x86_64", (10, 9), "no interpreter of ours runs on an older one"),
)
"""Field of `Floors`, key in ``[targets]``, the lowest value there can be, and why."""

_AGE = re.compile(r"(?P<number>\d{1,4})(?P<unit>[hd])", re.ASCII)
_SIZE = re.compile(r"(?P<number>\d{1,7})(?P<unit>KiB|MiB|GiB)", re.ASCII)
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(?P<number>\d{1,6})(?P<unit>[smh])", re.ASCII)
_FLOOR = re.compile(r"(?P<major>\d{1,3})\.(?P<minor>\d{1,3})", re.ASCII)
# No shell metacharacter, no leading '-': the names end up in a shell line. '@', '/', '=' and ':' are for brew's versions
# and taps, apt's and apk's versions and apt's architectures.
_SYSTEM_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_@/=:-]*", re.ASCII)


def one_line(text: str) -> str:
    """Text for people, without surrounding blanks."""
    if not text.strip() or not text.strip().isprintable():
        raise ValueError("is empty or has more than one line; write one line")
    return text.strip()


def version(text: str) -> Version:
    """A PEP 440 version."""
    try:
        return Version(text)
    except InvalidVersion:
        raise ValueError(f"{text!r} is no version (PEP 440); write for example 1.2.3") from None


def specifier_set(text: str) -> SpecifierSet:
    """A PEP 440 specifier set that says something: ``>=1,<2``."""
    if not text.strip():
        raise ValueError("an empty specifier set wants every release; write '>=0' when that is meant")
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(f"{text!r} is no specifier set (PEP 440); write for example '==1.2.3' or '>=1,<2'") from None


def age(text: str) -> timedelta:
    """``24h`` or ``2d``."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no age; write hours or days, for example 24h or 2d")
    number = int(match["number"])
    return timedelta(hours=number) if match["unit"] == "h" else timedelta(days=number)


def size(text: str) -> int:
    """``512MiB`` or ``8GiB``, in bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size; write a whole number and KiB, MiB or GiB, for example 512MiB")
    return int(match["number"]) * _UNITS[match["unit"]]


def duration(text: str) -> int:
    """``90s``, ``30m`` or ``2h``, in seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no length of time; write a whole number and s, m or h, for example 30m")
    return int(match["number"]) * _UNITS[match["unit"]]


def limit_text(name: str, value: int) -> str:
    """Return a field of `core.limits.Limits` as it is written in a recipe: ``8GiB``, ``2h``, ``2048``."""
    if name in ("cpus", "processes"):
        return str(value)
    units = ("h", "m", "s") if name in ("time", "cpu_time") else ("GiB", "MiB", "KiB")
    unit = next((unit for unit in units if value % _UNITS[unit] == 0), "")
    return f"{value // _UNITS[unit]}{unit}" if unit else f"{value} bytes"


def platform(text: str) -> Platform:
    """The platform part of a build identifier."""
    try:
        return Platform(text)
    except ValueError:
        raise ValueError(f"{text!r} is no platform; {did_you_mean(text, [known.value for known in Platform])}") from None


def floor(lowest: tuple[int, int], why: str) -> Callable[[str], tuple[int, int]]:
    """Return the reader of one floor: ``2.17`` and the like, at least `lowest`."""

    def read(text: str) -> tuple[int, int]:
        match = _FLOOR.fullmatch(text)
        if match is None:
            raise ValueError(f'{text!r} is no version of a system; write two numbers, for example "{lowest[0]}.{lowest[1]}"')
        value = int(match["major"]), int(match["minor"])
        if value < lowest:
            raise ValueError(f"{text} is too old: {why}; write {lowest[0]}.{lowest[1]} or later")
        return value

    return read


def constraint(text: str) -> str:
    """A PEP 508 requirement that can stand in a constraints file: a name, versions, perhaps a marker; normalised."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ValueError(f"{text!r} is no requirement (PEP 508); write for example 'Cython<3'") from None
    if requirement.url or requirement.extras:
        raise ValueError(f"{text!r} has a URL or extras, which constraints cannot have; write for example 'Cython<3'")
    if not requirement.specifier:
        raise ValueError(f"{text!r} bounds nothing; add versions, for example '{canonicalize_name(requirement.name)}<3'")
    return str(requirement)


def time_travel(text: str) -> str:
    """``as-of``, ``latest`` or a day."""
    if text in ("as-of", "latest"):
        return text
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no time to build in; write as-of, latest or a day such as 2023-06-01")


def rung(text: str) -> Rung:
    """One way of building."""
    try:
        return Rung(text)
    except ValueError:
        raise ValueError(f"{text!r} is no way of building; {did_you_mean(text, [known.value for known in Rung])}") from None


def import_name(text: str) -> str:
    """The dotted import name of a module."""
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"{text!r} is no import name; write for example yaml._yaml")
    return text


def system_package(text: str) -> str:
    """A system package's name that is safe in a shell line."""
    if not _SYSTEM_PACKAGE.fullmatch(text):
        raise ValueError(f"{text!r} is no package name; use letters, digits and . + - _ @ / = : after a first letter or digit")
    return text
