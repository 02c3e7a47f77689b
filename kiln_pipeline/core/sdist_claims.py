"""What an sdist says that its wheel must say too: Requires-Python, and the licence files that come along.

Core metadata: "Requires-Python" is what installers choose by; "License-File" entries are "relative to .dist-info/licenses" in a
wheel (PEP 639), and setuptools of 56 to 76 put them into .dist-info itself.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_LICENCE = re.compile(r"(?:licen[cs]e|copying|notice)[^/]*", re.IGNORECASE)
_CONFIGURED = re.compile(r"licen[cs]e[-_]files?\b")
_GENERATOR = re.compile(r"(?P<tool>bdist_wheel|setuptools) \((?P<version>[^)]+)\)")
_BRING_LICENCES = {"bdist_wheel": Version("0.38"), "setuptools": Version("70.1")}
"""Since when these put an sdist's licence files into a wheel without being told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SdistClaims:
    """What matters of one unpacked sdist, before any patch."""

    requires_python: str = ""
    licence_files: tuple[str, ...] = ()
    """Paths that PKG-INFO names."""
    at_root: tuple[str, ...] = ()
    """Names of the licence files beside setup.py, where its configuration says nothing of licence files."""


def claims_of(pkg_info: bytes, names: Iterable[str], configuration: Iterable[str]) -> SdistClaims:
    """Read an sdist's claims from its PKG-INFO (empty: none), the names at its root and the texts of its configuration files.

    Fields that PKG-INFO calls dynamic (PEP 643) bind nobody.
    """
    stated = BytesParser().parsebytes(pkg_info, headersonly=True)
    dynamic = {name.strip().lower() for name in stated.get_all("Dynamic", [])}
    configured = any(_CONFIGURED.search(text) for text in configuration)
    return SdistClaims(
        requires_python="" if "requires-python" in dynamic else stated.get("Requires-Python", "").strip(),
        licence_files=() if "license-file" in dynamic else tuple(sorted(stated.get_all("License-File", []))),
        at_root=() if configured else tuple(sorted(name for name in names if _LICENCE.fullmatch(name))),
    )


def claim_problems(claims: SdistClaims, metadata: Message, wheel: Message, members: Iterable[str]) -> Iterator[str]:
    """Yield where a wheel (its METADATA and WHEEL files, its paths) falls short of the sdist's claims, or of its own licences."""
    required = metadata.get("Requires-Python", "").strip()
    if required and claims.requires_python and not _are_equal(required, claims.requires_python):
        yield f"METADATA has Requires-Python {required!r}, and the sdist's PKG-INFO {claims.requires_python!r}"
    at_hand = {path.rpartition("/")[2] for path in members if ".dist-info/" in path}
    for owner, names in (("METADATA", metadata.get_all("License-File", [])), ("the sdist's PKG-INFO", claims.licence_files)):
        yield from (f"{owner} names the licence file {name}, which is not there" for name in names if _base(name) not in at_hand)
    if claims.at_root and _brings_licences(wheel) and at_hand.isdisjoint(claims.at_root):
        yield f"none of the sdist's licence files is there ({', '.join(claims.at_root)})"


def _brings_licences(wheel: Message) -> bool:
    match = _GENERATOR.match(wheel.get("Generator", ""))
    try:
        return match is not None and Version(match["version"]) >= _BRING_LICENCES[match["tool"]]
    except InvalidVersion:
        return False


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _are_equal(one: str, other: str) -> bool:
    try:
        return SpecifierSet(one) == SpecifierSet(other)
    except InvalidSpecifier:
        return one == other
