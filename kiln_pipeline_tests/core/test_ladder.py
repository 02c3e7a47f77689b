"""When another rung is tried, and whose failure an attempt is recorded with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.build_plan import BuildResult, Failure, Material
from kiln_pipeline.core.ladder import cause_of, is_mendable, ladder_of, next_strategy, verdict
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
        ((), ("setuptools==56.2.0",), "removed-c-api", Rung.OLD_C_API),
        ((), ("setuptools==56.2.0", "cython==0.29.21"), "removed-c-api", Rung.LATEST),
        ((), ("setuptools==56.2.0",), "compiler-error", Rung.NEWER_SETUPTOOLS),
        ((), ("flit-core==2.0",), "setup-exception", Rung.LATEST),
        ((), (), "build-requirement", Rung.NEWER_SETUPTOOLS),
        (("a.c",), (), "timeout", None),
    ],
)
def test_a_rung_that_changes_nothing_is_passed_over(
    generated: tuple[str, ...], requirements: tuple[str, ...], failure_class: str, rung: Rung | None
) -> None:
    """No generated C, no setuptools, nothing that writes C: the next one up."""
    ladder = ladder_of(plan_of(MARKUPSAFE))
    found = after(ladder[:1], [failure_class], generated=generated, requirements=requirements)
    assert (found.rung if found else None) == rung


def after(
    tried: Sequence[Strategy],
    causes: Sequence[str],
    *,
    log: str = "",
    generated: tuple[str, ...] = (),
    requirements: tuple[str, ...] = ("setuptools==56.2.0",),
) -> Strategy | None:
    """What comes after these strategies, the last one's failure being of the last class and its log `log`."""
    materials = tuple(Material(name=name, kind="build-requirement") for name in requirements)
    last = failure(causes[-1])
    result = BuildResult(builder="zig", failure=last, materials=materials, generated=generated)
    ladder = ladder_of(plan_of(MARKUPSAFE))
    return next_strategy(ladder, tried, causes, failure=last, log=log, result=result, project="markupsafe")


def test_what_a_log_asks_for_is_given_at_once_and_kept_for_the_rungs_above() -> None:
    """Up to three times; a newer setuptools takes no bound on it along, and a plain build nothing."""
    first = ladder_of(plan_of(MARKUPSAFE))[0]
    feature = "ImportError: cannot import name 'Feature' from 'setuptools'"
    mended = after([first], ["setup-exception"], log=feature)
    assert mended == replace(first, rung=Rung.MENDED, constraints=("setuptools<46",))
    more = after([first, mended], ["setup-exception", "setup-exception"], log="ModuleNotFoundError: No module named 'numpy'")
    assert more == replace(mended, adds=("numpy",))
    tried = [first, mended, more]
    causes = ["setup-exception"] * 3
    newer = after(tried, causes, log="KeyError: 'x'")
    assert newer is not None
    assert (newer.rung, newer.adds, newer.constraints) == (Rung.NEWER_SETUPTOOLS, ("numpy",), ())
    plain = after([*tried, newer], [*causes, "compiler-error"])
    assert plain == Strategy(rung=Rung.LATEST)
    last = after([*tried, newer, plain], [*causes, "compiler-error", "setup-exception"], log=feature)
    assert last == replace(more, rung=Rung.OLD_C_API, old_c_api=True)
    assert after([*tried, newer, plain, last], [*causes, "compiler-error", "setup-exception", "compiler-error"]) is None


def test_a_log_that_asks_for_the_same_again_is_not_served_again() -> None:
    """Nor one of a ladder without that rung."""
    first = ladder_of(plan_of(MARKUPSAFE))[0]
    numpy = "ModuleNotFoundError: No module named 'numpy'"
    mended = after([first], ["build-requirement"], log=numpy)
    assert mended is not None
    again = after([first, mended], ["build-requirement", "build-requirement"], log=numpy)
    assert again is not None
    assert again.rung is Rung.NEWER_SETUPTOOLS
    settings = BuildSettings(ladder=(Rung.AS_OF, Rung.LATEST))
    ladder = ladder_of(plan_of(MARKUPSAFE, settings=settings))
    result = BuildResult(builder="zig", failure=failure("build-requirement"))
    found = next_strategy(
        ladder, ladder[:1], ["build-requirement"], failure=failure("build-requirement"), log=numpy, result=result, project="x"
    )
    assert found == ladder[1]


def test_the_header_is_tried_when_any_rung_met_the_c_even_after_a_plain_build_met_something_else() -> None:
    """With C generated anew first, where there is any."""
    ladder = ladder_of(plan_of(MARKUPSAFE))
    tried = [ladder[0], ladder[2], ladder[4]]
    causes = ["removed-c-api", "compiler-error", "missing-header"]
    found = after(tried, causes, generated=("a.c",))
    assert found is not None
    assert (found.rung, found.regenerate, found.old_c_api) == (Rung.OLD_C_API_REGENERATED, True, True)
    found = after([*tried, found], [*causes, "compiler-error"], generated=("a.c",))
    assert found is not None
    assert (found.rung, found.regenerate, found.old_c_api) == (Rung.OLD_C_API, False, True)


@pytest.mark.parametrize(
    ("failure_class", "log", "cause"),
    [
        ("compiler-error", "x.c:1:1: error: no member named 'tp_print'", "compiler-error"),
        ("lost-extension", "x.c:1:1: error: no member named 'tp_print' in", "removed-c-api"),
    ],
)
def test_the_cause_of_a_lost_extension_is_what_the_build_hid(failure_class: str, log: str, cause: str) -> None:
    assert cause_of(failure(failure_class), log) == cause


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
    assert plan == replace(plan_of(MARKUPSAFE), strategy=replace(strategy, only=("a" * 64, "b" * 64)), caches=False)
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
