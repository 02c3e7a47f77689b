"""Where a pinned release's wheel would come from: each rule has its outlook and its next step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import DistributionFile, ProjectPage, Release
from kiln_pipeline.core.lockfiles.outlook import LockLine, Outlook, outlook
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.simple_index.filenames import parse_filename

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FOO = Release(project="foo", version="1.0")
TARGET = BuildIdentifier.parse("cp312-macosx_arm64")
WHEEL = "foo-1.0-cp312-cp312-macosx_11_0_arm64.whl"
OURS = "foo-1.0-1-cp312-cp312-macosx_11_0_arm64.whl"


def file(filename: str, **fields: object) -> DistributionFile:
    kind, version = parse_filename(filename, "foo")
    known: dict[str, object] = {"url": "", "sha256": f"sha256 of {filename}", "size": 0, **fields}
    return DistributionFile(filename=filename, kind=kind, version=version, **known)  # type: ignore[arg-type]


def page(*files: DistributionFile) -> ProjectPage:
    return ProjectPage(project="foo", files=files)


def recipe(**fields: object) -> Recipe:
    known: dict[str, object] = {
        "versions": (SpecifierSet("==1.0"),),
        "pythons": (PythonTag.parse("cp312"),),
        "platforms": (Platform.MACOSX_ARM64,),
        **fields,
    }
    return Recipe(project="foo", reason="", **known)  # type: ignore[arg-type]


SUCCESS = Attempt(
    release=FOO,
    identifier=TARGET,
    outcome=Outcome.SUCCEEDED,
    started=NOW,
    finished=NOW,
    host="host",
    builder="cibuildwheel",
    sdist_sha256="",
    recipe_sha256="",
    wheel=OURS,
    wheel_sha256="77",
)
SDIST = file("foo-1.0.tar.gz")
YOUNG = file("foo-1.0.tar.gz", upload_time=NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("upstream", "with_recipe", "attempts", "expected"),
    [
        (page(SDIST, file(WHEEL)), None, (), (Outlook.COVERED, "covered", "")),
        (page(SDIST, file(WHEEL, yanked=True)), None, (), (Outlook.COVERED, "covered", "")),
        (page(file("foo-1.0.zip", yanked=True)), None, (), (Outlook.UNFILLABLE, "yanked", "")),
        (page(SDIST), recipe(), (SUCCESS,), (Outlook.PUBLISHED, "published", "")),
        (page(SDIST), recipe(), (), (Outlook.FILLABLE, "missing", "in the queue")),
        (page(SDIST), None, (), (Outlook.FILLABLE, "missing", "kiln recipes new foo")),
        (page(SDIST), recipe(pythons=()), (), (Outlook.FILLABLE, "not-wanted", "extend recipes/foo/recipe.toml")),
        (page(YOUNG), recipe(), (), (Outlook.FILLABLE, "too-new", "wait")),
        (page(file("foo-1.0-cp312-cp312-win_amd64.whl")), None, (), (Outlook.UNFILLABLE, "no-sdist", "")),
        (page(file("foo-1.0.zip", requires_python="<3.12")), None, (), (Outlook.UNFILLABLE, "requires-python", "")),
        (page(file("foo-2.0.zip")), None, (), (Outlook.UNFILLABLE, "no-such-release", "")),
        (None, None, (), (Outlook.UNFILLABLE, "no-such-project", "")),
    ],
)
def test_each_rule_has_its_outlook(upstream, with_recipe, attempts, expected) -> None:
    line = outlook(upstream, FOO, TARGET, recipe=with_recipe, attempts=attempts, now=NOW)
    assert (line.outlook, line.rule, line.step) == expected


def test_a_pre_release_needs_a_word_in_the_recipe_unless_more_is_in_the_way() -> None:
    """The recipe's wish hides no harder reason."""
    beta, mine = Release(project="foo", version="1.0b1"), recipe(versions=(SpecifierSet("==1.0b1"),))
    line = outlook(page(file("foo-1.0b1.tar.gz")), beta, TARGET, recipe=mine, attempts=(), now=NOW)
    assert (line.outlook, line.step) == (Outlook.FILLABLE, "prereleases = true in recipes/foo/recipe.toml")
    windows = page(file("foo-1.0b1-cp312-cp312-win_amd64.whl"))
    line = outlook(windows, beta, TARGET, recipe=mine, attempts=(), now=NOW)
    assert (line.outlook, line.rule, line.extension) == (Outlook.UNFILLABLE, "no-sdist", True)


def test_our_index_fills_what_its_page_says() -> None:
    """Its wheel and hash go into the answer, for a project that upstream does not have too."""
    ours = page(file(OURS), SDIST)
    expected = LockLine(
        release=FOO,
        identifier=TARGET,
        outlook=Outlook.PUBLISHED,
        rule="published",
        reason=f"our index has {OURS}",
        wheel=OURS,
        sha256=f"sha256 of {OURS}",
    )
    assert outlook(page(SDIST), FOO, TARGET, recipe=None, attempts=(), ours=ours, now=NOW) == expected
    assert outlook(None, FOO, TARGET, recipe=None, attempts=(), ours=ours, now=NOW) == expected
    other = BuildIdentifier.parse("cp312-manylinux_x86_64")
    assert outlook(page(SDIST), FOO, other, recipe=None, attempts=(), ours=ours, now=NOW).outlook is Outlook.FILLABLE


def test_the_audit_logs_wheel_has_its_hash() -> None:
    line = outlook(page(SDIST), FOO, TARGET, recipe=recipe(), attempts=(replace(SUCCESS),), now=NOW)
    assert (line.wheel, line.sha256) == (OURS, "77")
