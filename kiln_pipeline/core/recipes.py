"""Recipes: what a maintainer wants built, and how. Strictly parsed from TOML; this module never reads a file.

A recipe is data. Everything that reaches a build is shown in full in the attempt's provenance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core.platforms import Floors, Platform, PythonTag


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSettings:
    """How a release is built: the recipe's settings with the defaults beneath and matching overrides above."""

    cibuildwheel: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """The ``[cibuildwheel]`` table, verbatim: cibuildwheel's own option names and values."""
    constraints: tuple[str, ...] = ()
    """PEP 508 requirements that bound the build requirements, for example ``Cython<3``."""
    extensions: tuple[str, ...] = ()
    """Import names of the extension modules that the wheel must contain, for example ``yaml._yaml``."""
    system_packages: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Package manager (``dnf``, ``apt``, ``apk``, ``brew``) -> packages installed before the build."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """Settings for some versions only; later overrides win, tables merge key by key, lists replace."""

    versions: SpecifierSet
    settings: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One project's recipe, with ``recipes/defaults.toml`` beneath it."""

    project: str
    reason: str
    """One line for people: why this project needs kiln."""
    versions: SpecifierSet
    """The releases wanted. Pre-releases only when `prereleases`."""
    pythons: tuple[PythonTag, ...]
    platforms: tuple[Platform, ...]
    floors: Floors = Floors()
    demo: tuple[str, ...] = ()
    """Versions that `kiln run` takes when it is given no names."""
    priority: int = 0
    """Higher is built sooner."""
    prereleases: bool = False
    min_age: timedelta = timedelta(hours=24)
    """How long after a release's upload kiln waits for upstream's own wheels."""
    settings: BuildSettings = BuildSettings()
    overrides: tuple[Override, ...] = ()
    text: str = ""
    """What provenance records: the defaults' text and the recipe's text, in that order."""
    sha256: str = ""
    """Of `text` in UTF-8."""

    def wants(self, version: Version) -> bool:
        """Return whether a version is wanted, before any rule of missing wheels."""
        return self.versions.contains(version, prereleases=True)
