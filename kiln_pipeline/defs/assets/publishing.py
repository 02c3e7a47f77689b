"""The publisher: take bundles from the inbox, verify, append to the audit log, then publish. Runs where the log key is."""

from functools import partial

import dagster as dg

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Outcome
from kiln_pipeline.core.index_entries import superseded_wheels, vouched_attempts
from kiln_pipeline.core.mirror.plan import page_mirrors
from kiln_pipeline.core.mirror.settings import MirrorMode
from kiln_pipeline.core.rebuilds import rebuilds_by_wheel
from kiln_pipeline.core.simple_index import manifest
from kiln_pipeline.defs.assets.metadata import release_metadata
from kiln_pipeline.defs.assets.mirroring import mirror
from kiln_pipeline.defs.assets.wheels import wheels
from kiln_pipeline.defs.presentation import (
    OWNERS,
    PREVIEW_ROWS,
    RunProgress,
    data_version,
    failure,
    lineage,
    preview,
    sdist_urls,
    verdicts,
)
from kiln_pipeline.errors import KilnError
from kiln_pipeline.ports import Progress
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.mirror import load_copies
from kiln_pipeline.stages.package_pages import MANIFEST, PackagePagesReport, publish_package_pages
from kiln_pipeline.stages.publish import PublishReport, publish
from kiln_pipeline.stages.record import RecordReport, record
from kiln_pipeline.stages.site_status import site_status
from kiln_pipeline.workspace import Workspace

LOG_NOTE = (
    "An append-only Merkle log (C2SP tlog-tiles) with one entry per attempt, failures included. The publisher verifies each "
    "bundle's signature, hashes and wheel before it appends; a wheel is in the log before it is in the index."
)


def take_in(kiln: Workspace, progress: Progress) -> RecordReport:
    """Verify and append everything that waits in the inbox."""
    with kiln.writing("site"):
        return record(
            inbox=kiln.inbox,
            site=kiln.site,
            state=kiln.state,
            log_signer=kiln.log_key,
            hosts=kiln.hosts,
            recipes={recipe.project: recipe.sha256 for recipe in kiln.recipes},
            progress=progress,
        )


def write_pages(kiln: Workspace, progress: Progress) -> PublishReport:
    """Bring the simple index up to what upstream and the audit log say."""
    with kiln.writing("site"):
        recipes, projects = kiln.recipes, detect.load_projects(kiln.state)
        read = set(projects.column("project").to_pylist())
        attempts = vouched_attempts(kiln.attempts(), partial(detect.load_files_of, kiln.state))
        return publish(
            # a recipe whose project has never been asked for is not in the index yet; one that has pages (of before a lost
            # state) keeps them until it is asked for again
            projects=[
                recipe.project
                for recipe in recipes
                if recipe.mirror.mode is not MirrorMode.NONE
                and (recipe.project in read or kiln.site.exists(site_layout.project_html(recipe.project)))
            ],
            metadata=partial(detect.load_files_of, kiln.state),
            project_table=projects,
            attempts=attempts,
            superseded=superseded_wheels(detect.load_missing(kiln.state), attempts),
            site=kiln.site,
            state=kiln.state,
            signer=kiln.log_key,
            progress=progress,
            mirrors=page_mirrors(recipes, load_copies(kiln.state, kiln.site)),
        )


def write_package_pages(kiln: Workspace, progress: Progress) -> PackagePagesReport:
    """Bring the pages for people up to what the tables and the audit log say."""
    with kiln.writing("site"):
        attempts, rebuilds, missing = kiln.attempts(), kiln.rebuilds(), detect.load_missing(kiln.state)
        recipes, projects = kiln.recipes, detect.load_projects(kiln.state)
        return publish_package_pages(
            recipes=recipes,
            missing=missing,
            statuses={row["project"]: row["status"] for row in projects.to_pylist()},
            attempts=attempts,
            rebuilds=rebuilds,
            superseded=superseded_wheels(missing, attempts),
            status=site_status(
                recipes=recipes,
                missing=missing,
                projects=projects,
                attempts=attempts,
                rebuilds=rebuilds,
                site=kiln.site,
                state=kiln.state,
                clock=kiln.clock(),
                live=False,
            ),
            site=kiln.site,
            state=kiln.state,
            templates=kiln.templates,
            identity=kiln.identity,
            progress=progress,
        )


@dg.asset(
    deps=[wheels],
    group_name="publisher",
    kinds={"python", "json"},
    owners=OWNERS,
    code_version="1",
    description=LOG_NOTE,
)
def audit_log(context: dg.AssetExecutionContext, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    try:
        report = take_in(kiln, RunProgress(context.log, kiln.progress))
    except KilnError as error:
        raise failure(error) from None
    attempts = kiln.attempts()
    latest = attempts[: -PREVIEW_ROWS - 2 : -1]
    sdists = sdist_urls(detect.load_metadata(kiln.state), latest)
    rebuilds = kiln.rebuilds()
    rows = [
        {
            "index": attempt.index,
            "release": attempt.release,
            "identifier": attempt.identifier,
            "outcome": attempt.outcome,
            "wheel or failure": attempt.wheel or f"{attempt.failure}: {attempt.proof}",
            **lineage(attempt, kiln.site_url, sdists, rebuilds_by_wheel(rebuilds)),
        }
        for attempt in latest
    ]
    refused = [{"bundle": bundle, "reason": reason} for bundle, reason in report.refused]
    return dg.MaterializeResult(
        data_version=data_version(kiln.site, site_layout.CHECKPOINT),
        metadata={
            "entries": len(attempts),
            "appended": len(report.recorded),
            "succeeded": sum(attempt.outcome is Outcome.SUCCEEDED for attempt in attempts),
            "failed": sum(attempt.outcome is Outcome.FAILED for attempt in attempts),
            "refused bundles": preview(refused, "bundle", "reason") if refused else "none",
            "checkpoint": dg.MetadataValue.url(kiln.site_url + site_layout.CHECKPOINT),
            "latest attempts": preview(
                rows,
                *("index", "release", "identifier", "outcome", "wheel or failure"),
                *("sdist", "recipe", "attestation", "log", "rebuild"),
            ),
            "rebuilds": len(rebuilds),
            "latest rebuilds": verdicts(rebuilds[: -PREVIEW_ROWS - 2 : -1]),
        },
    )


@dg.asset(
    deps=[release_metadata, mirror, audit_log],
    group_name="publisher",
    kinds={"python", "html"},
    owners=OWNERS,
    code_version="1",
    description="The simple index (PEP 503 HTML, PEP 691 JSON): for every tracked project our wheels first, then every file "
    "that upstream has. Only pages that changed are written, files before the pages that name them.",
)
def simple_index(context: dg.AssetExecutionContext, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    try:
        report = write_pages(kiln, RunProgress(context.log, kiln.progress))
    except KilnError as error:
        raise failure(error) from None
    published = [attempt for attempt in kiln.attempts() if attempt.wheel]
    rows = [
        {"wheel": f"[{attempt.wheel}]({kiln.site_url}{site_layout.wheel(attempt.wheel)})", "sha256": attempt.wheel_sha256}
        for attempt in reversed(published)
    ]
    problems = [{"project": project, "reason": reason} for project, reason in report.problems]
    return dg.MaterializeResult(
        data_version=data_version(kiln.state, manifest.KEY),
        metadata={
            "projects written": len(report.written),
            "projects removed": len(report.removed),
            "projects unchanged": report.unchanged,
            "not published": preview(problems, "project", "reason") if problems else "none",
            "wheels of ours": preview(rows, "wheel", "sha256"),
            "index": dg.MetadataValue.url(kiln.site_url + "simple/"),
        },
    )


@dg.asset(
    deps=[simple_index],
    group_name="publisher",
    kinds={"python", "html"},
    owners=OWNERS,
    code_version="1",
    description="The site for people: home, a page per project with its matrix release × target, PACKAGES.md, a feed of new "
    "wheels. Only what changed is written.",
)
def package_pages(context: dg.AssetExecutionContext, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    try:
        report = write_package_pages(kiln, RunProgress(context.log, kiln.progress))
    except KilnError as error:
        raise failure(error) from None
    rows = [
        {"project": f"[{recipe.project}]({kiln.site_url}packages/{recipe.project}/)", "why it is here": recipe.reason}
        for recipe in kiln.recipes
    ]
    return dg.MaterializeResult(
        data_version=data_version(kiln.state, MANIFEST),
        metadata={
            "projects written": len(report.written),
            "projects removed": len(report.removed),
            "projects unchanged": report.unchanged,
            "pages": preview(rows, "project", "why it is here"),
            "home": dg.MetadataValue.url(kiln.site_url),
        },
    )
