"""What the pages for people say, as values: for each project the matrix release × target, our wheels, and the failures.

Made from the `missing_wheels` table, the audit log's attempts and what their statements and wheels say. No HTML, no I/O.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from packaging.version import Version

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.details import WheelDetails
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.provenance.statement import Statement
from kiln_pipeline.core.rebuilds import Rebuild, tell
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.verdicts import Rule, Verdict


class State(StrEnum):
    """What a cell of the matrix says."""

    OURS = "ours"
    UPSTREAM = "upstream"
    MISSING = "missing"
    FAILED = "failed"
    CANNOT = "cannot"
    """No wheel can or should be built: the cell's reason says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One release × target."""

    state: State
    reason: str
    """A sentence, as in the `missing_wheels` table."""
    key: str = ""
    """The object of the site that it is about: our wheel, or the build log of the last failure; empty otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One release on one platform: a cell for each Python of the table, None where the recipe does not want that one."""

    version: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformMatrix:
    """All releases on one platform, the newest first."""

    platform: Platform
    pythons: tuple[PythonTag, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OurWheel:
    """A wheel that we built, with what its statement and its content say."""

    attempt: Attempt
    superseded: bool
    statement: Statement | None
    """None while it is not on the site: the page says so."""
    details: WheelDetails | None
    """None while the wheel is not on the site: the page says so."""
    rebuilds: tuple[Rebuild, ...] = ()
    """In the log's order."""

    @property
    def rebuilt(self) -> str:
        """What became of its rebuilds, in a sentence; empty when there were none."""
        return tell(self.rebuilds, self.attempt.host)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagePage:
    """One project."""

    project: str
    reason: str
    """The recipe's line: why this project needs kiln."""
    status: str
    """Upstream's project status (PEP 792); ``active`` mostly."""
    matrices: tuple[PlatformMatrix, ...]
    wheels: tuple[OurWheel, ...]
    """The newest release first."""
    failures: tuple[Attempt, ...]
    """The last attempt at each release × identifier that has no wheel of ours, the newest release first."""
    absent: Collection[str] = ()
    """Keys that should be on the site and are not, those of build logs among them."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many cells say what, by `State`."""
        cells = (cell for matrix in self.matrices for row in matrix.rows for cell in row.cells if cell is not None)
        return dict(Counter(str(cell.state) for cell in cells))


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One line of the list of projects."""

    project: str
    reason: str
    counts: Mapping[str, int] = field(default_factory=dict)
    """`State` -> cells."""
    newest: datetime | None = None
    """When the newest wheel of ours was built, UTC; None when there is none."""


def package_page(
    recipe: Recipe,
    rows: Iterable[Mapping[str, Any]],
    attempts: Sequence[Attempt],
    *,
    status: str,
    superseded: Collection[str],
    statements: Mapping[str, Statement],
    details: Mapping[str, WheelDetails],
    rebuilds: Mapping[str, tuple[Rebuild, ...]] = MappingProxyType({}),
    absent: Collection[str] = (),
) -> PackagePage:
    """Return a project's page.

    `rows` are its rows of the `missing_wheels` table, `attempts` all of its attempts, in the log's order. `superseded` holds
    filenames of our wheels; `statements`, `details` and `rebuilds` are by filename. `absent` are keys that should be on the site
    and are not: no cell links to them.
    """
    last: dict[tuple[str, str], Attempt] = {}
    for attempt in attempts:  # no later failure undoes a wheel
        key = (attempt.release.version, str(attempt.identifier))
        if attempt.wheel or key not in last or not last[key].wheel:
            last[key] = attempt
    by_platform: dict[Platform, dict[str, dict[PythonTag, Cell]]] = {}
    for row in rows:
        releases = by_platform.setdefault(Platform(row["platform"]), {})
        cell = cell_of(row, last.get((row["version"], row["identifier"])), absent)
        releases.setdefault(row["version"], {})[PythonTag.parse(row["python"])] = cell
    ours = [attempt for attempt in attempts if attempt.wheel]
    return PackagePage(
        project=recipe.project,
        reason=recipe.reason,
        status=status,
        matrices=tuple(_matrix(platform, by_platform[platform]) for platform in Platform if platform in by_platform),
        wheels=tuple(
            OurWheel(
                attempt=attempt,
                superseded=attempt.wheel in superseded,
                statement=statements.get(attempt.wheel),
                details=details.get(attempt.wheel),
                rebuilds=rebuilds.get(attempt.wheel, ()),
            )
            for attempt in sorted(ours, key=_newest_first, reverse=True)
        ),
        failures=tuple(sorted((item for item in last.values() if item.failure), key=_newest_first, reverse=True)),
        absent=frozenset(absent),
    )


def cell_of(row: Mapping[str, Any], last: Attempt | None, absent: Collection[str] = ()) -> Cell:
    """Return the cell of one row of the table, given our wheel for it or else the last attempt; none links to an `absent` key.

    The table can be older than the log: what was built or has failed since then is told from the log.
    """
    verdict, rule = Verdict(row["verdict"]), row["rule"]
    if verdict is Verdict.COVERED:
        return Cell(state=State.UPSTREAM, reason=row["reason"])
    if verdict is Verdict.EXCLUDED and rule != Rule.FAILED:
        return Cell(state=State.CANNOT, reason=row["reason"])
    if last is None:
        return Cell(state=State.MISSING, reason=row["reason"])
    if last.wheel:
        return _linked(State.OURS, f"published as {last.wheel}", site_layout.wheel(last.wheel), absent, "it")
    return _linked(State.FAILED, f"{last.failure}: {last.proof}", site_layout.build_log(last.log_sha256), absent, "its log")


def _linked(state: State, reason: str, key: str, absent: Collection[str], what: str) -> Cell:
    if key in absent:
        return Cell(state=state, reason=f"{reason} ({what} is not on the site just now)")
    return Cell(state=state, reason=reason, key=key)


def summary_of(page: PackagePage) -> Summary:
    """Return a project's line in the list."""
    newest = max((wheel.attempt.finished for wheel in page.wheels), default=None)
    return Summary(project=page.project, reason=page.reason, counts=page.counts, newest=newest)


def _matrix(platform: Platform, releases: Mapping[str, Mapping[PythonTag, Cell]]) -> PlatformMatrix:
    pythons = sorted({python for cells in releases.values() for python in cells}, key=_python_order)
    rows = (
        Row(version=version, cells=tuple(releases[version].get(python) for python in pythons))
        for version in sorted(releases, key=Version, reverse=True)
    )
    return PlatformMatrix(platform=platform, pythons=tuple(pythons), rows=tuple(rows))


def _python_order(python: PythonTag) -> tuple[str, int, int, bool]:
    return python.implementation, python.major, python.minor, python.free_threaded


def _newest_first(attempt: Attempt) -> tuple[Version, datetime, str]:
    return Version(attempt.release.version), attempt.finished, str(attempt.identifier)
