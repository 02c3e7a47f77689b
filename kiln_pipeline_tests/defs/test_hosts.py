"""The hosts asset as Dagster shows it: by a click, and by the sensor, which speaks only when something has changed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg

from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.definitions import assemble
from kiln_pipeline.stages.watch_hosts import load_hosts_table, load_queues_table
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.defs.test_definitions import instance, metadata_of
from kiln_pipeline_tests.workspaces import NOW, memory_workspace

__all__ = ["instance"]


def queue_run(instance: dg.DagsterInstance, platform: Platform, *, host: str = "", started: bool = False) -> None:
    tags = {"dagster/partition/platform": platform.value, **({"kiln/host": host} if host else {})}
    status = dg.DagsterRunStatus.STARTED if started else dg.DagsterRunStatus.NOT_STARTED
    instance.add_run(dg.DagsterRun(job_name="wheels", tags=tags, status=status))


def tick(workspace: Workspace, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    (sensor,) = [each for each in assemble(workspace).sensors or [] if each.name == "watch_hosts"]
    return sensor(dg.build_sensor_context(instance=instance, cursor=cursor, resources={"kiln": workspace}))  # type: ignore[operator]


def test_a_click_shows_this_host_and_warns_of_work_that_nobody_takes(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    workspace = replace(memory_workspace(tmp_path), clock=lambda: NOW)
    queue_run(instance, Platform.MACOSX_ARM64)
    queue_run(instance, Platform.MANYLINUX_X86_64, host="testhost", started=True)
    result = (
        assemble(workspace)
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(instance=instance, asset_selection=[dg.AssetKey("hosts")])
    )
    (row,) = load_hosts_table(workspace.state).to_pylist()
    assert (row["host"], row["state"], row["running"]) == ("testhost", "live", 1)
    assert "| testhost | live |" in metadata_of(instance, "hosts")["hosts"]
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "1 runs wait for macosx_arm64, and no live host serves it"


def test_the_sensor_looks_each_time_and_speaks_when_something_has_changed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    workspace = memory_workspace(tmp_path)
    first = tick(workspace, instance)
    assert isinstance(first, dg.SensorResult)
    assert [type(event).__name__ for event in first.asset_events] == ["AssetMaterialization", "AssetCheckEvaluation"]
    later = replace(workspace, clock=lambda: NOW + timedelta(hours=1))
    assert isinstance(tick(later, instance, first.cursor), dg.SkipReason)
    assert load_hosts_table(later.state).to_pylist()[0]["last_heartbeat"] == NOW + timedelta(hours=1)
    queue_run(instance, Platform.MUSLLINUX_AARCH64)
    second = tick(later, instance, first.cursor)
    assert isinstance(second, dg.SensorResult)
    check = second.asset_events[1]
    assert isinstance(check, dg.AssetCheckEvaluation)
    assert not check.passed
    assert [row["platform"] for row in load_queues_table(later.state).to_pylist()][-1] == "musllinux_aarch64"
