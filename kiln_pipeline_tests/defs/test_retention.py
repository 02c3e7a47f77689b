"""What goes and what stays of old runs, on a real instance in SQLite."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from kiln_pipeline.definitions import assemble
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.workspaces import memory_workspace, site_digest


def retain(kiln: Workspace, instance: dg.DagsterInstance, **config: int) -> None:
    job = assemble(kiln).resolve_job_def("retention")
    assert job.execute_in_process(instance=instance, run_config={"ops": {"remove_old_runs": {"config": config}}}).success


def test_old_runs_go_with_their_logs_and_what_pages_tell_stays(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Three refreshes: the last one materialised the tables as they are, so it stays, without its logs; the site is as it was."""
    kiln = replace(memory_workspace(tmp_path), clock=lambda: datetime.now(UTC) + timedelta(days=200))
    refresh = assemble(kiln).resolve_job_def("refresh")
    old = [refresh.execute_in_process(instance=instance).run_id for _ in range(3)]
    running = instance.create_run_for_job(refresh, status=dg.DagsterRunStatus.STARTED).run_id
    before = site_digest(kiln.site)  # pyright: ignore[reportArgumentType]
    retain(kiln, instance, at_most=1)
    left = {run.run_id for run in instance.get_runs()}
    assert left >= {*old[1:], running}
    assert old[0] not in left
    retain(kiln, instance, days=90)
    left = {run.run_id for run in instance.get_runs()}
    assert left & {*old, running} == {old[2], running}
    files = {name for _, _, names in os.walk(tmp_path) for name in names}
    assert not {f"{run}.db" for run in old} & files
    assert instance.get_latest_materialization_event(dg.AssetKey("missing_wheels")) is not None
    assert site_digest(kiln.site) == before  # pyright: ignore[reportArgumentType]


def test_young_runs_stay(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    kiln = replace(memory_workspace(tmp_path), clock=lambda: datetime.now(UTC))
    run = assemble(kiln).resolve_job_def("refresh").execute_in_process(instance=instance).run_id
    retain(kiln, instance)
    assert run in {each.run_id for each in instance.get_runs()}
