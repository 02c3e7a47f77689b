"""The pages for people as values for programs and for a terminal: a project's JSON, and its lines of PACKAGES.md. No bytes."""

from collections.abc import Iterable, Iterator
from types import MappingProxyType

from packaging.version import Version

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.model import Cell, OurWheel, PackagePage
from kiln_pipeline.core.strict_json import format_time

_SYSTEMS = MappingProxyType({"macosx": "macOS", "manylinux": "Linux (glibc)", "musllinux": "Linux (musl)"})


def outcomes(attempts: Iterable[Attempt]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (system, architecture, version, Pythons) of what was tried, newest release first: the last word on each Python."""
    last: dict[tuple[str, str], dict[str, Attempt]] = {}
    for attempt in attempts:
        tried = last.setdefault((attempt.release.version, attempt.identifier.platform), {})
        if attempt.wheel or not (before := tried.get(attempt.identifier.python.version)) or not before.wheel:
            tried[attempt.identifier.python.version] = attempt
    by_platform = sorted(last.items(), key=lambda item: item[0][1])
    for (version, platform), tried in sorted(by_platform, key=lambda item: Version(item[0][0]), reverse=True):
        system, _, machine = platform.partition("_")
        pythons = sorted(tried.items(), key=lambda item: Version(item[0]))
        yield _SYSTEMS.get(system, system), machine, version, " ".join(f"{name} {_mark(item)}" for name, item in pythons)


def as_json(page: PackagePage) -> dict[str, object]:
    """Return the page as JSON values: the matrix with states and reasons, our wheels, and the last failures."""
    return {
        "project": page.project,
        "reason": page.reason,
        "status": page.status,
        "targets": [
            {"version": row.version, "identifier": f"{python}-{matrix.platform}", **_cell(cell)}
            for matrix in page.matrices
            for row in matrix.rows
            for python, cell in zip(matrix.pythons, row.cells, strict=True)
            if cell is not None
        ],
        "wheels": [_wheel(wheel) for wheel in page.wheels],
        "failures": [
            {
                "version": attempt.release.version,
                "identifier": str(attempt.identifier),
                "class": attempt.failure,
                "proof": attempt.proof,
                "log": site_layout.build_log(attempt.log_sha256),
                "tried": format_time(attempt.finished),
            }
            for attempt in page.failures
        ],
        "absent": sorted(page.absent),
    }


def _wheel(wheel: OurWheel) -> dict[str, object]:
    attempt = wheel.attempt
    return {
        "filename": attempt.wheel,
        "identifier": str(attempt.identifier),
        "sha256": attempt.wheel_sha256,
        "size": attempt.wheel_size,
        "built": format_time(attempt.finished),
        "superseded": wheel.superseded,
        "license": wheel.details.license if wheel.details else None,
        "log_index": attempt.index,
        "provenance": site_layout.wheel_provenance(attempt.wheel),
        "log": site_layout.build_log(attempt.log_sha256),
        "rebuilds": [
            {
                "verdict": str(rebuild.verdict),
                "host": rebuild.host,
                "finished": format_time(rebuild.finished),
                "provenance": site_layout.rebuild_provenance(attempt.wheel, number),
            }
            for number, rebuild in enumerate(wheel.rebuilds, 1)
        ],
    }


def _cell(cell: Cell) -> dict[str, object]:
    return {"state": str(cell.state), "reason": cell.reason, **({"key": cell.key} if cell.key else {})}


def _mark(attempt: Attempt) -> str:
    return "✅" if attempt.wheel else f"❌ ({attempt.failure})"
