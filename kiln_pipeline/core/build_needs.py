"""What a failed build says it needs of its build requirements: one that its sdist does not name, or an older setuptools. Pure.

The signs are data. A requirement is only added when an interpreter or a compiler missed it, and only of the projects that are
known here as build tools; a bound on setuptools only for what a release of it took away.
"""

import re
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_TAIL = 80
"""Lines at the end of a log in which the cause stands; a requirement that was missed earlier was an optional one."""

_PROJECTS = {
    "Cython": "Cython",
    "pyximport": "Cython",
    "numpy": "numpy",
    "cffi": "cffi",
    "pybind11": "pybind11",
    "pkgconfig": "pkgconfig",
    "setuptools": "setuptools",
    "pkg_resources": "setuptools",
    "distutils": "setuptools",
    "setuptools_scm": "setuptools-scm",
    "setuptools_rust": "setuptools-rust",
    "skbuild": "scikit-build",
    "wheel": "wheel",
    "packaging": "packaging",
    "six": "six",
    "jinja2": "Jinja2",
    "cppy": "cppy",
    "pytest_runner": "pytest-runner",
    "extension_helpers": "extension-helpers",
    "imp": "zombie-imp",  # a copy of what Python 3.12 took away, by one of its core developers
}
"""Module -> the project that has it."""

_ADDED = (
    (re.compile(r"unknown file type '\.pyx'"), "Cython"),
    (re.compile(r"needs to generate C files with Cython but it cannot"), "Cython"),
    (re.compile(r"\bCython (?:>=? ?[\d.]+ )?(?:is |was )?(?:required|needed|not (?:found|installed|available))", re.I), "Cython"),
    (re.compile(r"[Pp]lease install [Cc]ython\b"), "Cython"),
    (re.compile(r"\b(?:gcc|g\+\+|cc1|cc1plus|clang|cc|c\+\+|zig): (?:fatal )?error: \S+\.(?:c|cpp|cxx): No such file"), "Cython"),
    (re.compile(r"fatal error: numpy/\w+\.h: No such file|'numpy/\w+\.h' file not found"), "numpy"),
    (re.compile(r"[Pp]lease install [Nn]um[Pp]y\b"), "numpy"),
    (re.compile(r"error: invalid command 'bdist_wheel'"), "wheel"),
)
_MODULE = re.compile(r"(?:ModuleNotFoundError|ImportError): No module named '?(?P<name>\w+)")

_BOUNDS = (
    (re.compile(r"cannot import name '?Feature'? from '?setuptools|module 'setuptools' has no attribute 'Feature'"), 46),
    (re.compile(r"use_2to3 is invalid"), 58),
    (re.compile(r"packaging\.version\.InvalidVersion|Invalid version: '"), 66),
    (re.compile(r"No module named '?setuptools\.command\.test\b|cannot import name '?test'? from '?setuptools\.command"), 72),
    (re.compile(r"No module named '?distutils\.msvccompiler|cannot import name '?msvccompiler"), 74),
    (re.compile(r"No module named '?pkg_resources"), 82),
)
"""What a setup.py misses -> the setuptools that took it away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """PEP 508: requirements to add to those that the sdist names, and bounds on whatever is installed. Sorted."""

    adds: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.adds or self.constraints)

    def beyond(self, *, adds: tuple[str, ...], constraints: tuple[str, ...]) -> "Needs":
        """Return what of this is new to a build that had these."""
        had, bounded = _names(adds), _names(constraints)
        return Needs(
            adds=tuple(line for line in self.adds if canonicalize_name(line) not in had),
            constraints=tuple(line for line in self.constraints if _name(line) not in bounded),
        )


def needs_of(log: str) -> Needs:
    """Return what a failed build's log asks for; nothing when it does not say."""
    tail = "\n".join(log.rstrip().splitlines()[-_TAIL:])
    bound = min((version for pattern, version in _BOUNDS if pattern.search(tail)), default=None)
    adds = {project for pattern, project in _ADDED if pattern.search(tail)}
    adds |= {_PROJECTS[match["name"]] for match in _MODULE.finditer(tail) if match["name"] in _PROJECTS}
    return Needs(adds=tuple(sorted(adds)), constraints=(f"setuptools<{bound}",) if bound else ())


def _name(line: str) -> str:
    return canonicalize_name(Requirement(line).name)


def _names(lines: tuple[str, ...]) -> set[str]:
    return {_name(line) for line in lines}
