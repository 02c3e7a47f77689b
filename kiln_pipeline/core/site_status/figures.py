"""The plots that are worth a look, each with the same numbers as a table: missing wheels over time, success, build times."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from kiln_pipeline.core import plots
from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.site_status.history import series, thinned

_POINTS = 120
_ROWS = 20
_DAYS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One plot."""

    name: str
    """Unique on its page."""
    title: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The newest first, where it is about time; the numbers that the plot is made of, the oldest left out of a long one."""


def missing_over_time(history: pa.Table, now: datetime | None = None) -> Figure | None:
    """Plot how many wheels were missing on each platform, up to `now`; None without any history."""
    points = series(history, "missing")
    if not points:
        return None
    end = max(now or datetime.min.replace(tzinfo=UTC), *(of_platform[-1][0] for of_platform in points.values()))
    lines = [(str(platform), thinned([*own, (end, own[-1][1])], _POINTS)) for platform, own in points.items()]
    told = ", ".join(f"{platform} {own[-1][1]}" for platform, own in lines)
    changes = sorted(((at, platform, number) for platform, own in points.items() for at, number in own), reverse=True)
    return Figure(
        name="missing",
        title="Missing wheels over time",
        svg=plots.lines("missing", "Missing wheels over time, by platform", f"At the end: {told}.", lines),
        columns=("From", "Platform", "Missing"),
        rows=tuple((f"{at:%Y-%m-%d %H:%M}", str(platform), str(number)) for at, platform, number in changes[:_ROWS]),
    )


def success_by_day(attempts: Iterable[Attempt]) -> Figure | None:
    """Plot how the attempts of each of the last days with any ended, by the day (UTC) on which they did; None without any."""
    days: dict[date, list[int]] = {}
    for attempt in attempts:
        of_day = days.setdefault(attempt.finished.astimezone(UTC).date(), [0, 0])
        of_day[attempt.outcome is not Outcome.SUCCEEDED] += 1
    if not days:
        return None
    last = max(days)
    shown = [last - timedelta(days=back) for back in range(_DAYS - 1, -1, -1)]
    shown = shown[shown.index(min(day for day in days if day in shown)) :]
    ends = [days.get(day, [0, 0]) for day in shown]
    well, badly = sum(day[0] for day in ends), sum(day[1] for day in ends)
    share = f"{100 * well / (well + badly):.0f} %"
    return Figure(
        name="success",
        title="Attempts that succeeded and failed",
        svg=plots.bars(
            "success",
            "Attempts a day, succeeded and failed",
            f"In {len(shown)} days {well} succeeded and {badly} failed: {share} succeeded.",
            [(f"{day:%d %b}", good, bad) for day, (good, bad) in zip(shown, ends, strict=True)],
        ),
        columns=("Day (UTC)", "Succeeded", "Failed"),
        rows=tuple((f"{day:%Y-%m-%d}", *(str(count) for count in days[day])) for day in reversed(shown) if day in days),
    )


def build_times(attempts: Iterable[Attempt]) -> Figure | None:
    """Plot how long the wheels of each project took, those with most wheels first; None without any wheel."""
    groups: dict[str, list[float]] = {}
    for attempt in attempts:
        if attempt.wheel:
            groups.setdefault(attempt.release.project, []).append(_seconds(attempt))
    chosen = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))[:_ROWS]
    return _spreads("build-times", "How long builds take, by project", "Project", chosen)


def build_times_of(attempts: Iterable[Attempt]) -> Figure | None:
    """Plot how long one project's wheels took on each platform; None with fewer than two wheels."""
    groups: dict[str, list[float]] = {}
    for attempt in attempts:
        if attempt.wheel:
            groups.setdefault(str(attempt.identifier.platform), []).append(_seconds(attempt))
    if sum(map(len, groups.values())) < 2:
        return None
    return _spreads("build-times", "How long its builds take, by platform", "Platform", sorted(groups.items()))


def _spreads(name: str, title: str, column: str, groups: Sequence[tuple[str, Sequence[float]]]) -> Figure | None:
    if not groups:
        return None
    rows = [plots.Spread.of(label, seconds) for label, seconds in groups]
    told = "; ".join(f"{row.label}: {row.count}, median {plots.duration(row.middle)}" for row in rows)
    return Figure(
        name=name,
        title=title,
        svg=plots.spreads(name, title, f"Wheels, from the shortest to the longest build: {told}.", rows),
        columns=(column, "Wheels", "Shortest", "Median", "Longest"),
        rows=tuple((row.label, str(row.count), *map(plots.duration, (row.least, row.middle, row.most))) for row in rows),
    )


def _seconds(attempt: Attempt) -> float:
    return max(0.0, (attempt.finished - attempt.started).total_seconds())
