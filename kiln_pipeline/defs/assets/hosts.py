"""`hosts`: which build hosts there are, what they did and do, and what waits for whom. Starts nothing, and builds nothing."""

import hashlib
import json
from typing import Any

import dagster as dg

from kiln_pipeline.core.hosts_table import BuildRun, Heartbeat, unserved
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.defs.assets.publishing import audit_log
from kiln_pipeline.defs.launchers import HOST_TAG, PLATFORM_TAG, RoutedRunLauncher
from kiln_pipeline.defs.presentation import OWNERS, column_schema, failure, preview
from kiln_pipeline.defs.ticks import WAITING, failure_of_tick, sensor_status
from kiln_pipeline.errors import BuildError, KilnError
from kiln_pipeline.stages.watch_hosts import HostsSeen, load_queues_table, watch_hosts
from kiln_pipeline.workspace import Workspace

_RUNNING = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_NOTE = (
    "Every build host: whether it answers, its platforms, what it runs, what the audit log has of it; and every platform's "
    "queue. A sensor looks each minute, and tells Dagster when something has changed."
)


def look(kiln: Workspace, instance: dg.DagsterInstance) -> HostsSeen:
    """Ask who is there, and bring the tables up to now. Raises `KilnError`."""
    return watch_hosts(
        enrolled=kiln.hosts,
        heartbeats=_heartbeats(kiln, instance.run_launcher),
        runs=_build_runs(instance),
        attempts=kiln.attempts(),
        state=kiln.state,
        now=kiln.clock(),
    )


def _heartbeats(kiln: Workspace, launcher: object) -> list[Heartbeat]:
    """Return who takes work now: hosts that told the broker, and this one for its own platform where no queue has that."""
    routed = isinstance(launcher, RoutedRunLauncher)
    signs = launcher.live_hosts() if routed else ()
    beats = [
        Heartbeat(
            host=sign.host, platforms=tuple(Platform(name) for name in sign.platforms if name in Platform.__members__.values())
        )
        for sign in signs
    ]
    try:
        own = kiln.platform()
    except BuildError:
        return beats
    return beats if routed and own in launcher.platforms else [*beats, Heartbeat(host=kiln.host_name, platforms=(own,))]


def _build_runs(instance: dg.DagsterInstance) -> list[BuildRun]:
    """Return the build runs that are not finished, as Dagster's run storage has them."""
    unfinished = dg.RunsFilter(statuses=[*WAITING, *_RUNNING])
    found: list[BuildRun] = []
    for record in instance.get_run_records(unfinished):
        platform = record.dagster_run.tags.get(PLATFORM_TAG, "")
        if platform in Platform.__members__.values():
            running = record.dagster_run.status in _RUNNING
            host = record.dagster_run.tags.get(HOST_TAG, "")
            found.append(BuildRun(platform=Platform(platform), queued=record.create_timestamp, host=host, running=running))
    return found


def _metadata(seen: HostsSeen) -> dict[str, Any]:
    columns = [name for name in seen.hosts.column_names if name != "as_of"]
    rows = [{**row, "platforms": ", ".join(row["platforms"])} for row in seen.hosts.to_pylist()]
    queues = [{**row, "live_hosts": ", ".join(row["live_hosts"]) or "none"} for row in seen.queues.to_pylist()]
    return {
        "hosts": preview(rows, *columns),
        "queues": preview(queues, "platform", "live_hosts", "queued", "running", "wait_seconds") if queues else "none",
        "queued": sum(row["queued"] for row in queues),
        "running": sum(row["running"] for row in queues),
        "dagster/row_count": seen.hosts.num_rows,
        "dagster/column_schema": column_schema(seen.hosts.schema),
    }


@dg.asset(
    deps=[audit_log],
    group_name="control_plane",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version="1",
    description=_NOTE,
)
def hosts(context: dg.AssetExecutionContext, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    try:
        return dg.MaterializeResult(metadata=_metadata(look(kiln, context.instance)))
    except KilnError as error:
        raise failure(error) from None


@dg.asset_check(asset=hosts, description="For every platform with work in its queue a live host is there.")
def queues_are_served(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    rows = unserved(load_queues_table(kiln.state))
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{row['queued']} runs wait for {row['platform']}, and no live host serves it" for row in rows)
        or None,
        metadata={"without a host": preview(rows, "platform", "queued", "wait_seconds") if rows else "none"},
    )


def watch_hosts_sensor(automation: bool) -> dg.SensorDefinition:
    """Look at the hosts each minute, without a run; tell Dagster what has changed."""

    @dg.sensor(
        name="watch_hosts",
        target=dg.AssetSelection.assets(hosts),
        minimum_interval_seconds=60,
        default_status=sensor_status(automation),
        description="Look at build hosts and queues each minute, in no run of its own; `hosts` shows what has changed.",
    )
    def watch(context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]) -> dg.SensorResult | dg.SkipReason:
        try:
            seen = look(kiln, context.instance)
        except KilnError as error:
            raise failure_of_tick(error) from None
        # what always changes is no news: when it was looked, and how long somebody has waited
        news = [seen.hosts.drop_columns(["as_of", "last_heartbeat"]), seen.queues.drop_columns(["as_of", "wait_seconds"])]
        cursor = hashlib.sha256(json.dumps([table.to_pylist() for table in news]).encode()).hexdigest()
        if cursor == context.cursor:
            return dg.SkipReason("nothing has changed")
        events = [dg.AssetMaterialization(asset_key=hosts.key, metadata=_metadata(seen)), _told(kiln)]
        return dg.SensorResult(asset_events=events, cursor=cursor)

    return watch


def _told(kiln: Workspace) -> dg.AssetCheckEvaluation:
    result = queues_are_served(kiln)
    assert isinstance(result, dg.AssetCheckResult)
    return dg.AssetCheckEvaluation(
        asset_key=hosts.key,
        check_name=queues_are_served.check_key.name,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )
