"""A whole site as a maintainer's is after some weeks, made by the real stages from captured upstream pages: for browsers to read.

`grpcio` has 11,221 upstream files and some hundred releases, `wrapt` wheels, failures and rebuilds of ours; one recipe's reason
is full of markup, and one project has no release.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import cycle

from packaging.specifiers import SpecifierSet

from kiln_pipeline.adapters.page_templates import JinjaTemplates
from kiln_pipeline.core import missing_wheels, release_metadata
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.index_entries import superseded_wheels
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.rebuilds import RebuildVerdict
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.release_metadata import ProjectState
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.audit_readme import put_readme
from kiln_pipeline.stages.log_tables import load_attempts, load_rebuilds
from kiln_pipeline.stages.package_pages import PackagePagesReport, SiteIdentity, publish_package_pages
from kiln_pipeline.stages.publish import publish
from kiln_pipeline.stages.record import record
from kiln_pipeline.stages.site_status import site_status
from kiln_pipeline.stages.tables import table_bytes
from kiln_pipeline_tests.audit_samples import HOSTS, LOG, RECIPE_SHA256, STARTED, Silent, put_bundle, sample_bundle, sample_plan
from kiln_pipeline_tests.captured import captured_page
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.rebuild_samples import BOTH, original_of, put_rebuild

HOSTILE = """<script>alert("x")</script>' | `code` [link](javascript:1)"""
PYTHONS = tuple(PythonTag.parse(f"cp3{minor}") for minor in range(9, 14))
PROJECTS = {
    "bcrypt": "new Pythons for the releases that locks of 2022 hold",
    "grpcio": "every release on every platform, from the first",
    "lz4": "wheels for Linux arm64 and macOS",
    "markupsafe": "everybody with a Jinja2 of 2021 is pinned to 2.0.1",
    "mysqlclient": HOSTILE,
    "psutil": "musl, and Pythons that came later",
    "wrapt": "1.10 to 1.14 have no wheel for today's Pythons",
}
FAILURES = (
    Failure(failure_class="missing-header", proof="fatal error: mysql.h: No such file or directory", hint=""),
    Failure(failure_class="removed-c-api", proof="error: unknown type name '_PyUnicodeWriter'", hint=""),
    Failure(failure_class="network", proof="<b>ReadTimeoutError</b> & more", hint=""),
)
IDENTITY = SiteIdentity(url="https://kiln.example.org/", repository="https://forge.example.org/kiln")


def recipes() -> list[Recipe]:
    tracked = [
        Recipe(
            project=project,
            reason=reason,
            versions=(SpecifierSet(),),
            pythons=PYTHONS,
            platforms=tuple(Platform),
            sha256=RECIPE_SHA256,
        )
        for project, reason in PROJECTS.items()
    ]
    nothing = Recipe(
        project="zope-interface", reason="nothing yet", versions=(), pythons=PYTHONS, platforms=tuple(Platform), sha256="f" * 64
    )
    return [*tracked, nothing]


def make_site(site: ObjectStore, state: ObjectStore) -> None:
    """Fill an empty site and state: upstream is read, some of what is missing is tried, and all is published."""
    pages = {project: captured_page(project) for project in PROJECTS}
    state.put(detect.METADATA, table_bytes(release_metadata.replace_projects(release_metadata.empty(), pages)))
    states = {project: ProjectState.of(page) for project, page in pages.items()}
    states["psutil"] = replace(states["psutil"], broken_since=STARTED, broken_reason=f"upstream answered 503: {HOSTILE}")
    state.put(detect.PROJECTS, table_bytes(release_metadata.replace_states(release_metadata.empty_projects(), states)))
    detect.find_missing(recipes(), (), state=state, now=STARTED)
    for hours in (0, 30, 31, 80):
        _try_some(site, state, hours)
        attempts = load_attempts(state, site)
        detect.find_missing(recipes(), attempts, state=state, now=STARTED + timedelta(hours=hours + 1))
    _rebuild_some(site, state)
    put_readme(site, VerifierKey.of(LOG))
    publish_index(site, state)
    publish_pages(site, state)


def publish_index(site: ObjectStore, state: ObjectStore) -> None:
    attempts = load_attempts(state, site)
    publish(
        projects=sorted(PROJECTS),
        metadata=lambda projects: detect.load_files_of(state, projects),
        project_table=detect.load_projects(state),
        attempts=attempts,
        superseded=superseded_wheels(detect.load_missing(state), attempts),
        site=site,
        state=state,
        signer=LOG,
        progress=Silent(),
    )


def publish_pages(site: ObjectStore, state: ObjectStore, *, identity: SiteIdentity = IDENTITY) -> PackagePagesReport:
    """Write the pages for people as the asset does."""
    attempts, missing, projects = load_attempts(state, site), detect.load_missing(state), detect.load_projects(state)
    clock = STARTED + timedelta(days=4)
    status = site_status(
        recipes=recipes(),
        missing=missing,
        projects=projects,
        attempts=attempts,
        rebuilds=load_rebuilds(state, site),
        site=site,
        state=state,
        clock=clock,
        live=False,
    )
    return publish_package_pages(
        recipes=recipes(),
        missing=missing,
        statuses={row["project"]: row["status"] for row in projects.to_pylist()},
        attempts=attempts,
        rebuilds=load_rebuilds(state, site),
        superseded=superseded_wheels(missing, attempts),
        status=status,
        site=site,
        state=state,
        templates=JinjaTemplates(),
        identity=identity,
        progress=Silent(),
    )


def _try_some(site: ObjectStore, state: ObjectStore, hours: int) -> None:
    """Record attempts at missing wheels of each project on one platform: three wheels and two failures."""
    missing = missing_wheels.in_order(detect.load_missing(state), Platform.MACOSX_ARM64).to_pylist()
    inbox = MemoryStore()
    for place, project in enumerate(PROJECTS):
        for number, row in enumerate([row for row in missing if row["project"] == project][:5]):
            sdist = next(file for file in captured_page(project).files if file.filename == row["sdist"])
            plan = replace(sample_plan(project, row["version"], row["python"]), sdist=sdist)
            failure = FAILURES[(place + number) % len(FAILURES)] if number > 2 else None
            bundle = sample_bundle(
                plan, failure=failure, minutes=60 * hours + place * 3 + number, seconds=20 + 7 ** (place % 4 + 1) + 10 * number
            )
            put_bundle(inbox, bundle)
    report = record(inbox=inbox, site=site, state=state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent())
    assert report.refused == ()


def _rebuild_some(site: ObjectStore, state: ObjectStore) -> None:
    """Record a rebuild of some wheels, with every verdict."""
    inbox = MemoryStore()
    ours = [attempt for attempt in load_attempts(state, site) if attempt.wheel]
    for number, (attempt, verdict) in enumerate(zip(ours[::5], cycle(RebuildVerdict))):
        put_rebuild(inbox, original_of(attempt, site), verdict, minutes=number)
    report = record(inbox=inbox, site=site, state=state, log_signer=LOG, hosts=BOTH, recipes=None, progress=Silent())
    assert report.refused == ()
