"""Which CPython interpreters this host has, and whether extensions can be compiled for them. Installs nothing."""

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kiln_pipeline.adapters.processes import capture
from kiln_pipeline.core.platforms import PythonTag

_QUESTION = """
import json, os, sys, sysconfig
include = sysconfig.get_paths()["include"]
more = os.path.join(os.path.dirname(include), sysconfig.get_config_var("MULTIARCH") or "", os.path.basename(include))
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "machine": os.uname().machine,
    "release": sys.version_info.releaselevel,
    "prefix": sys.base_prefix,
    "headers": os.path.isfile(os.path.join(include, "Python.h")),
    "more_headers": more if more != include and os.path.isdir(more) else "",
}))
"""
_NAME = re.compile(r"python3\.\d+t?")
_MANAGED = (".pyenv/versions/*/bin/python3", ".local/share/uv/python/cpython-*/bin/python3")


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """One CPython of this host, of this host's machine."""

    tag: PythonTag
    version: str
    """Full, for example ``3.11.7``."""
    path: Path
    prefix: Path
    """The folder of its own installation: what a build that uses it reads."""
    has_headers: bool
    """Whether ``Python.h`` is installed."""
    more_headers: Path | None = None
    """Debian keeps apart what depends on the machine: ``x86_64-linux-gnu/python3.11`` among those of the C library."""


def find_interpreters() -> tuple[Interpreter, ...]:
    """Return one interpreter for each Python tag, sorted by tag.

    Looked at, in this order: the running interpreter, ``python3.X`` on ``PATH``, and what pyenv and uv keep in the home folder.
    The first with headers wins. Pre-releases and other implementations than CPython are left out.
    """
    found: dict[PythonTag, Interpreter] = {}
    for path in {path.resolve(): path for path in _candidates()}.values():
        interpreter = _ask(path)
        if interpreter is None:
            continue
        known = found.get(interpreter.tag)
        if known is None or (interpreter.has_headers and not known.has_headers):
            found[interpreter.tag] = interpreter
    return tuple(found[tag] for tag in sorted(found))


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    for folder in os.get_exec_path():
        if Path(folder).is_dir() and Path(folder).name != "shims":  # pyenv's: slow, and mostly not installed
            yield from sorted(path for path in Path(folder).glob("python3.*") if _NAME.fullmatch(path.name))
    for pattern in _MANAGED:
        yield from sorted(Path.home().glob(pattern), reverse=True)


def _ask(path: Path) -> Interpreter | None:
    if shutil.which(path) is None:
        return None
    answer = capture([path, "-I", "-S", "-c", _QUESTION], environment={"PATH": os.defpath, "HOME": str(Path.home())}, timeout=20)
    try:
        facts = json.loads(answer or "null")
    except ValueError:
        return None
    if not facts or facts["implementation"] != "cpython" or facts["machine"] != platform.machine() or facts["release"] != "final":
        return None
    major, minor, _ = facts["version"]
    return Interpreter(
        tag=PythonTag(implementation="cp", major=major, minor=minor, free_threaded=facts["free_threaded"]),
        version=".".join(map(str, facts["version"])),
        path=path,
        prefix=Path(facts["prefix"]),
        has_headers=facts["headers"],
        more_headers=Path(facts["more_headers"]) if facts["more_headers"] else None,
    )
