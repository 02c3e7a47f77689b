"""The hosts table: who builds for what, when it was last heard of, what it did; and each platform's queue. Arithmetic only.

Who answers now (`Heartbeat`), which runs are unfinished (`BuildRun`) and the audit log's attempts are given; asking for them is
the adapters' matter. Both tables are state (``hosts.parquet``, ``queues.parquet``), with the columns of `HOSTS` and `QUEUES`.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any

import pyarrow as pa

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import Platform

SILENT_AFTER = timedelta(minutes=5)
"""A host that was not heard of for so long is silent: several looks, so that one lost answer changes nothing."""

_TIME = pa.timestamp("us", tz="UTC")
HOSTS = pa.schema(
    [
        pa.field("host", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # a HostState
        pa.field("platforms", pa.list_(pa.string()), nullable=False),  # it takes work for these, or is enrolled for them
        pa.field("last_heartbeat", _TIME),  # null: never heard of
        pa.field("running", pa.int64(), nullable=False),  # runs
        pa.field("done", pa.int64(), nullable=False),  # attempts in the audit log that made a wheel
        pa.field("failed", pa.int64(), nullable=False),  # and those that did not
        pa.field("median_seconds", pa.float64()),  # of the attempts that made a wheel; null: none did
        pa.field("as_of", _TIME, nullable=False),
    ]
)
QUEUES = pa.schema(
    [
        pa.field("platform", pa.string(), nullable=False),
        pa.field("live_hosts", pa.list_(pa.string()), nullable=False),
        pa.field("queued", pa.int64(), nullable=False),  # runs that wait for a host
        pa.field("running", pa.int64(), nullable=False),
        pa.field("wait_seconds", pa.float64()),  # how long the oldest of them has waited; null: none waits
        pa.field("as_of", _TIME, nullable=False),
    ]
)


class HostState(StrEnum):
    """Whether a host takes work."""

    LIVE = "live"
    SILENT = "silent"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """A host that answered just now, and what it takes work for."""

    host: str
    platforms: tuple[Platform, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRun:
    """A build run that is not finished. Times are aware."""

    platform: Platform
    queued: datetime
    host: str = ""
    """Where it runs; empty while it waits, or when nobody has said."""
    running: bool = False


def hosts_table(
    *,
    enrolled: Mapping[str, Host],
    heartbeats: Sequence[Heartbeat],
    runs: Iterable[BuildRun],
    attempts: Iterable[Attempt],
    before: pa.Table,
    now: datetime,
) -> pa.Table:
    """Return one row per host that is enrolled, answers, or has an attempt on record, by name, with the columns of `HOSTS`.

    `before` is the table of the last look: a host that does not answer now keeps the time at which it last did. A host clock that
    is ahead makes no heartbeat of the future.
    """
    heard: dict[str, datetime] = {row["host"]: row["last_heartbeat"] for row in before.to_pylist() if row["last_heartbeat"]}
    takes = {beat.host: beat.platforms for beat in heartbeats}
    of_host: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        of_host.setdefault(attempt.host, []).append(attempt)
        heard[attempt.host] = max(heard.get(attempt.host, attempt.finished), min(attempt.finished, now))
    heard |= dict.fromkeys(takes, now)
    running = [run.host for run in runs if run.running]
    rows: list[dict[str, Any]] = []
    for name in sorted({*enrolled, *takes, *of_host}):
        host, last = enrolled.get(name), heard.get(name)
        seconds = [
            (attempt.finished - attempt.started).total_seconds()
            for attempt in of_host.get(name, ())
            if attempt.outcome is Outcome.SUCCEEDED
        ]
        rows.append(
            {
                "host": name,
                "state": _state(host, last, now),
                "platforms": sorted(takes.get(name) or (host.platforms if host else ())),
                "last_heartbeat": min(last, now) if last else None,
                "running": running.count(name),
                "done": len(seconds),
                "failed": len(of_host.get(name, ())) - len(seconds),
                "median_seconds": round(median(seconds), 1) if seconds else None,
                "as_of": now,
            }
        )
    return pa.Table.from_pylist(rows, schema=HOSTS)


def queues_table(hosts: pa.Table, runs: Sequence[BuildRun], *, now: datetime) -> pa.Table:
    """Return one row per platform that a host of `hosts` is there for or a run waits for, with the columns of `QUEUES`."""
    live: dict[str, list[str]] = {}
    for row in hosts.to_pylist():
        if row["state"] != HostState.REVOKED:
            for platform in row["platforms"]:
                live.setdefault(platform, []).extend([row["host"]] if row["state"] == HostState.LIVE else [])
    rows: list[dict[str, Any]] = []
    for platform in sorted({*live, *(run.platform for run in runs)}):
        waiting = [run.queued for run in runs if run.platform == platform and not run.running]
        rows.append(
            {
                "platform": platform,
                "live_hosts": live.get(platform, []),
                "queued": len(waiting),
                "running": sum(run.platform == platform and run.running for run in runs),
                "wait_seconds": max(0.0, round((now - min(waiting)).total_seconds(), 1)) if waiting else None,
                "as_of": now,
            }
        )
    return pa.Table.from_pylist(rows, schema=QUEUES)


def unserved(queues: pa.Table) -> tuple[dict[str, Any], ...]:
    """Return the rows of `QUEUES` where work waits and no live host takes it."""
    return tuple(row for row in queues.to_pylist() if row["queued"] and not row["live_hosts"])


def _state(host: Host | None, last: datetime | None, now: datetime) -> HostState:
    if host is not None and host.revoked is not None:
        return HostState.REVOKED
    return HostState.LIVE if last is not None and now - last <= SILENT_AFTER else HostState.SILENT
