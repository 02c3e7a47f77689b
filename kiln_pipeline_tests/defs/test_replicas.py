"""The targets of kiln.toml in Dagster: a run for each, one that fails holds up no other, and it catches up."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kiln_pipeline.adapters.github_releases import GitHubReleases
from kiln_pipeline.definitions import assemble
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.defs.test_definitions import instance, pipeline, run_all
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.github_server import TOKEN, GitHubServer
from kiln_pipeline_tests.workspaces import memory_workspace

__all__ = ["instance"]


class NamedStore(MemoryStore):
    def __str__(self) -> str:
        return "memory"


@pytest.fixture
def published(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = memory_workspace(tmp_path)
    assert run_all(workspace, pipeline(workspace, instance, monkeypatch), "markupsafe==2.0.1")
    return workspace


def with_targets(workspace: Workspace, **targets: Any) -> Workspace:
    object.__setattr__(workspace, "publish_targets", lambda: targets)
    return workspace


def requests_of(workspace: Workspace, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    (sensor,) = [each for each in assemble(workspace).sensors or [] if each.name == "site_to_targets"]
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"kiln": workspace})
    return sensor(context)  # type: ignore[operator]


def test_each_target_gets_a_run_of_its_own_once_per_change(published: Workspace, instance: dg.DagsterInstance) -> None:
    """A failing target's run fails, says why, and leaves the other alone; the wheels are on the page of releases as well."""
    with GitHubServer() as github:
        releases = GitHubReleases("owner/wheels", token=TOKEN, api=github.url, sleep=lambda _: None)
        good, full = NamedStore(), NamedStore(fail_after=3)
        workspace = with_targets(published, full=full, good=good, releases=releases)
        asked = requests_of(workspace, instance)
        assert isinstance(asked, dg.SensorResult)
        requests = asked.run_requests or []
        assert [request.tags["kiln/writes"] for request in requests] == ["target full", "target good", "target releases"]
        job = assemble(workspace).resolve_job_def("replicate")
        results = [
            job.execute_in_process(instance=instance, run_config=request.run_config, raise_on_error=False) for request in requests
        ]
        assert [result.success for result in results] == [False, True, True]
        (failed,) = [event for event in results[0].all_events if event.is_step_failure]
        assert "not up to date: full: " in str(failed.step_failure_data.user_failure_data)
        site = published.site
        assert isinstance(site, MemoryStore)
        assert good.objects == site.objects
        wheels = {key.removeprefix("wheels/") for key in site.objects if key.endswith(".whl")}
        assert set(github.visible()) == wheels
        assert isinstance(requests_of(workspace, instance, asked.cursor), dg.SkipReason)
        full.fail_after = None
        assert job.execute_in_process(instance=instance).success
        assert full.objects == site.objects


def test_without_targets_nothing_is_asked_for(published: Workspace, instance: dg.DagsterInstance) -> None:
    assert isinstance(requests_of(published, instance), dg.SkipReason)
    assert assemble(published).resolve_job_def("replicate").execute_in_process(instance=instance).success


def test_every_hour_each_target_may_catch_up(tmp_path: Path) -> None:
    workspace = with_targets(memory_workspace(tmp_path), a=NamedStore(), b=NamedStore())
    (schedule,) = [each for each in assemble(workspace).schedules or [] if each.name == "hourly_replicate"]
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        context = dg.build_schedule_context(instance=instance, resources={"kiln": workspace})
        requests = schedule(context)  # type: ignore[operator]
    assert [request.run_config for request in requests] == [
        {"ops": {"replicas": {"config": {"targets": [name]}}}} for name in ("a", "b")
    ]
