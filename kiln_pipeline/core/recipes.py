"""Recipes: what a maintainer wants built, and how. The types and the merge; `core.recipe_toml` reads them from TOML.

A recipe is data. Everything that reaches a build is shown in full in the attempt's provenance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import cast

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core.limits import Limits
from kiln_pipeline.core.mirror.settings import Mirror
from kiln_pipeline.core.patches import Patch
from kiln_pipeline.core.platforms import Floors, Platform, PythonTag
from kiln_pipeline.core.strategies import Rung


def merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Return `below` with `above` laid over it: tables merge key by key at every depth, everything else replaces."""
    result = dict(below)
    for key, value in above.items():
        beneath = result.get(key)
        if isinstance(value, Mapping) and isinstance(beneath, Mapping):
            result[key] = merged(cast(Mapping[str, object], beneath), cast(Mapping[str, object], value))
        else:
            result[key] = value
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSettings:
    """How a release is built: the recipe's settings with the defaults beneath and matching overrides above."""

    cibuildwheel: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """The ``[cibuildwheel]`` table, verbatim: cibuildwheel's own option names, values as `tomllib` gives them."""
    constraints: tuple[str, ...] = ()
    """PEP 508 requirements that bound the build requirements, for example ``Cython<3``."""
    extensions: tuple[str, ...] = ()
    """Import names of the extension modules that the wheel must contain, for example ``yaml._yaml``."""
    patches: tuple[Patch, ...] = ()
    """Laid over the unpacked sdist in this order, by every builder."""
    system_packages: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Package manager (``dnf``, ``apt``, ``apk``, ``brew``) -> packages installed before the build."""
    time_travel: str = "as-of"
    """When build requirements are of: ``as-of`` (the release's date), ``latest``, or a day such as ``2023-06-01``."""
    ladder: tuple[Rung, ...] = ()
    """The ways of building that are tried in order; empty: the default of `core.strategies.strategies_for`."""
    network: bool | None = None
    """Whether the build may reach more than the index of its build requirements; None: the builder's own default."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsLayer:
    """What one table states of `BuildSettings`; None leaves a field as it is beneath."""

    cibuildwheel: Mapping[str, object] | None = None
    constraints: tuple[str, ...] | None = None
    extensions: tuple[str, ...] | None = None
    patches: tuple[Patch, ...] | None = None
    system_packages: Mapping[str, tuple[str, ...]] | None = None
    time_travel: str | None = None
    ladder: tuple[Rung, ...] | None = None
    network: bool | None = None
    limits: Mapping[str, int] | None = None
    """Field names of `Limits`; those that are left out stay as they are beneath."""

    def over(self, beneath: BuildSettings) -> BuildSettings:
        """Lay this over `beneath`: tables merge key by key, lists replace."""
        packages = dict(beneath.system_packages) | dict(self.system_packages or {})
        return BuildSettings(
            cibuildwheel=MappingProxyType(merged(beneath.cibuildwheel, self.cibuildwheel or {})),
            constraints=beneath.constraints if self.constraints is None else self.constraints,
            extensions=beneath.extensions if self.extensions is None else self.extensions,
            patches=beneath.patches if self.patches is None else self.patches,
            system_packages=MappingProxyType(packages),
            time_travel=beneath.time_travel if self.time_travel is None else self.time_travel,
            ladder=beneath.ladder if self.ladder is None else self.ladder,
            network=beneath.network if self.network is None else self.network,
            limits=beneath.limits.with_stated(self.limits or {}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """Settings for some versions only; later overrides win."""

    versions: tuple[SpecifierSet, ...]
    """A union: any of them."""
    settings: SettingsLayer


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One project's recipe, with ``recipes/defaults.toml`` beneath it."""

    project: str
    reason: str
    """One line for people: why this project needs kiln."""
    versions: tuple[SpecifierSet, ...]
    """The releases wanted: a union, since one PEP 440 specifier set is an intersection. Pre-releases only when `prereleases`.
    Empty: nothing is built, the project is only mirrored."""
    pythons: tuple[PythonTag, ...]
    platforms: tuple[Platform, ...]
    floors: Floors = Floors()
    demo: tuple[str, ...] = ()
    """Versions that `kiln run` takes when it is given no names."""
    priority: int = 0
    """Higher is built sooner."""
    notes: tuple[str, ...] = ()
    """For people: what was built where, with which result, and what was not tried."""
    prereleases: bool = False
    min_age: timedelta = timedelta(hours=24)
    """How long after a release's upload kiln waits for upstream's own wheels."""
    mirror: Mirror = Mirror()
    """What becomes of upstream's own files."""
    settings: BuildSettings = BuildSettings()
    overrides: tuple[Override, ...] = ()
    text: str = ""
    """What provenance records: the defaults' text, the recipe's text, and a line with the sha256 of each of its patches."""
    sha256: str = ""
    """Of `text` in UTF-8."""

    def wants(self, version: Version) -> bool:
        """Return whether a version is wanted, before any rule of missing wheels."""
        return admits(self.versions, version)


def admits(union: tuple[SpecifierSet, ...], version: Version) -> bool:
    """Return whether any of the specifier sets contains `version`, pre-releases included."""
    return any(specifiers.contains(version, prereleases=True) for specifiers in union)


def settings_for(recipe: Recipe, version: Version) -> BuildSettings:
    """Return how one release is built: the recipe's settings, then each override that admits `version`, later ones above."""
    settings = recipe.settings
    for override in recipe.overrides:
        if admits(override.versions, version):
            settings = override.settings.over(settings)
    return settings
