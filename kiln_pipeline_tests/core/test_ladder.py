"""When another rung is tried, and whose failure an attempt is recorded with."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.build_plan import BuildResult, Failure, Material
from kiln_pipeline.core.ladder import is_mendable, ladder_of, next_strategy, verdict
from kiln_pipeline.core.provenance.statement import Statement
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.replay import replay_plan
from kiln_pipeline.core.strategies import Rung, Strategy
from kiln_pipeline.errors import NotRebuildable
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of


def failure(failure_class: str) -> Failure:
    return Failure(failure_class=failure_class, proof="", hint="")


@pytest.mark.parametrize(
    ("failure_class", "log", "mendable"),
    [
        ("compiler-error", "", True),
        ("removed-c-api", "", True),
        ("setup-exception", "", True),
        ("build-requirement", "", True),
        ("unknown", "", True),
        ("timeout", "", False),
        ("engine", "", False),
        ("network", "Failed to build cffi", False),
        ("out-of-memory", "", False),
        ("bad-sdist", "", False),
        ("python2-syntax", "", False),
        ("missing-library", "unable to find library -lyaml", False),
        ("missing-header", "fatal error: 'yaml.h' file not found", False),
        ("missing-header", "fatal error: 'ffi.h' file not found\nERROR: Failed building wheel for cffi\n", True),
        ("missing-header", "fatal error: 'x.h' file not found\nERROR: Failed building wheel for MarkupSafe\n", False),
        ("lost-extension", "fatal error: 'yaml.h' file not found\nfalling back to pure Python", False),
        ("lost-extension", "a.c:1:1: error: no member named 'tp_print'\nThis does not look like a platform wheel", True),
        ("lost-extension", "Build failed because a pure Python wheel was generated", False),
        ("new-in-a-later-version", "", False),
    ],
)
def test_only_what_another_rung_can_mend_goes_on(failure_class: str, log: str, mendable: bool) -> None:
    """A lost extension is judged by what the build hid; a requirement that had to be compiled, by its version."""
    assert is_mendable(failure(failure_class), log=log, project="markupsafe") == mendable


@pytest.mark.parametrize(
    ("generated", "requirements", "failure_class", "rung"),
    [
        (("a.c",), ("setuptools==56.2.0",), "removed-c-api", Rung.REGENERATED),
        ((), ("setuptools==56.2.0",), "removed-c-api", Rung.NEWER_SETUPTOOLS),
        ((), ("flit-core==2.0",), "setup-exception", Rung.LATEST),
        ((), (), "build-requirement", Rung.NEWER_SETUPTOOLS),
        (("a.c",), (), "timeout", None),
    ],
)
def test_a_rung_that_changes_nothing_is_passed_over(
    generated: tuple[str, ...], requirements: tuple[str, ...], failure_class: str, rung: Rung | None
) -> None:
    """No generated C, no setuptools: the next one up."""
    materials = tuple(Material(name=name, kind="build-requirement") for name in requirements)
    result = BuildResult(builder="zig", failure=failure(failure_class), materials=materials, generated=generated)
    rest = ladder_of(plan_of(MARKUPSAFE))[1:]
    found = next_strategy(rest, failure=failure(failure_class), log="", result=result, project="markupsafe")
    assert (found.rung if found else None) == rung


@pytest.mark.parametrize(
    ("classes", "index"),
    [
        (["removed-c-api"], 0),
        (["removed-c-api", "compiler-error", "setup-exception"], 0),
        (["build-requirement", "compiler-error", "setup-exception"], 1),
        (["build-requirement", "build-requirement"], 0),
        (["removed-c-api", "network"], 1),
    ],
)
def test_the_verdict_is_the_failure_that_says_most(classes: list[str], index: int) -> None:
    """The first rung's, unless it could not be tried; what passes by itself is tried again, so it stands."""
    assert verdict([failure(name) for name in classes]) == index


def test_the_recipes_constraints_stand_above_the_dates() -> None:
    """Same project: the recipe's alone."""
    plan = plan_of(MARKUPSAFE, "cp312-manylinux_x86_64", settings=BuildSettings(constraints=("setuptools<81",)))
    of_the_date = Strategy(constraints=("cython<3",))
    above = replace(plan, settings=BuildSettings(constraints=("Cython>=3",)))
    found = [replace(one, strategy=of_the_date).constraints for one in (plan_of(MARKUPSAFE), plan, above)]
    assert found == [("cython<3",), ("setuptools<81", "cython<3"), ("Cython>=3",)]


def test_a_replay_asks_for_the_recorded_files_and_no_others() -> None:
    """The winner's strategy, bound to what it installed; tools that kiln pins need no file on record."""
    strategy = Strategy(rung=Rung.AS_OF, cutoff=plan_of(MARKUPSAFE).sdist.upload_time)
    materials = (
        Material(name="setuptools==56.2.0", kind="build-requirement", sha256="b" * 64),
        Material(name="cython==0.29.37", kind="tool", sha256="a" * 64),
        Material(name="cibuildwheel==4.3.3", kind="tool"),
        Material(name="image", kind="image", sha256="c" * 64),
    )
    plan = replay_plan(statement_of(strategy, materials))
    assert plan == replace(plan_of(MARKUPSAFE), strategy=replace(strategy, only=("a" * 64, "b" * 64)))
    assert ladder_of(plan) == (plan.strategy,)
    with pytest.raises(NotRebuildable, match=r"no sha256 is on record for wheel==0\.36\.2"):
        replay_plan(statement_of(strategy, (Material(name="wheel==0.36.2", kind="build-requirement"),)))


def statement_of(strategy: Strategy, materials: tuple[Material, ...]) -> Statement:
    plan = plan_of(MARKUPSAFE)
    attempt = Attempt(
        release=plan.release,
        identifier=plan.identifier,
        outcome=Outcome.SUCCEEDED,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        finished=datetime(2026, 1, 1, tzinfo=UTC),
        host="h",
        builder="zig",
        sdist_sha256=plan.sdist.sha256,
        recipe_sha256="",
    )
    return Statement(
        attempt=attempt,
        plan=plan,
        run_id="",
        materials=materials,
        command=(),
        environment={},
        hint="",
        wheel=None,
        strategy=strategy,
    )
