"""Schedules: what happens by the clock, in UTC. Off in the embedded instance until a click or `kiln up --automation`.

One that finds its last run still under way starts no second one.
"""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from kiln_pipeline.defs import jobs, rebuilding, retention
from kiln_pipeline.defs.sensors import target_run
from kiln_pipeline.defs.ticks import WHY, tick, under_way
from kiln_pipeline.workspace import Workspace

_Job = dg.JobDefinition | UnresolvedAssetJobDefinition


def _status(automation: bool) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED


def _by_the_clock(
    name: str, job: _Job, cron: str, automation: bool, description: str, *, even_dry: bool = False
) -> dg.ScheduleDefinition:
    """Return the schedule of one job without parameters."""

    @dg.schedule(name=name, job=job, cron_schedule=cron, default_status=_status(automation), description=description)
    @tick(even_dry=even_dry)
    def schedule(context: dg.ScheduleEvaluationContext, kiln: dg.ResourceParam[Workspace]) -> dg.RunRequest | dg.SkipReason:
        if busy := under_way(context.instance, job.name):
            return dg.SkipReason(f"the last {job.name} is still under way ({busy[:8]})")
        return dg.RunRequest(tags={WHY: name.replace("_", " ")})

    return schedule


def hourly_refresh(automation: bool) -> dg.ScheduleDefinition:
    """Every hour: ask upstream for everything that is tracked."""
    description = "Refresh release metadata and compute the missing wheels, at seven minutes past every hour."
    # not at the full hour, when everybody asks
    return _by_the_clock("hourly_refresh", jobs.refresh, "7 * * * *", automation, description, even_dry=True)


def hourly_mirror(automation: bool) -> dg.ScheduleDefinition:
    """Every hour, after the refresh: copy what is new."""
    description = "Copy upstream's files where recipes ask for it, at seventeen minutes past every hour, for up to 50 minutes."
    return _by_the_clock("hourly_mirror", jobs.mirror_copies, "17 * * * *", automation, description)


def daily_snapshot(automation: bool) -> dg.ScheduleDefinition:
    """Every day: a dated view."""
    description = "Keep the index of the day under simple@DATE/, at 02:23 UTC; views go after 90 days, but for one a month."
    return _by_the_clock("daily_snapshot", jobs.snapshot, "23 2 * * *", automation, description)


def daily_retention(automation: bool) -> dg.ScheduleDefinition:
    """Every day: what Dagster keeps of old runs."""
    description = (
        "Remove runs, events and logs of Dagster's that are older than 90 days, at 02:53 UTC. The audit log is not theirs."
    )
    return _by_the_clock("daily_retention", retention.retention, "53 2 * * *", automation, description)


def daily_audit(automation: bool) -> dg.ScheduleDefinition:
    """Every night: hold the whole site against the log."""
    description = "Re-verify the site against the audit log, at 03:41 UTC; a difference fails the run."
    return _by_the_clock("daily_audit", jobs.audit, "41 3 * * *", automation, description, even_dry=True)


def weekly_rebuild(automation: bool) -> dg.ScheduleDefinition:
    """Every week: build some of the published wheels again."""
    description = "Build a sample of the published wheels again and compare, on Sundays at 04:23 UTC."
    return _by_the_clock("weekly_rebuild", rebuilding.rebuild_sample, "23 4 * * 0", automation, description)


def hourly_replicate(automation: bool) -> dg.ScheduleDefinition:
    """Every hour: whatever a target still lacks, each in a run of its own."""

    @dg.schedule(
        name="hourly_replicate",
        job=jobs.replicate,
        cron_schedule="37 * * * *",
        default_status=_status(automation),
        description="Let every [[publish]] target catch up, at 37 minutes past every hour; nothing is copied twice.",
    )
    @tick
    def hourly_replicate(
        context: dg.ScheduleEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        requests = [target_run(name) for name in sorted(kiln.publish_targets())]
        if not requests:
            return dg.SkipReason("kiln.toml has no [[publish]] target")
        idle = [request for request in requests if not under_way(context.instance, jobs.replicate.name, request.tags)]
        return idle or dg.SkipReason("every target is still being copied to")

    return hourly_replicate
