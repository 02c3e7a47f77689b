"""When a failure that waits for a change is free again because what builds has changed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.retries import Standing, standing
from kiln_pipeline.core.strategies import LADDER_VERSION
from kiln_pipeline.core.toolchains import ZIGLANG, Toolchains, tool_of, tool_of_now

THEN = datetime(2026, 11, 1, tzinfo=UTC)
FAILED = Attempt(
    release=Release(project="foo", version="1.0"),
    identifier=BuildIdentifier.parse("cp311-manylinux_x86_64"),
    outcome=Outcome.FAILED,
    started=THEN - timedelta(minutes=5),
    finished=THEN,
    host="h",
    builder="cibuildwheel",
    sdist_sha256="5" * 64,
    recipe_sha256="",
    failure="compiler-error",
    tool="cibuildwheel==4.3.3",
    image_sha256="a" * 64,
    ladder=LADDER_VERSION,
)
OTHER = replace(FAILED, release=Release(project="bar", version="1.0"))


def later(attempt: Attempt, **changes: object) -> Attempt:
    return replace(attempt, finished=THEN + timedelta(days=1), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "others", "change"),
    [
        (FAILED, [], ""),
        (FAILED, [later(OTHER)], ""),
        (FAILED, [later(OTHER, image_sha256="b" * 64)], "the container image is a newer one"),
        (FAILED, [replace(OTHER, image_sha256="b" * 64, finished=THEN - timedelta(days=1))], ""),
        (FAILED, [later(OTHER, image_sha256="b" * 64, builder="zig")], ""),
        (
            FAILED,
            [later(OTHER, image_sha256="b" * 64, identifier=BuildIdentifier.parse("cp311-musllinux_x86_64"))],
            "",
        ),
        (replace(FAILED, image_sha256=""), [later(OTHER, image_sha256="b" * 64)], ""),
        (replace(FAILED, tool="cibuildwheel==4.3.2"), [], "cibuildwheel==4.3.3 replaces cibuildwheel==4.3.2"),
        (replace(FAILED, tool=""), [], ""),
        (replace(FAILED, builder="zig", tool="ziglang==0.1"), [], f"ziglang=={ZIGLANG} replaces ziglang==0.1"),
        (replace(FAILED, builder="a later builder", tool="x==1"), [], ""),
        (replace(FAILED, ladder=LADDER_VERSION - 1), [], "kiln has other ways of building now"),
        (replace(FAILED, ladder=LADDER_VERSION + 1), [], "kiln has other ways of building now"),
    ],
)
def test_what_changed_since_an_attempt(last: Attempt, others: list[Attempt], change: str) -> None:
    """Another tool or ladder at once; an image that the log knew before the failure, or of another place, is no change."""
    assert Toolchains.of([last, *others]).change_since(last) == change


def test_two_hosts_with_two_images_do_not_free_each_others_failures_for_ever() -> None:
    """An image that comes back is no new one."""
    history = [replace(FAILED, finished=THEN + timedelta(days=day), image_sha256=image * 64) for day, image in enumerate("abab")]
    assert Toolchains.of(history).change_since(history[-1]) == ""


def test_a_failure_that_waits_for_a_change_is_free_when_the_toolchain_changed() -> None:
    """Only one of those: a network failure keeps its own time."""
    inputs = {"recipe_sha256": "", "sdist_sha256": "5" * 64, "now": THEN}
    stale = replace(FAILED, ladder=LADDER_VERSION - 1)
    passing = replace(stale, failure="network")
    due = THEN + timedelta(minutes=5)
    waits = "failed 1× (compiler-error), not tried again until the recipe, the sdist or the toolchain changes"
    found = [standing([one], toolchains=Toolchains.of([one]), **inputs) for one in (FAILED, stale, passing)]  # type: ignore[arg-type]
    assert found == [
        Standing(failed=1, waits=waits),
        Standing(failed=1),
        Standing(failed=1, waits="failed 1× (network), next try 2026-11-01 00:05 UTC", next_try=due),
    ]


def test_the_tool_is_read_from_the_materials_and_known_for_every_builder() -> None:
    """cibuildwheel by the identifier, zig by its pin."""
    materials = ["pip==26.0.1", "cibuildwheel==2.23.3", "cibuildwheel-like==1"]
    assert (tool_of("cibuildwheel", materials), tool_of("zig", materials)) == ("cibuildwheel==2.23.3", "")
    assert tool_of_now("cibuildwheel", BuildIdentifier.parse("cp37-manylinux_x86_64")) == "cibuildwheel==2.23.3"
    assert tool_of_now("zig", BuildIdentifier.parse("cp311-manylinux_x86_64")) == f"ziglang=={ZIGLANG}"
