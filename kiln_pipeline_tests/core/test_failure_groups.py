"""`kiln failures`: what is missing, read from proofs, and the groups with their retry state."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.failure_groups import Wanted, group_failures, of_classes
from kiln_pipeline.core.missing_parts import part_of
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.strategies import LADDER_VERSION

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
INPUTS = Wanted(recipe_sha256="7" * 64, sdist_sha256="5" * 64)


@pytest.mark.parametrize(
    ("failure_class", "proof", "part"),
    [
        ("missing-header", "src/lxml/etree.c:96:10: fatal error: 'libxml/xmlversion.h' file not found", "libxml2"),
        ("missing-header", "x.c:3:10: fatal error: yaml.h: No such file or directory", "libyaml"),
        ("missing-header", "x.c:3:10: fatal error: boost/python.hpp: No such file or directory", "Boost"),
        ("missing-header", "x.c:3:10: fatal error: mine.h: No such file or directory", "mine.h"),
        ("missing-library", "/usr/bin/ld: cannot find -lxml2: No such file or directory", "libxml2"),
        ("missing-library", "error: unable to find dynamic system library 'yaml' using strategy", "libyaml"),
        ("missing-library", "ld: library 'special' not found", "special"),
        ("missing-library", "Package libxml-2.0 was not found in the pkg-config search path", "libxml2"),
        ("missing-tool", "sh: 1: swig: not found", "swig"),
        ("missing-tool", "raise CommandError('could not find protoc')", "protoc"),
        ("removed-c-api", "x.c:1:1: error: no member named 'tp_print' in 'struct _typeobject'", "tp_print"),
        ("removed-c-api", "x.c:3:10: fatal error: longintrepr.h: No such file or directory", "longintrepr.h"),
        ("removed-c-api", "src/a.c:10:5: error: ‘PyEval_CallObject’ undeclared", "PyEval_CallObject"),
        ("build-requirement", "ModuleNotFoundError: No module named 'Cython'", "Cython"),
        ("build-requirement", "ERROR: No matching distribution found for setuptools<50", "setuptools"),
        ("setup-exception", "ModuleNotFoundError: No module named 'imp'", "ModuleNotFoundError: No module named 'imp'"),
        ("compiler-error", "x.c:1:1: error: expected ';'", ""),
        ("a class of a later version", "whatever", ""),
    ],
)
def test_what_was_missing(failure_class: str, proof: str, part: str) -> None:
    """The owner where a header has one; else what the line itself says."""
    assert part_of(failure_class, proof) == part


def failed(release: str, identifier: str, proof: str, **changes: object) -> Attempt:
    values: dict[str, object] = {
        "failure": "missing-header",
        "finished": NOW - timedelta(hours=1),
        "recipe_sha256": INPUTS.recipe_sha256,
        "ladder": LADDER_VERSION,
    }
    return Attempt(
        release=Release.parse(release),
        identifier=BuildIdentifier.parse(identifier),
        outcome=Outcome.FAILED,
        started=NOW - timedelta(hours=2),
        host="h",
        builder="cibuildwheel",
        sdist_sha256=INPUTS.sdist_sha256,
        proof=proof,
        **(values | changes),  # type: ignore[arg-type]
    )


XML = "a.c:1:10: fatal error: libxml/tree.h: No such file or directory"
ATTEMPTS = [
    failed("lxml==4.9.1", "cp311-manylinux_x86_64", XML),
    failed("lxml==4.9.1", "cp312-manylinux_x86_64", XML, ladder=0),
    failed("xmlsec==1.3.1", "cp311-manylinux_x86_64", "b.c:9:10: fatal error: libxml/xpath.h: No such file or directory"),
    failed("foo==1.0", "cp311-manylinux_x86_64", "Could not resolve host", failure="network", finished=NOW),
    failed("bar==1.0", "cp311-manylinux_x86_64", XML),
    replace(failed("bar==1.0", "cp311-manylinux_x86_64", ""), outcome=Outcome.SUCCEEDED, failure="", wheel="bar.whl"),
    failed("unwanted==1.0", "cp311-manylinux_x86_64", XML),
]
WANTED = {(one.release, one.identifier): INPUTS for one in ATTEMPTS if one.release.project != "unwanted"}


def test_groups_by_class_and_by_what_is_missing() -> None:
    """The largest first; what has a wheel by now, or is not wanted, counts nowhere."""
    groups = group_failures(ATTEMPTS, WANTED, now=NOW)
    assert [(group.sentence, group.projects, group.retry) for group in groups] == [
        (
            "3 missing wheels want libxml2 headers",
            ("lxml", "xmlsec"),
            "1 may be tried now; not until the recipe, the sdist or the toolchain changes",
        ),
        ("1 missing wheel meets network", ("foo",), "next try 2026-11-25 12:05 UTC"),
    ]
    assert of_classes(groups, ["network"]) == groups[1:]
    assert of_classes(groups, []) == groups


def test_a_changed_recipe_makes_a_group_due() -> None:
    """What the wheel would be built from now decides, not what it was built from."""
    changed = dict.fromkeys(WANTED, Wanted(recipe_sha256="8" * 64, sdist_sha256=INPUTS.sdist_sha256))
    assert group_failures(ATTEMPTS, changed, now=NOW)[0].retry == "3 may be tried now"


def test_no_failure_is_no_group() -> None:
    assert group_failures([], WANTED, now=NOW) == ()
