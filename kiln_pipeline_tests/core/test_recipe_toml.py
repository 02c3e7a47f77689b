"""Recipes from TOML: one whole good recipe, one file with a dozen mistakes, and what the checks let through or stop."""

import hashlib
from datetime import timedelta
from types import MappingProxyType

import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core.platforms import Floors, Platform, PythonTag
from kiln_pipeline.core.recipe_toml import parse_recipes
from kiln_pipeline.core.recipes import BuildSettings, Override, Recipe, SettingsLayer
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

[targets]
pythons = ["cp310", "cp313t"]
platforms = ["manylinux_x86_64", "musllinux_aarch64"]
glibc = "2.17"
macos-x86_64 = "10.9"

[build]
constraints = ["Cython<3", "setuptools<66; python_version < '3.12'"]
extensions = ["yaml._yaml"]

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
[overrides.system-packages]
dnf = []
[overrides.cibuildwheel]
test-command = ""
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
    text = f"{DEFAULTS}\n{GOOD}"
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
            system_packages=MappingProxyType({"dnf": ("libyaml-devel",), "brew": ("libyaml", "openssl@3")}),
        ),
        overrides=(
            Override(
                versions=(SpecifierSet("<5"),),
                settings=SettingsLayer(
                    cibuildwheel=MappingProxyType({"test-command": ""}),
                    constraints=(),
                    system_packages=MappingProxyType({"dnf": ()}),
                ),
            ),
        ),
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    assert parse_recipes(DEFAULTS, {"pyyaml": GOOD}) == (expected,)


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
        ("homepage", "is unknown; known are build, cibuildwheel, demo, min-age, overrides, prereleases, priority, project, "
         "reason, system-packages, targets, versions"),
    )  # fmt: skip
    assert problems_of(DEFAULTS, pyyaml=BAD) == tuple(Problem(file=file, field=field, message=text) for field, text in expected)
