"""The proof of the pudding: a throw-away environment installs a wheel with pip over HTTP and imports it."""

import io
import os
import sys
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kiln_pipeline.adapters.processes import run_logged
from kiln_pipeline.adapters.tool_environments import pip_environment
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.errors import VerificationError


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What pip did: the command a person can repeat, and which file the module was imported from."""

    command: str
    imported: str


def install_and_import(release: Release, *, filename: str, modules: Sequence[str], index_url: str) -> Proof:
    """Install `release` from the index at `index_url` with pip and import `modules`.

    pip sees no other index and no configuration of the user's. Raises `VerificationError` when it takes another file than
    `filename`, or when anything fails.
    """
    with tempfile.TemporaryDirectory(prefix="kiln-proof-") as folder:
        home = Path(folder)
        venv.create(home / "venv", with_pip=True, symlinks=os.name != "nt")
        python = str(home / "venv" / "bin" / "python")
        environment = {**pip_environment(os.environ), "HOME": folder, "PIP_NO_CACHE_DIR": "1"}
        install = [python, "-m", "pip", "install", "--no-deps", "--report", f"{folder}/report.json"]
        log = home / "log"
        _run([*install, "--index-url", index_url, str(release)], environment, log, release)
        if filename not in (home / "report.json").read_text(encoding="utf-8"):
            raise VerificationError(subject=filename, reason="pip took another file", hint="see the project page in simple/")
        _run([python, "-c", "; ".join(f"import {module}" for module in modules)], environment, log, release)
    return Proof(command=f"pip install --index-url {index_url} {release}", imported=", ".join(modules))


def top_level_modules(wheel: bytes) -> tuple[str, ...]:
    """Return the names that a wheel lets one import: its top-level packages, modules and extension modules, sorted."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        names = archive.namelist()
    found: set[str] = set()
    for name in names:
        top, slash, rest = name.partition("/")
        if (slash and rest == "__init__.py") or (not slash and top.endswith((".py", ".so", ".pyd"))):
            found.add(top.partition(".")[0])
    return tuple(sorted(found))


def _run(command: list[str], environment: dict[str, str], log: Path, release: Release) -> None:
    if run_logged(command, cwd=log.parent, environment=environment, log=log, timeout=300) != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise VerificationError(
            subject=str(release),
            reason=f"{' '.join(command[1:4])} failed: {lines[-1] if lines else 'no output'}",
            hint=f"Python {sys.version.split()[0]} could not use the published wheel",
        )
