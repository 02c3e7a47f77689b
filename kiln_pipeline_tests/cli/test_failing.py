"""`kiln failures`, over a whole workspace whose builder fails, and what it says to wrong input."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from click.testing import Result
from rich.console import Console

from kiln_pipeline.cli import failing
from kiln_pipeline.core.build_plan import Failure, plan_for
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.missing_wheels import missing_for
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.stages.record import record
from kiln_pipeline.workspace import Workspace
from kiln_pipeline_tests.workspaces import memory_workspace

PYYAML = Release(project="pyyaml", version="5.4.1")
HEADER = Failure(failure_class="missing-header", proof="a.c:1:10: fatal error: yaml.h: No such file or directory", hint="add it")
PASSING = Failure(failure_class="network", proof="Temporary failure in name resolution", hint="it is tried again")
FAILURES = {"cp310-manylinux_x86_64": HEADER, "cp311-manylinux_x86_64": HEADER, "cp312-manylinux_x86_64": PASSING}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """PyYAML 5.4.1 was tried for three Pythons, and failed each time."""
    made = memory_workspace(tmp_path, failures=FAILURES)
    detect.refresh(["pyyaml"], upstream=made.upstream, state=made.state, now=made.clock(), progress=made.progress)
    table = detect.find_missing(made.recipes, (), state=made.state, now=made.clock())
    recipe = next(recipe for recipe in made.recipes if recipe.project == "pyyaml")
    wheels = missing_for(table, PYYAML, Platform.MANYLINUX_X86_64)
    for wheel in (wheel for wheel in wheels if str(wheel.identifier) in FAILURES):
        build_wheel(
            plan_for(wheel, recipe=recipe, attempts=()),
            builder=made.builders[0],
            upstream=made.upstream,
            inbox=made.inbox,
            signer=made.host_key,
            clock=made.clock,
            work=tmp_path / "work",
            progress=made.progress,
        )
    record(
        inbox=made.inbox, site=made.site, state=made.state, log_signer=made.log_key, hosts=made.hosts, recipes=None,
        progress=made.progress,
    )  # fmt: skip
    return made


def test_failures_are_grouped_with_projects_retry_and_log(workspace: Workspace) -> None:
    """As a person and as a program see them; the log that is named is on the site."""
    found = failing.groups(workspace, [], [])
    rows = failing.as_dicts(found, "https://wheels.example.org/")
    assert [(row["sentence"], row["projects"], row["due"], row["class"], row["part"]) for row in rows] == [
        ("2 missing wheels want libyaml headers", ("pyyaml",), 0, "missing-header", "libyaml"),
        ("1 missing wheel meets network", ("pyyaml",), 0, "network", ""),
    ]
    log = rows[0]["example"]["log"].removeprefix("https://wheels.example.org/")
    assert workspace.site.exists(log)
    text = StringIO()
    failing.show(Console(file=text, width=200), found, "https://wheels.example.org/")
    for words in (
        "2 missing wheels want libyaml headers",
        "not until the recipe, the sdist or the toolchain changes",
        HEADER.proof,
    ):
        assert words in text.getvalue()
    assert "next try 2026-11-22 12:" in text.getvalue()
    assert "3 missing wheels with a failure on record, 2 reasons" in text.getvalue()


def test_filters_take_projects_and_classes(workspace: Workspace) -> None:
    """A project without failures has none; a class leaves the others out."""
    assert [group.failure_class for group in failing.groups(workspace, ["PyYAML"], ["network"])] == ["network"]
    assert failing.groups(workspace, ["markupsafe"], []) == ()


def test_an_empty_home_has_no_failures(kiln: Callable[..., Result]) -> None:
    result = kiln("failures")
    assert (result.exit_code, result.stdout.strip()) == (0, "no failure of a missing wheel is on record")
    assert json.loads(kiln("failures", "--json").stdout) == []


def test_wrong_filters_are_reported_together(kiln: Callable[..., Result]) -> None:
    result = kiln("failures", "nosuch", "--class", "missing-headers")
    assert result.exit_code == 2
    assert "nosuch: no recipe covers it" in result.stderr
    assert "'missing-headers' is none of missing-header," in result.stderr
