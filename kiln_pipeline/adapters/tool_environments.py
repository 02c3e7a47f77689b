"""Virtual environments for the tools that build wheels, one per pin, made once and kept. Knows no tool's options.

A virtual environment cannot be renamed, since its scripts name its folder. So it is made in place, under a lock, and counts
only once a marker file is in it; one without the marker was interrupted and is made anew.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from kiln_pipeline.adapters.processes import Children, passed_through, run_logged
from kiln_pipeline.core.rebuilds import Obstacle
from kiln_pipeline.errors import BuildError, NotRebuildable

_MARKER = "kiln-complete.json"
_NO_SUCH_PIN = "No matching distribution found"
"""What pip says, in its last lines, of a version that the index does not have."""


def pip_environment(host: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a pip that no user setting reaches: no configuration file, no ``PIP_*`` but the certificate."""
    return {**passed_through(host), "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


class ToolEnvironments:
    """Makes and finds the environments under one folder: ``<folder>/<name>/``, for example ``cibuildwheel-4.3.3``."""

    def __init__(
        self, folder: Path, *, endpoint: str, host: Mapping[str, str], timeout: float = 900, children: Children | None = None
    ) -> None:
        """`endpoint` is the simple index to install from, `timeout` the seconds that an installation may take.

        An installation under way is ended with `children`, those of the builder that wants the tools.
        """
        self._folder, self._endpoint, self._timeout, self._children = folder.absolute(), endpoint, timeout, children
        self._environment = pip_environment(host)

    def python(self, name: str, requirements: tuple[str, ...]) -> Path:
        """Return the Python of the environment `name` with exactly these pinned requirements, making it when there is none.

        Raises `BuildError` with pip's last lines when it cannot be made.
        """
        target = self._folder / name
        wanted = json.dumps({"python": sys.version.split()[0], "requirements": requirements}, indent=1)
        if not _is_complete(target, wanted):
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / f"{name}.lock"):
                if not _is_complete(target, wanted):
                    self._make(target, requirements)
                    (target / _MARKER).write_text(wanted)
        return target / "bin" / "python"

    def recorded(self, name: str, requirements: tuple[str, ...]) -> Path:
        """Do as `python`, for pins that are on record: raises `NotRebuildable` when the index no longer has one of them."""
        try:
            return self.python(name, requirements)
        except BuildError as error:
            if _NO_SUCH_PIN not in error.reason:
                raise
            raise NotRebuildable(subject=error.subject, obstacle=Obstacle.TOOL_GONE, reason=error.reason) from error

    def _make(self, target: Path, requirements: tuple[str, ...]) -> None:
        shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="kiln-tools-") as scratch:
            log = Path(scratch, "log")
            install = ["-m", "pip", "install", "--no-cache-dir", "--index-url", self._endpoint, *requirements]
            for command in ([sys.executable, "-m", "venv", target], [target / "bin" / "python", *install]):
                status = run_logged(
                    command, cwd=Path(scratch), environment=self._environment, log=log, timeout=self._timeout,
                    children=self._children,
                )  # fmt: skip
                if status != 0:
                    tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
                    reason = f"cannot install {' '.join(requirements)}: {tail}"
                    raise BuildError(subject=target.name, reason=reason, hint="is the package index reachable from this host?")


def _is_complete(target: Path, wanted: str) -> bool:
    marker = target / _MARKER
    return marker.is_file() and marker.read_text() == wanted and (target / "bin" / "python").exists()
