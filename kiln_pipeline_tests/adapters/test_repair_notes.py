"""The notes around a repair step, by the program as it runs in a container: alone, with a Python of any age."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kiln_pipeline.adapters import repair_notes
from kiln_pipeline.core.repair_log import bundled_origins, unrepaired_wheel

OWNER = 'echo "$3 is owned by musl-1.2.5-r0"'
LICENCE = r"printf 'musl-1.2.5-r0 license:\nMIT\n'"


def run(*words: str | Path, path: str = os.defpath, python: str = sys.executable) -> str:
    """Run the program as a build does, and return what it prints."""
    command = [python, "-I", "-S", repair_notes.__file__, *map(str, words)]
    return subprocess.run(command, env={"PATH": path}, check=True, capture_output=True, text=True).stdout


def wheel(folder: Path, *members: str) -> Path:
    path = folder / "a-1-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, name)
    return path


def manager(folder: Path, name: str, script: str) -> None:
    """Put a package manager that says what a real one said into `folder`."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_the_wheel_before_the_repair(tmp_path: Path):
    """By name and hash, as `core.repair_log` reads it."""
    path = wheel(tmp_path, "a.so")
    found = unrepaired_wheel(run("before", path))
    assert found is not None
    assert (found.name, found.sha256) == (path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="this host has no dpkg")
def test_a_library_of_this_debian_system(tmp_path: Path):
    """The C library itself, which every Debian has, under the name that auditwheel would give it."""
    wheel(tmp_path, "a.libs/libc-0123abcd.so.6", "a.libs/libnobody-0123abcd.so.1", "a/own.so")
    (found,) = bundled_origins(run("after", tmp_path)).items()
    assert (found[0], found[1].package) == ("libc-0123abcd.so.6", "libc6")
    assert found[1].purl.startswith(f"pkg:deb/debian/libc6@{found[1].version}?arch=")


@pytest.mark.parametrize(
    ("programs", "purl", "licence"),
    [
        (
            {"rpm": "printf 'glibc\\t2.28-251.el8\\tLGPLv2+\\tx86_64\\n'"},
            "pkg:rpm/debian/glibc@2.28-251.el8?arch=x86_64",
            "LGPLv2+",
        ),
        (
            {"apk": f"case $2 in --who-owns) {OWNER};; *) {LICENCE};; esac"},
            None,
            "MIT",
        ),
    ],
)
def test_other_package_managers(tmp_path: Path, programs: dict[str, str], purl: str | None, licence: str):
    """What rpm of AlmaLinux and apk of Alpine answer, asked by this program."""
    (tmp_path / "bin").mkdir()
    for name, script in programs.items():
        manager(tmp_path / "bin", name, script)
    wheel(tmp_path, "a.libs/libc-0123abcd.so.6")
    (origin,) = bundled_origins(run("after", tmp_path, path=str(tmp_path / "bin"))).values()
    assert origin.license == licence
    assert purl in (None, origin.purl)


def test_a_failure_of_its_own_fails_no_build(tmp_path: Path):
    """A wheel that is none is noted and left to the checks that follow."""
    (tmp_path / "a.whl").write_text("no zip")
    assert run("after", tmp_path).startswith("kiln: the repair step could not be noted: BadZipFile")
