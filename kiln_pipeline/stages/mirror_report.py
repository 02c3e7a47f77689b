"""What the last run of the mirror did, kept in the state for who asks later: `kiln mirror status`, Dagster's check."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from kiln_pipeline.errors import ObjectNotFound, StoreError
from kiln_pipeline.ports import ObjectStore

REPORT = "mirror_report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectReport:
    """One copied project. Of the `wanted` files `left` are not there (yet), those that `failed` among them."""

    project: str
    wanted: int = 0
    wanted_bytes: int = 0
    copied: int = 0
    """Copied by this run."""
    copied_bytes: int = 0
    left: int = 0
    left_bytes: int = 0
    refused: tuple[tuple[str, int], ...] = ()
    """(filter, number of files)."""
    failed: tuple[tuple[str, str], ...] = ()
    """(filename, reason)."""
    failing_since: datetime | None = None
    """The first run in a row in which something of it failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorReport:
    """One run over some or all copied projects, sorted."""

    finished: datetime
    projects: tuple[ProjectReport, ...] = ()
    unlisted: int = 0
    """Copies that no page names any more, and that stay for a time."""
    problem: str = ""
    """Why it ended before its time."""

    @property
    def failed(self) -> tuple[ProjectReport, ...]:
        return tuple(project for project in self.projects if project.failed)

    def total(self, name: str) -> int:
        """Return the sum of a number over all projects."""
        return sum(getattr(project, name) for project in self.projects)


def load_report(state: ObjectStore) -> MirrorReport | None:
    """Return the last report; None before the first run. Raises `StoreError`."""
    try:
        data = state.get(REPORT)
    except ObjectNotFound:
        return None
    try:
        value: dict[str, Any] = json.loads(data)
        value["projects"] = tuple(_project(row) for row in value["projects"])
        value["finished"] = datetime.fromisoformat(value["finished"])
        return MirrorReport(**value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        hint = "delete it: the next run writes it anew"
        raise StoreError(key=REPORT, reason=f"it is no report that this kiln wrote: {error}", hint=hint) from error


def save_report(report: MirrorReport, state: ObjectStore, *, others: MirrorReport | None) -> MirrorReport:
    """Keep a report, and the lines of `others` for projects that it is not about; return it with since when each is failing."""
    before = load_report(state)
    since = {project.project: project.failing_since for project in before.projects} if before else {}
    projects = tuple(
        replace(project, failing_since=(since.get(project.project) or report.finished) if project.failed else None)
        for project in report.projects
    )
    dated = replace(report, projects=projects)
    about = {project.project for project in projects}
    kept = [project for project in others.projects if project.project not in about] if others else []
    whole = replace(dated, projects=tuple(sorted([*projects, *kept], key=lambda project: project.project)))
    state.put(REPORT, json.dumps(asdict(whole), default=datetime.isoformat, indent=1).encode())
    return dated


def _project(row: Mapping[str, Any]) -> ProjectReport:
    since = row["failing_since"]
    lists: dict[str, Any] = {name: tuple((first, second) for first, second in row[name]) for name in ("refused", "failed")}
    lists["failing_since"] = since and datetime.fromisoformat(since)
    return ProjectReport(**{**row, **lists})
