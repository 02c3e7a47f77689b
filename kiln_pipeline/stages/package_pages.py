"""Write the pages for people: one folder per project, then the lists that name it. The simple index is another stage's.

A project is written again when something that its page says has changed: its verdicts, its attempts and rebuilds, its recipe, the
templates. The order keeps every link alive at every moment: what a page links to first, then the page, then home, list, status,
feed and PACKAGES.md; for a project that is no longer tracked, the other way round. What is noted in the state is noted last.
"""

# pyarrow ships no annotations: what its tables give is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.model import summary_of
from kiln_pipeline.core.rebuilds import Rebuild, rebuilds_by_wheel
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.simple_index.changes import row_ranges
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore, PageTemplates, Progress
from kiln_pipeline.stages.pages_note import MANIFEST, Noted, PagesNote, noted_objects, read_note, write_note
from kiln_pipeline.stages.project_pages import SiteIdentity, project_objects, read_page
from kiln_pipeline.stages.site_lists import list_objects
from kiln_pipeline.stages.site_status import SiteStatus

__all__ = ["MANIFEST", "PackagePagesReport", "SiteIdentity", "noted_objects", "publish_package_pages"]

_COLUMNS = ("version", "identifier", "python", "platform", "verdict", "rule", "reason", "covered_by")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagePagesReport:
    """What one run did. Tuples are sorted."""

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0


def publish_package_pages(
    *,
    recipes: Sequence[Recipe],
    missing: pa.Table,
    statuses: Mapping[str, str],
    attempts: Sequence[Attempt],
    rebuilds: Sequence[Rebuild],
    superseded: Collection[str],
    status: SiteStatus,
    site: ObjectStore,
    state: ObjectStore,
    templates: PageTemplates,
    identity: SiteIdentity,
    progress: Progress,
) -> PackagePagesReport:
    """Bring the pages for people up to date; an unchanged run writes nothing.

    `missing` is the `missing_wheels` table, `statuses` upstream's status by project, `attempts` and `rebuilds` the audit log's,
    `superseded` the filenames of our wheels that upstream has caught up with. Raises `StoreError`; run it again then.
    """
    last = read_note(state)
    ranges, columns = row_ranges(missing), missing.select(_COLUMNS)
    by_project = _by_project(attempts, rebuilds)
    noted: dict[str, Noted] = {}
    written: list[str] = []
    for recipe in sorted(recipes, key=lambda recipe: recipe.project):
        project = recipe.project
        start, stop = ranges.get(project, (0, 0))
        rows, (own, again) = columns.slice(start, stop - start), by_project.get(project, ([], []))
        upstream = statuses.get(project, "active")
        inputs = _digest(rows, own, again, templates.fingerprint, recipe.sha256, upstream, identity, superseded)
        old = last.projects.get(project)
        if old is not None and old.inputs == inputs:
            noted[project] = old
            continue
        page = read_page(
            recipe,
            rows.to_pylist(),
            own,
            status=upstream,
            superseded=superseded,
            rebuilds=rebuilds_by_wheel(again),
            site=site,
            state=state,
        )
        objects = _put_changed(site, project_objects(page, own, templates, identity))
        noted[project] = Noted(inputs="" if page.absent else inputs, summary=summary_of(page), objects=objects)
        if noted[project] != old:
            written.append(project)
            progress.step(f"package pages: {project}")
    summaries = [noted[project].summary for project in sorted(noted)]
    now = PagesNote(projects=noted, lists=_put_changed(site, list_objects(summaries, attempts, status, templates, identity)))
    for key in sorted(_keys(last) - _keys(now)):
        site.delete(key)
    if now != last:
        write_note(now, state)
    removed = tuple(sorted(last.projects.keys() - noted.keys()))
    return PackagePagesReport(written=tuple(written), removed=removed, unchanged=len(noted) - len(written))


def _by_project(attempts: Sequence[Attempt], rebuilds: Sequence[Rebuild]) -> dict[str, tuple[list[Attempt], list[Rebuild]]]:
    found: dict[str, tuple[list[Attempt], list[Rebuild]]] = {}
    for attempt in attempts:
        found.setdefault(attempt.release.project, ([], []))[0].append(attempt)
    for rebuild in rebuilds:
        found.setdefault(rebuild.release.project, ([], []))[1].append(rebuild)
    return found


def _keys(noted: PagesNote) -> set[str]:
    return {key for item in noted.projects.values() for key in item.objects} | set(noted.lists)


def _put_changed(site: ObjectStore, objects: Mapping[str, bytes]) -> dict[str, str]:
    """Put what the site does not have, in the order given; return key -> sha256."""
    for key, data in objects.items():
        try:
            same = site.get(key) == data
        except ObjectNotFound:
            same = False
        if not same:
            site.put(key, data)
    return {key: hashlib.sha256(data).hexdigest() for key, data in objects.items()}


def _digest(
    rows: pa.Table,
    attempts: Sequence[Attempt],
    rebuilds: Sequence[Rebuild],
    fingerprint: str,
    recipe: str,
    status: str,
    identity: SiteIdentity,
    superseded: Collection[str],
) -> str:
    """Return the hash of everything that a project's page is made of."""
    digest = hashlib.sha256()
    facts = [fingerprint, recipe, status, identity.url, identity.repository]
    facts += [f"{attempt.statement_sha256} {attempt.index} {attempt.wheel in superseded}" for attempt in attempts]
    facts += [f"{rebuild.statement_sha256} {rebuild.index}" for rebuild in rebuilds]
    digest.update("\n".join(facts).encode())
    for batch in rows.combine_chunks().to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()
