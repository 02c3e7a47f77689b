"""Make one project's pages for people: its matrix, wheels and failures, its JSON and its licence texts.

What should be on the site and is not (a half-published state, a lost object) is said on the page, and asked for again next time.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.details import WheelDetails, parse_details, read_details, render_details
from kiln_pipeline.core.package_pages.model import PackagePage, State, package_page
from kiln_pipeline.core.package_pages.parts import parts_of
from kiln_pipeline.core.package_pages.values import as_json
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import Statement, parse_statement
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.site_status.figures import build_times_of
from kiln_pipeline.core.strict_json import canonical
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore, PageTemplates

_DETAILS = "wheel_details/"
"""Prefix in the state: what is in a wheel, by its sha256; derived."""
_PARALLEL = 8
WORDS = {
    State.OURS: "ours",
    State.UPSTREAM: "upstream",
    State.MISSING: "missing",
    State.FAILED: "failed",
    State.CANNOT: "cannot",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteIdentity:
    """Where the site is, and where its recipes are: what links lead to."""

    url: str
    """Of the site's root, with a slash at the end."""
    repository: str = ""
    """Of the repository that has the recipes, without a slash at the end; empty: the pages link to none."""

    def ask_url(self, project: str = "") -> str:
        """Return a link to an issue that asks for a project, or for more of it, filled in; empty without a repository."""
        if not self.repository:
            return ""
        title = f"Wheels for {project}" if project else "Wheels for PROJECT"
        asked = (
            f"Project: {project or 'PROJECT'}\nVersions:\nPythons and platforms:\nWhy (a lock, a service, how many installs):\n"
        )
        return f"{self.repository}/issues/new?title={quote(title)}&body={quote(asked)}"

    def recipe_url(self, project: str) -> str:
        """Return the link to a project's recipe; empty without a repository."""
        return f"{self.repository}/blob/main/recipes/{project}/recipe.toml" if self.repository else ""


def read_page(
    recipe: Recipe,
    rows: Sequence[Mapping[str, Any]],
    attempts: Sequence[Attempt],
    *,
    status: str,
    superseded: Collection[str],
    rebuilds: Mapping[str, tuple[Rebuild, ...]],
    site: ObjectStore,
    state: ObjectStore,
) -> PackagePage:
    """Return a project's page, with what its wheels and their statements on the site say. Raises `StoreError`."""
    ours = [attempt for attempt in attempts if attempt.wheel]
    statements: dict[str, Statement] = {}
    details: dict[str, WheelDetails] = {}
    for attempt in ours:
        with suppress(ObjectNotFound):
            statements[attempt.wheel] = _statement(attempt, site)
        with suppress(ObjectNotFound):
            details[attempt.wheel] = _details(attempt, site, state)
    return package_page(
        recipe,
        rows,
        attempts,
        status=status,
        superseded=superseded,
        statements=statements,
        details=details,
        rebuilds=rebuilds,
        absent=frozenset(_absent(attempts, rebuilds, site)),
    )


def project_objects(
    page: PackagePage, attempts: Sequence[Attempt], templates: PageTemplates, identity: SiteIdentity
) -> dict[str, bytes]:
    """Return a project's objects by key, what its pages link to first."""
    texts: dict[str, bytes] = {}
    licenses: dict[str, list[tuple[str, str]]] = {}
    for wheel in page.wheels:
        licenses[wheel.attempt.wheel] = []
        for path, text in wheel.details.licenses if wheel.details else ():
            data = text.encode("utf-8", "replace")
            key = site_layout.license_text(page.project, hashlib.sha256(data).hexdigest())
            texts[key] = data
            licenses[wheel.attempt.wheel].append((path, key))
    objects = {**texts, site_layout.package_json(page.project): canonical(as_json(page)) + b"\n"}
    parts = parts_of(page)
    for number, part in enumerate(parts, 1):
        values: dict[str, object] = {
            "page": page,
            "part": part,
            "reasons": part.reasons,
            "number": number,
            "parts": parts,
            "licenses": licenses,
            "words": WORDS,
            "figure": build_times_of(attempts) if number == 1 else None,
            "root": "../../",
            "recipe_url": identity.recipe_url(page.project),
            "ask_url": identity.ask_url(page.project),
        }
        objects[site_layout.package_html(page.project, number)] = templates.render("package.html", values)
    return objects


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


def _absent(attempts: Sequence[Attempt], rebuilds: Mapping[str, tuple[Rebuild, ...]], site: ObjectStore) -> Iterator[str]:
    """Yield what the page would link to and the site does not have."""
    keys = {site_layout.build_log(attempt.log_sha256) for attempt in attempts}
    for attempt in attempts:
        if attempt.wheel:
            keys |= {site_layout.wheel(attempt.wheel), site_layout.wheel_provenance(attempt.wheel)}
            count = len(rebuilds.get(attempt.wheel, ()))
            keys |= {site_layout.rebuild_provenance(attempt.wheel, number) for number in range(1, count + 1)}
    ordered = sorted(keys)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for key, there in zip(ordered, pool.map(site.exists, ordered), strict=True):
            if not there:
                yield key
