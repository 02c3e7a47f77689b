"""Which builds are asked for where build hosts take them: by enrolment and route, and never more than a window ahead."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext

from kiln_pipeline.core.hosts import Host, enrolment
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.defs.build_platforms import built_here
from kiln_pipeline.defs.launchers import PLATFORM_TAG, RANGE_TAG, RoutedRunLauncher
from kiln_pipeline.defs.sensors import WINDOW
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.defs.test_automation import Ticks, asked
from kiln_pipeline_tests.fakes import MemorySigner
from kiln_pipeline_tests.workspaces import memory_workspace

MAC, LINUX = Platform.MACOSX_ARM64, Platform.MANYLINUX_X86_64


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    routes = [{"platforms": ["macosx_arm64"], "launcher": {"module": "dagster", "class": "DefaultRunLauncher"}}]
    launcher = {"module": "kiln_pipeline.defs.launchers", "class": "RoutedRunLauncher", "config": {"routes": routes}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"run_launcher": launcher}) as instance:
        yield instance


@pytest.fixture
def kiln(tmp_path: Path) -> Workspace:
    file = tmp_path / "hosts.toml"
    hosts = {"mac": (MAC,), "other": (Platform.MUSLLINUX_AARCH64,)}
    lines = [
        enrolment(Host(name=name, platforms=platforms, public_key=MemorySigner(name).public_key))
        for name, platforms in hosts.items()
    ]
    file.write_text("\n".join(lines))
    return replace(memory_workspace(tmp_path), hosts_file=file)


def test_platforms_of_enrolled_hosts_with_a_route_and_this_hosts_own(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    assert built_here(kiln, instance) == [platform for platform in Platform if platform in (MAC, LINUX)]


def test_no_platform_is_asked_for_more_than_a_window_ahead(kiln: Workspace, instance: dg.DagsterInstance) -> None:
    """A platform whose window is full does not hold up another."""
    tick = Ticks(kiln, instance, "missing_wheels_to_build")
    assert tick.definitions.resolve_job_def("refresh").execute_in_process(instance=instance).success
    tags = {PLATFORM_TAG: MAC.value}
    for _ in range(WINDOW):
        instance.add_run(dg.DagsterRun(job_name="wheels", tags=tags, status=dg.DagsterRunStatus.STARTING))
    assert {str(request.partition_key).partition("|")[0] for request in asked(tick())} == {LINUX}
    assert f"wait until fewer than {WINDOW} build runs of their platform" in tick().skip_message
    run = instance.get_runs(limit=1)[0]
    instance.report_run_canceled(run)
    assert [str(request.partition_key).partition("|")[0] for request in asked(tick())] == [MAC]


def test_one_run_for_a_range_of_partitions_is_refused(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="wheels", tags={RANGE_TAG: "macosx_arm64|markupsafe==2.0.1"})
    launcher = instance.run_launcher
    assert isinstance(launcher, RoutedRunLauncher)
    with pytest.raises(Exception, match="one run per partition instead"):
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
