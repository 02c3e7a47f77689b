"""The first recipe that a maintainer gets: for what is missing, and nothing else."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from packaging.version import Version

from kiln_pipeline.adapters.recipe_folder import STARTER_DEFAULTS
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.recipe_starter import LINES, defaults_recipe, release_gaps, starter
from kiln_pipeline.core.recipe_toml import parse_recipes
from kiln_pipeline_tests.captured import captured_page

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def written(page: ProjectPage, version: str = "") -> str:
    wanted = defaults_recipe(STARTER_DEFAULTS, page.project, version)
    return starter(page.project, release_gaps(page, wanted, now=NOW), wanted)


@pytest.fixture(scope="module")
def grpcio() -> ProjectPage:
    """With its last lines left away, whose wheels cover every default target."""
    page = captured_page("grpcio")
    return replace(page, files=tuple(f for f in page.files if f.version.startswith(("1.46.", "1.47.", "1.48.", "1.5", "1.62."))))


def test_it_is_for_the_newest_release_that_lacks_wheels(grpcio: ProjectPage) -> None:
    """Only its own gaps are its targets; the lines before it are told of, each with what it lacks."""
    text = written(grpcio)
    told = [line.split()[1:3] for line in text.splitlines() if line.startswith("#   ") and "cp3" in line]
    recipe = tomllib.loads(text)
    assert recipe["versions"] == f"=={told[0][0]}"
    assert recipe["reason"].startswith(f"grpcio {told[0][0]} has no wheels for some targets")
    assert len(told) == LINES
    assert told == sorted(told, key=lambda line: Version(line[0]), reverse=True)
    assert parse_recipes(STARTER_DEFAULTS, {"grpcio": text})


def test_a_version_that_is_named_is_the_one(grpcio: ProjectPage) -> None:
    """1.47.2 has wheels up to Python 3.10: all defaults are missing, so no target is stated."""
    text = written(grpcio, "1.47.2")
    assert "#   1.47.2  2022-09-22  cp311 cp312 cp313 on every platform\n" in text
    assert "`kiln run grpcio==1.47.2 --python cp313` builds it" in text
    assert tomllib.loads(text).keys() == {"project", "reason", "versions"}


def test_targets_are_what_is_missing() -> None:
    """Of MarkupSafe 2.1.5 that is one Python, on every platform; of lxml 5.0.2 three, and one of them everywhere."""
    recipe = tomllib.loads(written(captured_page("markupsafe"), "2.1.5"))
    assert (recipe["versions"], recipe["targets"]) == ("==2.1.5", {"pythons": ["cp313"]})
    told = "#   5.0.2  2024-03-28  cp311 cp312 on macosx_x86_64; cp313 on every platform\n"
    text = written(captured_page("lxml"), "5.0.2")
    assert (told in text, "targets" in tomllib.loads(text)) == (True, False)
