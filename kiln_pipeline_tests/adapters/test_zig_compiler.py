"""What the compiler wrapper makes of the arguments that real Pythons' build settings hold."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kiln_pipeline.adapters import zig_compiler
from kiln_pipeline.adapters.zig_compiler import compiler_arguments, language_of
from kiln_pipeline.adapters.zig_wrappers import COMPILER_ENVIRONMENT, write_wrappers

TARGET = "x86_64-linux-gnu.2.17"
COMPILE_END = ["-fno-sanitize=undefined", "-g0", "-ffile-prefix-map=/work/source=."]


def test_a_compile_of_a_python_built_from_source() -> None:
    """Optimised, without the sanitizer, without debug information and without the source's path."""
    given = shlex.split("-Wsign-compare -DNDEBUG -g -fwrapv -O3 -Wall -fPIC -I/py/include -c a.c -o a.o")
    kept = shlex.split("-Wsign-compare -DNDEBUG -fwrapv -O3 -Wall -fPIC -I/py/include -c a.c -o a.o")
    assert compiler_arguments(given, target=TARGET, source="/work/source") == ["-target", TARGET, *kept, *COMPILE_END]


def test_a_link_of_a_distributions_python() -> None:
    """What GNU ld knows and zig does not is left out, and so is the interpreter's rpath; the result is stripped."""
    given = shlex.split(
        "-shared -Wl,-O1 -Wl,-Bsymbolic-functions -g -fwrapv -O2 -Wl,-rpath,/opt/python/lib -Wl,--exclude-libs,ALL"
        " -Wl,-Map=x.map -Xlinker --export-dynamic -march=x86-64-v2 -flto=auto -L/usr/lib a.o -lm -o a.so"
    )
    kept = shlex.split("-shared -Wl,-O1 -fwrapv -O2 -L/usr/lib a.o -lm -o a.so")
    assert compiler_arguments(given, target=TARGET, source="/work/source") == ["-target", TARGET, *kept, *COMPILE_END, "-s"]


@pytest.mark.parametrize("level", ["-O0", "-Og", ""])
def test_nothing_is_built_unoptimised(level: str) -> None:
    """Zig's own default is a debug build with the undefined-behaviour sanitizer."""
    arguments = compiler_arguments([*level.split(), "-c", "a.c"], target=TARGET, source="/s")
    assert [word for word in arguments if word.startswith("-O")] == ["-O2"]


def test_gccs_questions_are_answered_as_gcc_does_for_a_file_it_lacks(tmp_path: Path) -> None:
    """Some setup.py ask for libgomp or libstdc++ this way; zig does not know the question."""
    command = [
        sys.executable,
        "-I",
        "-S",
        zig_compiler.__file__,
        "/no/zig",
        "cc",
        TARGET,
        str(tmp_path),
        "-print-file-name=libm.a",
    ]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "libm.a\n"


@pytest.mark.parametrize(
    ("command", "words", "language"),
    [
        ("cc", "-c a.cpp -o a.o", "c++"),
        ("cc", "-c a.c -o a.cpp.o -I/x.cc/include", "cc"),
        ("c++", "-shared a.o -o a.so", "c++"),
    ],
)
def test_c_plus_plus_sources_get_its_headers_from_any_command(command: str, words: str, language: str) -> None:
    """setuptools before 72 compiles them with CC, as gcc lets it."""
    assert language_of(command, words.split()) == language


def test_every_usual_name_of_a_compiler_is_a_wrapper(tmp_path: Path) -> None:
    """``gcc`` in a Makefile must not find the host's; the program lies beside them, for the jail; arguments arrive whole."""
    zig = tmp_path / "a zig's folder" / "zig"
    zig.parent.mkdir()
    zig.write_text('#!/bin/sh\nfor word in "$@"; do echo "[$word]"; done\n')
    zig.chmod(0o755)
    write_wrappers(tmp_path / "bin", python=Path(sys.executable), zig=zig, target=TARGET, source=tmp_path / "source")
    names = sorted(path.name for path in (tmp_path / "bin").iterdir())
    assert names == ["ar", "c++", "c99", "cc", "clang", "clang++", "g++", "gcc", "ranlib", "zig_compiler.py"]
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.defpath}"}
    stated = {value.split()[0] for name, value in COMPILER_ENVIRONMENT.items() if name != "ARFLAGS"}
    assert stated <= set(names)
    answer = subprocess.run(["g++", "-c", '-DX="a b"', "x.cc"], env=environment, capture_output=True, check=True, text=True)
    assert answer.stdout.splitlines()[:6] == ["[c++]", "[-target]", f"[{TARGET}]", "[-c]", '[-DX="a b"]', "[x.cc]"]


def test_headers_that_debian_keeps_apart_are_found_and_nothing_else_of_the_host_is(tmp_path: Path) -> None:
    """Its pyconfig.h includes another one from beside the C library's headers, which must not be searched: zig has its own."""
    zig = tmp_path / "zig"
    zig.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    zig.chmod(0o755)
    more = tmp_path / "include" / "x86_64-linux-gnu" / "python3.11"
    more.mkdir(parents=True)
    (more / "pyconfig.h").write_text("/* the machine's */\n")
    (more.parent / "features.h").write_text("/* the C library's */\n")
    folder = tmp_path / "bin"
    write_wrappers(folder, python=Path(sys.executable), zig=zig, target=TARGET, source=tmp_path, more_headers=more)
    answer = subprocess.run([folder / "cc", "-c", "x.c"], capture_output=True, check=True, text=True).stdout.splitlines()
    searched = Path(answer[answer.index("-idirafter") + 1])
    assert [path.relative_to(searched).as_posix() for path in searched.rglob("*.h")] == ["x86_64-linux-gnu/python3.11/pyconfig.h"]
