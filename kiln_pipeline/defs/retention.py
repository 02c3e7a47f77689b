"""What Dagster keeps of old runs: events, compute logs, intermediate values. Ticks have their own retention, in dagster.yaml.

Nothing of kiln's own is touched: the audit log, the site and the state know everything that counts.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from pydantic import Field

from kiln_pipeline.defs.presentation import RunProgress
from kiln_pipeline.workspace import Workspace

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 100
_PARTITION = "dagster/partition", "dagster/asset_partition_range_start"


class RetentionConfig(dg.Config):
    """How long, and how much at once."""

    days: int = Field(default=90, ge=1, description="Runs that were created longer ago than this, and have ended, are removed.")
    at_most: int = Field(default=2000, ge=1, description="Runs removed by one run of this job; the next one goes on.")


@dg.op(
    description="Remove old runs with their events and logs. Of two kinds the logs go and the run stays: the one that "
    "materialised an asset last, so that its page says what changed, and those that built wheels, from which their partitions' "
    "state is read."
)
def remove_old_runs(context: dg.OpExecutionContext, config: RetentionConfig, kiln: dg.ResourceParam[Workspace]) -> dg.Output[int]:
    progress, instance = RunProgress(context.log, kiln.progress), context.instance
    before = kiln.clock() - timedelta(days=config.days)
    latest = _latest_materialisations(instance)
    removed = kept = 0
    for run in _old_runs(instance, before):
        instance.compute_log_manager.delete_logs(prefix=[run.run_id])
        if run.run_id in latest or (run.is_success and any(tag.startswith(_PARTITION) for tag in run.tags)):
            _remove_shard(instance, run.run_id)
            kept += 1
            continue
        if removed == config.at_most:
            progress.step(f"removed {removed:,} runs; the next run of this job goes on")
            break
        instance.delete_run(run.run_id)
        _remove_shard(instance, run.run_id)
        removed += 1
    progress.step(f"{removed:,} runs of before {before:%Y-%m-%d} removed, {kept:,} kept without their logs")
    return dg.Output(removed, metadata={"removed": removed, "kept without logs": kept, "older than": f"{before:%Y-%m-%d}"})


@dg.job(
    description="Remove what Dagster keeps of runs older than 90 days; it grows by some hundred runs a week. "
    "The audit log, the site and kiln's state are not touched."
)
def retention() -> None:
    remove_old_runs()


def _old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.DagsterRun]:
    """Yield the runs that have ended and were created before then, oldest first; each may be deleted when it has been yielded."""
    filters = dg.RunsFilter(statuses=_ENDED, created_before=before)
    page = instance.get_runs(filters, limit=_PAGE, ascending=True)
    while page:
        # the cursor is the last run of this page, which has to be there yet
        after = instance.get_runs(filters, cursor=page[-1].run_id, limit=_PAGE, ascending=True)
        yield from page
        page = after


def _latest_materialisations(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs that materialised each asset last."""
    events = (instance.get_latest_materialization_event(key) for key in instance.all_asset_keys())
    return {event.run_id for event in events if event is not None}


def _remove_shard(instance: dg.DagsterInstance, run_id: str) -> None:
    """With SQLite each run's events are a file of their own, which Dagster empties and leaves; assets' events are not in it."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        for suffix in ("", "-wal", "-shm"):
            Path(f"{storage.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)
