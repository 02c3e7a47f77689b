"""Schedules: what happens by the clock. Off in the embedded instance until a click or `kiln up --automation` turns them on."""

import dagster as dg

from kiln_pipeline.defs import jobs, rebuilding
from kiln_pipeline.defs.sensors import failure_of_tick, target_run
from kiln_pipeline.errors import KilnError
from kiln_pipeline.workspace import Workspace


def daily_audit(automation: bool) -> dg.ScheduleDefinition:
    """Every night: hold the whole site against the log."""
    status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name="daily_audit",
        job=jobs.audit,
        cron_schedule="41 3 * * *",
        default_status=status,
        description="Re-verify the site against the audit log, at 03:41 UTC; a difference fails the run.",
    )


def hourly_mirror(automation: bool) -> dg.ScheduleDefinition:
    """Every hour, after the refresh: copy what is new."""
    status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name="hourly_mirror",
        job=jobs.mirror_copies,
        cron_schedule="17 * * * *",
        default_status=status,
        description="Copy upstream's files where recipes ask for it, at seventeen minutes past every hour, for up to 50 minutes.",
    )


def daily_snapshot(automation: bool) -> dg.ScheduleDefinition:
    """Every day: a dated view."""
    status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name="daily_snapshot",
        job=jobs.snapshot,
        cron_schedule="23 2 * * *",
        default_status=status,
        description="Keep the index of the day under simple@DATE/, at 02:23 UTC; views go after 90 days, but for one a month.",
    )


def weekly_rebuild(automation: bool) -> dg.ScheduleDefinition:
    """Every week: build some of the published wheels again."""
    status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name="weekly_rebuild",
        job=rebuilding.rebuild_sample,
        cron_schedule="23 4 * * 0",
        default_status=status,
        description="Build a sample of the published wheels again and compare, on Sundays at 04:23 UTC.",
    )


def hourly_refresh(automation: bool) -> dg.ScheduleDefinition:
    """Every hour: ask upstream for everything that is tracked."""
    status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name="hourly_refresh",
        job=jobs.refresh,
        cron_schedule="7 * * * *",  # not at the full hour, when everybody asks
        default_status=status,
        description="Refresh release metadata and compute the missing wheels, at seven minutes past every hour.",
    )


def hourly_replicate(automation: bool) -> dg.ScheduleDefinition:
    """Every hour: whatever a target still lacks, each in a run of its own."""
    status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name="hourly_replicate",
        job=jobs.replicate,
        cron_schedule="37 * * * *",
        default_status=status,
        description="Let every [[publish]] target catch up, at 37 minutes past every hour; nothing is copied twice.",
    )
    def hourly_replicate(kiln: dg.ResourceParam[Workspace]) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            targets = kiln.publish_targets()
        except KilnError as error:
            raise failure_of_tick(error) from None
        return [target_run(name) for name in sorted(targets)] or dg.SkipReason("kiln.toml has no [[publish]] target")

    return hourly_replicate
