"""The publisher's copies of upstream's files, for projects whose recipe says ``mirror = "copy"``."""

import time
from collections.abc import Collection

import dagster as dg
from pydantic import Field

from kiln_pipeline.core.mirror.settings import MirrorMode
from kiln_pipeline.defs.assets.metadata import release_metadata
from kiln_pipeline.defs.presentation import OWNERS, RunProgress, data_version, failure, preview
from kiln_pipeline.errors import KilnError, StoreError
from kiln_pipeline.ports import Progress
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.mirror import COPIES, prune, sync
from kiln_pipeline.stages.mirror_copy import Limits, Meter, unmetered
from kiln_pipeline.stages.mirror_report import MirrorReport
from kiln_pipeline.workspace import Workspace


class MirrorConfig(dg.Config):
    """What one run may take."""

    projects: list[str] = Field(default=[], description="Normalised project names; empty means all that are copied.")
    workers: int = Field(default=8, ge=1, le=64, description="Files at a time.")
    minutes: float = Field(default=50, gt=0, description="After so long the run ends; the next one goes on from there.")


def copy_files(
    kiln: Workspace,
    progress: Progress,
    *,
    only: Collection[str] | None = None,
    workers: int = 8,
    minutes: float | None = None,
    meter: Meter = unmetered,
    dry_run: bool = False,
) -> MirrorReport:
    """Remove the copies whose time is over, and copy what is wanted and not there."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with kiln.writing("mirror"):
        if not dry_run:
            prune_copies(kiln, progress)
        recipes = kiln.recipes
        return sync(
            recipes,
            detect.load_files_of(kiln.state, [recipe.project for recipe in recipes if recipe.mirror.mode is MirrorMode.COPY]),
            detect.load_projects(kiln.state),
            upstream=kiln.upstream,
            site=kiln.site,
            state=kiln.state,
            work=kiln.home / "work" / "mirror",
            now=kiln.clock(),
            progress=progress,
            only=only,
            limits=Limits(
                workers=workers,
                bytes_per_second=kiln.mirror_rate,
                keep_going=lambda: end is None or time.monotonic() < end,
            ),
            meter=meter,
            dry_run=dry_run,
        )


def prune_copies(kiln: Workspace, progress: Progress) -> None:
    """Remove the copies whose time is over, unless the site is being published just now: then the next run does it."""
    try:
        with kiln.writing("site"):
            projects = detect.load_projects(kiln.state)
            prune(kiln.recipes, projects, site=kiln.site, state=kiln.state, now=kiln.clock(), progress=progress)
    except StoreError as error:
        progress.step(f"mirror: nothing removed this time: {error}")


@dg.asset(
    deps=[release_metadata],
    group_name="publisher",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version="1",
    description="Verified copies of upstream's files on our site, of the projects whose recipe says so, within its filters. "
    "What fails of one project stops no other and is tried again the next hour; the pages name a copy once it is there.",
)
def mirror(context: dg.AssetExecutionContext, config: MirrorConfig, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    progress = RunProgress(context.log, kiln.progress)
    try:
        report = copy_files(kiln, progress, only=config.projects or None, workers=config.workers, minutes=config.minutes)
    except KilnError as error:
        raise failure(error) from None
    if report.problem:
        raise dg.Failure(description=report.problem, metadata=describe(report), allow_retries=False)
    return dg.MaterializeResult(data_version=data_version(kiln.state, COPIES), metadata=describe(report))


def describe(report: MirrorReport) -> dict[str, dg.MetadataValue | int]:
    """Return the metadata of a run: totals, and a line for each project."""
    rows = [
        {
            "project": project.project,
            "wanted": project.wanted,
            "copied": project.copied,
            "left": project.left,
            "skipped": ", ".join(f"{count} by {name}" for name, count in project.refused),
            "failed": "; ".join(f"{filename}: {reason}" for filename, reason in project.failed[:3]),
        }
        for project in report.projects
    ]
    return {
        **{name.replace("_", " "): report.total(name) for name in ("wanted", "copied", "copied_bytes", "left", "left_bytes")},
        "unlisted": report.unlisted,
        "projects": preview(rows, "project", "wanted", "copied", "left", "skipped", "failed"),
    }
