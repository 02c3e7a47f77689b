"""Every rule of missing wheels, one page at a time; the whole table at once is the same engine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_wheel_filename

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release
from kiln_pipeline.core.missing_wheels import MISSING_SCHEMA, MissingWheel, detect, empty, missing_for
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.simple_index.filenames import parse_filename
from kiln_pipeline.core.strategies import LADDER_VERSION
from kiln_pipeline.core.tags import accepted_tags

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OLD = datetime(2023, 1, 1, tzinfo=UTC)


def file(filename: str, project: str = "foo", **fields: object) -> DistributionFile:
    kind, version = parse_filename(filename, project)
    values: dict[str, object] = {
        "url": f"https://files.example.org/{filename}",
        "sha256": "ab" * 32,
        "size": 7,
        "upload_time": OLD,
    }
    return DistributionFile(filename=filename, kind=kind, version=version, **(values | fields))  # type: ignore[arg-type]


SDIST = file("foo-1.0.tar.gz")


def page(*files: DistributionFile | str, project: str = "foo", **fields: object) -> ProjectPage:
    parsed = tuple(f if isinstance(f, DistributionFile) else file(f, project) for f in files)
    return ProjectPage(project=project, files=parsed, **fields)  # type: ignore[arg-type]


def recipe(*identifiers: str, project: str = "foo", versions: str = "", **fields: object) -> Recipe:
    parsed = [BuildIdentifier.parse(text) for text in identifiers]
    return Recipe(
        project=project,
        reason="a test",
        versions=(SpecifierSet(versions),),
        pythons=tuple(dict.fromkeys(identifier.python for identifier in parsed)),
        platforms=tuple(dict.fromkeys(identifier.platform for identifier in parsed)),
        sha256="re" * 32,
        **fields,  # type: ignore[arg-type]
    )


def attempt(identifier: str, outcome: Outcome, **fields: object) -> Attempt:
    values: dict[str, object] = {
        "release": Release(project="foo", version="1.0"),
        "started": NOW - timedelta(hours=2),
        "finished": NOW - timedelta(hours=1),
        "host": "a-host",
        "builder": "cibuildwheel",
        "sdist_sha256": SDIST.sha256,
        "recipe_sha256": "re" * 32,
        "ladder": LADDER_VERSION,
    }
    return Attempt(identifier=BuildIdentifier.parse(identifier), outcome=outcome, **(values | fields))  # type: ignore[arg-type]


def table(pages: list[ProjectPage], recipes: list[Recipe], *attempts: Attempt) -> pa.Table:
    files = release_metadata.replace_projects(release_metadata.empty(), {p.project: p for p in pages})
    return detect(files, recipes, attempts, now=NOW)


def judged(upstream: ProjectPage, wanted: Recipe, *attempts: Attempt) -> list[tuple[str, str, str, str]]:
    rows = table([upstream], [wanted], *attempts).to_pylist()
    return [(row["identifier"], row["verdict"], row["rule"], row["reason"]) for row in rows]


ARM = "cp311-macosx_arm64"
MISSING = [(ARM, "missing", "missing", "no wheel upstream, to be built from foo-1.0.tar.gz")]


def covered(wheel: str, identifier: str = ARM) -> list[tuple[str, str, str, str]]:
    return [(identifier, "covered", "covered", f"covered by {wheel}")]


@pytest.mark.parametrize(
    ("wheel", "identifier", "covers"),
    [
        ("foo-1.0-py3-none-any.whl", ARM, True),
        ("foo-1.0-py2.py3-none-any.whl", "pp310-manylinux_x86_64", True),
        ("foo-1.0-py2-none-any.whl", ARM, False),
        ("foo-1.0-py3-none-macosx_11_0_arm64.whl", ARM, True),
        ("foo-1.0-py3-none-macosx_12_0_arm64.whl", ARM, False),
        ("foo-1.0-cp311-cp311-macosx_11_0_arm64.whl", ARM, True),
        ("foo-1.0-1-cp311-cp311-macosx_11_0_arm64.whl", ARM, True),
        ("foo-1.0-cp310-cp310-macosx_11_0_arm64.whl", ARM, False),
        ("foo-1.0-cp310.cp311-cp310.cp311-macosx_11_0_arm64.whl", ARM, True),
        ("foo-1.0-cp37-abi3-macosx_11_0_arm64.whl", ARM, True),
        ("foo-1.0-cp312-abi3-macosx_11_0_arm64.whl", ARM, False),
        ("foo-1.0-cp37-abi3-macosx_11_0_arm64.whl", "cp313t-macosx_arm64", False),
        ("foo-1.0-cp313-cp313-macosx_11_0_arm64.whl", "cp313t-macosx_arm64", False),
        ("foo-1.0-cp313-cp313t-macosx_11_0_arm64.whl", "cp313t-macosx_arm64", True),
        ("foo-1.0-cp315-abi3t-macosx_11_0_arm64.whl", "cp315t-macosx_arm64", True),
        ("foo-1.0-cp315-abi3t-macosx_11_0_arm64.whl", "cp315-macosx_arm64", False),
        ("foo-1.0-cp315-abi3.abi3t-macosx_11_0_arm64.whl", "cp315-macosx_arm64", True),
        ("foo-1.0-cp311-cp311-macosx_10_9_universal2.whl", ARM, True),
        ("foo-1.0-cp311-cp311-macosx_10_9_universal2.whl", "cp311-macosx_x86_64", True),
        ("foo-1.0-cp311-cp311-macosx_10_14_universal2.whl", "cp311-macosx_x86_64", False),
        ("foo-1.0-cp311-cp311-macosx_10_9_x86_64.whl", ARM, False),
        ("foo-1.0-cp37-cp37m-manylinux1_x86_64.whl", "cp37-manylinux_x86_64", True),
        ("foo-1.0-cp37-cp37-manylinux1_x86_64.whl", "cp37-manylinux_x86_64", False),
        ("foo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "cp311-manylinux_x86_64", True),
        ("foo-1.0-cp311-cp311-manylinux_2_34_x86_64.whl", "cp311-manylinux_x86_64", False),
        ("foo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "cp311-manylinux_x86_64", True),
        ("foo-1.0-cp311-cp311-manylinux2014_aarch64.whl", "cp311-manylinux_x86_64", False),
        ("foo-1.0-cp311-cp311-manylinux1_aarch64.whl", "cp311-manylinux_aarch64", False),
        ("foo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "cp311-musllinux_x86_64", False),
        ("foo-1.0-cp311-cp311-musllinux_1_1_x86_64.whl", "cp311-musllinux_x86_64", True),
        ("foo-1.0-cp311-cp311-musllinux_1_3_x86_64.whl", "cp311-musllinux_x86_64", False),
        ("foo-1.0-cp311-cp311-linux_x86_64.whl", "cp311-manylinux_x86_64", False),
        ("foo-1.0-cp311-cp311-win_arm64.whl", ARM, False),
        ("foo-1.0-cp311-cp311-ios_13_0_arm64_iphoneos.whl", ARM, False),
        ("foo-1.0-cp311-cp311-android_21_arm64_v8a.whl", "cp311-manylinux_aarch64", False),
        ("foo-1.0-pp310-pypy310_pp73-manylinux2014_x86_64.whl", "pp310-manylinux_x86_64", True),
        ("foo-1.0-pp310-pypy310_pp73-manylinux2014_x86_64.whl", "cp310-manylinux_x86_64", False),
        ("foo-1.0-cp310-abi3-manylinux2014_x86_64.whl", "pp310-manylinux_x86_64", False),
    ],
)
def test_a_wheel_covers_by_its_real_tags(wheel: str, identifier: str, covers: bool):
    expected = covered(wheel, identifier) if covers else [(identifier, *MISSING[0][1:])]
    assert judged(page(SDIST, wheel), recipe(identifier)) == expected


def test_a_recipe_moves_the_floor():
    wheel = "foo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    wanted = recipe("cp311-manylinux_x86_64", floors=Floors(glibc=(2, 17)))
    assert judged(page(SDIST, wheel), wanted)[0][1:] == MISSING[0][1:]


def test_the_wheel_named_is_the_one_an_installer_prefers():
    pure, stable, exact = (
        f"foo-1.0-{t}.whl" for t in ("py3-none-any", "cp38-abi3-macosx_11_0_arm64", "cp311-cp311-macosx_11_0_arm64")
    )
    assert judged(page(SDIST, pure, stable, exact), recipe(ARM)) == covered(exact)
    assert judged(page(SDIST, pure, stable), recipe(ARM)) == covered(stable)


def test_a_yanked_wheel_covers_nothing():
    wheel = file("foo-1.0-py3-none-any.whl", yanked=True)
    assert judged(page(SDIST, wheel), recipe(ARM)) == MISSING


def test_a_wheel_covers_only_the_pythons_that_it_admits():
    wheel = file("foo-1.0-py3-none-any.whl", requires_python="<3.11")
    assert judged(page(SDIST, wheel), recipe(ARM)) == MISSING


def test_a_wheel_of_another_release_covers_nothing():
    """A local version is a release of its own."""
    wanted = recipe(ARM, versions="===1.0")
    assert judged(page(SDIST, "foo-1.0+local-py3-none-any.whl", "foo-1.1-py3-none-any.whl"), wanted) == MISSING


def test_an_egg_covers_nothing():
    assert judged(page(SDIST, "foo-1.0-py3.11-macosx-11-arm64.egg"), recipe(ARM)) == MISSING


def excluded(rule: str, reason: str, identifier: str = ARM) -> list[tuple[str, str, str, str]]:
    return [(identifier, "excluded", rule, reason)]


def test_a_quarantined_project_is_withdrawn_whatever_it_has():
    upstream = page(SDIST, "foo-1.0-py3-none-any.whl", status="quarantined", status_reason="malware")
    assert judged(upstream, recipe(ARM)) == excluded("quarantined", "upstream has quarantined the project: malware")


@pytest.mark.parametrize("status", ["archived", "deprecated", "active"])
def test_an_archived_project_is_built_for(status: str):
    """Nobody else will ever publish those wheels."""
    assert judged(page(SDIST, status=status), recipe(ARM)) == MISSING


def test_the_table_of_projects_has_the_last_word_on_status():
    files = release_metadata.replace_projects(release_metadata.empty(), {"foo": page(SDIST)})
    state = release_metadata.ProjectState(project="foo", status="quarantined")
    projects = release_metadata.replace_states(release_metadata.empty_projects(), {"foo": state})
    rows = detect(files, [recipe(ARM)], (), now=NOW, projects=projects).to_pylist()
    assert [row["rule"] for row in rows] == ["quarantined"]


def test_a_release_whose_sdists_are_all_yanked_is_left_alone():
    yanked = replace(SDIST, yanked=True, yanked_reason="broken")
    assert judged(page(yanked), recipe(ARM)) == excluded("yanked", "upstream has yanked the release: broken")
    assert judged(page(yanked, "foo-1.0.zip"), recipe(ARM))[0][3].endswith("foo-1.0.zip")


@pytest.mark.parametrize(
    ("files", "best"),
    [
        (("foo-1.0.zip", "foo-1.0.tar.gz"), "foo-1.0.tar.gz"),
        (("Foo-1.0.tar.bz2", "FOO-1.0.zip"), "FOO-1.0.zip"),
        (("Foo-1.0.tar.bz2",), "Foo-1.0.tar.bz2"),
    ],
)
def test_the_best_sdist_is_built_from(files: tuple[str, ...], best: str):
    assert judged(page(*files), recipe(ARM))[0][3] == f"no wheel upstream, to be built from {best}"


def test_a_release_without_sdist_cannot_be_built():
    wheel = "foo-1.0-cp310-cp310-macosx_11_0_arm64.whl"
    assert judged(page(wheel), recipe(ARM)) == excluded("no-sdist", "the release has no sdist to build from")


def test_pre_releases_are_off_unless_the_recipe_asks():
    upstream = page("foo-2.0rc1.tar.gz")
    assert judged(upstream, recipe(ARM)) == excluded("pre-release", "a pre-release, and the recipe does not ask for those")
    assert judged(upstream, recipe(ARM, prereleases=True))[0][1] == "missing"


def test_requires_python_is_the_sdists_own_by_range():
    later = page(replace(SDIST, requires_python=">=3.12"))
    assert judged(later, recipe(ARM)) == excluded("requires-python", "its sdist requires Python >=3.12")
    assert judged(page(replace(SDIST, requires_python=">=3.11.4")), recipe(ARM)) == MISSING


def test_an_identifier_that_no_cibuildwheel_has_is_never_planned():
    identifier = "cp37-macosx_arm64"
    expected = excluded("no-cibuildwheel", f"no cibuildwheel can build {identifier}", identifier)
    assert judged(page(SDIST), recipe(identifier)) == expected


def test_a_new_release_waits_for_upstreams_own_wheels():
    upstream = page(replace(SDIST, upload_time=NOW - timedelta(hours=23)))
    reason = "uploaded 2026-11-21 13:00 UTC, upstream's own wheels are waited for until 2026-11-22 13:00 UTC"
    assert judged(upstream, recipe(ARM)) == excluded("too-new", reason)
    assert judged(upstream, recipe(ARM, min_age=timedelta(hours=23))) == MISSING


def test_a_file_without_upload_time_is_old():
    assert judged(page(replace(SDIST, upload_time=None)), recipe(ARM)) == MISSING


OURS = "foo-1.0-1-cp311-cp311-macosx_11_0_arm64.whl"
BUILT = attempt(ARM, Outcome.SUCCEEDED, wheel=OURS)


def test_what_we_built_is_published():
    assert judged(page(SDIST), recipe(ARM), BUILT) == [(ARM, "published", "published", f"published as {OURS}")]


def test_the_latest_success_counts_whatever_failed_before_or_after():
    first = attempt(ARM, Outcome.SUCCEEDED, wheel="foo-1.0-1-x.whl", finished=NOW - timedelta(days=2))
    failed = attempt(ARM, Outcome.FAILED, failure="compiler-error", finished=NOW)
    assert judged(page(SDIST), recipe(ARM), failed, BUILT, first)[0][3] == f"published as {OURS}"


def test_ours_is_superseded_when_upstream_catches_up():
    theirs = "foo-1.0-cp311-cp311-macosx_11_0_universal2.whl"
    expected = [(ARM, "covered", "superseded", f"superseded by upstream's {theirs}")]
    assert judged(page(SDIST, theirs), recipe(ARM), BUILT) == expected


def test_an_attempt_for_another_target_says_nothing():
    assert judged(page(SDIST), recipe(ARM), replace(BUILT, release=Release(project="foo", version="2.0"))) == MISSING
    assert judged(page(SDIST), recipe(ARM), replace(BUILT, identifier=BuildIdentifier.parse("cp312-macosx_arm64"))) == MISSING


DETERMINISTIC = attempt(ARM, Outcome.FAILED, failure="compiler-error")


def test_a_deterministic_failure_waits_for_a_change():
    reason = "failed 2× (compiler-error), not tried again until the recipe, the sdist or the toolchain changes"
    assert judged(page(SDIST), recipe(ARM), DETERMINISTIC, DETERMINISTIC) == excluded("failed", reason)


@pytest.mark.parametrize("field", ["recipe_sha256", "sdist_sha256"])
def test_a_failure_with_another_recipe_or_sdist_does_not_count(field: str):
    assert judged(page(SDIST), recipe(ARM), replace(DETERMINISTIC, **{field: "00" * 32})) == MISSING


def test_a_passing_failure_is_tried_again_after_a_while():
    finished = NOW - timedelta(minutes=1)
    failure = attempt(ARM, Outcome.FAILED, failure="network", finished=finished)
    assert judged(page(SDIST), recipe(ARM), failure) == excluded("failed", "failed 1× (network), next try 2026-11-22 12:04 UTC")
    assert judged(page(SDIST), recipe(ARM), replace(failure, finished=NOW - timedelta(minutes=6))) == MISSING


def test_only_wanted_releases_have_rows():
    upstream = page("foo-1.0.tar.gz", "foo-2.0.tar.gz", "foo-10.0.tar.gz")
    rows = table([upstream, page("bar-1.0.tar.gz", project="bar")], [recipe(ARM, versions=">=2")]).to_pylist()
    assert [(row["project"], row["version"]) for row in rows] == [("foo", "2.0"), ("foo", "10.0")]


def test_rows_are_sorted_by_project_version_platform_and_python():
    wanted = recipe("cp310-macosx_x86_64", "cp39-macosx_arm64")
    rows = table([page("foo-1.10.tar.gz", "foo-1.9.tar.gz")], [wanted]).to_pylist()
    identifiers = ["cp39-macosx_arm64", "cp310-macosx_arm64", "cp39-macosx_x86_64", "cp310-macosx_x86_64"]
    assert [(row["version"], row["identifier"]) for row in rows] == [(v, i) for v in ("1.9", "1.10") for i in identifiers]


def test_priority_goes_first_then_the_newest_upload():
    new = file("foo-2.0.tar.gz", upload_time=OLD + timedelta(days=1))
    urgent = recipe(ARM, project="bar", priority=5)
    rows = table(
        [page(SDIST, new, "foo-0.1-py3-none-any.whl"), page("bar-1.0.tar.gz", project="bar")], [recipe(ARM), urgent]
    ).to_pylist()
    ranks = [(row["project"], row["version"], row["priority"], row["rank"]) for row in rows]
    assert ranks == [("bar", "1.0", 5, 0), ("foo", "0.1", 0, None), ("foo", "1.0", 0, 2), ("foo", "2.0", 0, 1)]


def test_floors_are_each_recipes_own():
    """The same identifier with two floors is two targets."""
    tag = "cp311-cp311-manylinux_2_28_x86_64"
    identifier = "cp311-manylinux_x86_64"
    pages = [page("bar-1.0.tar.gz", f"bar-1.0-{tag}.whl", project="bar"), page(SDIST, f"foo-1.0-{tag}.whl")]
    recipes = [recipe(identifier, project="bar", floors=Floors(glibc=(2, 17))), recipe(identifier)]
    assert table(pages, recipes).column("verdict").to_pylist() == ["missing", "covered"]


@pytest.mark.parametrize(
    ("files", "expects"),
    [
        (("foo-1.0.tar.gz",), False),
        (("foo-1.0.tar.gz", "foo-1.0-py3-none-win_amd64.whl"), True),
        (("foo-1.0.tar.gz", "foo-1.0-py2-none-any.whl", "foo-0.9-cp39-cp39-win32.whl"), False),
        (("foo-1.0.tar.gz", "foo-0.9-cp39-cp39-win32.whl"), True),
        (("foo-1.0.tar.gz", "foo-0.9-py3-none-any.whl"), False),
    ],
)
def test_upstreams_wheels_tell_whether_an_extension_is_expected(files: tuple[str, ...], expects: bool):
    rows = table([page(*files)], [recipe(ARM, versions="==1.0")]).to_pylist()
    assert [row["expects_extension"] for row in rows] == [expects]


def test_the_missing_wheels_of_one_release_on_one_platform_come_typed():
    wanted = recipe("cp310-macosx_arm64", "cp311-macosx_arm64", "cp311-macosx_x86_64")
    sdist = replace(SDIST, requires_python=">=3.8")
    result = table([page(sdist, "foo-1.0-cp310-cp310-macosx_11_0_arm64.whl")], [wanted])
    expected = MissingWheel(
        release=Release(project="foo", version="1.0"), identifier=BuildIdentifier.parse(ARM), sdist=sdist, expects_extension=True
    )
    assert missing_for(result, Release(project="foo", version="1.0"), Platform.MACOSX_ARM64) == (expected,)
    assert missing_for(result, Release(project="foo", version="2.0"), Platform.MACOSX_ARM64) == ()


def test_nothing_wanted_is_an_empty_table():
    assert table([], []).equals(empty())
    assert table([page(SDIST)], []).equals(empty())
    assert table([], [recipe(ARM)]).equals(empty())
    assert table([page()], [recipe(ARM)]).equals(empty())
    assert empty().schema.equals(MISSING_SCHEMA)


def test_more_targets_than_a_machine_word_has_bits():
    """Targets are bits; the 65th is in a second word."""
    pythons = tuple(PythonTag.parse(f"cp3{minor}") for minor in range(8, 22))
    wide = replace(recipe(ARM), pythons=pythons, platforms=tuple(Platform))
    wheels = [f"foo-1.0-{python}-{python}-musllinux_1_1_x86_64.whl" for python in pythons[::2]]
    rows = table([page(SDIST, *wheels)], [wide]).to_pylist()
    assert [row["covered_by"] for row in rows if row["verdict"] == "covered"] == wheels


def test_hostile_tags_cover_nothing():
    many = ".".join(f"cp{n}" for n in range(70))
    hostile = [
        DistributionFile(filename=name, url="", kind=FileKind.WHEEL, version="1.0", sha256="", size=0)
        for name in (f"foo-1.0-{many}-{many}-macosx_11_0_arm64.whl", "foo.whl", "", "foo-1.0-py3-none-\n.whl", "-----.whl")
    ]
    assert judged(page(SDIST, *hostile), recipe(ARM)) == MISSING


TAG_SETS = [
    "py3-none-any",
    "py2.py3-none-any",
    "cp310-cp310-macosx_11_0_arm64",
    "cp310-cp310-macosx_12_0_arm64",
    "cp38-abi3-macosx_10_9_universal2",
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp311-cp311-manylinux_2_34_x86_64",
    "cp313-cp313t-manylinux2014_x86_64",
    "py3-none-win_amd64",
]
WHEELS = st.tuples(
    st.sampled_from(["1.0", "1.0.post1", "2.0"]),
    st.sampled_from(TAG_SETS),
    st.sampled_from(["", ">=3.11", "<3.13"]),
    st.booleans(),
)
IDENTIFIERS = ["cp310-macosx_arm64", "cp311-macosx_x86_64", "cp311-manylinux_x86_64", "cp313t-manylinux_x86_64"]


@settings(max_examples=50, deadline=None)
@given(st.lists(WHEELS, max_size=12))
def test_the_engine_agrees_with_asking_wheel_by_wheel(wheels: list[tuple[str, str, str, bool]]):
    """The naive way, with packaging and a loop, over any mixture of wheels, duplicates included."""
    files = [
        file(f"foo-{version}-{tags}.whl", requires_python=requires, yanked=yanked) for version, tags, requires, yanked in wheels
    ]
    sdists = [f"foo-{version}.tar.gz" for version in ("2.0", "1.0", "1.0.post1")]
    expected: list[tuple[str, str, bool]] = []
    for version in ("1.0", "1.0.post1", "2.0"):
        for identifier in map(BuildIdentifier.parse, IDENTIFIERS):
            accepted = set(accepted_tags(identifier))
            covers = any(
                f.version == version
                and not f.yanked
                and parse_wheel_filename(f.filename)[3] & accepted
                and any(SpecifierSet(f.requires_python).contains(f"{identifier.python.version}.{patch}") for patch in range(5))
                for f in files
            )
            expected.append((version, str(identifier), covers))
    wanted = [recipe(identifier) for identifier in IDENTIFIERS]
    rows = [row for one in wanted for row in table([page(*files, *sdists)], [one]).to_pylist()]
    assert sorted((row["version"], row["identifier"], row["verdict"] == "covered") for row in rows) == sorted(expected)
