"""What a recipe wants, and the merge of its overrides."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipes import BuildSettings, Override, Recipe, SettingsLayer, merged, settings_for

KEYS = st.sampled_from(["a", "b", "c"])
LEAVES = st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2)
TABLES = st.recursive(st.dictionaries(KEYS, LEAVES), lambda below: st.dictionaries(KEYS, LEAVES | below), max_leaves=8)


def leaves(table: dict[str, object], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """Every value that is no table (or an empty one), under its path."""
    result: dict[tuple[str, ...], object] = {}
    for key, value in table.items():
        result |= leaves(value, (*path, key)) if isinstance(value, dict) and value else {(*path, key): value}
    return result


def recipe(*overrides: Override, settings: BuildSettings = BuildSettings()) -> Recipe:
    return Recipe(
        project="foo",
        reason="old",
        versions=(SpecifierSet("==1.0"), SpecifierSet(">=2,<3")),
        pythons=(PythonTag.parse("cp311"),),
        platforms=(Platform.MANYLINUX_X86_64,),
        settings=settings,
        overrides=overrides,
    )


@given(TABLES, TABLES)
def test_what_is_above_wins_and_what_it_does_not_touch_stays(below: dict[str, object], above: dict[str, object]) -> None:
    """Every value above is in the result; a value below stays unless one above stands at, over or under its path."""
    result, high, low = leaves(merged(below, above)), leaves(above), leaves(below)
    untouched = {p: v for p, v in low.items() if not any(p[: len(q)] == q or q[: len(p)] == p for q in high)}
    stated = {p: v for p, v in high.items() if v != {}}
    assert {path: result.get(path) for path in untouched | stated} == untouched | stated
    assert set(result) <= set(low) | set(high)


@given(TABLES, TABLES)
def test_laying_the_same_over_it_again_changes_nothing(below: dict[str, object], above: dict[str, object]) -> None:
    once = merged(below, above)
    assert (merged(once, above), merged(below, {}), merged({}, above)) == (once, below, above)


def test_the_merge_leaves_its_inputs_alone() -> None:
    below = {"environment": {"A": "1"}}
    assert merged(below, {"environment": {"B": "2"}}) == {"environment": {"A": "1", "B": "2"}}
    assert below == {"environment": {"A": "1"}}


@pytest.mark.parametrize(
    ("version", "wanted"), [("1.0", True), ("1.5", False), ("2.5", True), ("2.0rc1", False), ("2.5rc1", True)]
)
def test_versions_are_a_union(version: str, wanted: bool) -> None:
    assert recipe().wants(Version(version)) is wanted


def test_overrides_are_laid_over_in_order() -> None:
    """Only those that admit the version; later ones win; tables merge, lists replace, what is not named stays."""
    beneath = BuildSettings(
        cibuildwheel=MappingProxyType({"environment": {"A": "1", "B": "1"}, "test-command": "true"}),
        constraints=("Cython<3",),
        extensions=("foo._a",),
        system_packages=MappingProxyType({"apt": ("libfoo-dev",), "dnf": ("foo-devel",)}),
    )
    old = Override(
        versions=(SpecifierSet("<2"),),
        settings=SettingsLayer(
            cibuildwheel=MappingProxyType({"environment": {"B": "2", "C": "2"}}),
            constraints=("setuptools<60",),
            system_packages=MappingProxyType({"apt": ()}),
        ),
    )
    oldest = Override(
        versions=(SpecifierSet("==0.1"), SpecifierSet("==1.0")),
        settings=SettingsLayer(cibuildwheel=MappingProxyType({"environment": {"C": "3"}}), constraints=()),
    )
    subject = recipe(old, oldest, settings=beneath)
    assert settings_for(subject, Version("2.1")) == beneath
    assert settings_for(subject, Version("1.0")) == BuildSettings(
        cibuildwheel=MappingProxyType({"environment": {"A": "1", "B": "2", "C": "3"}, "test-command": "true"}),
        constraints=(),
        extensions=("foo._a",),
        system_packages=MappingProxyType({"apt": (), "dnf": ("foo-devel",)}),
    )
