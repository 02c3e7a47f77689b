"""The folder of compiler commands and the environment that make a build use zig and nothing of this host. Runs nothing."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from kiln_pipeline.adapters import zig_compiler

_C = ("cc", "gcc", "clang", "c99")
_CXX = ("c++", "g++", "clang++")
_PLAIN = ("ar", "ranlib")


def write_wrappers(folder: Path, *, python: Path, zig: Path, target: str, source: Path, more_headers: Path | None = None) -> None:
    """Write ``cc``, ``c++``, ``ar`` and their other usual names into `folder`, so that none leads to the host's.

    `more_headers` are the interpreter's that it includes from where the C library's are: zig brings its own of these, so they
    are copied to where nothing else is.
    """
    folder.mkdir()
    if more_headers is not None:
        shutil.copytree(more_headers, folder / zig_compiler.HEADERS / more_headers.parent.name / more_headers.name)
    script = str(folder / "zig_compiler.py")  # a copy, since a jailed build sees nothing of kiln's own folder
    shutil.copyfile(zig_compiler.__file__, script)
    for names, language in ((_C, "cc"), (_CXX, "c++")):
        words = [str(python), "-I", "-S", script, str(zig), language, target, str(source)]
        for name in names:
            _write(folder / name, words)
    for name in _PLAIN:
        _write(folder / name, [str(zig), name])


def _write(path: Path, words: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)


COMPILER_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "CC": "cc",
        "CXX": "c++",
        "LDSHARED": "cc -shared",
        "LDCXXSHARED": "c++ -shared",
        "AR": "ar",
        "ARFLAGS": "rcsD",
        "RANLIB": "ranlib",
    }
)
"""The variables by which setuptools, CMake, meson and make find the wrappers: by bare names, since the folder may have spaces.

LDSHARED must be stated: Python's own would bring the interpreter's rpath into the wheel. Archives are made with D, without time
stamps.
"""
