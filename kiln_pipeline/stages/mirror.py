"""Mirror: keep verified copies of upstream's files on our site, as recipes with ``mirror = "copy"`` ask for.

Legal order, each hour: `prune`, then `sync`, then a publish of the pages. A copy is noted in the state's table after its file is
on the site, and a page names only noted copies: files first, pages after. What upstream or a recipe no longer wants is unlisted
at once, so that the next publish drops it from its page, and removed by `prune` when its time is over and no page names it.
A run that is cut off loses nothing: the next one goes on in the middle of a file.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.dated_views import DatedView
from kiln_pipeline.core.distributions import DistributionFile
from kiln_pipeline.core.mirror.copies import COPIES_SCHEMA, Copy, copies_of, copies_table
from kiln_pipeline.core.mirror.plan import ProjectPlan, keep_for, plan_copies
from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore, Progress, UpstreamIndex
from kiln_pipeline.stages.dated_views import list_views, noted_views
from kiln_pipeline.stages.mirror_copy import Copier, Limits, Meter, unmetered
from kiln_pipeline.stages.mirror_report import MirrorReport, ProjectReport, load_report, save_report
from kiln_pipeline.stages.tables import load_table, table_bytes

COPIES = "mirror_copies.parquet"
_KEEP = Mirror().keep
NO_LIMITS = Limits()


def load_copies(state: ObjectStore, site: ObjectStore) -> tuple[Copy, ...]:
    """Return the copies that `site` has, sorted. Raises `StoreError`."""
    return copies_of(load_table(state, COPIES, COPIES_SCHEMA), str(site))


def sync(
    recipes: Sequence[Recipe],
    files: pa.Table,
    projects: pa.Table,
    *,
    upstream: UpstreamIndex,
    site: ObjectStore,
    state: ObjectStore,
    work: Path,
    now: datetime,
    progress: Progress,
    only: Collection[str] | None = None,
    limits: Limits = NO_LIMITS,
    meter: Meter = unmetered,
    dry_run: bool = False,
) -> MirrorReport:
    """Copy what is wanted and not there, of all copied projects or of `only` some; report on everything that is wanted.

    `files` and `projects` are the tables of the last refresh; `work` keeps what was downloaded in part. What cannot be had from
    upstream stops no other project, and is tried again by the next call. A store that fails ends the call: see
    `MirrorReport.problem`. Raises `StoreError` only when the state cannot be read or written. A `dry_run` writes nothing.
    """
    plans = [plan for plan in plan_copies(recipes, files, projects, now) if only is None or plan.project in only]
    table = _Table(state, site)
    if not dry_run:
        table.relist(plans, now, judged=_judged(recipes, projects, only))
    todo = {plan.project: [file for file in plan.wanted if not table.has(file)] for plan in plans}
    missing = [file for wanted in todo.values() for file in wanted]
    if missing:
        total = sum(file.size for file in missing)
        progress.step(f"mirror: {len(missing):,} files to copy of {sum(map(bool, todo.values())):,} projects, {total:,} bytes")
    copier = Copier(upstream=upstream, site=site, work=work, now=now, limits=limits, meter=meter, progress=progress)
    if not dry_run:
        try:
            copier.copy(todo, noted=table.add)
        finally:
            table.save()
    done = [_project_report(plan, todo[plan.project], copier) for plan in plans]
    report = MirrorReport(
        finished=now,
        projects=tuple(done),
        unlisted=sum(copy.unlisted is not None for copy in table.copies()),
        problem=copier.problem,
    )
    return report if dry_run else save_report(report, state, others=None if only is None else load_report(state))


def prune(
    recipes: Sequence[Recipe], projects: pa.Table, *, site: ObjectStore, state: ObjectStore, now: datetime, progress: Progress
) -> tuple[Copy, ...]:
    """Remove the copies that have been unlisted for as long as their recipe keeps them; return them.

    Of a quarantined project they go at once. A copy that a page of the site or of a dated view still names stays until none does:
    call this while nothing is published. Raises `StoreError`, and `VerificationError` for a view that cannot be read.
    """
    rows = projects.select(["project", "status"]).to_pylist()
    keep = keep_for(recipes, [row["project"] for row in rows if row["status"] == "quarantined"])
    table = _Table(state, site)
    due = [c for c in table.copies() if c.unlisted is not None and now - c.unlisted >= keep.get(c.project, _KEEP)]
    views = list_views(site, state) if due else ()
    if due and noted_views(site, state).unfinished:
        progress.step("mirror: nothing removed: what dated views there are is not known until the next `kiln index snapshot`")
        return ()
    pages = {project: _pages_of(project, site, views) for project in {copy.project for copy in due}}
    gone = tuple(copy for copy in due if copy.key.rpartition("/")[0] not in pages[copy.project])
    for copy in gone:
        for key in reversed(copy.objects):
            site.delete(key)
        table.forget(copy)
    table.save()
    if gone:
        progress.step(f"mirror: {len(gone):,} copies removed, {sum(copy.size for copy in gone):,} bytes")
    return gone


def verify_copies(
    *, site: ObjectStore, state: ObjectStore, progress: Progress, only: Collection[str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Read and hash every copy; forget those that are gone or altered, and return (key, what is wrong) of each.

    A forgotten copy leaves its page with the next publish, and the next `sync` makes it anew. Raises `StoreError`.
    """
    table = _Table(state, site)
    found: list[tuple[str, str]] = []
    copies = [copy for copy in table.copies() if only is None or copy.project in only]
    for number, copy in enumerate(copies):
        if number % 100 == 0:
            progress.step(f"mirror: {number:,} of {len(copies):,} copies verified, {len(found)} bad")
        wrong = [(key, what) for key, sha256 in copy.objects.items() if (what := _wrong(site, key, sha256))]
        if wrong:
            found += wrong
            table.forget(copy)
    table.save()
    # an altered object stands in the way of a right one, which is written once; nothing names it from the next publish on
    for key, _ in found:
        site.delete(key)
    return tuple(found)


def _wrong(site: ObjectStore, key: str, sha256: str) -> str:
    digest = hashlib.sha256()
    try:
        for chunk in site.chunks(key):
            digest.update(chunk)
    except ObjectNotFound:
        return "missing"
    return "" if digest.hexdigest() == sha256 else "altered"


def _judged(recipes: Iterable[Recipe], projects: pa.Table, only: Collection[str] | None) -> Callable[[str], bool]:
    """Return whether what is wanted of a project is known: of a copied one whose page was never read it is not."""
    unread = {recipe.project for recipe in recipes if recipe.mirror.mode is MirrorMode.COPY}
    unread -= set(projects.column("project").to_pylist())

    def judged(project: str) -> bool:
        return project not in unread and (only is None or project in only)

    return judged


def _pages_of(project: str, site: ObjectStore, views: Iterable[DatedView]) -> str:
    """Return the text of a project's pages of now and of all dated views, which name copies by their hashes."""
    states = {view.pages[project] for view in views if project in view.pages}
    keys = [site_layout.project_json(project), site_layout.project_html(project)]
    keys += [site_layout.page_state(state, project, name) for state in sorted(states) for name in ("index.json", "index.html")]
    texts: list[str] = []
    for key in keys:
        with suppress(ObjectNotFound):
            texts.append(site.get(key).decode())
    return "\n".join(texts)


def _project_report(plan: ProjectPlan, todo: Sequence[DistributionFile], copier: Copier) -> ProjectReport:
    copied = [copy for copy in copier.copied if copy.project == plan.project]
    failed = tuple(sorted(copier.failed.get(plan.project, {}).items()))
    done = {copy.sha256 for copy in copied}
    left = [file for file in todo if file.sha256 not in done]
    return ProjectReport(
        project=plan.project,
        wanted=len(plan.wanted),
        wanted_bytes=sum(file.size for file in plan.wanted),
        copied=len(copied),
        copied_bytes=sum(copy.size for copy in copied),
        left=len(left),
        left_bytes=sum(file.size for file in left),
        refused=tuple((str(name), count) for name, count in plan.refused),
        failed=failed,
    )


class _Table:
    """The copies that are noted, by key; written to the state when something differs."""

    def __init__(self, state: ObjectStore, site: ObjectStore) -> None:
        self._state, self._site = state, site
        self._by_key = {copy.key: copy for copy in load_copies(state, site)}
        self._saved = dict(self._by_key)

    def copies(self) -> list[Copy]:
        return sorted(self._by_key.values())

    def has(self, file: DistributionFile) -> bool:
        return site_layout.mirror_file(file.sha256, file.filename) in self._by_key

    def relist(self, plans: Iterable[ProjectPlan], now: datetime, *, judged: Callable[[str], bool]) -> None:
        """Unlist what no plan wants, of the projects that are `judged`; list again what one does."""
        wanted = {site_layout.mirror_file(file.sha256, file.filename) for plan in plans for file in plan.wanted}
        for key, copy in list(self._by_key.items()):
            if key in wanted and copy.unlisted is not None:
                if self._site.exists(key):
                    self._by_key[key] = replace(copy, unlisted=None)
                else:
                    del self._by_key[key]  # a removal that was cut off
            elif key not in wanted and copy.unlisted is None and judged(copy.project):
                self._by_key[key] = replace(copy, unlisted=now)
        self.save()

    def add(self, copies: Iterable[Copy]) -> None:
        self._by_key |= {copy.key: copy for copy in copies}
        self.save()

    def forget(self, copy: Copy) -> None:
        del self._by_key[copy.key]

    def save(self) -> None:
        if self._by_key != self._saved:
            self._state.put(COPIES, table_bytes(copies_table(self._by_key.values(), str(self._site))))
            self._saved = dict(self._by_key)
