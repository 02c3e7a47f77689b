"""The 1,755 builds that python.build ran for macosx_arm64 in December 2022, planned by kiln from what upstream had then.

Theirs asked for 351 identifiers that never existed and built 20 wheels that universal2 wheels upstream covered already.
"""

import csv
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.distributions import ProjectPage, Release
from kiln_pipeline.core.explain import explain
from kiln_pipeline.core.missing_wheels import detect
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, PythonTag, all_identifiers
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline_tests.captured import captured_page

THEN = datetime(2022, 12, 20, tzinfo=UTC)
Asked = tuple[str, str, str]
"""Project, version, identifier."""


def original() -> dict[Asked, dict[str, str]]:
    path = Path(__file__).parent.parent / "data" / "original_builds.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["project"], row["version"], f"cp{row['python'].replace('.', '')}-macosx_arm64"): row for row in rows}


@pytest.fixture(scope="module")
def pages() -> dict[str, ProjectPage]:
    """Upstream's pages with the files of before that day. A yank carries no date: those of today hold."""
    full = [captured_page(project) for project in sorted({project for project, _, _ in original()})]
    return {p.project: replace(p, files=tuple(f for f in p.files if f.upload_time and f.upload_time < THEN)) for p in full}


@pytest.fixture(scope="module")
def planned(pages: dict[str, ProjectPage]) -> dict[Asked, dict[str, object]]:
    recipes = [
        Recipe(
            project=project,
            reason="the original's",
            versions=(SpecifierSet(),),
            pythons=tuple(PythonTag.parse(f"cp3{minor}") for minor in range(7, 12)),
            platforms=(Platform.MACOSX_ARM64,),
            prereleases=True,
        )
        for project in pages
    ]
    table = detect(release_metadata.replace_projects(release_metadata.empty(), pages), recipes, (), now=THEN)
    return {(row["project"], row["version"], row["identifier"]): row for row in table.to_pylist()}


def test_each_of_their_builds_gets_a_rule(planned: dict[Asked, dict[str, object]]):
    """Of lxml, 48 old versions had no file upstream, which is no row: nothing to build from, nothing to ask about."""
    rules = Counter((row["outcome"], planned.get(asked, {}).get("rule")) for asked, row in original().items())
    assert rules == {
        ("built", "missing"): 474,
        ("built", "covered"): 18,
        ("built", "yanked"): 32,
        ("built", None): 4,
        ("failed", "missing"): 688,
        ("failed", None): 188,
        ("no-such-build-identifier", "no-cibuildwheel"): 295,
        ("no-such-build-identifier", "yanked"): 8,
        ("no-such-build-identifier", None): 48,
    }


def test_no_impossible_identifier_is_planned(planned: dict[Asked, dict[str, object]]):
    possible = {str(identifier) for identifier in all_identifiers()}
    assert {row["identifier"] for row in planned.values() if row["verdict"] == "missing"} <= possible
    theirs = [asked for asked, row in original().items() if row["outcome"] == "no-such-build-identifier"]
    assert len(theirs) == 351
    assert [asked for asked in theirs if planned.get(asked, {}).get("verdict") == "missing"] == []


def test_nothing_that_upstream_covered_is_planned(planned: dict[Asked, dict[str, object]], pages: dict[str, ProjectPage]):
    """Twenty of their wheels: eighteen are covered, two belong to releases that upstream has yanked since."""
    theirs = {asked: row for asked, row in original().items() if row["outcome"] == "built"}
    universal = {
        (project, file.version, f"cp{minor}-macosx_arm64")
        for project, page in pages.items()
        for file in page.files
        for minor in (37, 38, 39, 310, 311)
        if f"-cp{minor}-" in file.filename and file.filename.endswith("_universal2.whl")
    }
    both = sorted(universal & theirs.keys())
    assert len(both) == 20
    assert Counter(planned[asked]["rule"] for asked in both) == {"covered": 18, "yanked": 2}
    reasons = [planned[asked]["reason"] for asked in both if planned[asked]["rule"] == "covered"]
    assert all(str(reason).startswith("covered by grpcio") and str(reason).endswith("_universal2.whl") for reason in reasons)


@pytest.mark.slow
def test_each_of_their_builds_is_explained(pages: dict[str, ProjectPage]):
    """One question at a time gives what the table gives, and a reason where the table has no row."""
    rules: Counter[str] = Counter()
    for project, version, identifier in original():
        release = Release(project=project, version=version)
        small = replace(pages[project], files=tuple(f for f in pages[project].files if f.version == version))
        explanation = explain(small, release, BuildIdentifier.parse(identifier), now=THEN)
        assert explanation.reason
        rules[explanation.rule] += 1
    assert rules == {"missing": 1162, "covered": 18, "yanked": 40, "no-cibuildwheel": 295, "no-such-release": 240}
