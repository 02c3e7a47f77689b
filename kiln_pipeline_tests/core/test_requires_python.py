"""Requires-Python by range intersection with 3.X, any patch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core.requires_python import admits


@pytest.mark.parametrize(
    ("requires_python", "minor", "expected"),
    [
        ("", 11, True),
        (">=3.8", 8, True),
        (">=3.8", 7, False),
        (">=3.8.1", 8, True),
        (">3.8", 8, True),
        ("<3.8.2", 8, True),
        ("<=3.8", 8, True),
        ("<3.8", 8, False),
        ("==3.8", 8, True),
        ("==3.8.7", 8, True),
        ("!=3.8", 8, True),
        ("!=3.8.*", 8, False),
        (">=3.8,!=3.9.*,<4", 9, False),
        (">=3.8.5,<3.8.5", 8, False),
        (">=3.8.5,<=3.8.5,!=3.8.5", 8, False),
        ("~=3.8.4", 8, True),
        ("~=3.8.4", 9, False),
        ("~=3.8", 9, True),
        (">=2.7, !=3.0.*, !=3.1.*", 11, True),
        (">=3.15", 15, True),
        (">=3.15.0rc1", 15, True),
        (">=3.5.*", 11, True),
        ("nonsense", 11, True),
        (" ", 11, True),
        (">=4294967296", 11, False),
        (">=3.11.99999999999", 11, True),
        (">=3." + "9" * 900, 11, False),
        (">=3." + "9" * 9000, 11, True),
    ],
)
def test_some_patch_release_is_enough(requires_python: str, minor: int, expected: bool):
    assert admits(requires_python, 3, minor) is expected


_CLAUSES = st.builds(
    "{}3.{}{}".format,
    st.sampled_from([">=", "<=", ">", "<", "==", "!=", "~="]),
    st.integers(7, 9),
    st.one_of(st.just(""), st.builds(".{}".format, st.integers(0, 6))),
)


@given(st.lists(_CLAUSES, min_size=1, max_size=4), st.integers(6, 10))
def test_it_equals_asking_every_patch_release(clauses: list[str], minor: int):
    text = ",".join(clauses)
    specifiers = SpecifierSet(text)
    assert admits(text, 3, minor) == any(specifiers.contains(f"3.{minor}.{patch}") for patch in range(20))
