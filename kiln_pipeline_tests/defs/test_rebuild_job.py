"""The weekly sample in Dagster: published wheels are rebuilt, the verdicts recorded by the next publish and shown as lineage."""

from pathlib import Path

import dagster as dg
import pytest

from kiln_pipeline.core.rebuilds import RebuildVerdict
from kiln_pipeline.definitions import assemble
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.defs.test_definitions import instance, metadata_of, pipeline, run_all
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.workspaces import memory_workspace

__all__ = ["instance"]


@pytest.fixture
def published(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = memory_workspace(tmp_path)
    assert run_all(workspace, pipeline(workspace, instance, monkeypatch), "markupsafe==2.0.1")
    return workspace


def rebuild(workspace: Workspace, instance: dg.DagsterInstance, count: int) -> dg.ExecuteInProcessResult:
    job = assemble(workspace).resolve_job_def("rebuild_sample")
    config = {"ops": {"rebuild_published": {"config": {"count": count}}}}
    return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def test_a_sample_is_rebuilt_recorded_and_shown(
    published: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the wheels, then the next ones: nothing is rebuilt twice while another was never."""
    line = pipeline(published, instance, monkeypatch)
    wheels = [attempt.wheel for attempt in published.attempts() if attempt.wheel]
    assert len(wheels) > 3
    assert rebuild(published, instance, 2).success
    assert published.rebuilds() == ()
    line.publish()
    assert [rebuild.wheel for rebuild in published.rebuilds()] == wheels[:2]
    assert {rebuild.verdict for rebuild in published.rebuilds()} == {RebuildVerdict.IDENTICAL}
    assert rebuild(published, instance, 1).success
    line.publish()
    assert published.rebuilds()[-1].wheel == wheels[2]
    metadata = metadata_of(instance, "audit_log")
    assert metadata["rebuilds"] == 3
    assert f"{wheels[0]} | identical | testhost | scripted |" in metadata["latest rebuilds"]
    link = f"[rebuilt 1× on its own build host: identical]({published.site_url}wheels/{wheels[0]}.rebuild-1.json)"
    assert link in metadata["latest attempts"]
    assert "not yet" in metadata["latest attempts"]


def test_a_wheel_that_does_not_verify_fails_the_run_and_stalls_no_other(
    published: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert is the run's failure; the others' verdicts are in the inbox all the same."""
    site = published.site
    assert isinstance(site, MemoryStore)
    wheels = [attempt.wheel for attempt in published.attempts() if attempt.wheel]
    site.objects[f"wheels/{wheels[0]}"] += b"\0"
    result = rebuild(published, instance, 2)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert wheels[0] in str(failed.step_failure_data.user_failure_data)
    pipeline(published, instance, monkeypatch)
    inbox = published.inbox
    assert isinstance(inbox, MemoryStore)
    assert sum(key.endswith("/attestation.json") for key in inbox.objects) == 1


def test_the_schedule_is_weekly_and_off_until_automation_is_on(tmp_path: Path) -> None:
    for automation in (False, True):
        schedules = assemble(memory_workspace(tmp_path), automation=automation).schedules or []
        (weekly,) = [schedule for schedule in schedules if schedule.name == "weekly_rebuild"]
        assert isinstance(weekly, dg.ScheduleDefinition)
        assert (weekly.default_status is dg.DefaultScheduleStatus.RUNNING) is automation
