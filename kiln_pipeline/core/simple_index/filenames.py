"""What a distribution's filename says: its kind and its version, for a project that is known. Nothing here opens a file.

Upstream's filenames are hostile until they have passed here. Wheels follow the binary distribution format (PEP 427, PEP 425),
sdists PEP 625 and everything that pip took as an sdist before it; eggs, wininst, msi, rpm and bdist_dumb are recognised as such.
"""

import re
from functools import lru_cache

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.distributions import FileKind

MAX_LENGTH = 255
"""Characters; no common file system stores a longer name."""
_MAX_TAGS = 1024
"""A compressed tag set is a product of three lists: 200 characters can spell 60,000 tags. Real names spell some dozens."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]*", re.ASCII)
_SDISTS = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tbz", ".txz", ".tar")
_PLATFORM = r"(?:linux|macosx|win[a-z0-9-]|darwin|freebsd|openbsd|netbsd|cygwin|mingw|solaris|sunos|aix|hp-ux)"
_OTHERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (".egg", re.compile(r"(?P<version>[^-]+)(?:-py[0-9].*)?", re.ASCII)),
    (".exe", re.compile(rf"(?P<version>.+?)(?:[.-]{_PLATFORM}.*)?", re.ASCII)),
    (".msi", re.compile(rf"(?P<version>.+?)(?:[.-]{_PLATFORM}.*)?", re.ASCII)),
    (".rpm", re.compile(r"(?P<version>[^-]+)-[^-]+\.[a-z0-9_]+", re.ASCII)),
    (".dmg", re.compile(rf"(?P<version>.+?)(?:[.-]{_PLATFORM}.*)?", re.ASCII)),
    (".tar.z", re.compile(r"(?P<version>.+)", re.ASCII)),
)
_DUMB = re.compile(rf"(?P<version>.+?)\.{_PLATFORM}.*", re.ASCII)


def filename_problem(filename: str) -> str:
    """Return why `filename` must not become a file's name anywhere, or an empty string when it may.

    Only ASCII letters, digits and ``. _ + ! ~ -`` pass, the first a letter or digit: no path separator, no drive, no hidden
    file, no control character, and no homoglyph, since the Kelvin sign's lower case is a plain ``k``.
    """
    if len(filename) > MAX_LENGTH:
        return f"its filename has {len(filename)} characters, more than {MAX_LENGTH}"
    if _SAFE.fullmatch(filename) is None:
        return "its filename has characters that no distribution's name has"
    return ""


def parse_filename(filename: str, project: str) -> tuple[FileKind, str]:
    """Return the kind and the normalised PEP 440 version of a file of `project` (a normalised name).

    Raises `ValueError` with the reason: a dangerous name, a file of another project, no version, an unknown kind of file.
    A wheel passes when `packaging.utils.parse_wheel_filename` takes it, and its tag set has a sane size.
    """
    problem = filename_problem(filename)
    if problem:
        raise ValueError(problem)
    if filename.endswith(".whl"):
        return FileKind.WHEEL, _wheel_version(filename.removesuffix(".whl"), project)
    lowered = filename.lower()
    for suffix in _SDISTS:
        if lowered.endswith(suffix):
            return _source_or_dumb(_after_name(filename[: -len(suffix)], project))
    for suffix, pattern in _OTHERS:
        if lowered.endswith(suffix):
            rest = _after_name(filename[: -len(suffix)], project)
            match = pattern.fullmatch(rest)
            return FileKind.OTHER, normalised_version(match["version"] if match else rest)
    raise ValueError("its filename is of no known kind of distribution")


@lru_cache(maxsize=65_536)
def normalised_version(text: str) -> str:
    """Return the normalised PEP 440 version. Raises `ValueError` when there is none."""
    try:
        if len(text) > MAX_LENGTH or not text.isascii():
            raise InvalidVersion(text)
        return str(Version(text))
    except InvalidVersion:
        raise ValueError(f"{text[:60]!a} is no version (PEP 440)") from None


def _after_name(stem: str, project: str) -> str:
    """Return what follows ``<project>-`` in a filename. Names may hold dashes, so every dash is tried, as pip does."""
    for match in re.finditer("-", stem):
        if canonicalize_name(stem[: match.start()]) == project:
            return stem[match.end() :]
    raise ValueError(f"its filename is not one of project {project}")


def _source_or_dumb(rest: str) -> tuple[FileKind, str]:
    """Tell an sdist from a bdist_dumb (``1.0.linux-x86_64``), which has the same suffixes and holds built files."""
    dumb = _DUMB.fullmatch(rest)
    if dumb is not None:
        return FileKind.OTHER, normalised_version(dumb["version"])
    return FileKind.SDIST, normalised_version(rest)


def _wheel_version(stem: str, project: str) -> str:
    parts = stem.split("-")
    if len(parts) not in (5, 6):
        raise ValueError(f"its filename has {len(parts)} parts, and a wheel's has 5 or 6 (PEP 427)")
    name = parts[0]
    if "__" in name or canonicalize_name(name) != project:
        raise ValueError(f"its filename is not one of project {project}")
    if len(parts) == 6 and not parts[2][:1].isdigit():
        raise ValueError("its build tag does not begin with a digit (PEP 427)")
    problem = _tags_problem("-".join(parts[-3:]))
    if problem:
        raise ValueError(problem)
    return normalised_version(parts[1])


@lru_cache(maxsize=65_536)
def _tags_problem(tags: str) -> str:
    interpreters, abis, platforms = (part.split(".") for part in tags.split("-"))
    if len(interpreters) * len(abis) * len(platforms) > _MAX_TAGS:
        return f"its filename spells more than {_MAX_TAGS} tags"
    if not all((*interpreters, *abis, *platforms)) or not all(interpreter.isidentifier() for interpreter in interpreters):
        return "its tags are no tags (PEP 425)"
    return ""
