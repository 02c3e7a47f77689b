"""How a project's matrix is cut into pages that stay small, and what its JSON and PACKAGES.md say. No bytes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from packaging.version import Version

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.model import Cell, PackagePage, PlatformMatrix
from kiln_pipeline.core.strict_json import format_time

RELEASES_PER_PAGE = 30
"""With six platforms and five Pythons that is under 100 kB of HTML."""

_SYSTEMS = {"macosx": "macOS", "manylinux": "Linux (glibc)", "musllinux": "Linux (musl)"}


def parts_of(page: PackagePage) -> list[tuple[PlatformMatrix, ...]]:
    """Return the matrices page by page, the newest releases first; one empty part for a project without any release."""
    versions = sorted({row.version for matrix in page.matrices for row in matrix.rows}, key=Version, reverse=True)
    chunks = [frozenset(versions[first : first + RELEASES_PER_PAGE]) for first in range(0, len(versions), RELEASES_PER_PAGE)]
    return [tuple(_cut(page.matrices, chunk)) for chunk in chunks or [frozenset[str]()]]


def _cut(matrices: Iterable[PlatformMatrix], versions: frozenset[str]) -> Iterator[PlatformMatrix]:
    for matrix in matrices:
        rows = tuple(row for row in matrix.rows if row.version in versions)
        if rows:
            yield replace(matrix, rows=rows)


def reasons_of(matrices: Sequence[PlatformMatrix]) -> list[str]:
    """Return the reasons that cells without a link of their own refer to, each once, in the order of reading."""
    cells = (cell for matrix in matrices for row in matrix.rows for cell in row.cells)
    return list(dict.fromkeys(cell.reason for cell in cells if cell is not None and not cell.key))


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
        "wheels": [
            {
                "filename": wheel.attempt.wheel,
                "sha256": wheel.attempt.wheel_sha256,
                "size": wheel.attempt.wheel_size,
                "built": format_time(wheel.attempt.finished),
                "superseded": wheel.superseded,
                "license": wheel.details.license,
                "log_index": wheel.attempt.index,
            }
            for wheel in page.wheels
        ],
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
    }


def _cell(cell: Cell) -> dict[str, object]:
    return {"state": str(cell.state), "reason": cell.reason, **({"key": cell.key} if cell.key else {})}


def _mark(attempt: Attempt) -> str:
    return "✅" if attempt.wheel else f"❌ ({attempt.failure})"
