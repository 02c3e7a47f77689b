"""A control plane and build hosts for real: PostgreSQL, Redis, Dagster's daemon and web server, `kiln host run`, twice.

No Mac ran: one host stands for it by taking its platform's work. Builds sleep; everything around them is what a deployment has.
The clock of the Linux host is an hour ahead throughout.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kiln_pipeline.adapters.celery_app import make_app, send_run
from kiln_pipeline.adapters.keys import load_or_create
from kiln_pipeline.core.hosts import Host, enrolment
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline_tests.control_plane import REPOSITORY, ControlPlane, until
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_page, captured_sdists

pytestmark = pytest.mark.slow
MAC, LINUX, NOBODYS = "macosx_arm64", "manylinux_x86_64", "musllinux_aarch64"
RELEASE = "markupsafe==2.0.1"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("many-hosts")
    shutil.copytree(REPOSITORY / "recipes" / "markupsafe", folder / "recipes" / "markupsafe")
    shutil.copy(REPOSITORY / "recipes" / "defaults.toml", folder / "recipes" / "defaults.toml")
    with (
        LoopbackUpstream({"markupsafe": captured_page("markupsafe")}, captured_sdists()) as upstream,
        ControlPlane(folder / "plane", upstream=upstream.url, recipes=folder / "recipes") as plane,
    ):
        takes(plane, 0)
        enrol(plane, {"mac": Platform.MACOSX_ARM64, "linux": Platform.MANYLINUX_X86_64, "other": Platform.MANYLINUX_X86_64})
        plane.ends(plane.launch_job("refresh", tags={}), "SUCCESS")
        plane.host("mac", MAC)
        plane.host("linux", LINUX, KILN_TEST_CLOCK="3600")
        yield plane


def enrol(plane: ControlPlane, hosts: Mapping[str, Platform]) -> None:
    keys = {name: load_or_create(plane.folder / name / "home" / "keys" / "host.pem", name) for name in hosts}
    lines = [enrolment(Host(name=name, platforms=(hosts[name],), public_key=key.public_key)) for name, key in keys.items()]
    (plane.folder / "hosts.toml").write_text("\n".join(lines))


def takes(plane: ControlPlane, seconds: int) -> None:
    (plane.folder / "pid").unlink(missing_ok=True)
    (plane.folder / "seconds").write_text(str(seconds))


def building(plane: ControlPlane) -> int:
    """Wait until a build is under way, and return its process."""
    file = plane.folder / "pid"
    return int(until("a build has begun", lambda: file.is_file() and file.read_text().strip()))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")
    except (FileNotFoundError, ProcessLookupError):
        return False


def bundles(plane: ControlPlane) -> set[str]:
    return {str(path.parent.name) for path in (plane.folder / "inbox").rglob("attestation.json")}


def test_runs_go_to_the_hosts_of_their_platform(plane: ControlPlane) -> None:
    """From the interface, a sensor, a schedule and a backfill."""
    (plane.folder / "due").touch()
    plane.start_schedule("every_minute")
    plane.start_sensor("missing_wheels_to_build")
    asked = {plane.launch(RELEASE, MAC, pythons=["cp311"]): "mac", plane.launch(RELEASE, LINUX, pythons=["cp311"]): "linux"}
    for run_id, host in asked.items():
        assert plane.ends(run_id, "SUCCESS")["tags"]["kiln/host"] == host
    backfill = plane.backfill(f"{MAC}|{RELEASE}", f"{LINUX}|{RELEASE}")
    for tags in ({"dagster__backfill": backfill}, {"dagster__sensor_name": "missing_wheels_to_build"}):
        runs = until(f"runs with {tags}", lambda tags=tags: len(found := plane.runs(**tags)) >= 2 and found)
        assert {run["tags"]["dagster/partition/platform"] for run in runs} == {MAC, LINUX}
        for run in runs:
            host = plane.ends(run["runId"], "SUCCESS")["tags"]["kiln/host"]
            assert host == ("mac" if run["tags"]["dagster/partition/platform"] == MAC else "linux")
    (run,) = until("the schedule's run", lambda: plane.runs(**{"asked by": "schedule"}), seconds=75)
    assert plane.ends(run["runId"], "SUCCESS")["tags"]["kiln/host"] == "mac"


def test_a_run_that_nobody_serves_waits_and_says_so(plane: ControlPlane) -> None:
    waiting = plane.launch(RELEASE, NOBODYS)
    until("it says so", lambda: any(f"no live host serves {NOBODYS}" in event for event in plane.events(waiting)))
    plane.ends(plane.launch(RELEASE, MAC, pythons=["cp311"]), "SUCCESS")
    assert plane.run(waiting)["status"] == "STARTING"
    plane.terminate(waiting, policy="MARK_AS_CANCELED_IMMEDIATELY")  # Dagster's button does that for a run that is starting
    plane.ends(waiting, "CANCELED")


def test_a_cancelled_run_ends_its_build(plane: ControlPlane) -> None:
    takes(plane, 600)
    before = bundles(plane)
    run_id = plane.launch(RELEASE, LINUX, pythons=["cp311"])
    build = building(plane)
    plane.terminate(run_id)
    plane.ends(run_id, "CANCELED")
    until("the build is gone", lambda: not is_alive(build), seconds=30)
    assert bundles(plane) == before
    takes(plane, 0)


def test_a_message_that_comes_twice_starts_one_run(plane: ControlPlane) -> None:
    takes(plane, 2)
    run_id = plane.launch(RELEASE, LINUX, pythons=["cp311"])
    app = make_app(plane.redis.url)
    send_run(app, run_id, LINUX)
    building(plane)
    send_run(app, run_id, LINUX)
    plane.ends(run_id, "SUCCESS")
    takes(plane, 0)
    plane.ends(plane.launch(RELEASE, LINUX, pythons=["cp311"]), "SUCCESS")  # the second message came before this one
    assert [event for event in plane.events(run_id) if event.startswith("taken by")] == ["taken by linux"]


def test_a_host_that_dies_loses_no_run(plane: ControlPlane) -> None:
    """kill -9 of the worker during a build: the build ends, leaves nothing, and the run is done once more by another host."""
    takes(plane, 600)
    before = bundles(plane)
    run_id = plane.launch(RELEASE, LINUX, pythons=["cp311"])
    build = building(plane)
    next(host for host in plane.hosts if host.folder.name == "linux").kill()
    until("the build is gone", lambda: not is_alive(build), seconds=45)
    takes(plane, 0)
    plane.host("other", LINUX)
    plane.ends(run_id, "FAILURE", seconds=90)
    again = until("it is tried again", lambda: plane.runs(dagster__parent_run_id=run_id))
    assert len(again) == 1
    assert plane.ends(again[0]["runId"], "SUCCESS")["tags"]["kiln/host"] == "other"
    assert len(bundles(plane) - before) == 1
