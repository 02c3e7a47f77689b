"""The composition root: `assemble` puts assets, jobs, schedules, sensors and checks on one workspace.

Importing this module opens nothing: no file is read and no key is made before a run needs it.
"""

import os
from pathlib import Path

import dagster as dg

from kiln_pipeline.defs import alerting, checks, jobs, rebuilding, retention, schedules, sensors, waiting_runs
from kiln_pipeline.defs.assets import hosts, metadata, mirroring, publishing, replicas, wheels
from kiln_pipeline.workspace import Workspace


def assemble(workspace: Workspace, *, automation: bool = False) -> dg.Definitions:
    """Return kiln's definitions over `workspace`; with `automation` schedules and sensors are on from the start."""
    return dg.Definitions(
        assets=[
            metadata.release_metadata,
            metadata.missing_wheels,
            wheels.wheels,
            publishing.audit_log,
            mirroring.mirror,
            publishing.simple_index,
            publishing.package_pages,
            replicas.replicas,
            hosts.hosts,
        ],
        asset_checks=[
            checks.upstream_answers,
            checks.gaps_do_not_jump,
            checks.builds_succeed,
            checks.wheel_contents,
            checks.provenance_complete,
            checks.log_inclusion,
            checks.mirror_is_whole,
            checks.index_matches_log,
            hosts.queues_are_served,
        ],
        jobs=[
            jobs.refresh,
            jobs.publish,
            jobs.mirror_copies,
            jobs.build_wheel,
            jobs.audit,
            jobs.snapshot,
            jobs.replicate,
            rebuilding.rebuild_sample,
            retention.retention,
        ],
        schedules=[
            schedules.hourly_refresh(automation),
            schedules.hourly_mirror(automation),
            schedules.hourly_replicate(automation),
            schedules.daily_audit(automation),
            schedules.daily_snapshot(automation),
            schedules.daily_retention(automation),
            schedules.weekly_rebuild(automation),
        ],
        sensors=[
            sensors.new_releases(automation, workspace.look_every),
            sensors.missing_wheels_to_build(automation),
            sensors.inbox_to_publish(automation),
            sensors.changes_to_publish(automation),
            sensors.site_to_targets(automation),
            hosts.watch_hosts_sensor(automation),
            waiting_runs.waiting_runs(automation),
            alerting.failed_runs(automation),
            alerting.alerts(automation),
        ],
        resources={"kiln": workspace},
        # one process per run: every step is a child process of its own already (pip, cibuildwheel, zig)
        executor=dg.in_process_executor,
    )


defs = assemble(Workspace.from_environment(Path.cwd(), os.environ), automation=os.environ.get("KILN_AUTOMATION") == "1")
