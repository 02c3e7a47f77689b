"""`replicas`: the [[publish]] targets of kiln.toml, brought up to the site, each in a run of its own. No page is made here."""

import time

import dagster as dg
from pydantic import Field

from kiln_pipeline.defs.assets.publishing import package_pages, simple_index
from kiln_pipeline.defs.presentation import OWNERS, RunProgress, failure, preview
from kiln_pipeline.errors import KilnError, StoreError
from kiln_pipeline.stages.inventory import Snapshot, take_snapshot
from kiln_pipeline.stages.replicate import replicate
from kiln_pipeline.workspace import Workspace

_WAITS = (5, 15, 40)
"""Seconds between looks at whether a publish has ended."""


class ReplicaConfig(dg.Config):
    """Which targets a run is for."""

    targets: list[str] = Field(default=[], description="Names of [[publish]] targets in kiln.toml; empty means all of them.")


def _snapshot(kiln: Workspace) -> Snapshot:
    """Take the site's inventory between two publishes."""
    for seconds in _WAITS:
        try:
            with kiln.writing("site"):
                return take_snapshot(kiln.site, kiln.state)
        except StoreError:
            time.sleep(seconds)
    return take_snapshot(kiln.site, kiln.state)  # what changes while it is copied stops the copy, and not the publish


@dg.asset(
    deps=[simple_index, package_pages],
    group_name="publisher",
    kinds={"s3"},
    owners=OWNERS,
    code_version="1",
    description="Other places that have the site too: buckets, folders, a page of releases. Each has its own note of what it "
    "has, and its own runs: a slow or failing one holds up no other and no publish, and catches up by itself.",
)
def replicas(context: dg.AssetExecutionContext, config: ReplicaConfig, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    try:
        targets = kiln.publish_targets()
        unknown = sorted(set(config.targets) - targets.keys())
        if unknown:
            raise dg.Failure(description=f"kiln.toml has no target {', '.join(unknown)}", allow_retries=False)
        chosen = {name: target for name, target in targets.items() if not config.targets or name in config.targets}
        progress = RunProgress(context.log, kiln.progress)
        reports = (
            replicate(_snapshot(kiln), site=kiln.site, targets=chosen, state=kiln.state, progress=progress) if chosen else ()
        )
    except KilnError as error:
        raise failure(error) from None
    rows = [
        {
            "target": report.name,
            "place": str(chosen[report.name]),
            "copied": report.copied,
            "bytes": report.copied_bytes,
            "removed": report.removed,
            "left": report.left,
            "problem": report.problem,
        }
        for report in reports
    ]
    table = preview(rows, "target", "place", "copied", "bytes", "removed", "left", "problem")
    metadata = {"targets": table if rows else "none: see [[publish]] in kiln.toml"}
    stopped = [report for report in reports if report.problem]
    if stopped:
        reason = "; ".join(f"{report.name}: {report.problem}" for report in stopped)
        raise dg.Failure(description=f"not up to date: {reason}", metadata=metadata, allow_retries=False)
    return dg.MaterializeResult(metadata=metadata)
