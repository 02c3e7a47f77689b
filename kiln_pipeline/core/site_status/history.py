"""How many wheels were missing when: one row per platform each time that a count changed. The table's form, and reading it."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Iterable, Mapping
from datetime import datetime

import pyarrow as pa

from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.verdicts import Rule

COUNTED: Mapping[str, str] = {
    Rule.MISSING: "missing",
    Rule.FAILED: "failed",
    Rule.TOO_NEW: "waiting",
    Rule.PUBLISHED: "published",
    Rule.COVERED: "covered",
    Rule.SUPERSEDED: "covered",
}
"""Rule of the `missing_wheels` table -> column of the history; what no wheel can or should be built for is not counted."""
COLUMNS = ("missing", "failed", "waiting", "published", "covered")
HISTORY_SCHEMA = pa.schema(
    [
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("platform", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in COLUMNS),
    ]
)
"""Sorted by `at`, then platform. From `at` on, until the next row of the platform, the counts were these."""

Counts = Mapping[str, tuple[int, ...]]
"""Platform -> numbers in the order of `COLUMNS`."""


def counts_of(missing: pa.Table) -> Counts:
    """Count the wanted wheels of a `missing_wheels` table by platform."""
    grouped = missing.group_by(["platform", "rule"]).aggregate([([], "count_all")])
    found: dict[str, dict[str, int]] = {}
    for row in grouped.to_pylist():
        column = COUNTED.get(row["rule"])
        of_platform = found.setdefault(row["platform"], dict.fromkeys(COLUMNS, 0))
        if column is not None:
            of_platform[column] += row["count_all"]
    return {platform: tuple(found[platform].values()) for platform in sorted(found)}


def latest(history: pa.Table) -> Counts:
    """Return the counts that the table ends with, platforms without any wanted wheel left out."""
    rows = {row["platform"]: tuple(row[name] for name in COLUMNS) for row in history.to_pylist()}
    return {platform: numbers for platform, numbers in sorted(rows.items()) if any(numbers)}


def with_counts(history: pa.Table, counts: Counts, now: datetime) -> pa.Table:
    """Return the table with a row for each platform whose counts are others than its last; the same table when none are."""
    before = latest(history)
    counts = {platform: numbers for platform, numbers in counts.items() if any(numbers)}
    changed = [platform for platform in sorted({*before, *counts}) if before.get(platform) != counts.get(platform)]
    if not changed:
        return history
    none = (0,) * len(COLUMNS)
    rows = [
        {"at": now, "platform": platform, **dict(zip(COLUMNS, counts.get(platform, none), strict=True))} for platform in changed
    ]
    return pa.concat_tables([history, pa.Table.from_pylist(rows, HISTORY_SCHEMA)])


def series(history: pa.Table, column: str) -> dict[Platform, list[tuple[datetime, int]]]:
    """Return (time, number) of one column for each platform that the table knows, in `Platform`'s order.

    Rows of platforms that this kiln does not know are left out.
    """
    found: dict[str, list[tuple[datetime, int]]] = {}
    for row in history.to_pylist():
        found.setdefault(row["platform"], []).append((row["at"], row[column]))
    return {platform: found[platform] for platform in Platform if platform in found}


def thinned(points: Iterable[tuple[datetime, int]], most: int) -> list[tuple[datetime, int]]:
    """Return at most about `most` points: the last of each equal stretch of time, and the first and the last of all."""
    points = list(points)
    if len(points) <= most:
        return points
    first, span = points[0][0], points[-1][0] - points[0][0]
    by_stretch = {int((at - first) / span * (most - 1)): (at, number) for at, number in points}
    return list(dict.fromkeys([points[0], *by_stretch.values()]))
