"""What a lock file says, whatever wrote it: pinned packages, where each comes from, and when a target needs it."""

from dataclasses import dataclass
from enum import StrEnum

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.target_markers import may_hold
from kiln_pipeline.core.platforms import BuildIdentifier


class Installer(StrEnum):
    """Who installs from the lock, hence whose configuration leads to our index."""

    PIP = "pip"
    UV = "uv"
    POETRY = "Poetry"
    PDM = "PDM"


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """One package needs another: an edge of a lock that holds a graph (uv's) instead of a marker per package."""

    to: int
    """Index into `LockFile.packages`."""
    marker: str = ""
    extras: tuple[str, ...] = ()
    """Extras of the needed package that are asked for."""
    for_extra: str = ""
    """The extra of the needing package that this belongs to; empty when it is needed in any case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """One package of a lock."""

    project: str
    """Normalised; a path or URL without a name as it is written."""
    version: str = ""
    """Normalised (PEP 440); empty when the lock pins none, as for most paths."""
    source: str = ""
    """Where it comes from when that is no package index: ``git+…``, a URL or a path. Empty for a package index."""
    markers: tuple[str, ...] = ()
    """It is needed where any of them holds; everywhere when there is none."""
    edges: tuple[Edge, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LockFile:
    """A lock: its packages in the order of the file."""

    file: str
    installer: Installer
    packages: tuple[LockedPackage, ...]
    roots: tuple[Edge, ...] | None = None
    """Where a graph begins; None for a lock whose packages have markers of their own."""
    requires_python: str = ""
    """The Pythons that the lock is for; empty when it does not say."""
    unpinned: tuple[str, ...] = ()
    """Requirements that pin no version, as they are written: what they bring is not known."""
    notes: tuple[str, ...] = ()
    """What was read and has no say here, one sentence each."""

    def needed(self, identifier: BuildIdentifier) -> tuple[LockedPackage, ...]:
        """Return the packages that a target needs, with all extras and dependency groups of the lock's own project."""
        if self.roots is None:
            return tuple(p for p in self.packages if not p.markers or any(may_hold(m, identifier) for m in p.markers))
        reached: set[tuple[int, str]] = set()
        waiting = list(self.roots)
        while waiting:
            edge = waiting.pop()
            if not may_hold(edge.marker, identifier):
                continue
            for extra in ("", *edge.extras):
                if (edge.to, extra) not in reached:
                    reached.add((edge.to, extra))
                    waiting += [further for further in self.packages[edge.to].edges if further.for_extra == extra]
        numbers = {number for number, _ in reached}
        return tuple(package for number, package in enumerate(self.packages) if number in numbers)

    def releases(self) -> tuple[Release, ...]:
        """Return every release of a package index that the lock pins, for whatever target, sorted."""
        pinned = {Release(project=p.project, version=p.version) for p in self.packages if p.version and not p.source}
        return tuple(sorted(pinned))
