"""Write the pages for people: one folder per project, then the lists that name it. The simple index is another stage's.

A project is written again when something that its page says has changed: its verdicts, its attempts, its recipe, the templates.
The order keeps every link alive at every moment: what a page links to first, then the page, then home, list, feed and
PACKAGES.md; for a project that is no longer tracked, the other way round. What is noted in the state is noted last.
"""

# pyarrow ships no annotations: what its tables give is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.details import WheelDetails, parse_details, read_details, render_details
from kiln_pipeline.core.package_pages.model import PackagePage, State, Summary, package_page, summary_of
from kiln_pipeline.core.package_pages.parts import as_json, outcomes, parts_of, reasons_of
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import Statement, parse_statement
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.simple_index.changes import row_ranges
from kiln_pipeline.core.strict_json import canonical
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore, PageTemplates, Progress

MANIFEST = "package_pages.json"
"""Key in the state: what the last run wrote (`_Noted` per project). Deleting it has every page written anew."""
_DETAILS = "wheel_details/"
"""Prefix in the state: what is in a wheel, by its sha256; derived."""
_COLUMNS = ("version", "identifier", "python", "platform", "verdict", "rule", "reason", "covered_by")
_NEWEST = 50
_WORDS = {
    State.OURS: "✓ ours",
    State.UPSTREAM: "upstream",
    State.MISSING: "missing",
    State.FAILED: "✗ failed",
    State.CANNOT: "cannot",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteIdentity:
    """Where the site is, and where its recipes are: what links lead to."""

    url: str
    """Of the site's root, with a slash at the end."""
    repository: str = ""
    """Of the repository that has the recipes, without a slash at the end; empty: the pages link to none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagePagesReport:
    """What one run did. Tuples are sorted."""

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Noted:
    inputs: str
    summary: Summary
    objects: Mapping[str, str]
    """Key -> lower-case hex sha256 of what is on the site."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Manifest:
    projects: Mapping[str, _Noted] = field(default_factory=dict[str, _Noted])
    lists: Mapping[str, str] = field(default_factory=dict[str, str])
    """As `_Noted.objects`, for home, list, feed and PACKAGES.md."""


def publish_package_pages(
    *,
    recipes: Sequence[Recipe],
    missing: pa.Table,
    statuses: Mapping[str, str],
    attempts: Sequence[Attempt],
    superseded: Collection[str],
    site: ObjectStore,
    state: ObjectStore,
    templates: PageTemplates,
    identity: SiteIdentity,
    progress: Progress,
) -> PackagePagesReport:
    """Bring the pages for people up to date; an unchanged run writes nothing.

    `missing` is the `missing_wheels` table, `statuses` upstream's status by project, `attempts` the audit log's, `superseded` the
    filenames of our wheels that upstream has caught up with. Raises `StoreError`; run it again then.
    """
    last = _read_manifest(state)
    before = last.projects
    ranges, columns = row_ranges(missing), missing.select(_COLUMNS)
    by_project: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_project.setdefault(attempt.release.project, []).append(attempt)
    noted: dict[str, _Noted] = {}
    written: list[str] = []
    for recipe in sorted(recipes, key=lambda recipe: recipe.project):
        project = recipe.project
        start, stop = ranges.get(project, (0, 0))
        rows, own = columns.slice(start, stop - start), by_project.get(project, [])
        status = statuses.get(project, "active")
        inputs = _digest(rows, own, templates.fingerprint, recipe.sha256, status, identity, superseded)
        old = before.get(project)
        if old is not None and old.inputs == inputs:
            noted[project] = old
            continue
        page = _page(recipe, rows, own, status, superseded, site, state)
        objects = _write_project(page, site, templates, identity)
        noted[project] = _Noted(inputs=inputs, summary=summary_of(page), objects=objects)
        written.append(project)
        progress.step(f"package pages: {project}")
    removed = sorted(before.keys() - noted.keys())
    now = _Manifest(projects=noted, lists=_write_lists(noted, attempts, site, templates, identity))
    for project, old in before.items():
        for key in sorted(old.objects.keys() - (noted[project].objects.keys() if project in noted else set())):
            site.delete(key)
    if now != last:
        state.put(MANIFEST, _write_manifest(now))
    return PackagePagesReport(written=tuple(written), removed=tuple(removed), unchanged=len(noted) - len(written))


def _page(
    recipe: Recipe,
    rows: pa.Table,
    attempts: Sequence[Attempt],
    status: str,
    superseded: Collection[str],
    site: ObjectStore,
    state: ObjectStore,
) -> PackagePage:
    ours = [attempt for attempt in attempts if attempt.wheel]
    return package_page(
        recipe,
        rows.to_pylist(),
        attempts,
        status=status,
        superseded=superseded,
        statements={attempt.wheel: _statement(attempt, site) for attempt in ours},
        details={attempt.wheel: _details(attempt, site, state) for attempt in ours},
    )


def _statement(attempt: Attempt, site: ObjectStore) -> Statement:
    """Return a statement that was verified when it was recorded; a page proves nothing, and links to what does."""
    return parse_statement(unverified_payload(site.get(site_layout.attempt_statement(attempt.statement_sha256))))


def _details(attempt: Attempt, site: ObjectStore, state: ObjectStore) -> WheelDetails:
    key = f"{_DETAILS}{attempt.wheel_sha256}.json"
    try:
        return parse_details(state.get(key))
    except (ObjectNotFound, ValueError, KeyError, TypeError):
        details = read_details(site.get(site_layout.wheel(attempt.wheel)))
        state.put(key, render_details(details))
        return details


def _write_project(page: PackagePage, site: ObjectStore, templates: PageTemplates, identity: SiteIdentity) -> dict[str, str]:
    """Write a project's objects, what its pages link to first; return what they are, as `_Noted.objects`."""
    texts: dict[str, bytes] = {}
    licenses: dict[str, list[tuple[str, str]]] = {}
    for wheel in page.wheels:
        licenses[wheel.attempt.wheel] = []
        for path, text in wheel.details.licenses:
            data = text.encode("utf-8", "replace")
            key = site_layout.license_text(page.project, hashlib.sha256(data).hexdigest())
            texts[key] = data
            licenses[wheel.attempt.wheel].append((path, key))
    objects = {**texts, site_layout.package_json(page.project): canonical(as_json(page)) + b"\n"}
    parts = parts_of(page)
    for number, matrices in enumerate(parts, 1):
        values: dict[str, object] = {
            "page": page,
            "matrices": matrices,
            "reasons": reasons_of(matrices),
            "part": number,
            "parts": len(parts),
            "licenses": licenses,
            "words": _WORDS,
            "root": "../../",
            "recipe_url": f"{identity.repository}/blob/main/recipes/{page.project}/recipe.toml" if identity.repository else "",
            "ask_url": f"{identity.repository}/issues/new?title={page.project}" if identity.repository else "",
        }
        objects[site_layout.package_html(page.project, number)] = templates.render("package.html", values)
    return _put_changed(site, objects)


def _write_lists(
    noted: Mapping[str, _Noted], attempts: Sequence[Attempt], site: ObjectStore, templates: PageTemplates, identity: SiteIdentity
) -> dict[str, str]:
    summaries = [noted[project].summary for project in sorted(noted)]
    ours = [attempt for attempt in attempts if attempt.wheel and attempt.release.project in noted]
    newest = sorted(ours, key=lambda attempt: (attempt.finished, attempt.index), reverse=True)[:_NEWEST]
    tried: dict[str, list[Attempt]] = {project: [] for project in sorted(noted)}
    for attempt in attempts:
        if attempt.release.project in tried:
            tried[attempt.release.project].append(attempt)
    values: dict[str, object] = {
        "summaries": summaries,
        "newest": newest,
        "wheels": len(ours),
        "site_url": identity.url,
        "snippets": templates.snippets(f"{identity.url}simple/"),
        "packages": [(project, list(outcomes(own))) for project, own in tried.items()],
    }
    pages = {
        site_layout.STYLE: templates.text("style.css"),
        site_layout.PACKAGES_HTML: templates.render("packages.html", {**values, "root": "../"}),
        site_layout.FEED: templates.render("feed.atom", values),
        site_layout.PACKAGES_MD: templates.render("PACKAGES.md", values),
        site_layout.HOME: templates.render("home.html", {**values, "newest": newest[:10], "root": ""}),
    }
    return _put_changed(site, pages)


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
    digest.update("\n".join(facts).encode())
    for batch in rows.combine_chunks().to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()


def noted_objects(state: ObjectStore) -> dict[str, str]:
    """Return key -> lower-case hex sha256 of everything that the last run left on the site; nothing before the first one."""
    noted = _read_manifest(state)
    return {key: sha256 for item in noted.projects.values() for key, sha256 in item.objects.items()} | dict(noted.lists)


def _write_manifest(noted: _Manifest) -> bytes:
    rows = {
        project: {
            "inputs": item.inputs,
            "reason": item.summary.reason,
            "counts": item.summary.counts,
            "newest": item.summary.newest.isoformat() if item.summary.newest else None,
            "objects": item.objects,
        }
        for project, item in noted.projects.items()
    }
    return canonical({"projects": rows, "lists": noted.lists})


def _read_manifest(state: ObjectStore) -> _Manifest:
    """Return what was noted; nothing when it cannot be read: every page is then written anew."""
    try:
        document: dict[str, Any] = json.loads(state.get(MANIFEST))
        projects = {
            project: _Noted(
                inputs=row["inputs"],
                summary=Summary(
                    project=project,
                    reason=row["reason"],
                    counts=row["counts"],
                    newest=datetime.fromisoformat(row["newest"]) if row["newest"] else None,
                ),
                objects=row["objects"],
            )
            for project, row in document["projects"].items()
        }
        return _Manifest(projects=projects, lists=document["lists"])
    except (ObjectNotFound, ValueError, KeyError, TypeError, AttributeError):
        return _Manifest()
