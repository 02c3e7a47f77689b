"""What a failed log asks for, and how it gets into a pyproject.toml."""

import tomllib

import pytest

from kiln_pipeline.core.build_needs import Needs, needs_of
from kiln_pipeline.core.pyproject import with_requirements


@pytest.mark.parametrize(
    ("line", "adds", "constraints"),
    [
        ("ModuleNotFoundError: No module named 'numpy'", ("numpy",), ()),
        ("ImportError: No module named Cython.Build", ("Cython",), ()),
        ("ModuleNotFoundError: No module named 'setuptools_scm'", ("setuptools-scm",), ()),
        ("ModuleNotFoundError: No module named 'distutils'", ("setuptools",), ()),
        ("ModuleNotFoundError: No module named 'imp'", ("zombie-imp",), ()),
        ("error: unknown file type '.pyx' (from 'a.pyx')", ("Cython",), ()),
        ("a.c:4:10: fatal error: numpy/arrayobject.h: No such file or directory", ("numpy",), ()),
        ("cc1: fatal error: pkg/a.c: No such file or directory", ("Cython",), ()),
        ("error: invalid command 'bdist_wheel'", ("wheel",), ()),
        ("RuntimeError: Cython is required to build this package", ("Cython",), ()),
        ("error in anyjson setup command: use_2to3 is invalid.", (), ("setuptools<58",)),
        ("ImportError: cannot import name 'Feature' from 'setuptools' (/x)", (), ("setuptools<46",)),
        ("ModuleNotFoundError: No module named 'pkg_resources'", ("setuptools",), ("setuptools<82",)),
        ("ImportError: cannot import name 'msvccompiler' from 'distutils'", (), ("setuptools<74",)),
        ("ModuleNotFoundError: No module named 'mine'", (), ()),
        ("a.c:4:10: fatal error: yaml.h: No such file or directory", (), ()),
        ("", (), ()),
    ],
)
def test_what_a_log_asks_for(line: str, adds: tuple[str, ...], constraints: tuple[str, ...]) -> None:
    """Only build tools that are known as such, and only what some setuptools took away."""
    assert needs_of(f"running build_ext\n{line}\n") == Needs(adds=adds, constraints=constraints)


def test_a_module_that_was_missed_long_before_the_end_was_an_optional_one() -> None:
    assert not needs_of("ModuleNotFoundError: No module named 'numpy'\n" + "compiling\n" * 100)


def test_what_was_given_is_not_asked_for_again() -> None:
    """By the project's name, however it is written and bounded."""
    needs = needs_of("No module named 'x'\nModuleNotFoundError: No module named 'Cython'\nuse_2to3 is invalid")
    assert needs.beyond(adds=("cython==0.29.21",), constraints=()) == Needs(constraints=("setuptools<58",))
    assert not needs.beyond(adds=("Cython",), constraints=("setuptools<46",))


@pytest.mark.parametrize(
    ("text", "requires"),
    [
        ("", ["numpy", "setuptools", "wheel"]),
        ("[tool.black]\nline-length = 100\n", ["numpy", "setuptools", "wheel"]),
        ('[build-system]\nrequires = ["setuptools>=40"]\nbuild-backend = "setuptools.build_meta"\n', ["numpy", "setuptools>=40"]),
        ('[project]\nname = "x"\n\n[build-system] # so\nrequires=[\n  "a",\n  "b",\n]\n', ["numpy", "a", "b"]),
        ("[build-system]\nrequires = []\n", ["numpy"]),
    ],
)
def test_a_requirement_is_added_and_everything_else_kept(text: str, requires: list[str]) -> None:
    """A source tree without [build-system] gets what PEP 517 says of it."""
    before, after = tomllib.loads(text), tomllib.loads(with_requirements(text, ["numpy"]))
    assert after["build-system"]["requires"] == requires
    assert {key: value for key, value in after.items() if key != "build-system"} == {
        key: value for key, value in before.items() if key != "build-system"
    }


@pytest.mark.parametrize("text", ["[build-system]\nx = 1\n", "[build-system]\n[tool]\nrequires = [\n]\n", "[build-system\n"])
def test_what_cannot_be_added_to_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_requirements(text, ["numpy"])
