"""The generated C sources of an unpacked sdist, found, and generated anew on this host or, as shell lines, in a container."""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kiln_pipeline.adapters.processes import Children, run_logged
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.core.cython_sources import (
    C_SUFFIXES,
    HEAD_SIZE,
    GeneratedSource,
    generate_command,
    generated_sources,
    uses_language_level_3,
)
from kiln_pipeline.core.platforms import PythonTag
from kiln_pipeline.core.strategies import cython_for

_CONTAINER_FOLDER = "/tmp/kiln-cython"  # noqa: S108 (a path in a container that nobody shares)


@dataclass(frozen=True, kw_only=True, slots=True)
class Regeneration:
    """What is generated anew, with which Cython: C source -> (version, arguments for ``python -m cython``)."""

    commands: Mapping[str, tuple[str, tuple[str, ...]]]

    @property
    def cythons(self) -> tuple[str, ...]:
        """The pins, ``cython==0.29.37``, sorted."""
        return tuple(sorted({f"cython=={version}" for version, _ in self.commands.values()}))


def plan_regeneration(source: Path, python: PythonTag, *, old_c_api: bool = False) -> Regeneration:
    """Return what of the sdist unpacked in `source` a Cython too old for `python` generated. Nothing is changed.

    `old_c_api`: with kiln's header for C API that is gone, older Cythons will do.
    """
    level_3 = any(uses_language_level_3(_text(source / name)) for name in ("setup.py", "setup.cfg", "pyproject.toml"))
    commands: dict[str, tuple[str, tuple[str, ...]]] = {}
    for found in find_generated(source):
        cython = cython_for(python, found.generated_by, old_c_api=old_c_api)
        if cython:
            commands[found.c] = (cython, generate_command(found, cython=cython, language_level_3=level_3))
    return Regeneration(commands=commands)


def find_generated(source: Path) -> Iterator[GeneratedSource]:
    """Yield the C sources under `source` that any Cython generated, with their .pyx beside them."""
    files = [Path(folder, name) for folder, _, names in os.walk(source) for name in names]
    regular = [path for path in files if path.is_file() and not path.is_symlink()]
    pyx = frozenset(path.relative_to(source).as_posix() for path in regular if path.suffix == ".pyx")
    heads = {path.relative_to(source).as_posix(): _head(path) for path in regular if pyx and path.suffix in C_SUFFIXES}
    packages = {path.parent.relative_to(source).as_posix() for path in regular if path.stem == "__init__"}
    return generated_sources(heads, pyx, frozenset(packages - {"."}))


def regenerate(
    what: Regeneration,
    source: Path,
    *,
    tools: ToolEnvironments,
    environment: Mapping[str, str],
    log: Path,
    timeout: float,
    children: Children | None = None,
) -> bool:
    """Generate anew on this host; False when a Cython refused, and then `log` has its words. Raises `ProcessStopped`."""
    for version, arguments in what.commands.values():
        python = tools.python(f"cython-{version}", (f"Cython=={version}",))
        command = [python, "-I", "-m", "cython", *arguments]
        if run_logged(command, cwd=source, environment=environment, log=log, timeout=timeout, children=children) != 0:
            return False
    return True


def container_commands(what: Regeneration) -> list[str]:
    """Return the shell commands that do the same in a container, in the copied project; they stop at the first failure."""
    lines: list[str] = []
    for pin in what.cythons:
        folder = f"{_CONTAINER_FOLDER}-{pin.partition('==')[2]}"
        # the constraints are on build requirements, which this is none of, and their file comes later
        pip = f"env -u PIP_CONSTRAINT -u PIP_BUILD_CONSTRAINT {folder}/bin/python -m pip"
        lines.append(f"python -m venv {folder} && {pip} install --quiet --no-deps {pin}")
    for version, arguments in what.commands.values():
        lines.append(f"cd {{project}} && {_CONTAINER_FOLDER}-{version}/bin/python -I -m cython {shlex.join(arguments)}")
    return lines


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_SIZE)
