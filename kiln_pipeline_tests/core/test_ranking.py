"""The order of building: priority, each project's newest release, pins, downloads, the rest; each place with its reason."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.demand import NO_DEMAND, Demand, demand_of
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release
from kiln_pipeline.core.missing_wheels import detect, in_order
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def page(project: str, *uploads: tuple[str, int], yanked: tuple[str, ...] = ()) -> ProjectPage:
    """A project of sdists: (version, age in days)."""
    files = tuple(
        DistributionFile(
            filename=f"{project}-{version}.tar.gz",
            url="",
            kind=FileKind.SDIST,
            version=version,
            sha256="",
            size=0,
            upload_time=NOW - timedelta(days=days),
            yanked=version in yanked,
        )
        for version, days in uploads
    )
    return ProjectPage(project=project, files=files)


def recipe(project: str, versions: str = ">=0", *, priority: int = 0, prereleases: bool = False) -> Recipe:
    return Recipe(
        project=project,
        reason="",
        versions=(SpecifierSet(versions),),
        pythons=(PythonTag.parse("cp312"),),
        platforms=(Platform.MACOSX_ARM64,),
        priority=priority,
        prereleases=prereleases,
    )


def order(pages: list[ProjectPage], recipes: list[Recipe], demand: Demand = NO_DEMAND) -> list[tuple[str, str]]:
    table: pa.Table = release_metadata.replace_projects(release_metadata.empty(), {page.project: page for page in pages})
    rows = in_order(detect(table, recipes, (), now=NOW, demand=demand)).to_pylist()
    assert [row["rank"] for row in rows] == list(range(len(rows)))
    return [(f"{row['project']}=={row['version']}", row["rank_reason"]) for row in rows]


FOO = page("foo", ("1.0", 50), ("2.0", 40), ("3.0", 30), ("4.0", 20), ("5.0", 10))
BAR = page("bar", ("1.0", 100))


def test_each_tier_in_turn() -> None:
    """A newest release of long ago goes before any older one; pins beat downloads; more of either is sooner."""
    demand = demand_of(
        [(f"lock {n}", [Release.of("foo", "2"), Release.of("foo", "4.0")][n == 0 :]) for n in range(4)],
        [{Release.of("foo", "1.0"): 1000, Release.of("foo", "4.0"): 5}],
    )
    assert order([FOO, BAR], [recipe("foo"), recipe("bar")], demand) == [
        ("foo==5.0", "the newest release"),
        ("bar==1.0", "the newest release"),
        ("foo==4.0", "pinned by lock 0, lock 1, lock 2 and 1 more, 5 downloads"),
        ("foo==2.0", "pinned by lock 1, lock 2, lock 3"),
        ("foo==1.0", "1,000 downloads"),
        ("foo==3.0", "an older release"),
    ]


def test_a_recipes_priority_beats_all_demand() -> None:
    assert order([FOO, BAR], [recipe("foo", ">=4"), recipe("bar", priority=1)]) == [
        ("bar==1.0", "priority 1, the newest release"),
        ("foo==5.0", "the newest release"),
        ("foo==4.0", "an older release"),
    ]


def test_the_newest_is_the_projects_not_the_recipes() -> None:
    """What a recipe wants of 2021 is not new because the recipe wants nothing newer."""
    assert order([FOO], [recipe("foo", "<3")]) == [("foo==2.0", "an older release"), ("foo==1.0", "an older release")]


def test_a_yanked_release_and_an_unasked_pre_release_are_never_the_newest() -> None:
    pages = [page("foo", ("1.0", 50), ("2.0", 40), ("3.0b1", 30), yanked=("2.0",))]
    assert order(pages, [recipe("foo")]) == [("foo==1.0", "the newest release")]
    assert order(pages, [recipe("foo", prereleases=True)]) == [
        ("foo==3.0b1", "the newest release"),
        ("foo==1.0", "an older release"),
    ]
