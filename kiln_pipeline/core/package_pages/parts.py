"""How a project is cut into pages that stay small: some releases each, with their wheels and failures. No bytes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from packaging.version import Version

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.model import OurWheel, PackagePage, PlatformMatrix

BUDGET = 72_000
"""Estimated bytes of the releases on one page: with header, style and the rest it stays under 100 kB."""
LONGEST_REASON = 240
"""Characters of a reason or of a log line that a page shows; the JSON and the log have it whole."""
MOST_WHEELS = 72
"""Wheels of one release that are told in full; the JSON has all."""
_CELL, _WHEEL, _FAILURE, _RELEASE = 74, 900, 260, 700


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseWheels:
    """Our wheels of one release, by identifier."""

    version: str
    wheels: tuple[OurWheel, ...]

    @property
    def told(self) -> tuple[OurWheel, ...]:
        """Those that the page tells of."""
        return self.wheels[:MOST_WHEELS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one page shows: releases from the `newest` to the `oldest`."""

    matrices: tuple[PlatformMatrix, ...] = ()
    releases: tuple[ReleaseWheels, ...] = ()
    failures: tuple[Attempt, ...] = ()
    newest: str = ""
    oldest: str = ""

    @property
    def reasons(self) -> list[str]:
        """The reasons that cells without a link of their own refer to, each once, in the order of reading."""
        cells = (cell for matrix in self.matrices for row in matrix.rows for cell in row.cells)
        return list(dict.fromkeys(cell.reason for cell in cells if cell is not None and not cell.key))


def parts_of(page: PackagePage) -> list[Part]:
    """Return the parts, the newest releases first; one empty part for a project without any release."""
    versions = {row.version for matrix in page.matrices for row in matrix.rows}
    versions |= {wheel.attempt.release.version for wheel in page.wheels}
    versions |= {attempt.release.version for attempt in page.failures}
    ordered = sorted(versions, key=Version, reverse=True)
    costs = _costs(page)
    chunks: list[list[str]] = []
    left = 0
    for version in ordered:
        cost = costs.get(version, 0)
        if not chunks or cost > left:
            chunks.append([])
            left = BUDGET
        chunks[-1].append(version)
        left -= cost
    return [_part(page, chunk) for chunk in chunks] or [Part()]


def shortened(text: str) -> str:
    """Return a text as a page shows it: a log line can be of any length."""
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def _costs(page: PackagePage) -> dict[str, int]:
    """Estimate the bytes of HTML that each release takes."""
    costs: dict[str, int] = {}
    for matrix in page.matrices:
        for row in matrix.rows:
            said = {cell.reason for cell in row.cells if cell is not None and not cell.key}
            keys = sum(len(cell.key) for cell in row.cells if cell is not None)
            reasons = sum(_length(reason) + 30 for reason in said)
            costs[row.version] = costs.get(row.version, 60) + _CELL * len(row.cells) + keys + reasons
    for wheel in page.wheels:
        materials = sum(len(item.name) + 2 for item in wheel.statement.materials) if wheel.statement else 0
        libraries = 60 * len(wheel.details.libraries) if wheel.details else 0
        version = wheel.attempt.release.version
        costs[version] = costs.get(version, _RELEASE) + _WHEEL + 3 * len(wheel.attempt.wheel) + materials + libraries
    for attempt in page.failures:
        version = attempt.release.version
        costs[version] = costs.get(version, 0) + _FAILURE + _length(attempt.proof)
    return costs


def _length(text: str) -> int:
    return len(escape(shortened(text)).encode("utf-8", "replace"))


def _part(page: PackagePage, versions: Sequence[str]) -> Part:
    chosen = frozenset(versions)
    wheels: dict[str, list[OurWheel]] = {}
    for wheel in page.wheels:
        if wheel.attempt.release.version in chosen:
            wheels.setdefault(wheel.attempt.release.version, []).append(wheel)
    return Part(
        matrices=tuple(_cut(page.matrices, chosen)),
        releases=tuple(
            ReleaseWheels(version=version, wheels=tuple(wheels[version])) for version in versions if version in wheels
        ),
        failures=tuple(attempt for attempt in page.failures if attempt.release.version in chosen),
        newest=versions[0],
        oldest=versions[-1],
    )


def _cut(matrices: Iterable[PlatformMatrix], versions: frozenset[str]) -> Iterator[PlatformMatrix]:
    for matrix in matrices:
        rows = tuple(row for row in matrix.rows if row.version in versions)
        if rows:
            yield replace(matrix, rows=rows)
