"""What sensors and schedules ask for, tick by tick, on a real instance: never twice what is in flight, again what failed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kiln_pipeline.definitions import assemble
from kiln_pipeline.errors import UpstreamError
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.fakes import MemoryStore, MemoryUpstream
from kiln_pipeline_tests.workspaces import NOW, memory_workspace

DOWN = UpstreamError(subject="upstream", reason="files.example.org cannot be reached", retriable=True)


class SetClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Any:
        return self.now


@pytest.fixture
def kiln(tmp_path: Path) -> Workspace:
    return replace(memory_workspace(tmp_path), clock=SetClock())


def later(kiln: Workspace, **span: float) -> None:
    kiln.clock.now += timedelta(**span)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]


class Ticks:
    """One sensor or schedule, its cursor kept as Dagster keeps it."""

    def __init__(self, kiln: Workspace, instance: dg.DagsterInstance, name: str) -> None:
        self.kiln, self.instance, self.cursor = kiln, instance, ""
        self.definitions = assemble(kiln)
        self.name = name

    def __call__(self) -> Any:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources={"kiln": self.kiln})
        answer: Any = self.definitions.resolve_sensor_def(self.name)(context)
        self.cursor = (answer.cursor if isinstance(answer, dg.SensorResult) else None) or context.cursor
        return answer

    def run(self, request: dg.RunRequest, job: str) -> None:
        tags = {**request.tags, "dagster/run_key": str(request.run_key)}
        self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=request.run_config, tags=tags, raise_on_error=False
        )


def asked(answer: Any) -> list[dg.RunRequest]:
    assert isinstance(answer, dg.SensorResult), answer
    return list(answer.run_requests or [])


def queued(instance: dg.DagsterInstance, kiln: Workspace, job: str) -> dg.DagsterRun:
    return instance.create_run_for_job(assemble(kiln).resolve_job_def(job), status=dg.DagsterRunStatus.STARTED)


def test_new_releases_are_refreshed_once(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    """What changed is asked for; not while a refresh runs, nor once it is done, and again later when it failed."""
    tick = Ticks(kiln, instance, "new_releases")
    (request,) = asked(tick())
    projects = request.run_config["ops"]["release_metadata"]["config"]["projects"]
    assert projects == ["markupsafe", "pyyaml"]
    assert request.tags["kiln/why"] == "2 changed upstream: markupsafe, pyyaml"
    busy = queued(instance, kiln, "refresh")
    assert "refresh is under way" in tick().skip_message
    instance.report_run_failed(busy)
    assert "asked for 1×, and not done" in tick().skip_message
    later(kiln, minutes=1)
    (again,) = asked(tick())
    assert again.run_key != request.run_key
    tick.run(again, "refresh")
    assert tick().skip_message.startswith("nothing changed upstream among")


def test_an_upstream_that_is_down_is_asked_less_and_less(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    tick = Ticks(kiln, instance, "new_releases")
    assert isinstance(kiln.upstream, MemoryUpstream)
    kiln.upstream.pages = dict.fromkeys((recipe.project for recipe in kiln.recipes), DOWN)
    assert "cannot be reached" in tick().skip_message
    assert "upstream did not answer 1×; looked at again 2026-11-22 12:01 UTC" in tick().skip_message
    later(kiln, minutes=1)
    assert "cannot be reached" in tick().skip_message
    assert "did not answer 2×; looked at again 2026-11-22 12:03 UTC" in tick().skip_message


def test_bundles_that_arrive_together_share_a_publish(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    """One at a time; one that failed is asked for again after a minute; bundles that were refused are nobody's work."""
    tick = Ticks(kiln, instance, "inbox_to_publish")
    assert tick().skip_message == "the inbox is empty"
    kiln.inbox.put("refused/aa/attestation.json", b"{}")
    assert tick().skip_message == "the inbox is empty"
    kiln.inbox.put("aa/attestation.json", b"{}")
    kiln.inbox.put("bb/attestation.json", b"{}")
    (request,) = asked(tick())
    assert request.tags["kiln/why"] == "2 bundles in the inbox"
    busy = queued(instance, kiln, "publish")
    kiln.inbox.put("cc/attestation.json", b"{}")
    assert "publish is under way" in tick().skip_message
    instance.report_run_failed(busy)
    (more,) = asked(tick())
    assert more.tags["kiln/why"] == "3 bundles in the inbox"
    assert "and not done; asked for again 2026-11-22 12:01 UTC" in tick().skip_message


def test_a_change_is_published_once_it_was_done(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    """The yank of a file upstream and a publish that failed: asked for until one succeeded, then no more."""
    tick = Ticks(kiln, instance, "changes_to_publish")
    assert tick().skip_message == "upstream has not been asked yet"
    assert tick.definitions.resolve_job_def("refresh").execute_in_process(instance=instance).success
    (request,) = asked(tick())
    assert isinstance(kiln.site, MemoryStore)
    kiln.site.fail_after = 0
    tick.run(request, "publish")
    assert "asked for 1×, and not done" in tick().skip_message
    kiln.site.fail_after = None
    later(kiln, minutes=1)
    (again,) = asked(tick())
    tick.run(again, "publish")
    assert tick().skip_message == "nothing has changed since it was done, or stopped by somebody"
    later(kiln, days=30)
    assert tick().skip_message == "nothing has changed since it was done, or stopped by somebody"


def test_a_publish_that_somebody_stopped_is_not_asked_for_again(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    tick = Ticks(kiln, instance, "changes_to_publish")
    assert tick.definitions.resolve_job_def("refresh").execute_in_process(instance=instance).success
    (request,) = asked(tick())
    stopped = instance.create_run_for_job(
        job_def=tick.definitions.resolve_job_def("publish"), tags={"dagster/run_key": request.run_key or ""}
    )
    instance.report_run_canceled(stopped)
    later(kiln, minutes=5)
    assert tick().skip_message == "nothing has changed since it was done, or stopped by somebody"


def test_a_dry_run_says_what_it_would_ask_for(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    """Upstream is read, so that it knows; builds and publishes are only named, each time anew, and nothing is remembered."""
    kiln = replace(kiln, dry_run=True)
    (request,) = asked(Ticks(kiln, instance, "new_releases")())
    Ticks(kiln, instance, "new_releases").run(request, "refresh")
    tick = Ticks(kiln, instance, "missing_wheels_to_build")
    said = tick().skip_message
    assert said.startswith("dry run: would ask for 4 runs: manylinux_x86_64|")
    assert "markupsafe==2.0.1" in said
    assert tick().skip_message == said
    kiln.inbox.put("aa/attestation.json", b"{}")
    for name, why in (("inbox_to_publish", "1 bundle in the inbox"), ("changes_to_publish", "tables or recipes have changed")):
        assert Ticks(kiln, instance, name)().skip_message == f"dry run: would ask for 1 run: {why}"
    context = dg.build_schedule_context(instance=instance, resources={"kiln": kiln})
    schedules: Any = {each.name: each for each in assemble(kiln).schedules or []}
    assert schedules["daily_retention"](context).skip_message == "dry run: would ask for 1 run: daily retention"


def test_a_schedule_starts_no_second_run(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    schedules: Any = {each.name: each for each in assemble(kiln).schedules or []}
    context = dg.build_schedule_context(instance=instance, resources={"kiln": kiln})
    assert isinstance(schedules["hourly_refresh"](context), dg.RunRequest)
    queued(instance, kiln, "refresh")
    assert "the last refresh is still under way" in schedules["hourly_refresh"](context).skip_message


def test_how_often_new_releases_are_looked_for_is_the_operators(kiln: Workspace) -> None:
    for every in (3600, 5):
        sensor = assemble(replace(kiln, look_every=every)).resolve_sensor_def("new_releases")
        assert sensor.minimum_interval_seconds == every
