"""The table of what upstream has: one row per file, and beside it one row per project. Nothing here fetches or decides.

Rows are sorted by project, then by position on its page, so that one project's rows are contiguous and equal input gives equal
bytes. A project without any file exists in the second table only.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false
import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage

_TIME = pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("filename", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("requires_python", pa.string(), nullable=False),
        pa.field("upload_time", _TIME),
        pa.field("yanked", pa.bool_(), nullable=False),
        pa.field("yanked_reason", pa.string(), nullable=False),
        pa.field("core_metadata", pa.string(), nullable=False),
        pa.field("provenance", pa.string(), nullable=False),
        pa.field("project_status", pa.string(), nullable=False),
        pa.field("project_status_reason", pa.string(), nullable=False),
    ]
)
"""One row per upstream file. `position` counts from 0 in page order; `version` is normalised; `size` is bytes; times are UTC."""

PROJECTS_SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("status_reason", pa.string(), nullable=False),
        pa.field("versions", pa.list_(pa.string()), nullable=False),
        pa.field("files_digest", pa.string(), nullable=False),
        pa.field("serial", pa.string(), nullable=False),
        pa.field("validator", pa.string(), nullable=False),
        pa.field("skipped_count", pa.int32(), nullable=False),
        pa.field("skipped", pa.list_(pa.string()), nullable=False),
        pa.field("broken_since", _TIME),
        pa.field("broken_reason", pa.string(), nullable=False),
    ]
)
"""One row per tracked project, sorted by project."""

_FILE_COLUMNS = tuple(field.name for field in fields(DistributionFile))
_OTHER_VALUES = attrgetter(*(name for name in _FILE_COLUMNS if name != "upload_time"))
_SHOWN_SKIPS = 20
NO_FILES = hashlib.sha256(b"[]").hexdigest()
"""`files_digest` of none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectState:
    """What is known of one tracked project beside its files: a row of `PROJECTS_SCHEMA`."""

    project: str
    status: str = "active"
    """PEP 792: active, archived, quarantined or deprecated."""
    status_reason: str = ""
    versions: tuple[str, ...] = ()
    """As the page lists them (PEP 700)."""
    files_digest: str = NO_FILES
    """`files_digest` of its files: whoever compares it need not read them."""
    serial: str = ""
    validator: str = ""
    """What the next conditional request is made with."""
    skipped_count: int = 0
    skipped: tuple[str, ...] = ()
    """The first `_SHOWN_SKIPS` files that were left out, as ``filename: reason``."""
    broken_since: datetime | None = None
    """When upstream's page first failed in a row; None when the last fetch went well. The rows of before stay in force."""
    broken_reason: str = ""

    @classmethod
    def of(cls, page: ProjectPage, *, validator: str = "") -> Self:
        """Return the state after a good fetch of `page`."""
        return cls(
            project=page.project,
            status=page.status,
            status_reason=page.status_reason,
            versions=page.versions,
            files_digest=files_digest(page.files),
            serial=page.serial,
            validator=validator,
            skipped_count=len(page.skipped),
            skipped=tuple(f"{filename}: {reason}" for filename, reason in page.skipped[:_SHOWN_SKIPS]),
        )


def files_digest(files: Iterable[DistributionFile]) -> str:
    """Return a hex sha256 over all that is known of `files`: the same for equal ones in the same order, and only for them."""
    return hashlib.sha256(repr([_values(file) for file in files]).encode("utf-8", "surrogatepass")).hexdigest()


def empty() -> pa.Table:
    """Return the table of files without any row."""
    return SCHEMA.empty_table()


def empty_projects() -> pa.Table:
    """Return the table of projects without any row."""
    return PROJECTS_SCHEMA.empty_table()


def page_table(page: ProjectPage) -> pa.Table:
    """Return a page's files as rows of `SCHEMA`, in page order."""
    columns: dict[str, list[object]] = {
        "project": [page.project] * len(page.files),
        "position": list(range(len(page.files))),
        "project_status": [page.status] * len(page.files),
        "project_status_reason": [page.status_reason] * len(page.files),
    }
    for name in _FILE_COLUMNS:
        columns[name] = [getattr(file, name) for file in page.files]
    return pa.table(columns, schema=SCHEMA)


def replace_projects(table: pa.Table, pages: Mapping[str, ProjectPage | None]) -> pa.Table:
    """Return `table` with the rows of the projects in `pages` replaced, or removed where the page is None.

    Other rows stay as they are. Returns `table` itself when nothing differs.
    """
    new = [page_table(page) for _, page in sorted(pages.items()) if page is not None]
    return _replace(table, pages.keys(), new, [("project", "ascending"), ("position", "ascending")])


def replace_states(table: pa.Table, states: Mapping[str, ProjectState | None]) -> pa.Table:
    """As `replace_projects`, for the table of projects: replaces or removes the rows in `states`."""
    rows = [asdict(state) for _, state in sorted(states.items()) if state is not None]
    new = [pa.Table.from_pylist(rows, schema=PROJECTS_SCHEMA)]
    return _replace(table, states.keys(), new, [("project", "ascending")])


def project_files(table: pa.Table, project: str) -> tuple[DistributionFile, ...]:
    """Return one project's files in page order; none when the table does not have it. Finds them by bisection."""
    return tuple(_file(row) for row in _rows_of(table, project).select(_FILE_COLUMNS).to_pylist())


def project_states(table: pa.Table) -> dict[str, ProjectState]:
    """Return every row of the table of projects by project."""
    return {row["project"]: _state(row) for row in table.to_pylist()}


def project_page(files: pa.Table, projects: pa.Table, project: str) -> ProjectPage | None:
    """Return the page that the two tables were made from, its full list of skipped files apart; None for an unknown project."""
    rows = _rows_of(projects, project).to_pylist()
    if not rows:
        return None
    state = _state(rows[0])
    return ProjectPage(
        project=project,
        files=project_files(files, project),
        versions=state.versions,
        status=state.status,
        status_reason=state.status_reason,
        serial=state.serial,
    )


def _values(file: DistributionFile) -> list[object]:
    time = file.upload_time
    return [time and time.astimezone(UTC).isoformat(), *map(str, _OTHER_VALUES(file))]


def _file(row: Mapping[str, Any]) -> DistributionFile:
    time = row["upload_time"]
    values: dict[str, Any] = {**row, "kind": FileKind(row["kind"]), "upload_time": time and time.astimezone(UTC)}
    return DistributionFile(**values)


def _state(row: Mapping[str, Any]) -> ProjectState:
    values: dict[str, Any] = {**row, "versions": tuple(row["versions"]), "skipped": tuple(row["skipped"])}
    return ProjectState(**values)


def _rows_of(table: pa.Table, project: str) -> pa.Table:
    column = table.column("project")
    low = bisect_left(range(len(column)), project, key=lambda row: column[row].as_py())
    high = bisect_left(range(len(column)), project + "\0", low, key=lambda row: column[row].as_py())
    return table.slice(low, high - low)


def _replace(table: pa.Table, projects: Iterable[str], new: list[pa.Table], order: list[tuple[str, str]]) -> pa.Table:
    affected = pc.is_in(table.column("project"), value_set=pa.array(sorted(projects), pa.string()))
    added = pa.concat_tables([table.schema.empty_table(), *new])
    if table.filter(affected).equals(added):
        return table
    return pa.concat_tables([table.filter(pc.invert(affected)), added]).sort_by(order).combine_chunks()
