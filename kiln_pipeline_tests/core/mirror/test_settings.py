"""``mirror`` in a recipe: the short form, the table, over the defaults, and every mistake with what to write."""

from datetime import timedelta

import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode, Rest
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipe_toml import parse_recipes
from kiln_pipeline.errors import RecipeError

DEFAULTS = '[targets]\npythons = ["cp312"]\nplatforms = ["manylinux_x86_64"]\n'
RECIPE = 'project = "foo"\nreason = "r"\nversions = "==1"\n'
TABLE = """
[mirror]
mode = "copy"
versions = [">=2", "==1.5"]
pythons = ["cp311"]
platforms = ["macosx_arm64"]
sdists = false
max-size = "200MB"
min-age = "24h"
max-age = "730d"
keep = "7d"
rest = "hide"
"""


def mirror(recipe: str = "", defaults: str = "") -> Mirror:
    (parsed,) = parse_recipes(f"{defaults}{DEFAULTS}", {"foo": f"{RECIPE}{recipe}"})
    return parsed.mirror


def problems(recipe: str, base: str = RECIPE) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        parse_recipes(DEFAULTS, {"foo": f"{base}{recipe}"})
    return [(problem.field, problem.message) for problem in caught.value.problems]


def test_upstream_is_linked_to_unless_something_else_is_said() -> None:
    assert mirror() == Mirror(mode=MirrorMode.LINK)
    assert mirror('mirror = "copy"') == Mirror(mode=MirrorMode.COPY)
    assert mirror('mirror = "none"') == Mirror(mode=MirrorMode.NONE)
    assert mirror(defaults='mirror = "copy"\n').mode is MirrorMode.COPY
    assert mirror('mirror = "link"', defaults='mirror = "copy"\n').mode is MirrorMode.LINK


def test_a_table_says_which_files() -> None:
    expected = Mirror(
        mode=MirrorMode.COPY,
        versions=(SpecifierSet(">=2"), SpecifierSet("==1.5")),
        pythons=(PythonTag.parse("cp311"),),
        platforms=(Platform.MACOSX_ARM64,),
        sdists=False,
        max_size=200_000_000,
        min_age=timedelta(days=1),
        max_age=timedelta(days=730),
        keep=timedelta(days=7),
        rest=Rest.HIDE,
    )
    assert mirror(TABLE) == expected
    assert mirror('[mirror]\nkeep = "1d"', defaults='mirror = "copy"\n') == Mirror(mode=MirrorMode.COPY, keep=timedelta(days=1))


def test_a_recipe_that_builds_nothing_is_only_mirrored() -> None:
    (recipe,) = parse_recipes(DEFAULTS, {"foo": 'project = "foo"\nreason = "r"\nversions = []\nmirror = "copy"\n'})
    assert recipe.versions == ()
    assert problems('mirror = "none"', base='project = "foo"\nreason = "r"\nversions = []\n') == [
        ("versions", 'is empty and mirror is "none": the recipe does nothing; write versions, or another mirror')
    ]


def test_every_mistake_is_told_with_what_to_write() -> None:
    assert problems('mirror = "copies"') == [("mirror", "'copies' is no way of mirroring; did you mean 'copy'?")]
    assert problems("mirror = 3") == [("mirror", "is an integer; write a string or a table")]
    bad = '[mirror]\nmode = "copy"\nmax-size = "2 GiB"\nmin-age = "2d"\nmax-age = "1d"\nrest = "drop"\npythons = []\nsize = 1\n'
    assert problems(bad) == [
        ("mirror.max-size", "'2 GiB' is no size; write for example 200MB or 2GB"),
        ("mirror.rest", "'drop' is neither 'link' nor 'hide'; write one of them"),
        ("mirror.pythons", "is empty; list at least one, or leave the key out to copy all"),
        ("mirror.max-age", "is not above min-age: no file is ever copied; write a longer one"),
        ("mirror.size", "is unknown; did you mean 'max-size'?"),
    ]
    assert problems('[mirror]\nkeep = "1d"\n') == [
        ("mirror.keep", 'is for copies, and the mode is "link"; write mode = "copy", or leave it out')
    ]
