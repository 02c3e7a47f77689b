"""Build tags on finished wheels, with the `wheel` library's own command, after the bill of materials of what they bundle.

Knows neither builders nor plans.
"""

import sys
from pathlib import Path

from kiln_pipeline.adapters.processes import run_logged
from kiln_pipeline.adapters.wheel_sbom import add_sbom
from kiln_pipeline.core.repair_log import bundled_origins
from kiln_pipeline.errors import BuildError


def add_build_tag(wheel: Path, number: int, *, source_date_epoch: int, log: Path) -> Path:
    """Rename and rewrite a wheel with the build tag `number` (binary distribution format), replacing the original.

    A wheel that bundles libraries lists them from then on (`adapters.wheel_sbom`), with the origins that `log` names. The same
    wheel, log, number and epoch give the same bytes. Returns the new path. Raises `BuildError` when it cannot be rewritten.
    """
    origins = bundled_origins(log.read_text(encoding="utf-8", errors="replace"))
    if add_sbom(wheel, source_date_epoch=source_date_epoch, origins=origins):
        with log.open("a", encoding="utf-8") as lines:
            lines.write("kiln: listed the bundled libraries in the wheel's .dist-info/sboms\n")
    before = set(wheel.parent.glob("*.whl")) - {wheel}
    command = [sys.executable, "-m", "wheel", "tags", "--build", str(number), "--remove", wheel]
    environment = {"SOURCE_DATE_EPOCH": str(source_date_epoch), "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    status = run_logged(command, cwd=wheel.parent, environment=environment, log=log, timeout=600)
    tagged = set(wheel.parent.glob("*.whl")) - before
    if status != 0 or len(tagged) != 1:
        raise BuildError(subject=wheel.name, reason="`wheel tags` could not rewrite it", hint="see the end of the build log")
    return tagged.pop()
