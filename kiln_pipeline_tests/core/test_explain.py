"""One release and one target, explained with every file considered."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.coverage import TargetSet, bit, release_facts
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release
from kiln_pipeline.core.explain import Explanation, explain
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.shortcomings import shortcoming
from kiln_pipeline.core.simple_index.filenames import parse_filename
from kiln_pipeline.core.tags import Target
from kiln_pipeline_tests.captured import captured_page

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FOO = Release(project="foo", version="1.0")


def foo(filename: str, **fields: object) -> DistributionFile:
    kind, version = parse_filename(filename, "foo")
    return DistributionFile(filename=filename, url="", kind=kind, version=version, sha256="", size=0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filename", "identifier", "lacks"),
    [
        ("foo-1.0.tar.gz", "cp311-macosx_arm64", ""),
        ("foo-1.0-py3.11.egg", "cp311-macosx_arm64", "is neither a wheel nor an sdist"),
        ("foo-1.0-py3-none-any.whl", "cp311-macosx_arm64", ""),
        ("foo-1.0-py2-none-any.whl", "cp311-macosx_arm64", "is for Python 2"),
        ("foo-1.0-cp310-cp310-macosx_11_0_arm64.whl", "cp311-macosx_arm64", "is for CPython 3.10"),
        ("foo-1.0-cp312-abi3-macosx_11_0_arm64.whl", "cp311-macosx_arm64", "is for CPython 3.12 and later (abi3)"),
        ("foo-1.0-cp38-abi3-macosx_11_0_arm64.whl", "cp313t-macosx_arm64", "has the stable ABI of GIL builds (abi3)"),
        ("foo-1.0-cp315-abi3t-macosx_11_0_arm64.whl", "cp315-macosx_arm64", "has the stable ABI of free-threaded builds (abi3t)"),
        ("foo-1.0-cp313-cp313t-macosx_11_0_arm64.whl", "cp313-macosx_arm64", "is for free-threaded CPython 3.13"),
        ("foo-1.0-pp310-pypy310_pp73-win_amd64.whl", "cp310-macosx_arm64", "is for PyPy 3.10 (pypy310_pp73)"),
        ("foo-1.0-graalpy311-graalpy242_311_native-win32.whl", "cp310-macosx_arm64", None),
        ("foo-1.0-cp311-cp311-macosx_12_0_arm64.whl", "cp311-macosx_arm64", "needs macOS 12.0, the floor is 11.0"),
        ("foo-1.0-cp311-cp311-macosx_10_15_universal2.whl", "cp311-macosx_x86_64", "needs macOS 10.15, the floor is 10.13"),
        ("foo-1.0-cp311-cp311-macosx_10_9_x86_64.whl", "cp311-macosx_arm64", "is for macOS on x86_64"),
        ("foo-1.0-cp311-cp311-manylinux_2_34_x86_64.whl", "cp311-manylinux_x86_64", "needs glibc 2.34, the floor is 2.28"),
        ("foo-1.0-cp311-cp311-manylinux2014_aarch64.whl", "cp311-manylinux_x86_64", "is for glibc on aarch64"),
        ("foo-1.0-cp311-cp311-manylinux1_x86_64.whl", "cp311-musllinux_x86_64", "is for glibc on x86_64"),
        ("foo-1.0-cp311-cp311-musllinux_1_3_x86_64.whl", "cp311-musllinux_x86_64", "needs musl 1.3, the floor is 1.2"),
        (
            "foo-1.0-cp311-cp311-linux_x86_64.whl",
            "cp311-manylinux_x86_64",
            "linux_x86_64 names no C library: it serves no platform",
        ),
        ("foo-1.0-cp311-cp311-win_arm64.whl", "cp311-macosx_arm64", "is for Windows"),
        ("foo-1.0-cp313-cp313-ios_13_0_arm64_iphoneos.whl", "cp313-macosx_arm64", "is for iOS"),
        ("foo-1.0-cp313-cp313-android_21_arm64_v8a.whl", "cp313-manylinux_aarch64", "is for Android"),
        ("foo-1.0-cp310.cp311-none-win32.macosx_12_0_arm64.whl", "cp311-macosx_arm64", "needs macOS 12.0, the floor is 11.0"),
    ],
)
def test_each_file_says_what_it_lacks(filename: str, identifier: str, lacks: str | None):
    target = Target(identifier=BuildIdentifier.parse(identifier))
    expected = "is for another Python (graalpy311-graalpy242_311_native)" if lacks is None else lacks
    assert shortcoming(foo(filename), target) == expected


def test_a_yank_and_a_requires_python_are_shortcomings_too():
    target = Target(identifier=BuildIdentifier.parse("cp311-macosx_arm64"))
    assert shortcoming(foo("foo-1.0.tar.gz", yanked=True, yanked_reason="broken"), target) == "is yanked: broken"
    assert shortcoming(foo("foo-1.0-py3-none-any.whl", requires_python=">=3.12"), target) == "requires Python >=3.12"


@pytest.mark.parametrize("project", ["lxml", "pymssql", "zope-interface", "simplejson"])
def test_a_wheel_lacks_nothing_exactly_when_it_covers(project: str):
    """The words and the vectorised engine agree on every captured file."""
    page = captured_page(project)
    texts = [
        "cp310-macosx_arm64",
        "cp311-manylinux_x86_64",
        "cp313t-musllinux_aarch64",
        "pp310-macosx_x86_64",
        "cp37-manylinux_x86_64",
    ]
    targets = [Target(identifier=BuildIdentifier.parse(text)) for text in texts]
    lonely = [replace(file, version=str(number)) for number, file in enumerate(page.files)]
    facts = release_facts(release_metadata.page_table(replace(page, files=tuple(lonely))), TargetSet(targets))
    rows = np.arange(len(lonely))
    for column, target in enumerate(targets):
        covers = bit(facts.covered, rows, np.full(len(rows), column)).tolist()
        assert [file.kind is FileKind.WHEEL and not shortcoming(file, target) for file in lonely] == covers


def upstream(*filenames: str, **fields: object) -> ProjectPage:
    return ProjectPage(project="foo", files=tuple(foo(name) for name in filenames), **fields)  # type: ignore[arg-type]


def asked(page: ProjectPage, identifier: str, recipe: Recipe | None = None) -> Explanation:
    return explain(page, FOO, BuildIdentifier.parse(identifier), recipe=recipe, now=NOW)


def test_an_explanation_reads_as_text_and_as_json():
    page = upstream("foo-1.0.tar.gz", "foo-0.9.tar.gz", "foo-1.0-cp311-cp311-macosx_12_0_arm64.whl")
    explanation = asked(page, "cp311-macosx_arm64")
    assert str(explanation).splitlines() == [
        "foo==1.0 cp311-macosx_arm64: missing",
        "  no wheel upstream, to be built from foo-1.0.tar.gz",
        "",
        "  foo-1.0.tar.gz                             it can be built from",
        "  foo-1.0-cp311-cp311-macosx_12_0_arm64.whl  needs macOS 12.0, the floor is 11.0",
    ]
    assert json.loads(json.dumps(explanation.as_dict())) == {
        "release": "foo==1.0",
        "identifier": "cp311-macosx_arm64",
        "verdict": "missing",
        "rule": "missing",
        "reason": "no wheel upstream, to be built from foo-1.0.tar.gz",
        "covered_by": "",
        "cibuildwheel": "4.3.3",
        "files": [
            {"filename": "foo-1.0.tar.gz", "kind": "sdist", "lacks": ""},
            {
                "filename": "foo-1.0-cp311-cp311-macosx_12_0_arm64.whl",
                "kind": "wheel",
                "lacks": "needs macOS 12.0, the floor is 11.0",
            },
        ],
    }


def test_a_release_that_upstream_does_not_list_does_not_exist():
    explanation = asked(upstream("foo-2.0.tar.gz", "foo-1.0+local.tar.gz"), "cp37-macosx_arm64")
    assert str(explanation) == "foo==1.0 cp37-macosx_arm64: excluded (no-such-release)\n  upstream lists no file of foo==1.0"


def test_a_quarantined_project_lists_nothing():
    assert asked(upstream(status="quarantined", status_reason="malware"), "cp311-macosx_arm64").rule == "quarantined"


RECIPE = Recipe(
    project="foo",
    reason="a test",
    versions=(SpecifierSet(">=2"),),
    pythons=(PythonTag.parse("cp311"),),
    platforms=(Platform.MACOSX_ARM64,),
)


def test_a_recipe_that_does_not_ask_is_named_where_it_decides():
    page = upstream("foo-1.0.tar.gz", "foo-1.0-cp311-cp311-macosx_11_0_x86_64.whl", "foo-1.0-cp310-cp310-macosx_10_9_x86_64.whl")
    explanation = asked(page, "cp312-macosx_x86_64", RECIPE)
    assert (explanation.rule, explanation.reason) == (
        "not-wanted",
        "the recipe does not ask for version 1.0 or cp312 or macosx_x86_64",
    )
    assert asked(page, "cp310-macosx_x86_64", RECIPE).rule == "covered"
    assert asked(page, "cp311-macosx_arm64", replace(RECIPE, versions=(SpecifierSet(),))).rule == "missing"


def test_the_readmes_example_on_real_files():
    """The example of the command's help."""
    page = captured_page("grpcio")
    explanation = explain(page, Release.parse("grpcio==1.47.2"), BuildIdentifier.parse("cp310-macosx_arm64"), now=NOW)
    assert (explanation.verdict, explanation.reason) == ("missing", "no wheel upstream, to be built from grpcio-1.47.2.tar.gz")
    lacks = {considered.file.filename: considered.lacks for considered in explanation.considered}
    assert lacks["grpcio-1.47.2-cp310-cp310-manylinux_2_17_aarch64.whl"] == "is for glibc on aarch64"
    assert len(lacks) > 20
