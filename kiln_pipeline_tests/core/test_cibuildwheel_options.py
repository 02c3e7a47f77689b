"""The table of cibuildwheel's options, against the schemas of the three versions themselves, and what is refused."""

import json
import tomllib
from pathlib import Path

import pytest

from kiln_pipeline.core.cibuildwheel_options import OPTIONS, PLATFORM_TABLES, REFUSED, SINCE, TOP_ONLY, OldestTool, read_options
from kiln_pipeline.core.toml_tables import TableReader
from kiln_pipeline.errors import Problem

SCHEMAS = json.loads((Path(__file__).parent.parent / "data" / "cibuildwheel_options.json").read_text())
"""cibuildwheel version -> its resources/cibuildwheel.schema.json: options with their types, names in overrides and in linux."""

NEWEST = OldestTool(version="4.3.3", identifier="cp311-manylinux_x86_64")


def problems_in(text: str, oldest: OldestTool = NEWEST) -> list[tuple[str, str]]:
    problems: list[Problem] = []
    read_options(TableReader(tomllib.loads(text), file="recipe.toml", problems=problems), oldest)
    return [(problem.field, problem.message) for problem in problems]


def test_every_option_of_every_version_is_known() -> None:
    """Allowed, refused with a reason, or a sub-table: nothing that cibuildwheel has is merely unknown here."""
    command_line = {"config-file", "only", "output-dir", "package-dir", "platform"}
    ours = {*OPTIONS, *PLATFORM_TABLES, "overrides", *REFUSED} - command_line
    theirs = {option for schema in SCHEMAS.values() for option in schema["options"]}
    no_such_image = {name for name in ours if name.startswith("musllinux-pypy")}
    assert sorted(theirs) == sorted(ours - no_such_image)


def test_value_types_are_cibuildwheels() -> None:
    """But for environment, which is a table here so that it can be merged."""
    theirs = {option: tuple(SCHEMAS["4.3.3"]["options"][option]) for option in OPTIONS} | {"environment": ("table",)}
    assert {option: tuple(sorted(kinds)) for option, kinds in OPTIONS.items()} == theirs


def test_options_of_newer_versions_are_known_as_such() -> None:
    majors = {version: int(version.split(".")[0]) for version in SCHEMAS}
    first = {option: min(majors[v] for v, schema in SCHEMAS.items() if option in schema["options"]) for option in OPTIONS}
    assert {option: major for option, major in first.items() if major > 2} == SINCE


def test_options_of_the_top_level_are_known_as_such() -> None:
    assert sorted(set(OPTIONS) - set(SCHEMAS["4.3.3"]["linux"])) == sorted(TOP_ONLY)
    assert all("inherit" in schema["override"] for schema in SCHEMAS.values())


def test_a_whole_table_is_taken_verbatim() -> None:
    text = """
        test-command = ["python -m pytest {project}/tests", "true"]
        config-settings = { setup-args = ["-Dx=1"], opt = "2" }
        build-verbosity = 1
        manylinux-x86_64-image = "manylinux2014"
        environment = { CFLAGS = "-g0" }
        macos.before-all = "true"
        [[overrides]]
        select = "*-musllinux_*"
        inherit.environment = "append"
        environment = { LDFLAGS = "-s" }
    """
    problems: list[Problem] = []
    old = OldestTool(version="2.23.3", identifier="cp36-manylinux_x86_64")
    options = read_options(TableReader(tomllib.loads(text), file="recipe.toml", problems=problems), old)
    assert (options, problems) == (tomllib.loads(text), [])


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("container-engine = 'docker'", "container-engine", f"may not be set here: {REFUSED['container-engine']}"),
        ("linux.archs = 'all'", "linux.archs", f"may not be set here: {REFUSED['archs']}"),
        ("windows = {}", "windows", "may not be set here: kiln builds no such platform; leave it out"),
        ("linux.before_all = ''", "linux.before_all", "is unknown; did you mean 'before-all'?"),
        ("test-requires = ['pytest', 3]", "test-requires", "has an entry that is no string; write a list of strings"),
        ("environment = { A = 1 }", "environment", "A is of type integer; write a string"),
        (
            "environment = { PIP_EXTRA_INDEX_URL = 'https://example.org/simple' }",
            "environment",
            "sets PIP_EXTRA_INDEX_URL: a build takes everything from the upstream index; leave it out",
        ),
        ("environment = 'A=1'", "environment", "is a string; write a table"),
        ("config-settings = { a = [1] }", "config-settings", "a is of type list; write a string"),
        ("build-verbosity = true", "build-verbosity", "is a boolean; write an integer"),
        (
            "manylinux-x86_64-image = 'example.org/image:latest'",
            "manylinux-x86_64-image",
            "is no pinned image; write one of cibuildwheel's short names (manylinux_2_28) or NAME@sha256:…",
        ),
        (
            "macos.test-skip = '*'",
            "macos.test-skip",
            "may not be set here: it holds for all builds; write it at the top of [cibuildwheel]",
        ),
        (
            "[[overrides]]\nbefore-all = 'true'",
            "overrides[0].select",
            'is missing: write the build identifiers it is for, for example "cp312-*"',
        ),
        ("overrides = ['a']", "overrides", "has an entry that is no table; write [[overrides]]"),
    ],
)
def test_what_is_wrong_is_said(text: str, field: str, message: str) -> None:
    assert problems_in(text) == [(field, message)]


def test_an_option_that_an_old_cibuildwheel_does_not_know() -> None:
    """cp36 needs cibuildwheel 2.23, which would stop at test-sources, in a container, half an hour later."""
    old = OldestTool(version="2.23.3", identifier="cp36-manylinux_x86_64")
    message = (
        "cibuildwheel 2.23.3, which builds cp36-manylinux_x86_64, does not know it; "
        "leave it out, or leave that Python out of [targets]"
    )
    assert problems_in("test-sources = ['tests']") == []
    assert problems_in("test-sources = ['tests']", old) == [("test-sources", message)]


def test_a_pinned_image_is_allowed() -> None:
    assert problems_in(f"musllinux-aarch64-image = 'example.org/image@sha256:{'0' * 64}'") == []
