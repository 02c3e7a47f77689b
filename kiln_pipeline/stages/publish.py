"""Publish the simple index: the pages that changed, then the root; for removals the root, then the pages. No wheel is touched.

The order keeps every promise at every moment: a page names only wheels that are in the site already, the root names only pages
that are, and a publish that was cut off is finished by the next one, to the same bytes. What a publish is about to touch is noted
in the state first, so that the next one does not trust the manifest about it.
"""

# pyarrow ships no annotations and makes its functions at import: what it gives is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.mirror.copies import PageMirror
from kiln_pipeline.core.release_metadata import NO_FILES, ProjectState, project_states
from kiln_pipeline.core.simple_index import render
from kiln_pipeline.core.simple_index.changes import files_by_project, in_blocks, input_digests
from kiln_pipeline.core.simple_index.manifest import ROOT, UNKNOWN
from kiln_pipeline.core.simple_index.model import QUARANTINED, IndexFile, IndexPage, listed, overlay
from kiln_pipeline.core.simple_index.upstream_rows import UpstreamRows
from kiln_pipeline.errors import VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, Signer
from kiln_pipeline.stages.page_writer import Pages, PageWriter, last_publish

NO_MIRRORS: Mapping[str, PageMirror] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishReport:
    """What a publish did. All tuples are sorted by project."""

    written: tuple[str, ...] = ()
    """Projects whose pages were written."""
    removed: tuple[str, ...] = ()
    """Projects whose pages were removed."""
    unchanged: int = 0
    root_written: bool = False
    problems: tuple[tuple[str, str], ...] = ()
    """(project, what is wrong): its pages stay as they were, and the others were published."""


def publish(
    *,
    projects: Sequence[str],
    metadata: Callable[[Sequence[str]], pa.Table],
    project_table: pa.Table,
    attempts: Sequence[Attempt],
    superseded: Collection[str],
    site: ObjectStore,
    state: ObjectStore,
    signer: Signer,
    progress: Progress,
    mirrors: Mapping[str, PageMirror] = NO_MIRRORS,
) -> PublishReport:
    """Bring ``simple/`` of `site` up to date with upstream (`metadata`, `project_table`) and the audit log (`attempts`).

    `projects` are the tracked ones, normalised; no other is in the index afterwards. `metadata` gives the rows of some projects
    (`core.release_metadata`): only of those that changed are they read. `superseded` holds the filenames of wheels
    of ours that upstream has caught up with. `signer` holds the log's key. `mirrors` are those of the projects that are copied
    (`stages.mirror`). Of the attempts, the successes that the log has are listed. An unchanged publish writes nothing.

    A project that cannot be published safely (a wheel that is not in the site, a filename with two hashes, upstream never read)
    is reported and keeps its old pages. Raises `StoreError` when a store cannot be read or written; run it again then.
    """
    before = last_publish(site, state)
    by_project: dict[str, list[Attempt]] = {}
    for attempt in listed(attempts):
        by_project.setdefault(attempt.release.project, []).append(attempt)
    digests = input_digests(
        projects=projects,
        project_table=project_table,
        attempts=by_project,
        superseded=superseded,
        signing_key=signer.public_key,
        mirrors=mirrors,
    )
    changed = [project for project in sorted(set(projects)) if before.get(project, UNKNOWN).inputs != digests.get(project)]
    removed = sorted(before.keys() - {ROOT} - set(projects))
    if changed or removed:
        progress.step(f"simple index: {len(changed)} of {len(projects)} projects to write, {len(removed)} to remove")
    problems: list[tuple[str, str]] = []
    with PageWriter(before=before, touched=(*changed, *removed), site=site, state=state, signer=signer) as run:
        for project, pages in _pages(changed, metadata, project_table, by_project, superseded, mirrors):
            problem = pages if isinstance(pages, str) else _absent(pages.own, site)
            if isinstance(pages, str) or problem:
                progress.step(f"simple index: {project} keeps its old pages: {problem}")
                problems.append((project, problem))
            else:
                run.write(pages, digests[project])
        run.write_root(projects)
        for project in removed:
            run.remove(project)
        run.finish()
    return PublishReport(
        written=tuple(run.written),
        removed=tuple(removed),
        unchanged=len(set(projects)) - len(run.written) - len(problems),
        root_written=run.root_written,
        problems=tuple(problems),
    )


def _pages(
    projects: Sequence[str],
    metadata: Callable[[Sequence[str]], pa.Table],
    project_table: pa.Table,
    attempts: Mapping[str, Sequence[Attempt]],
    superseded: Collection[str],
    mirrors: Mapping[str, PageMirror],
) -> Iterator[tuple[str, Pages | str]]:
    """Yield each project with its pages, or with the reason why it has none."""
    if not projects:
        return
    table = metadata(projects)
    wanted = pc.is_in(project_table.column("project"), value_set=pa.array(projects, pa.string()))
    states = project_states(project_table.filter(wanted))
    for block, files in in_blocks(table, projects):
        rows = UpstreamRows(files)
        # what depends on single files of upstream's needs them as values
        closely = [project for project in block if project in attempts or project in mirrors or project not in rows]
        upstream = dict(files_by_project(files, closely))
        for project in block:
            state = states.get(project)
            if state is None or _never_read(state, rows):
                # a page with ours alone would hide from installers all that upstream has
                yield project, f"upstream's page has never been read{': ' + state.broken_reason if state else ''}"
                continue
            try:
                page = overlay(
                    project,
                    upstream=upstream.get(project, ()),
                    status=state.status,
                    status_reason=state.status_reason,
                    versions=(*state.versions, *rows.versions(project)),
                    attempts=attempts.get(project, ()),
                    superseded=superseded,
                    mirror=mirrors.get(project),
                )
            except VerificationError as error:
                yield project, str(error)
            else:
                yield project, _rendered(page, None if project in mirrors else rows)


def _never_read(state: ProjectState, rows: UpstreamRows) -> bool:
    if rows.versions(state.project):
        return False
    return state.files_digest != NO_FILES or (state.broken_since is not None and not state.versions)


def _rendered(page: IndexPage, rows: UpstreamRows | None) -> Pages:
    own = tuple(file for file in page.files if file.attestation)
    if rows is not None and page.project in rows and page.status != QUARANTINED:
        ours = replace(page, files=own)
        html, text = render.project_html(ours, rows.html(page.project)), render.project_json(ours, rows.json(page.project))
    else:
        html, text = render.project_html(page), render.project_json(page)
    return Pages(project=page.project, html=html, json=text, own=own)


def _absent(wheels: Iterable[IndexFile], site: ObjectStore) -> str:
    """Return what a page would name in vain; empty when every wheel of ours is in the site with all that belongs to it."""
    for file in wheels:
        name = file.filename
        for key in (site_layout.wheel(name), site_layout.wheel_metadata(name), site_layout.wheel_provenance(name)):
            if not site.exists(key):
                return f"{key} is not in the site yet: run `kiln record`, or see why it did not write it"
    return ""
