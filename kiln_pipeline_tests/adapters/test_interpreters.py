"""Which interpreters a host has."""

import os
import sys
from pathlib import Path

import pytest

from kiln_pipeline.adapters.interpreters import find_interpreters
from kiln_pipeline.core.platforms import PythonTag


def test_the_running_interpreter_is_found() -> None:
    """With its full version; each tag once, in order."""
    found = find_interpreters()
    here = next(item for item in found if item.tag.minor == sys.version_info[1] and not item.tag.free_threaded)
    assert here.version == ".".join(map(str, sys.version_info[:3]))
    assert [item.tag for item in found] == sorted({item.tag for item in found})


def test_what_is_no_python_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation on PATH, an implementation that is not CPython, and one without headers."""
    answers = {
        "python3.98": "exit 127",
        "python3.97": "echo nonsense",
        "python3.96": "echo '{}'",
        "python3.95": answer(3, 95, implementation="pypy"),
        "python3.94": answer(3, 94, release="candidate"),
        "python3.93": answer(3, 93, headers=False),
        "python3.92t": answer(3, 92, free_threaded=True),
        "python3.91-config": answer(3, 91),
    }
    for name, script in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{tmp_path / 'none'}")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = {str(item.tag): item.has_headers for item in find_interpreters() if item.path.parent == tmp_path}
    assert found == {"cp393": False, "cp392t": True}


def answer(
    major: int,
    minor: int,
    *,
    implementation: str = "cpython",
    release: str = "final",
    headers: bool = True,
    free_threaded: bool = False,
) -> str:
    """Return a shell command that answers as that interpreter would."""
    facts = (
        f'{{"implementation": "{implementation}", "version": [{major}, {minor}, 0], "machine": "{os.uname().machine}",'
        f' "free_threaded": {str(free_threaded).lower()}, "release": "{release}",'
        f' "prefix": "/nowhere", "headers": {str(headers).lower()}, "more_headers": ""}}'
    )
    return f"echo '{facts}'"


def test_managed_interpreters_are_found_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pyenv and uv installed, though it is not on PATH."""
    for folder, minor in ((".pyenv/versions/3.90.0", 90), (".local/share/uv/python/cpython-3.89.0-linux", 89)):
        path = tmp_path / folder / "bin" / "python3"
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{answer(3, minor)}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("HOME", str(tmp_path))
    tags = {item.tag for item in find_interpreters()}
    expected = {PythonTag(implementation="cp", major=3, minor=90), PythonTag(implementation="cp", major=3, minor=89)}
    assert expected <= tags
