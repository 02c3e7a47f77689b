"""The whole index's gaps, against the table that explains each: one engine, two faces."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.coverage import TargetSet
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
from kiln_pipeline.core.gaps import GAP_COLUMNS, find_gaps, whole_projects
from kiln_pipeline.core.missing_wheels import detect
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.tags import Target
from kiln_pipeline_tests.captured import captured_page

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PYTHONS = tuple(
    PythonTag.parse(text)
    for text in ("cp37", "cp38", "cp39", "cp310", "cp311", "cp312", "cp313", "cp313t", "cp314", "cp314t", "cp315", "pp311")
)
TARGETS = TargetSet([Target(identifier=BuildIdentifier(python=py, platform=platform)) for platform in Platform for py in PYTHONS])


@pytest.fixture(scope="module")
def files() -> pa.Table:
    """Some projects, with what captured pages seldom have: a quarantine, a release of this morning."""
    pages = [captured_page(project) for project in ("bcrypt", "torch", "mysqlclient", "pyyaml", "requests", "six")]
    quarantined = replace(captured_page("ujson"), status="quarantined")
    fresh = DistributionFile(
        filename="fresh-1.0.tar.gz",
        url="",
        kind=FileKind.SDIST,
        version="1.0",
        sha256="",
        size=0,
        upload_time=NOW - timedelta(hours=1),
    )
    pages = [*pages, quarantined, ProjectPage(project="fresh", files=(fresh,))]
    return release_metadata.replace_projects(release_metadata.empty(), {page.project: page for page in pages})


def test_gaps_are_the_missing_rows_of_the_table(files: pa.Table):
    gaps = find_gaps(files.select(GAP_COLUMNS), TARGETS, now=NOW)
    facts = gaps.facts
    ours = {
        (facts.projects[facts.project[row]], facts.versions[facts.version[row]], str(target.identifier))
        for row, words in enumerate(gaps.missing.tolist())
        for bit, target in enumerate(TARGETS.targets)
        if words[bit // 64] >> (bit % 64) & 1
    }
    recipes = [
        Recipe(project=project, reason="", versions=(SpecifierSet(),), pythons=PYTHONS, platforms=tuple(Platform))
        for project in facts.projects
    ]
    rows = detect(files, recipes, (), now=NOW).to_pylist()
    missing = {(row["project"], row["version"], row["identifier"]) for row in rows if row["verdict"] == "missing"}
    assert ours == missing
    assert len(missing) > 2_000
    assert {row["rule"] for row in rows} >= {"quarantined", "too-new", "pre-release", "yanked", "no-sdist", "covered"}
    by_identifier = [sum(identifier == str(t.identifier) for _, _, identifier in missing) for t in TARGETS.targets]
    assert gaps.counts(len(TARGETS.targets)) == by_identifier


@given(st.lists(st.integers(0, 5), max_size=40).map(sorted), st.lists(st.integers(0, 40), max_size=6).map(sorted))
def test_batches_are_cut_between_projects(projects: list[int], cuts: list[int]):
    """No row is lost, none moves, and no project stands in two batches."""
    table = pa.table({"project": pa.array([f"p{number}" for number in projects], pa.string()), "row": range(len(projects))})
    edges = [0, *(min(cut, len(projects)) for cut in cuts), len(projects)]
    pieces = [table.slice(low, high - low) for low, high in pairwise(edges)]
    batches = list(whole_projects(pieces))
    assert [row for batch in batches for row in batch.column("row").to_pylist()] == list(range(len(projects)))
    seen = [project for batch in batches for project in sorted(set(batch.column("project").to_pylist()))]
    assert len(seen) == len(set(seen))
    assert all(len(batch) for batch in batches)
