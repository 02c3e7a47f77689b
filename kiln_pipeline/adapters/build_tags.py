"""Build tags on finished wheels, with the `wheel` library's own command. Knows neither builders nor plans."""

import sys
from pathlib import Path

from kiln_pipeline.adapters.processes import run_logged
from kiln_pipeline.errors import BuildError


def add_build_tag(wheel: Path, number: int, *, source_date_epoch: int, log: Path) -> Path:
    """Rename and rewrite a wheel with the build tag `number` (binary distribution format), replacing the original.

    The same wheel, number and epoch give the same bytes. Returns the new path. Raises `BuildError` when the wheel cannot be
    rewritten.
    """
    before = set(wheel.parent.glob("*.whl")) - {wheel}
    command = [sys.executable, "-m", "wheel", "tags", "--build", str(number), "--remove", wheel]
    environment = {"SOURCE_DATE_EPOCH": str(source_date_epoch), "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    status = run_logged(command, cwd=wheel.parent, environment=environment, log=log, timeout=600)
    tagged = set(wheel.parent.glob("*.whl")) - before
    if status != 0 or len(tagged) != 1:
        raise BuildError(subject=wheel.name, reason="`wheel tags` could not rewrite it", hint="see the end of the build log")
    return tagged.pop()
