"""The order of building: which missing wheel is next, and why. Demand is given; verdicts were found before.

The recipe's priority goes first. Among equals: the newest release of each project, then releases that somebody pins (more pins
first), then releases that are downloaded (more first), then the rest. Last comes the newest upload, then the table's own order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from packaging.version import Version

from kiln_pipeline.core.cases import Case
from kiln_pipeline.core.coverage import Ints
from kiln_pipeline.core.demand import Demand
from kiln_pipeline.core.distributions import Release

T = TypeVar("T")
_SHOWN_PINS = 3
_NEWEST, _PINNED, _DOWNLOADED, _REST = range(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Standing:
    """What demand says of one release."""

    tier: int
    weight: int
    """Pins or downloads; more is sooner within a tier."""
    reason: str


def ranked(case: Case, missing: Ints, priority: Ints, demand: Demand) -> tuple[Ints, list[str]]:
    """Return the rows `missing` in the order of building, and for each of them the reason of its place."""
    newest = _newest(case, missing)
    pins, downloads = _by_version(demand.pins), _by_version(demand.downloads)
    of_release = {
        release: _standing(case, release, release in newest, pins, downloads)
        for release in np.unique(case.release[missing]).tolist()
    }
    standings = [of_release[release] for release in case.release[missing].tolist()]
    tier = np.array([standing.tier for standing in standings], dtype=np.int64)
    weight = np.array([standing.weight for standing in standings], dtype=np.int64)
    order = np.lexsort((missing, -case.uploaded()[missing], -weight, tier, -priority[missing]))
    reasons = [
        f"priority {priority[row]}, {standing.reason}" if priority[row] else standing.reason
        for row, standing in zip(missing.tolist(), standings, strict=True)
    ]
    return missing[order], [reasons[place] for place in order.tolist()]


def _newest(case: Case, missing: Ints) -> set[int]:
    """Return the newest release of each project that misses something: pre-releases where asked for, none that is yanked."""
    facts = case.facts
    best: dict[int, tuple[Version, int]] = {}
    asked = dict(zip(case.release[missing].tolist(), case.recipe[missing].tolist(), strict=True))
    prereleases: dict[int, bool] = {
        int(facts.project[release]): case.recipes[int(recipe)].prereleases for release, recipe in asked.items()
    }
    for release, (project, version) in enumerate(zip(facts.project.tolist(), facts.version.tolist(), strict=True)):
        parsed: Version | None = case.versions[int(version)]
        if project not in prereleases or parsed is None or facts.sdist_yanked[release]:
            continue
        if parsed.is_prerelease and not prereleases[project]:
            continue
        best[project] = max(best.get(project, (parsed, release)), (parsed, release))
    return {release for _, release in best.values()}


def _by_version(of: Mapping[Release, T]) -> dict[tuple[str, Version], T]:
    """Key by parsed version: who pins 1.0 pins 1.0.0 (PEP 440)."""
    return {(release.project, Version(release.version)): value for release, value in of.items()}


def _standing(
    case: Case,
    release: int,
    newest: bool,
    pins: Mapping[tuple[str, Version], Sequence[str]],
    downloads: Mapping[tuple[str, Version], int],
) -> _Standing:
    facts = case.facts
    version = case.versions[int(facts.version[release])]
    assert version is not None, "what is missing has a version that could be read"
    key = facts.projects[int(facts.project[release])], version
    by, count = pins.get(key, ()), downloads.get(key, 0)
    more = f" and {len(by) - _SHOWN_PINS} more" if len(by) > _SHOWN_PINS else ""
    said = [
        *(["the newest release"] if newest else []),
        *([f"pinned by {', '.join(by[:_SHOWN_PINS])}{more}"] if by else []),
        *([f"{count:,} downloads"] if count else []),
    ]
    tier = _NEWEST if newest else _PINNED if by else _DOWNLOADED if count else _REST
    weight = {_NEWEST: 0, _PINNED: len(by), _DOWNLOADED: count, _REST: 0}[tier]
    return _Standing(tier=tier, weight=weight, reason=", ".join(said) or "an older release")
