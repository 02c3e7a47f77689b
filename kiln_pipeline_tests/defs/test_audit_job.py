"""The nightly jobs in Dagster, and the check that keeps pages from naming a wheel whose entry is not proven."""

import re
from pathlib import Path

import dagster as dg
import pytest

from kiln_pipeline.definitions import assemble
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.defs.test_definitions import instance, metadata_of, pipeline, run_all
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.workspaces import NOW, memory_workspace

__all__ = ["instance"]


@pytest.fixture
def published(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = memory_workspace(tmp_path)
    assert run_all(workspace, pipeline(workspace, instance, monkeypatch), "markupsafe==2.0.1")
    return workspace


def wheel_objects(workspace: Workspace) -> tuple[MemoryStore, str]:
    site = workspace.site
    assert isinstance(site, MemoryStore)
    return site, next(key for key in site.objects if key.endswith(".whl"))


def test_the_audit_passes_over_what_was_published_and_fails_over_a_flipped_bit(
    published: Workspace, instance: dg.DagsterInstance
) -> None:
    """The run's failure is the alert; its description is the first difference."""
    job = assemble(published).resolve_job_def("audit")
    assert job.execute_in_process(instance=instance).success
    site, wheel = wheel_objects(published)
    site.objects[wheel] = site.objects[wheel][:-1] + b"x"
    results = [job.execute_in_process(instance=instance, raise_on_error=False) for _ in range(7)]
    assert not all(result.success for result in results)
    (failed,) = [event for event in results[-1].all_events if event.is_step_failure]
    assert "the log has" in str(failed.step_failure_data.user_failure_data)


@pytest.mark.parametrize("name", ["daily_audit", "daily_snapshot"])
def test_the_schedule_is_off_until_automation_is_on(name: str, tmp_path: Path) -> None:
    for automation in (False, True):
        schedules = assemble(memory_workspace(tmp_path), automation=automation).schedules or []
        (daily,) = [schedule for schedule in schedules if schedule.name == name]
        assert isinstance(daily, dg.ScheduleDefinition)
        assert (daily.default_status is dg.DefaultScheduleStatus.RUNNING) is automation


def test_a_dated_view_is_taken_once_a_day_and_the_audit_reads_it(published: Workspace, instance: dg.DagsterInstance) -> None:
    definitions = assemble(published)
    for _ in range(2):
        assert definitions.resolve_job_def("snapshot").execute_in_process(instance=instance).success
    site, _ = wheel_objects(published)
    manifests = [key for key in site.objects if key.endswith("/manifest.txt")]
    assert manifests == [f"simple@{NOW.date()}/manifest.txt"]
    assert definitions.resolve_job_def("audit").execute_in_process(instance=instance).success
    site.objects[manifests[0]] += b"\n"
    assert not definitions.resolve_job_def("audit").execute_in_process(instance=instance, raise_on_error=False).success


def test_no_page_is_written_while_a_wheels_entry_is_not_proven(
    published: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`log_inclusion` blocks what comes after the log."""
    line = pipeline(published, instance, monkeypatch)
    before = metadata_of(instance, "simple_index")
    site, wheel = wheel_objects(published)
    site.objects[f"{wheel}.provenance.json"] = b"{}\n"
    written = list(site.puts)
    with pytest.raises(Exception, match="log_inclusion"):
        line.publish()
    assert [key for key in site.puts[len(written) :] if key.startswith("simple/")] == []
    assert metadata_of(instance, "simple_index") == before


def test_every_attempt_links_to_its_sdist_recipe_attestation_and_log(published: Workspace, instance: dg.DagsterInstance) -> None:
    """In the build's own metadata and, with the log index, in the log's; the links lead to objects of the site."""
    site, wheel = wheel_objects(published)
    event = instance.fetch_materializations(dg.AssetKey("wheels"), limit=1).records[0].asset_materialization
    assert event is not None
    for table in (str(event.metadata["attempts"].value), metadata_of(instance, "audit_log")["latest attempts"]):
        assert re.search(r"\[sha256 [0-9a-f]{12}…\]\(https://files\.example\.org/\S+\.tar\.gz\)", table)
        for target in re.findall(re.escape(published.site_url) + r"([^)]+)", table):
            assert target in site.objects
        assert f"{wheel}.provenance.json" in table
