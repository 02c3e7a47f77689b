"""Recipes from TOML: one whole good recipe, one file with a dozen mistakes, and what the checks let through or stop."""

import contextlib
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core.limits import Limits
from kiln_pipeline.core.patches import Patch
from kiln_pipeline.core.platforms import Floors, Platform, PythonTag
from kiln_pipeline.core.recipe_toml import parse_recipes
from kiln_pipeline.core.recipes import BuildSettings, Override, Recipe, SettingsLayer, settings_for
from kiln_pipeline.core.strategies import Rung
from kiln_pipeline.errors import Problem, RecipeError

DEFAULTS = """
min-age = "24h"

[targets]
pythons = ["cp311", "cp312"]
platforms = ["macosx_arm64", "manylinux_x86_64"]
glibc = "2.28"

[cibuildwheel]
build-verbosity = 1
environment = { CFLAGS = "-O2" }
"""

GOOD = """
project = "PyYAML"
reason = "its wheels stop at Python 3.9"
versions = ["==5.4.1", ">=4.2,<5"]
demo = ["5.4.1"]
priority = 10
prereleases = true
min-age = "2d"
notes = ["5.4.1 cp310-manylinux_x86_64: built"]

[targets]
pythons = ["cp310", "cp313t"]
platforms = ["manylinux_x86_64", "musllinux_aarch64"]
glibc = "2.17"
macos-x86_64 = "10.9"

[build]
constraints = ["Cython<3", "setuptools<66; python_version < '3.12'"]
extensions = ["yaml._yaml"]
patches = ["cython-3.patch"]
time-travel = "2023-06-01"
ladder = ["latest", "as-of-regenerated"]

[system-packages]
dnf = ["libyaml-devel"]
brew = ["libyaml", "openssl@3"]

[cibuildwheel]
test-command = "python -c 'import yaml'"
environment = { LDFLAGS = "-s" }
linux = { before-build = ["true", "true"] }

[[overrides]]
versions = "<5"
[overrides.build]
constraints = []
patches = []
time-travel = "latest"
[overrides.system-packages]
dnf = []
[overrides.cibuildwheel]
test-command = ""
"""

PATCH = """\
Read the sources as upstream's 6.0.1 does

--- a/setup.py
+++ b/setup.py
@@ -1 +1 @@
-old
+new
"""


def problems_of(defaults: str, **recipes: str) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipes(defaults, recipes)
    return caught.value.problems


def recipe_with(extra: str, **changes: str) -> str:
    fields = {"project": '"foo"', "reason": '"old"', "versions": '"==1.0"'} | {k.replace("_", "-"): v for k, v in changes.items()}
    return "".join(f"{key} = {value}\n" for key, value in fields.items()) + extra


def test_a_good_recipe_is_read_whole() -> None:
    """Every key of the format ends up where it belongs, over the defaults."""
    digest = hashlib.sha256(PATCH.encode()).hexdigest()
    text = f"{DEFAULTS}\n{GOOD}\n# patches/cython-3.patch sha256={digest}\n"
    expected = Recipe(
        project="pyyaml",
        reason="its wheels stop at Python 3.9",
        versions=(SpecifierSet("==5.4.1"), SpecifierSet(">=4.2,<5")),
        pythons=(PythonTag.parse("cp310"), PythonTag.parse("cp313t")),
        platforms=(Platform.MANYLINUX_X86_64, Platform.MUSLLINUX_AARCH64),
        floors=Floors(glibc=(2, 17), macosx_x86_64=(10, 9)),
        demo=("5.4.1",),
        priority=10,
        prereleases=True,
        notes=("5.4.1 cp310-manylinux_x86_64: built",),
        min_age=timedelta(days=2),
        settings=BuildSettings(
            cibuildwheel=MappingProxyType(
                {
                    "build-verbosity": 1,
                    "environment": {"CFLAGS": "-O2", "LDFLAGS": "-s"},
                    "test-command": "python -c 'import yaml'",
                    "linux": {"before-build": ["true", "true"]},
                }
            ),
            constraints=("Cython<3", 'setuptools<66; python_version < "3.12"'),
            extensions=("yaml._yaml",),
            patches=(Patch(name="cython-3.patch", text=PATCH),),
            system_packages=MappingProxyType({"dnf": ("libyaml-devel",), "brew": ("libyaml", "openssl@3")}),
            time_travel="2023-06-01",
            ladder=(Rung.LATEST, Rung.REGENERATED),
        ),
        overrides=(
            Override(
                versions=(SpecifierSet("<5"),),
                settings=SettingsLayer(
                    cibuildwheel=MappingProxyType({"test-command": ""}),
                    constraints=(),
                    patches=(),
                    system_packages=MappingProxyType({"dnf": ()}),
                    time_travel="latest",
                ),
            ),
        ),
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    assert parse_recipes(DEFAULTS, {"pyyaml": GOOD}, patches={"pyyaml": {"cython-3.patch": PATCH}}) == (expected,)


def test_patches_that_are_not_there_not_right_or_not_listed() -> None:
    """Each with what to do; the defaults can list none, since they are no recipe's."""
    recipe = recipe_with('[build]\npatches = ["a.patch", "b.patch"]\n')
    with pytest.raises(RecipeError) as caught:
        parse_recipes(
            DEFAULTS + '[build]\npatches = ["c.patch"]\n',
            {"foo": recipe},
            patches={"foo": {"b.patch": "no diff", "d.patch": PATCH}},
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "recipes/defaults.toml: build.patches: 'c.patch' is no file in patches/; the recipe has no patches/*.patch",
        "recipes/foo/recipe.toml: build.patches: 'a.patch' is no file in patches/; known are b.patch, d.patch",
        "recipes/foo/recipe.toml: build.patches: patches/b.patch is no unified diff:"
        " no '--- a/FILE', '+++ b/FILE', '@@' are in it; make it with git diff",
        "recipes/foo/recipe.toml: build: lists none of patches/: d.patch; list it in patches, or remove the file",
    ]


def test_a_changed_patch_is_a_changed_recipe() -> None:
    """So that what failed is tried again, and a wheel built with the old one says so."""
    recipe = recipe_with('[build]\npatches = ["a.patch"]\n')
    old, new = (parse_recipes(DEFAULTS, {"foo": recipe}, patches={"foo": {"a.patch": text}})[0] for text in (PATCH, PATCH + "\n"))
    assert old.sha256 != new.sha256


BAD = """
project = "pyaml"
versions = "5.4.1"
demo = ["latest"]
priority = "high"
min-age = "1 week"
homepage = "https://example.org"

[targets]
python = ["cp311"]
platforms = ["manylinux_x64"]
glibc = 2.17

[build]
constraints = ["Cython=<3"]
extensions = ["yaml/_yaml"]

[system-packages]
dnf = ["libyaml-devel; reboot"]
apt = ["libyaml-dev", "libyaml-dev"]

[cibuildwheel]
test-comand = "true"
skip = "*-musllinux_*"
before-all = 3
environment = { SOURCE_DATE_EPOCH = "0" }
"""


def test_every_mistake_of_a_file_is_reported_at_once() -> None:
    """Each with its file, its dotted key and what to do."""
    file = "recipes/pyyaml/recipe.toml"
    expected = (
        ("project", "is 'pyaml', but the recipe's folder is 'pyyaml'; name the folder 'pyaml'"),
        ("reason", "is missing: say in one line why this project needs wheels of ours"),
        ("versions", "'5.4.1' is no specifier set (PEP 440); write for example '==1.2.3' or '>=1,<2'"),
        ("demo", "'latest' is no version (PEP 440); write for example 1.2.3"),
        ("priority", "is a string; write an integer"),
        ("targets.platforms", "'manylinux_x64' is no platform; did you mean 'manylinux_x86_64'?"),
        ("targets.glibc", "is a float; write a string"),
        ("targets.python", "is unknown; did you mean 'pythons'?"),
        ("min-age", "'1 week' is no age; write hours or days, for example 24h or 2d"),
        ("build.constraints", "'Cython=<3' is no requirement (PEP 508); write for example 'Cython<3'"),
        ("build.extensions", "'yaml/_yaml' is no import name; write for example yaml._yaml"),
        (
            "system-packages.dnf",
            "'libyaml-devel; reboot' is no package name; use letters, digits and . + - _ @ / = : after a first letter or digit",
        ),
        ("system-packages.apt", "lists libyaml-dev more than once; keep one"),
        (
            "cibuildwheel.skip",
            "may not be set here: kiln builds one identifier at a time; use [targets] pythons and platforms",
        ),
        ("cibuildwheel.before-all", "is an integer; write a string or a list"),
        (
            "cibuildwheel.environment",
            "sets SOURCE_DATE_EPOCH: kiln sets it to the sdist's date, so that builds can be repeated; leave it out",
        ),
        ("cibuildwheel.test-comand", "is unknown; did you mean 'test-command'?"),
        ("homepage", "is unknown; known are build, cibuildwheel, demo, min-age, mirror, notes, overrides, prereleases, priority, "
         "project, reason, system-packages, targets, versions"),
    )  # fmt: skip
    assert problems_of(DEFAULTS, pyyaml=BAD) == tuple(Problem(file=file, field=field, message=text) for field, text in expected)


def test_every_file_is_read_to_its_end() -> None:
    """A syntax error in one file, a mistake in the defaults and one in another recipe are all in the same answer."""
    defaults = DEFAULTS.replace('"macosx_arm64"', '"macos_arm64"')
    problems = problems_of(defaults, foo=recipe_with("", reason="3"), bar="project = \n")
    assert [(problem.file, problem.field, problem.message) for problem in problems] == [
        ("recipes/defaults.toml", "targets.platforms", "'macos_arm64' is no platform; did you mean 'macosx_arm64'?"),
        ("recipes/bar/recipe.toml", "", "is no valid TOML: Invalid value (at line 1, column 11); mend that line"),
        ("recipes/foo/recipe.toml", "reason", "is an integer; write a string"),
    ]


def test_recipes_come_sorted_and_independent_of_each_other() -> None:
    texts = {name: recipe_with("", project=f'"{name}"') for name in ("zope-interface", "attrs", "lxml")}
    recipes = parse_recipes(DEFAULTS, texts)
    assert [recipe.project for recipe in recipes] == ["attrs", "lxml", "zope-interface"]
    assert parse_recipes(DEFAULTS, {"lxml": texts["lxml"]}) == recipes[1:2]


def test_defaults_must_name_the_targets() -> None:
    assert [(problem.field, problem.message) for problem in problems_of("")] == [
        (
            "targets.pythons",
            'is missing: list the Pythons that recipes get unless they say otherwise, for example ["cp311", "cp312"]',
        ),
        ("targets.platforms", f"is missing: list some of {', '.join(Platform)}"),
    ]


def test_files_are_named_as_the_caller_says() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipes("x", {"foo": "y"}, defaults_file="d.toml", file_of=lambda folder: f"{folder}.toml")
    assert [problem.file for problem in caught.value.problems] == ["d.toml", "foo.toml"]


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (
            recipe_with("", versions='""'),
            "versions",
            "an empty specifier set wants every release; write '>=0' when that is meant",
        ),
        (recipe_with("", versions='["==1", "==1"]'), "versions", "lists ==1 more than once; keep one"),
        (recipe_with("", versions="[1]"), "versions", "has an entry that is no string; write a list of strings"),
        (recipe_with("", demo='["2.0"]'), "demo", "2.0 is not among the wanted versions; add it to versions or leave it out"),
        (
            recipe_with("", versions='">=1"', demo='["2.0rc1"]'),
            "demo",
            "2.0rc1 is a pre-release; set prereleases = true or leave it out",
        ),
        (recipe_with("", demo='["1.0", "v1.0"]'), "demo", "lists 1.0 more than once; keep one"),
        (recipe_with("", demo='["1", "1.0"]'), "demo", "lists 1, 1.0 more than once; keep one"),
        (recipe_with("", reason='"a\\nb"'), "reason", "is empty or has more than one line; write one line"),
        (
            recipe_with("", project='"foo bar"'),
            "project",
            "'foo bar' is no valid project name: use ASCII letters, digits, '-', '_' and '.'",
        ),
        (
            recipe_with("targets.pythons = []"),
            "targets.pythons",
            "is empty; list at least one, or leave the key out to take the defaults",
        ),
        (
            recipe_with('targets.pythons = ["py3"]'),
            "targets.pythons",
            "'py3' is no Python tag: write for example cp311, cp313t or pp311",
        ),
        (
            recipe_with('targets.pythons = ["cp311", "cp27"]'),
            "targets.pythons",
            "no cibuildwheel builds cp27 on macosx_arm64, manylinux_x86_64; leave it out",
        ),
        (
            recipe_with('targets = { pythons = ["cp37"], platforms = ["manylinux_x86_64", "macosx_arm64"] }'),
            "targets.platforms",
            "no cibuildwheel builds cp37 on macosx_arm64; leave it out",
        ),
        (
            recipe_with('targets.glibc = "2.5"'),
            "targets.glibc",
            "2.5 is too old: manylinux2014 is the oldest image; write 2.17 or later",
        ),
        (
            recipe_with('targets.musl = "1"'),
            "targets.musl",
            "'1' is no version of a system; write two numbers, for example \"1.2\"",
        ),
        (
            recipe_with('build.constraints = ["foo @ https://example.org/f.zip"]'),
            "build.constraints",
            "'foo @ https://example.org/f.zip' has a URL or extras, which constraints cannot have; write for example 'Cython<3'",
        ),
        (
            recipe_with('build.constraints = ["Cython"]'),
            "build.constraints",
            "'Cython' bounds nothing; add versions, for example 'cython<3'",
        ),
        (
            recipe_with('build.constraints = ["Cython<3\\n--index-url=x"]'),
            "build.constraints",
            "'Cython<3\\n--index-url=x' is no requirement (PEP 508); write for example 'Cython<3'",
        ),
        (
            recipe_with('system-packages.apt = ["--allow-unauthenticated"]'),
            "system-packages.apt",
            "'--allow-unauthenticated' is no package name; use letters, digits and . + - _ @ / = : after a first letter or digit",
        ),
        (recipe_with("system-packages.yum = []"), "system-packages.yum", "is unknown; known are apk, apt, brew, dnf"),
        (
            recipe_with('[[overrides]]\nversions = "<1"\n[overrides.targets]\npythons = ["cp39"]\n'),
            "overrides[0].targets",
            "may not be set here: an override says how some versions are built, not which are wanted; "
            "state targets for the whole recipe",
        ),
        (
            recipe_with('[[overrides]]\nversions = "<1"'),
            "overrides[0].build",
            "is missing: write at least one of build, system-packages, limits and cibuildwheel below [[overrides]]",
        ),
        (recipe_with("targets = 3"), "targets", "is an integer; write a table"),
        (recipe_with("min-age = 2026-01-01"), "min-age", "is a date; write a string"),
        *(
            (
                recipe_with(f'build.time-travel = "{text}"'),
                "build.time-travel",
                f"'{text}' is no time to build in; write as-of, latest or a day such as 2023-06-01",
            )
            for text in ("yesterday", "2023-6-1", "20230601", "2023-02-30", "2023-06-01T00:00:00", "")
        ),
        (recipe_with("build.time-travel = 2023-06-01"), "build.time-travel", "is a date; write a string"),
        (
            recipe_with('build.ladder = ["as-off"]'),
            "build.ladder",
            "'as-off' is no way of building; did you mean 'as-of'?",
        ),
        (recipe_with('build.ladder = ["latest", "latest"]'), "build.ladder", "lists latest more than once; keep one"),
        (
            recipe_with("build.ladder = []"),
            "build.ladder",
            f"is empty; list some of {', '.join(Rung)}, or leave it out to try them all",
        ),
        (
            recipe_with('limits.memory = "8GB"'),
            "limits.memory",
            "'8GB' is no size; write a whole number and KiB, MiB or GiB, for example 512MiB",
        ),
        (recipe_with('limits.log = "1KiB"'), "limits.log", "is too low for any build: at least 64KiB"),
        (recipe_with('limits.time = "5s"'), "limits.time", "is too low for any build: at least 10s"),
        (
            recipe_with('limits.time = "soon"'),
            "limits.time",
            "'soon' is no length of time; write a whole number and s, m or h, for example 30m",
        ),
        (recipe_with("limits.processes = 1"), "limits.processes", "is too low for any build: at least 16"),
        (
            recipe_with('build."a b" = 1'),
            'build."a b"',
            "is unknown; known are constraints, extensions, ladder, network, patches, time-travel",
        ),
    ],
)
def test_single_mistakes(text: str, field: str, message: str) -> None:
    assert [(problem.field, problem.message) for problem in problems_of(DEFAULTS, foo=text)] == [(field, message)]


def test_limits_are_laid_over_each_other_one_by_one() -> None:
    """The defaults' beneath, a recipe's over them, an override's on top."""
    defaults = DEFAULTS + '\n[limits]\nmemory = "1GiB"\nlog = "1MiB"\n'
    text = recipe_with('[limits]\nlog = "2MiB"\ntime = "30m"\n[[overrides]]\nversions = "<1"\n[overrides.limits]\ncpus = 2\n')
    (recipe,) = parse_recipes(defaults, {"foo": text})
    beneath = Limits(memory=1 << 30, log=2 << 20, time=1800)
    limits = [settings_for(recipe, Version(version)).limits for version in ("1.0", "0.9")]
    assert limits == [beneath, replace(beneath, cpus=2)]


def test_what_an_override_lacks_is_said() -> None:
    text = recipe_with('[[overrides]]\n[overrides.build]\nextension = ["a"]\n')
    assert [(problem.field, problem.message) for problem in problems_of(DEFAULTS, foo=text)] == [
        ("overrides[0].versions", 'is missing: say which releases it is for, for example "<5"'),
        ("overrides[0].build.extension", "is unknown; did you mean 'extensions'?"),
    ]


def test_an_option_unknown_to_an_old_cibuildwheel_is_found_through_the_targets() -> None:
    """The merged targets count: cp36 in the recipe, the platforms in the defaults."""
    text = recipe_with('targets.pythons = ["cp36", "cp311"]\ncibuildwheel.test-sources = ["tests"]')
    (problem,) = problems_of(DEFAULTS, foo=text)
    assert (problem.field, problem.message) == (
        "cibuildwheel.test-sources",
        "cibuildwheel 2.23.3, which builds cp36-manylinux_x86_64, does not know it; "
        "leave it out, or leave that Python out of [targets]",
    )


FIELDS = [
    *("project", "reason", "versions", "demo", "priority", "prereleases", "min-age", "overrides"),
    *("targets.pythons", "targets.platforms", "targets.glibc", "build.constraints", "build.extensions", "system-packages.apt"),
    *("build.time-travel", "build.ladder"),
    *("cibuildwheel.before-all", "cibuildwheel.environment", "cibuildwheel.overrides", "cibuildwheel.linux"),
]
WORDS = st.sampled_from(["foo", "==1.0", "cp311", "manylinux_x86_64", "24h", "Cython<3", "", "\n", "-"])
VALUES = WORDS | st.integers() | st.booleans() | st.floats() | st.lists(WORDS | st.integers(), max_size=3)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8))
def test_no_input_makes_the_parser_raise_anything_else(fields: dict[str, object]) -> None:
    """Whatever types stand under the known keys: recipes, or problems."""
    lines = (f"{key} = {json.dumps(value) if not isinstance(value, float) else value}" for key, value in fields.items())
    with contextlib.suppress(RecipeError):
        (recipe,) = parse_recipes(DEFAULTS, {"foo": "\n".join(lines)})
        assert recipe.project == "foo"
