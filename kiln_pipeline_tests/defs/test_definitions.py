"""The definitions over a whole workspace in memory: the assets, the job, the sensors, as Dagster runs them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.definitions import assemble
from kiln_pipeline.defs.run import Pipeline, RunFailed, wanted
from kiln_pipeline.errors import RecipeError, UpstreamError
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.fakes import MemoryStore, ScriptedBuilder
from kiln_pipeline_tests.workspaces import memory_workspace, site_digest

SEVEN = ["audit_log", "mirror", "missing_wheels", "package_pages", "release_metadata", "simple_index", "wheels"]
"""What a run of the whole line materialises: all but `replicas` and `hosts`, which are brought up to date on their own."""


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral(tempdir=str(tmp_path))


def pipeline(workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(dg.DagsterInstance, "get", lambda: instance)
    return Pipeline(workspace, assemble(workspace))


def run_all(workspace: Workspace, line: Pipeline, *names: str) -> tuple[Any, ...]:
    asked = wanted(names, workspace.recipes, pythons=())
    line.refresh(asked.projects)
    for item in line.todo(asked, limit=0):
        line.build(item)
    return line.publish()


def metadata_of(instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_the_assets_read_as_the_products_picture(tmp_path: Path) -> None:
    """Nine assets, in the order of the flow, each with group, description, kinds, owners and a code version."""
    graph = assemble(memory_workspace(tmp_path)).resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert sorted(nodes) == sorted([*SEVEN, "replicas", "hosts"])
    parents = {name: sorted(key.to_user_string() for key in node.parent_keys) for name, node in nodes.items()}
    assert parents == {
        "release_metadata": [],
        "missing_wheels": ["release_metadata"],
        "wheels": ["missing_wheels"],
        "audit_log": ["wheels"],
        "mirror": ["release_metadata"],
        "simple_index": ["audit_log", "mirror", "release_metadata"],
        "package_pages": ["simple_index"],
        "replicas": ["package_pages", "simple_index"],
        "hosts": ["audit_log"],
    }
    for node in nodes.values():
        assert node.description
        assert node.group_name
        assert node.kinds
        assert node.owners
        assert node.code_version


def test_dagster_loads_the_repository(tmp_path: Path) -> None:
    """Names of assets and jobs share one space, which Dagster looks at only when the interface or the daemon loads it."""
    dg.Definitions.validate_loadable(assemble(memory_workspace(tmp_path)))


def test_a_whole_run_publishes_and_a_second_one_changes_no_byte(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every missing wheel is built once; the site is the same to the byte after a second run."""
    workspace = memory_workspace(tmp_path)
    line = pipeline(workspace, instance, monkeypatch)
    attempts = run_all(workspace, line, "markupsafe==2.0.1")
    assert attempts
    assert all(attempt.wheel.startswith("markupsafe-2.0.1-1-cp3") for attempt in attempts)
    before = site_digest(workspace.site)  # pyright: ignore[reportArgumentType]
    assert run_all(workspace, line, "markupsafe==2.0.1") == attempts
    assert site_digest(workspace.site) == before  # pyright: ignore[reportArgumentType]


def test_every_materialisation_tells_what_changed(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row counts, verdicts, attempts and links stand on the assets' pages; data versions are sha256."""
    workspace = memory_workspace(tmp_path)
    attempts = run_all(workspace, pipeline(workspace, instance, monkeypatch), "markupsafe==2.0.1")
    assert metadata_of(instance, "missing_wheels")["missing"] > 0
    assert "cp312" in metadata_of(instance, "wheels")["attempts"]
    assert metadata_of(instance, "audit_log")["entries"] == len(attempts)
    assert attempts[0].wheel in metadata_of(instance, "simple_index")["wheels of ours"]
    for name in SEVEN:
        if name == "mirror":  # nothing is copied here
            continue
        event = instance.get_latest_materialization_event(dg.AssetKey(name))
        assert event is not None
        assert event.asset_materialization is not None
        version = (event.asset_materialization.tags or {})["dagster/data_version"]
        assert len(version) == 64
        assert set(version) <= set("0123456789abcdef")


def test_a_failed_build_is_recorded_and_the_others_are_kept(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One identifier fails: its class and proof are on record, the other Pythons' wheels are published."""
    failure = Failure(failure_class="missing-header", proof="fatal error: yaml.h: No such file or directory", hint="")
    workspace = memory_workspace(tmp_path, failures={"cp312-manylinux_x86_64": failure})
    line = pipeline(workspace, instance, monkeypatch)
    attempts = run_all(workspace, line, "markupsafe==2.0.1")
    failed = [attempt for attempt in attempts if attempt.failure]
    assert [(str(attempt.identifier), attempt.failure, attempt.proof) for attempt in failed] == [
        ("cp312-manylinux_x86_64", "missing-header", "fatal error: yaml.h: No such file or directory")
    ]
    assert "missing-header" in metadata_of(instance, "wheels")["attempts"]
    assert run_all(workspace, line, "markupsafe==2.0.1") == attempts, "a failure is not tried again before something changes"


def test_a_build_whose_every_attempt_failed_is_a_failed_run_with_its_reason(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run page of a failed build names the class and the line that proves it; `kiln run` goes on and records it."""
    failure = Failure(failure_class="compiler-error", proof="error: boom", hint="")
    pythons = ("cp311", "cp312", "cp313", "cp314", "cp315")
    workspace = memory_workspace(tmp_path, failures={f"{python}-manylinux_x86_64": failure for python in pythons})
    attempts = run_all(workspace, pipeline(workspace, instance, monkeypatch), "markupsafe==2.0.1")
    assert {attempt.failure for attempt in attempts} == {"compiler-error"}
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert len(runs) == 1


def test_one_broken_project_stops_no_other(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream fails for pyyaml: markupsafe is built and published all the same, and the broken one is shown."""
    workspace = memory_workspace(tmp_path)
    workspace.upstream.pages["pyyaml"] = UpstreamError(subject="project pyyaml", reason="upstream answered 500")  # pyright: ignore
    attempts = run_all(workspace, pipeline(workspace, instance, monkeypatch))
    assert {attempt.release.project for attempt in attempts} == {"markupsafe"}
    assert "upstream answered 500" in metadata_of(instance, "release_metadata")["broken"]


def test_an_error_of_ours_ends_a_run_with_its_sentence(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the state store is one clear error, and nothing is half published."""
    workspace = memory_workspace(tmp_path)
    workspace.state.fail_after = 0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(RunFailed, match="no space left on device"):
        pipeline(workspace, instance, monkeypatch).refresh(["markupsafe"])
    assert list(workspace.site.keys()) == []


def test_names_that_no_recipe_covers_are_refused_together(tmp_path: Path) -> None:
    """Every wrong name is reported at once, each with what to do."""
    workspace = memory_workspace(tmp_path)
    with pytest.raises(RecipeError) as caught:
        wanted(["nosuch", "markupsafe==1.0", "mark up==1"], workspace.recipes, pythons=())
    assert [problem.file for problem in caught.value.problems] == ["nosuch", "markupsafe==1.0", "mark up==1"]


def test_the_ad_hoc_job_builds_what_it_is_asked(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """`build_wheel` takes python.build's parameters from the launchpad, builds, records and publishes."""
    workspace = memory_workspace(tmp_path)
    definitions = assemble(workspace)
    refresh = definitions.resolve_job_def("refresh").execute_in_process(instance=instance)
    assert refresh.success
    config = {
        "package_name": "MarkupSafe",
        "package_version": "2.0.1",
        "python_version": "3.13",
        "environment_variables": "CFLAGS='-O2 -g0' DEBUG=0",
    }
    result = definitions.resolve_job_def("build_wheel").execute_in_process(
        instance=instance, run_config={"ops": {"build_as_asked": {"config": config}}}
    )
    assert result.success
    assert [attempt.wheel for attempt in workspace.attempts()] == ["markupsafe-2.0.1-1-cp313-cp313-manylinux_2_17_x86_64.whl"]
    assert workspace.builders[0].built[0].environment == {"CFLAGS": "-O2 -g0", "DEBUG": "0"}  # pyright: ignore


def test_sensors_ask_once_for_the_same_work(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Missing wheels become one run request per release and platform; the second tick asks for nothing."""
    workspace = memory_workspace(tmp_path)
    definitions = assemble(workspace)
    definitions.resolve_job_def("refresh").execute_in_process(instance=instance)
    sensor = definitions.resolve_sensor_def("missing_wheels_to_build")
    with dg.build_sensor_context(instance=instance, resources={"kiln": workspace}) as context:
        first = sensor(context)
    keys = [str(request.partition_key) for request in first.run_requests]
    wanted_releases = ("markupsafe==2.0.1", "pyyaml==5.3.1", "pyyaml==5.4.1", "pyyaml==6.0")
    assert sorted(keys) == [f"manylinux_x86_64|{name}" for name in wanted_releases]
    with dg.build_sensor_context(instance=instance, resources={"kiln": workspace}, cursor=first.cursor) as context:
        second = sensor(context)
    assert isinstance(second, dg.SkipReason)
    with dg.build_sensor_context(instance=instance, resources={"kiln": workspace}) as context:
        assert isinstance(definitions.resolve_sensor_def("inbox_to_publish")(context), dg.SkipReason)
        assert isinstance(definitions.resolve_sensor_def("new_releases")(context), dg.SkipReason)


def test_automation_is_off_unless_asked_for(tmp_path: Path) -> None:
    """The embedded instance starts with everything stopped; one flag turns it on."""
    for automation, word in ((False, "STOPPED"), (True, "RUNNING")):
        definitions = assemble(memory_workspace(tmp_path), automation=automation)
        statuses = {sensor.default_status.value for sensor in definitions.sensors or []}
        statuses |= {schedule.default_status.value for schedule in definitions.schedules or []}  # pyright: ignore
        assert statuses == {word}


def test_an_engine_that_fails_hands_over_to_the_next_builder(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both attempts are on record, and the wheel is there: an image that cannot be had says nothing about the package."""
    failure = Failure(failure_class="engine", proof="Error: initializing source docker://image", hint="")
    workspace = memory_workspace(tmp_path, failures={"cp312-manylinux_x86_64": failure})
    workspace = replace(workspace, builders=(*workspace.builders, ScriptedBuilder()))
    line = pipeline(workspace, instance, monkeypatch)
    asked = wanted(["markupsafe"], workspace.recipes, pythons=["cp312"])
    line.refresh(asked.projects)
    for item in line.todo(asked, limit=0):
        line.build(item)
    assert [(attempt.failure, bool(attempt.wheel)) for attempt in line.publish()] == [("engine", False), ("", True)]


def test_a_lost_state_removes_no_page(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """State is derived: without it, a run for one project leaves the pages of the others as they are."""
    workspace = memory_workspace(tmp_path)
    run_all(workspace, pipeline(workspace, instance, monkeypatch), "markupsafe==2.0.1")
    page = workspace.site.get("simple/markupsafe/index.html")
    workspace = replace(workspace, state=MemoryStore())
    run_all(workspace, pipeline(workspace, instance, monkeypatch), "pyyaml==5.4.1")
    assert workspace.site.get("simple/markupsafe/index.html") == page
    assert b"markupsafe" in workspace.site.get("simple/index.html")


def test_one_bad_sdist_stops_no_other(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream serves other bytes than it states: nothing of that release is recorded, the other project is built."""
    workspace = memory_workspace(tmp_path)
    workspace.upstream.files["MarkupSafe-2.0.1.tar.gz"] = b"other bytes"  # pyright: ignore[reportAttributeAccessIssue]
    attempts = run_all(workspace, pipeline(workspace, instance, monkeypatch))
    assert {attempt.release.project for attempt in attempts} == {"pyyaml"}


def test_what_waits_in_the_inbox_is_published_and_not_built_again(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was cut off after a build: the next one takes its bundle in before it plans."""
    workspace = memory_workspace(tmp_path)
    line = pipeline(workspace, instance, monkeypatch)
    asked = wanted(["markupsafe"], workspace.recipes, pythons=["cp312"])
    line.refresh(asked.projects)
    line.build(line.todo(asked, limit=0)[0])
    line.take_in_what_waits()
    line.refresh(asked.projects)
    assert line.todo(asked, limit=0) == []
    assert [attempt.wheel for attempt in workspace.attempts()] == ["markupsafe-2.0.1-1-cp312-cp312-manylinux_2_17_x86_64.whl"]


def test_the_log_outranks_an_older_table(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that is materialised again, with the table of before its publish, builds nothing twice."""
    workspace = memory_workspace(tmp_path)
    line = pipeline(workspace, instance, monkeypatch)
    asked = wanted(["markupsafe"], workspace.recipes, pythons=["cp312"])
    line.refresh(asked.projects)
    todo = line.todo(asked, limit=0)
    line.build(todo[0])
    line.publish()
    line.build(todo[0])
    assert len(line.publish()) == 1
