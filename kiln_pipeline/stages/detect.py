"""Detect: ask upstream what it has, keep it in two tables, and tell what is missing in a third.

Legal order: `refresh`, then `find_missing`. The tables are Parquet objects in the state, each replaced by one put and only when
its content changed: first the files, then the projects with their validators, so that a run that is killed in between asks again.
The rules of missing wheels are `core.missing_wheels`' matter, the tables' form is `core.release_metadata`'s.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core import missing_wheels, release_metadata
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.demand import NO_DEMAND, Demand, with_pins
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.release_metadata import ProjectState
from kiln_pipeline.errors import ObjectNotFound, ProjectNotFound, UpstreamError
from kiln_pipeline.ports import FetchedPage, ObjectStore, Progress, UpstreamIndex
from kiln_pipeline.stages.ask_upstream import NoAnswer, answers
from kiln_pipeline.stages.requirements import load_requirements
from kiln_pipeline.stages.site_status import note_counts
from kiln_pipeline.stages.tables import load_rows, load_table, table_bytes

METADATA = "release_metadata.parquet"
PROJECTS = "projects.parquet"
MISSING = "missing_wheels.parquet"

_BATCH = 200_000
"""Files held as Python objects before they go into the table."""

_DELETED = "deleted upstream?"
_DELETED_AFTER = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshReport:
    """What one refresh found. `checked` projects are `changed` or `unchanged` or `broken`."""

    checked: int
    changed: int
    unchanged: int
    broken: tuple[tuple[str, str], ...]
    """(project, reason) of those that could not be read this time; their rows are the ones of the last good time."""
    skipped_files: int
    """Files of all tracked projects that are left out; the projects table says which and why."""
    table: pa.Table
    """`release_metadata.SCHEMA`."""
    projects: pa.Table
    """`release_metadata.PROJECTS_SCHEMA`."""


def refresh(
    recipes_projects: Sequence[str],
    *,
    upstream: UpstreamIndex,
    state: ObjectStore,
    now: datetime,
    progress: Progress,
    workers: int = 8,
    only: Collection[str] | None = None,
) -> RefreshReport:
    """Ask upstream for every tracked project (of these `only` some), `workers` at a time, and bring the tables up to date.

    A project that cannot be read stops no other: it keeps its rows and is shown as broken since the first `now` at which it
    failed. For a project that upstream has deleted that holds for a day, since 404 is also what a wrong endpoint says; then its
    files are dropped, as long as others are answered. Projects that are no longer tracked are removed, unless `only` is given.
    Raises `StoreError`.
    """
    tracked = sorted(set(recipes_projects))
    asked = tracked if only is None else sorted(set(tracked) & set(only))
    tables = _Tables(state)
    progress.step(f"asking upstream for {len(asked):,} projects")
    broken: dict[str, str] = {}
    changed = well = 0
    for project, answer in answers(asked, tables.validators(), upstream, workers):
        if isinstance(answer, FetchedPage):
            changed += tables.put(answer)
        elif isinstance(answer, UpstreamError):
            broken[project] = tables.fail(project, answer, now)
            progress.step(f"broken: {broken[project]}")
        else:
            tables.mend(project)
        well += not isinstance(answer, UpstreamError)
    if well:
        tables.drop_deleted(now)
    if only is None:
        tables.remove(tables.before.keys() - set(tracked))
    tables.save(state)
    unchanged = len(asked) - changed - len(broken)
    progress.step(f"{changed:,} changed, {unchanged:,} unchanged, {len(broken):,} broken")
    return RefreshReport(
        checked=len(asked),
        changed=changed,
        unchanged=unchanged,
        broken=tuple(sorted(broken.items())),
        skipped_files=pc.sum(tables.projects.column("skipped_count")).as_py() or 0,
        table=tables.files,
        projects=tables.projects,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a look at upstream between two refreshes found."""

    changed: tuple[str, ...] = ()
    """Projects whose page says something else than the tables."""
    asked: int = 0
    last: str = ""
    """The last project that was asked for: the next look goes on after it. Empty when all were."""
    outage: str = ""
    """Why the look was given up: upstream did not answer."""


def look_for_changes(
    recipes_projects: Sequence[str],
    *,
    upstream: UpstreamIndex,
    state: ObjectStore,
    after: str = "",
    keep_going: Callable[[], bool] = lambda: True,
    patience: float = 20.0,
    workers: int = 8,
) -> Look:
    """Ask for tracked projects, those after `after` first, while `keep_going`, and tell which have changed. Writes nothing.

    Gives up at so many failures in a row as there are `workers`, and on an answer that takes more than `patience` seconds.
    """
    tracked = sorted(set(recipes_projects))
    asked = [project for project in tracked if project > after] or tracked
    tables = _Tables(state)
    changed: list[str] = []
    last, number, failures = "", 0, 0
    with closing(answers(asked, tables.validators(), upstream, workers, patience=patience)) as found:
        for number, (project, answer) in enumerate(found, 1):
            last = project
            if isinstance(answer, FetchedPage) and tables.put(answer):
                changed.append(project)
            failures = failures + 1 if isinstance(answer, UpstreamError) and answer.retriable else 0
            silent = isinstance(answer, NoAnswer)
            if isinstance(answer, UpstreamError) and failures and (silent or failures >= min(workers, len(asked))):
                return Look(changed=tuple(changed), asked=number, last=after, outage=str(answer))
            if not keep_going():
                break
    return Look(changed=tuple(changed), asked=number, last="" if not asked or last == asked[-1] else last)


def find_missing(
    recipes: Sequence[Recipe], attempts: Sequence[Attempt], *, state: ObjectStore, now: datetime, demand: Demand = NO_DEMAND
) -> pa.Table:
    """Return the verdict on every wanted wheel (`missing_wheels.MISSING_SCHEMA`), and keep it and its counts if they changed."""
    files, projects = load_metadata(state), load_projects(state)
    required = ((f"{release} (requires-dist)", pins.releases) for release, pins in load_requirements(state).items())
    demand = with_pins(demand, required)
    table = missing_wheels.detect(files, recipes, attempts, now=now, projects=projects, demand=demand)
    data = table_bytes(table)
    try:
        same = state.get(MISSING) == data
    except ObjectNotFound:
        same = False
    if not same:
        state.put(MISSING, data)
    note_counts(table, state, now=now)
    return table


def load_metadata(state: ObjectStore) -> pa.Table:
    """Return the table of files, empty before the first refresh. Raises `StoreError`."""
    return load_table(state, METADATA, release_metadata.SCHEMA)


def load_files_of(state: ObjectStore, projects: Collection[str]) -> pa.Table:
    """Return the rows of `load_metadata` of some projects. Raises `StoreError`."""
    return load_rows(state, METADATA, release_metadata.SCHEMA, "project", projects)


def load_projects(state: ObjectStore) -> pa.Table:
    """Return the table of projects, empty before the first refresh. Raises `StoreError`."""
    return load_table(state, PROJECTS, release_metadata.PROJECTS_SCHEMA)


def load_missing(state: ObjectStore) -> pa.Table:
    """Return the table of verdicts, empty before the first `find_missing`. Raises `StoreError`."""
    return load_table(state, MISSING, missing_wheels.MISSING_SCHEMA)


class _Tables:
    """The two tables as they are stored, and what is to change in them."""

    def __init__(self, state: ObjectStore) -> None:
        self._stored = self.files, self.projects = load_metadata(state), load_projects(state)
        self.before = release_metadata.project_states(self.projects)
        self._without_files = not state.exists(METADATA)
        self._pages: dict[str, ProjectPage | None] = {}
        self._states: dict[str, ProjectState | None] = {}
        self._held = 0

    def validators(self) -> dict[str, str]:
        """Return what conditional requests are made with; nothing when the files are not there that they stand for."""
        return {} if self._without_files else {project: state.validator for project, state in self.before.items()}

    def put(self, answer: FetchedPage) -> bool:
        """Take a page over; False when it says, its validator apart, what the tables say already."""
        page, old = answer.page, self.before.get(answer.page.project)
        new = ProjectState.of(page, validator=answer.validator)
        self._states[page.project] = new
        if old is None or release_metadata.project_files(self.files, page.project) != page.files:
            self._pages[page.project] = page
            self._held += len(page.files)
            if self._held > _BATCH:
                self._take_pages()
            return True
        return replace(new, validator=old.validator) != old

    def mend(self, project: str) -> None:
        """Note that a project has not changed, and is not broken (any more)."""
        old = self.before[project]
        if old.broken_since is not None:
            self._states[project] = replace(old, broken_since=None, broken_reason="")

    def fail(self, project: str, error: UpstreamError, now: datetime) -> str:
        """Note that a project is broken, since `now` or since it was; return the reason."""
        old = self.before.get(project, ProjectState(project=project))
        since, reason = old.broken_since or now, str(error)
        deleted = old.broken_reason.startswith(_DELETED)
        if isinstance(error, ProjectNotFound) and (old.validator or deleted):
            since = since if deleted else now  # a day of 404s, not of whatever else before them
            reason = f"{_DELETED} {reason}; its files are dropped when that has been so for a day"
        self._states[project] = replace(old, broken_since=since, broken_reason=reason)
        return reason

    def drop_deleted(self, now: datetime) -> None:
        """Drop the files of projects that have been 404 for a day: nothing of ours is offered that was built from them either."""
        for project, state in self._states.items():
            if state is None or state.broken_since is None or not state.broken_reason.startswith(_DELETED):
                continue
            if now - state.broken_since >= _DELETED_AFTER and state.files_digest != release_metadata.NO_FILES:
                self._pages[project] = ProjectPage(project=project, files=())
                self._states[project] = replace(state, validator="", files_digest=release_metadata.NO_FILES)

    def remove(self, projects: Collection[str]) -> None:
        self._pages |= dict.fromkeys(projects)
        self._states |= dict.fromkeys(projects)

    def save(self, state: ObjectStore) -> None:
        self._take_pages()
        self.projects = release_metadata.replace_states(self.projects, self._states)
        for key, new, old in zip((METADATA, PROJECTS), (self.files, self.projects), self._stored, strict=True):
            if new is not old or not state.exists(key):
                state.put(key, table_bytes(new))

    def _take_pages(self) -> None:
        self.files = release_metadata.replace_projects(self.files, self._pages)
        self._pages.clear()
        self._held = 0
