"""What is going on, as values: the last hour, the queue, the hosts, the success rate, failure clusters, the log, the mirror.

The status page and `kiln status` say the same, from these. Everything is as of one moment that is passed in; the page's is the
time of the newest record (`newest_record`), so that it changes when something was recorded, and not with the clock.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.failure_groups import FailureGroup, group_failures, wanted_wheels
from kiln_pipeline.core.missing_wheels import in_order
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.rebuilds import Rebuild, RebuildVerdict, rebuilds_by_wheel
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.verdicts import Rule

NEXT = 5
"""How many of a platform's missing wheels are named."""
SPANS = (
    ("the last hour", timedelta(hours=1)),
    ("the last day", timedelta(days=1)),
    ("the last 7 days", timedelta(days=7)),
    ("all time", None),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogState:
    """The audit log's checkpoint."""

    size: int
    root: str
    """Lower-case hex."""
    newest: datetime | None
    """When the newest attempt or rebuild in it ended, UTC; the checkpoint itself bears no time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How the attempts of one span of time ended."""

    span: str
    succeeded: int
    failed: int

    @property
    def share(self) -> float | None:
        """Succeeded of all, from 0 to 1; None without any attempt."""
        tried = self.succeeded + self.failed
        return self.succeeded / tried if tried else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """One missing wheel at the head of its platform's queue."""

    project: str
    version: str
    identifier: str
    reason: str
    """Why it has that place (`core.ranking`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """The wanted wheels of one platform that are not there."""

    platform: Platform
    missing: int
    """To be built, in the order of their ranks."""
    next: tuple[Next, ...]
    """The first of them."""
    too_new: int
    """Releases that upstream's own wheels are waited for."""
    too_new_until: datetime | None
    """When the first of these becomes due, UTC."""
    failed: int
    """Failed, and not to be tried again yet; `Status.failures` says until when."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostLine:
    """A build host, from what it signed."""

    name: str
    platforms: tuple[str, ...]
    succeeded: int
    failed: int
    last: datetime
    """When its last attempt ended, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorState:
    """The copies of upstream's files, as the mirror's last run left them."""

    finished: datetime
    projects: int
    wanted: int
    left: int
    """Wanted, and not there (yet)."""
    failing: tuple[tuple[str, int, datetime | None], ...] = ()
    """(project, files, since when)."""
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Everything, as of `now`."""

    now: datetime | None
    """UTC; None when nothing at all is on record."""
    recent: tuple[Attempt, ...]
    """The attempts of the last hour, the newest first."""
    rates: tuple[Rate, ...]
    queues: tuple[Queue, ...]
    failures: tuple[FailureGroup, ...]
    hosts: tuple[HostLine, ...]
    rebuilds: Mapping[str, int]
    """Newest verdict of each rebuilt wheel -> how many wheels."""
    wheels: int
    """Of ours."""
    broken: tuple[tuple[str, datetime, str], ...]
    """(project, since, reason) of those that upstream does not answer for."""
    log: LogState | None
    mirror: MirrorState | None


def newest_record(attempts: Iterable[Attempt], rebuilds: Iterable[Rebuild], history: pa.Table) -> datetime | None:
    """Return when the newest attempt or rebuild ended or the counts last changed, whichever is later, UTC."""
    times = [item.finished for item in (*attempts, *rebuilds)]
    if history.num_rows:
        times.append(history.column("at")[-1].as_py())
    return max(times).astimezone(UTC) if times else None


def status_of(
    *,
    recipes: Sequence[Recipe],
    missing: pa.Table,
    projects: pa.Table,
    attempts: Sequence[Attempt],
    rebuilds: Sequence[Rebuild],
    log: tuple[int, bytes] | None,
    mirror: MirrorState | None,
    now: datetime | None,
) -> Status:
    """Return the status as of `now`.

    `missing` is the `missing_wheels` table, brought up to the log (`core.site_status.current`), `projects` has
    `release_metadata.PROJECTS_SCHEMA`, `log` is the checkpoint's size and root hash.
    """
    moment = now or datetime.min.replace(tzinfo=UTC)
    last_hour = [attempt for attempt in attempts if moment - timedelta(hours=1) < attempt.finished <= moment] if now else []
    newest = max((item.finished for item in (*attempts, *rebuilds)), default=None)
    return Status(
        now=now,
        recent=tuple(sorted(last_hour, key=lambda attempt: (attempt.finished, attempt.index), reverse=True)),
        rates=tuple(_rates(attempts, now)),
        queues=tuple(_queues(missing, {recipe.project: recipe.min_age for recipe in recipes})),
        failures=group_failures(attempts, wanted_wheels(missing, recipes), now=moment),
        hosts=tuple(_hosts(attempts)),
        rebuilds=_verdicts(rebuilds),
        wheels=sum(bool(attempt.wheel) for attempt in attempts),
        broken=tuple(
            (row["project"], row["broken_since"], row["broken_reason"])
            for row in projects.filter(pc.is_valid(projects.column("broken_since"))).to_pylist()
        ),
        log=LogState(size=log[0], root=log[1].hex(), newest=newest) if log else None,
        mirror=mirror,
    )


def _rates(attempts: Sequence[Attempt], now: datetime | None) -> Iterable[Rate]:
    for span, length in SPANS:
        within = [a for a in attempts if length is None or (now is not None and now - length < a.finished <= now)]
        succeeded = sum(attempt.outcome is Outcome.SUCCEEDED for attempt in within)
        yield Rate(span=span, succeeded=succeeded, failed=len(within) - succeeded)


def _queues(missing: pa.Table, min_ages: Mapping[str, timedelta]) -> Iterable[Queue]:
    counts = Counter(zip(missing.column("platform").to_pylist(), missing.column("rule").to_pylist(), strict=True))
    young = missing.filter(pc.equal(missing.column("rule"), Rule.TOO_NEW)).to_pylist()
    for platform in Platform:
        numbers = {rule: counts[platform, rule] for rule in (Rule.MISSING, Rule.TOO_NEW, Rule.FAILED)}
        if not any(numbers.values()):
            continue
        due = [row["sdist_upload_time"] + min_ages[row["project"]] for row in young if _is_due(row, platform, min_ages)]
        yield Queue(
            platform=platform,
            missing=numbers[Rule.MISSING],
            next=tuple(_next(row) for row in in_order(missing, platform).slice(0, NEXT).to_pylist()),
            too_new=numbers[Rule.TOO_NEW],
            too_new_until=min(due, default=None),
            failed=numbers[Rule.FAILED],
        )


def _is_due(row: Mapping[str, Any], platform: Platform, min_ages: Mapping[str, timedelta]) -> bool:
    return row["platform"] == platform and row["sdist_upload_time"] is not None and row["project"] in min_ages


def _next(row: Mapping[str, Any]) -> Next:
    return Next(project=row["project"], version=row["version"], identifier=row["identifier"], reason=row["rank_reason"])


def _hosts(attempts: Iterable[Attempt]) -> Iterable[HostLine]:
    of_host: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        of_host.setdefault(attempt.host, []).append(attempt)
    for name in sorted(of_host):
        own = of_host[name]
        succeeded = sum(attempt.outcome is Outcome.SUCCEEDED for attempt in own)
        yield HostLine(
            name=name,
            platforms=tuple(sorted({str(attempt.identifier.platform) for attempt in own})),
            succeeded=succeeded,
            failed=len(own) - succeeded,
            last=max(attempt.finished for attempt in own),
        )


def _verdicts(rebuilds: Iterable[Rebuild]) -> dict[str, int]:
    newest = Counter(of_wheel[-1].verdict for of_wheel in rebuilds_by_wheel(rebuilds).values())
    return {str(verdict): newest[verdict] for verdict in RebuildVerdict if newest[verdict]}
