"""From a failed run, a check, a queue to a message, through Dagster's own hooks on a real instance."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.definitions import assemble
from kiln_pipeline.errors import DeliveryError
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.workspaces import memory_workspace

HEADER = Failure(failure_class="missing-header", proof="fatal error: yaml.h: No such file or directory", hint="")
PYTHONS = ("cp311", "cp312", "cp313", "cp314", "cp315")


class Heard:
    """An `AlertChannel` that keeps what it is told, or is down."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.down = False

    def send(self, subject: str, text: str) -> None:
        if self.down:
            raise DeliveryError(channel="team", reason="the webhook answered 500")
        self.told.append((subject, text))


class Watch:
    """A workspace whose alerts go to `channels`, looked at minute by minute."""

    def __init__(self, home: Path, instance: dg.DagsterInstance, **channels: Heard) -> None:
        self.now = datetime.now(UTC)
        failures = {f"{python}-manylinux_x86_64": HEADER for python in PYTHONS}
        told = {name: (channel, timedelta(hours=1)) for name, channel in channels.items()}
        self.kiln: Workspace = replace(
            memory_workspace(home, failures=failures), clock=lambda: self.now, alert_channels=lambda: told
        )
        self.instance = instance
        self.definitions = assemble(self.kiln)

    def look(self, **later: float) -> str:
        self.now += timedelta(**later)
        context = dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.definitions.get_repository_def(),
            resources={"kiln": self.kiln},
        )
        answer: Any = self.definitions.resolve_sensor_def("alerts")(context)
        return str(answer.skip_message)

    def refresh(self) -> None:
        config = {"ops": {"release_metadata": {"config": {"projects": ["markupsafe"]}}}}
        job = self.definitions.resolve_job_def("refresh")
        assert job.execute_in_process(instance=self.instance, run_config=config).success

    def fail(self, job: str, **run: Any) -> None:
        """Run a job that fails, and let the run failure sensor see it."""
        result = self.definitions.resolve_job_def(job).execute_in_process(instance=self.instance, raise_on_error=False, **run)
        assert not result.success
        context: Any = dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=self.instance,
            dagster_run=result.dagster_run,
            resources={"kiln": self.kiln},
        ).for_run_failure()
        sensor: Any = self.definitions.resolve_sensor_def("failed_runs")
        sensor(context)


def build(number: int) -> dict[str, Any]:
    return {"run_config": {"ops": {"build_as_asked": {"config": {"python_version": f"3.{number}"}}}}}


def test_failed_builds_are_one_message_by_their_class(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Class, proof and hint reach the chat; a chat that is down hears all of it later; the other one hears it now."""
    team, mail = Heard(), Heard()
    team.down = True
    watch = Watch(tmp_path, instance, team=team, mail=mail)
    assert watch.look() == "nothing new to tell; 0 known"
    watch.refresh()
    watch.fail("build_wheel", **build(12))
    watch.fail("build_wheel", **build(13))
    assert "alerts to team: the webhook answered 500" in watch.look()
    ((subject, text),) = mail.told
    assert subject == "kiln: builds fail: missing-header"
    assert text.startswith("builds fail: missing-header (2 new)\n- build_wheel (run ")
    assert "): fatal error: yaml.h: No such file or directory\n" in text
    assert "\nWhat to do: " in text
    team.down = False
    assert watch.look() == "nothing new to tell; 0 known", "not before a minute has gone by"
    watch.look(minutes=1)
    assert team.told == mail.told
    watch.look(hours=2)
    assert [each[0] for each in team.told] == [subject, "kiln: resolved: builds fail: missing-header"]


def test_what_waits_and_what_does_not_pass_is_told(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    team = Heard()
    watch = Watch(tmp_path, instance, team=team)
    watch.kiln.inbox.put("aa/attestation.json", b"{}")
    instance.create_run_for_job(watch.definitions.resolve_job_def("refresh"))
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("hosts"), check_name="queues_are_served", passed=False, description="3 runs wait for macosx_arm64"
    )
    instance.report_runless_asset_event(evaluation)
    watch.look()
    assert [subject for subject, _ in team.told] == ["kiln: check fails: hosts: queues_are_served"]
    watch.look(minutes=61)
    watch.look(hours=6)
    assert [subject for subject, _ in team.told[1:]] == [
        "kiln: bundles wait long in the inbox",
        "kiln: runs wait long in the queue",
    ]


def test_a_dry_run_tells_nobody_and_forgets_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    team = Heard()
    watch = Watch(tmp_path, instance, team=team)
    watch.refresh()
    watch.fail("build_wheel", **build(12))
    watch.kiln = replace(watch.kiln, dry_run=True)
    for _ in range(2):
        assert watch.look().startswith("dry run: would tell team: builds fail: missing-header (1 new)")
    assert team.told == []
    watch.kiln = replace(watch.kiln, dry_run=False)
    watch.look()
    assert len(team.told) == 1


def test_without_channels_nothing_is_kept(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    watch = Watch(tmp_path, instance)
    assert watch.look() == "kiln.toml has no [[alerts]]"
    watch.fail("build_wheel", **build(12))
    assert [key for key in watch.kiln.state.keys() if key.startswith("alerts/")] == []
