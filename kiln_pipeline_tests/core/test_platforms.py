"""The table of what cibuildwheel builds, against the data of the three versions themselves."""

import json
from pathlib import Path

import pytest

from kiln_pipeline.core.platforms import BuildIdentifier, Platform, all_identifiers, cibuildwheel_version

CAPTURED: dict[str, list[str]] = json.loads(
    (Path(__file__).parent.parent / "data" / "cibuildwheel_identifiers.json").read_text(encoding="utf-8")
)
"""cibuildwheel version -> every identifier in its resources/build-platforms.toml."""
NEWEST_FIRST = ("4.3.3", "3.4.1", "2.23.3")


def ours(identifiers: list[str]) -> set[str]:
    """The identifiers on platforms that kiln knows; GraalPy is no interpreter of kiln's."""
    return {i for i in identifiers if i.partition("-")[2] in list(Platform) and not i.startswith("gp")}


def test_every_identifier_gets_the_newest_version_that_has_it():
    expected = {i: next(v for v in NEWEST_FIRST if i in CAPTURED[v]) for v in NEWEST_FIRST for i in ours(CAPTURED[v])}
    assert {str(i): cibuildwheel_version(i) for i in all_identifiers()} == expected


@pytest.mark.parametrize("text", ["cp37-macosx_arm64", "cp36-macosx_arm64", "cp27-manylinux_x86_64", "pp311-musllinux_x86_64"])
def test_an_identifier_that_never_existed_has_no_version(text: str):
    assert cibuildwheel_version(BuildIdentifier.parse(text)) is None


def test_all_identifiers_are_sorted_and_unique():
    assert list(all_identifiers()) == sorted(set(all_identifiers()))
