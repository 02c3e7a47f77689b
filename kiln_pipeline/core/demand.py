"""Who needs a release: locks that pin it, tracked releases that require it, and how often it is downloaded. No ranking here."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from packaging.version import InvalidVersion

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.model import LockFile
from kiln_pipeline.errors import Problem, RecipeError

COLUMNS = ("project", "version", "downloads")
"""The columns of a downloads table, in any order; further ones have no say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What is known of the demand for releases; nothing for one that is not in it."""

    pins: Mapping[Release, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Release -> the names of those who pin it, sorted."""
    downloads: Mapping[Release, int] = field(default_factory=lambda: MappingProxyType({}))


NO_DEMAND = Demand()


def demand_of(pins: Iterable[tuple[str, Iterable[Release]]] = (), downloads: Iterable[Mapping[Release, int]] = ()) -> Demand:
    """Return the demand that (who, what they pin) and tables of downloads (summed) state."""
    by_release: defaultdict[Release, set[str]] = defaultdict(set)
    for who, releases in pins:
        for release in releases:
            by_release[release].add(who)
    total: defaultdict[Release, int] = defaultdict(int)
    for table in downloads:
        for release, count in table.items():
            total[release] += count
    return Demand(pins={release: tuple(sorted(who)) for release, who in by_release.items()}, downloads=dict(total))


def with_pins(demand: Demand, pins: Iterable[tuple[str, Iterable[Release]]]) -> Demand:
    """Return `demand` with further (who, what they pin)."""
    before = [(who, [release]) for release, names in demand.pins.items() for who in names]
    return demand_of([*before, *pins], [demand.downloads])


def lock_pins(locks: Sequence[tuple[str, LockFile]]) -> list[tuple[str, tuple[Release, ...]]]:
    """Return what each named lock pins, for whatever target."""
    return [(name, lock.releases()) for name, lock in locks]


def parse_downloads(text: str, *, file: str) -> dict[Release, int]:
    """Read a CSV with the columns ``project,version,downloads``; a release that stands in it twice is summed.

    Raises one `RecipeError` with every wrong line.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    problems: list[Problem] = []
    downloads: defaultdict[Release, int] = defaultdict(int)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            message = f"has no column {' and no column '.join(missing)}; the first line is {','.join(COLUMNS)}"
            raise RecipeError([Problem(file=file, field="line 1", message=message)])
        for row in reader:
            try:
                downloads[Release.of(row["project"] or "", row["version"] or "")] += _count(row["downloads"] or "")
            except (ValueError, InvalidVersion) as error:
                problems.append(Problem(file=file, field=f"line {reader.line_num}", message=str(error)))
    except csv.Error as error:
        problems.append(Problem(file=file, field=f"line {reader.line_num}", message=f"is no CSV: {error}"))
    if problems:
        raise RecipeError(problems)
    return dict(downloads)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError(f"{text!r} is no number of downloads")
    return int(text)
