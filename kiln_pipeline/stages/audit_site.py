"""What stands on the site, held against the attempts in the log: which files there are, and what the pages say of them.

No file of a wheel is read here, and no entry of the log.
"""

# pyarrow ships no annotations: what its tables give is known to the tests, not to the checker.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from collections.abc import Iterator, Sequence
from functools import partial

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.index_entries import vouched_attempts
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.simple_index.model import QUARANTINED
from kiln_pipeline.core.site_inventory import rebuild_objects
from kiln_pipeline.core.strict_json import Table, parse
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.audit_readme import render_readme
from kiln_pipeline.stages.dated_views import noted_views
from kiln_pipeline.stages.verify import compare_index_with_log, project_files
from kiln_pipeline.stages.verify_views import as_of, check_view

Difference = tuple[str, str]
"""(key of the site or number of the entry, what is wrong with it)."""


def expected_on_pages(
    site: ObjectStore, state: ObjectStore, attempts: Sequence[Attempt]
) -> tuple[tuple[Attempt, ...], frozenset[str]]:
    """Return the attempts whose wheels the published pages must list, and the projects that have such pages.

    A quarantined project's page offers nothing, ours included (PEP 792). Before the first publish there are none.
    """
    if not site.exists(site_layout.SIMPLE_ROOT_JSON):
        return (), frozenset()
    root = Table(parse(site.get(site_layout.SIMPLE_ROOT_JSON), "simple/"), "simple/", fields=None)
    published = {Table(item, "simple/", fields=None, path="projects").text("name") for item in root.items("projects")}
    quarantined = {row["project"] for row in detect.load_projects(state).to_pylist() if row["status"] == QUARANTINED}
    return vouched_attempts(attempts, partial(detect.load_files_of, state)), frozenset(published - quarantined)


def compare_files(site: ObjectStore, attempts: Sequence[Attempt], rebuilds: Sequence[Rebuild] = ()) -> Iterator[Difference]:
    """Yield what is gone of what the log has, and the wheels that it does not know."""
    there = {key for prefix in ("wheels/", "audit/entries/", "audit/logs/", "audit/rebuilds/") for key in site.keys(prefix)}
    known = set(rebuild_objects(rebuilds))
    for attempt in attempts:
        known |= {site_layout.attempt_statement(attempt.statement_sha256), site_layout.build_log(attempt.log_sha256)}
        if attempt.wheel:
            name = attempt.wheel
            known |= {site_layout.wheel(name), site_layout.wheel_metadata(name), site_layout.wheel_provenance(name)}
    yield from ((key, "the log has it, and it is gone") for key in known - there)
    yield from ((key, "the log does not know it") for key in there - known if key.startswith(("wheels/", "audit/rebuilds/")))


def compare_readme(site: ObjectStore, key: VerifierKey) -> Iterator[Difference]:
    """Yield a difference when the page for people is not the one that the publisher puts there: it names the log's key."""
    name = site_layout.AUDIT_README
    if not site.exists(name) or site.get(name) != render_readme(key):
        yield name, "it is not the page that this version of kiln publishes; the next run of `audit_log` puts it there again"


def compare_pages(site: ObjectStore, state: ObjectStore, attempts: Sequence[Attempt], log_key: str) -> Iterator[Difference]:
    """Yield the pages that are not the signed ones, and where pages and log differ about our wheels."""
    listed, projects = expected_on_pages(site, state, attempts)
    sound: list[str] = []
    for project in sorted(projects):
        try:
            project_files(project, fetch=site.get, log_key=log_key)
            sound.append(project)
        except VerificationError as error:
            yield site_layout.project_json(project), str(error)
    for name, difference in compare_index_with_log(site, listed, sound):
        yield site_layout.wheel(name), difference


def compare_views(site: ObjectStore, state: ObjectStore, log_key: str, *, full: bool) -> Iterator[Difference]:
    """Yield a difference for every dated view that is not as it was signed, and for the pages of the newest (`full`: of all).

    Pages that several views share are read once.
    """
    key = VerifierKey.parse(log_key)
    days = sorted(noted_views(site, state).days, reverse=True)
    read = set[tuple[str, str]]()
    for number, day in enumerate(days):
        try:
            view = check_view(day, fetch=site.get, log_key=key.public_key)
        except VerificationError as error:
            yield site_layout.view_manifest(day), str(error)
            continue
        if number and not full:
            continue
        fetch = as_of(view, site.get)
        for project, digest in view.pages.items():
            if (project, digest) in read:
                continue
            read.add((project, digest))
            try:
                project_files(project, fetch=fetch, log_key=log_key)
            except VerificationError as error:
                yield site_layout.page_state(digest, project, "index.json"), str(error)
        try:
            fetch(site_layout.SIMPLE_ROOT_JSON)
        except (VerificationError, ObjectNotFound) as error:
            yield site_layout.page_state(view.root, "", "index.json"), str(error)
