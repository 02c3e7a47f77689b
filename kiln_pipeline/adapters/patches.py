"""Patches laid over an unpacked sdist by the git program: whole or not at all, no fuzz, no path outside.

What they may say stands in `core.patches`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from kiln_pipeline.adapters.processes import passed_through, run_logged
from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.patches import Patch, patched_files

_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}


class PatchRefused(Exception):
    """A patch does not fit the sdist; the text says why, in one line."""


def patch_refused(error: PatchRefused) -> Failure:
    """Return how a build with that patch has failed."""
    hint = "the patch was made for another release: renew it, or bind it to its versions with [[overrides]]"
    return Failure(failure_class=FailureClass.PATCH_REFUSED, proof=str(error), hint=hint)


def apply_patches(source: Path, patches: Sequence[Patch], *, mtime: int, log: Path) -> None:
    """Apply `patches` in order to the source folder. Raises `PatchRefused` at the first that does not fit exactly.

    Patched files get `mtime` (seconds since 1970), so that one that others are generated from is newer than these, and two builds
    see the same times.
    """
    for patch in patches:
        file = source.parent / patch.name
        file.write_bytes(patch.text.encode())
        environment = {**passed_through(os.environ), **_ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(source.parent)}
        start = log.stat().st_size
        command = ["git", "apply", "--verbose", "--whitespace=nowarn", file]
        if run_logged(command, cwd=source, environment=environment, log=log) != 0:
            said = log.read_bytes()[start:].decode("utf-8", "replace").splitlines()
            errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
            reason = next((error for error in errors if error != "while searching for:"), "git refused it")
            raise PatchRefused(f"patches/{patch.name}: {reason}")
        for name in patched_files(patch.text):
            os.utime(source / name, (mtime, mtime))
        file.unlink()
