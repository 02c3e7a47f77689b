"""The repository's own recipes: each wants releases that exist and lack wheels, and says all that its targets need."""

import re
from datetime import UTC, datetime

import pytest
from packaging.version import Version

from kiln_pipeline.adapters.recipe_folder import check_recipes, load_recipes
from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.missing_wheels import detect
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag
from kiln_pipeline.core.recipes import BuildSettings, Recipe, settings_for
from kiln_pipeline_tests.recipes.capture import RECIPES, captured_pages

NOW = datetime(2026, 11, 25, tzinfo=UTC)
MANAGERS = {"macosx": {"brew"}, "manylinux": {"dnf", "apt"}, "musllinux": {"apk"}}
NOTE = re.compile(r"(?P<version>\S+) (?P<identifier>cp\d+t?-\w+): ")


@pytest.fixture(scope="module")
def pages() -> dict[str, ProjectPage]:
    return captured_pages()


ALL = load_recipes(RECIPES)
each = pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.project)


def layers(recipe: Recipe, page: ProjectPage) -> dict[str, BuildSettings]:
    """Return the settings of every release that the recipe wants."""
    return {version: settings_for(recipe, Version(version)) for version in sorted({file.version for file in page.files})}


def test_kiln_recipes_check_has_no_word_against_them() -> None:
    assert check_recipes(RECIPES) == ()


def test_the_projects_that_users_curse_are_there() -> None:
    """The original's three, and those that are asked for most."""
    wanted = (
        "grpcio grpcio-tools lxml pyyaml psycopg2 mysqlclient pymssql cffi cryptography numpy pandas pillow bcrypt ujson regex"
        " gevent pyzmq h5py"
    )
    assert set(wanted.split()) <= {recipe.project for recipe in ALL}


@each
def test_every_wanted_release_exists_and_has_a_gap(recipe: Recipe, pages: dict[str, ProjectPage]) -> None:
    """Against what upstream lists: each specifier matches a release, and each release lacks a wheel that can be built."""
    assert recipe.project in pages, "upstream's files are not captured yet: python -m kiln_pipeline_tests.recipes.capture"
    page = pages[recipe.project]
    versions = {Version(file.version) for file in page.files}
    assert [str(specifiers) for specifiers in recipe.versions if not any(specifiers.contains(v) for v in versions)] == []
    rows = detect(release_metadata.page_table(page), [recipe], (), now=NOW).to_pylist()
    missing = {row["version"] for row in rows if row["rule"] == "missing"}
    assert {str(version) for version in versions} - missing == set()
    never = sorted({f"{row['identifier']}: {row['reason']}" for row in rows if row["rule"] in ("requires-python", "no-sdist")})
    assert never == [], "targets that no release of it can have"


@each
def test_every_release_is_tested_and_has_its_extensions_named(recipe: Recipe, pages: dict[str, ProjectPage]) -> None:
    for version, settings in layers(recipe, pages[recipe.project]).items():
        assert settings.extensions, f"{version}: no extensions"
        assert settings.cibuildwheel.get("test-command"), f"{version}: no test-command"


@each
def test_system_packages_are_named_for_every_platform_or_for_none(recipe: Recipe, pages: dict[str, ProjectPage]) -> None:
    """Where one package manager installs something, every other one of the targets says what it installs, if nothing."""
    needed = set[str]().union(*(MANAGERS[platform.family] for platform in recipe.platforms))
    for version, settings in layers(recipe, pages[recipe.project]).items():
        if any(settings.system_packages.values()):
            assert needed - settings.system_packages.keys() == set(), version


@each
def test_notes_speak_of_what_the_recipe_wants(recipe: Recipe) -> None:
    """A note that begins with a release and an identifier is about one of its own."""
    assert recipe.notes, "say in notes what was built where, or that nothing was, and why"
    for match in filter(None, map(NOTE.match, recipe.notes)):
        identifier = BuildIdentifier.parse(match["identifier"])
        assert recipe.wants(Version(match["version"])), match[0]
        assert identifier.python in recipe.pythons, match[0]
        assert identifier.platform in recipe.platforms, match[0]


def test_no_recipe_wants_a_python_that_has_ended_long_ago() -> None:
    oldest = PythonTag.parse("cp38")
    assert [recipe.project for recipe in ALL if min(recipe.pythons) < oldest] == []
