"""Asset checks: what must hold whenever an asset has been materialised."""

import json

import dagster as dg

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.index_entries import vouched_attempts
from kiln_pipeline.core.simple_index.model import QUARANTINED
from kiln_pipeline.defs.presentation import preview
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.verify import compare_index_with_log
from kiln_pipeline.workspace import Workspace


@dg.asset_check(asset="release_metadata", description="Every tracked project could be read from upstream.")
def upstream_answers(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    projects = detect.load_projects(kiln.state).to_pylist()
    broken = [row for row in projects if row["broken_since"] is not None]
    return dg.AssetCheckResult(
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"broken": preview(broken, "project", "broken_since", "broken_reason") if broken else "none"},
    )


@dg.asset_check(asset="simple_index", description="Every wheel of ours on a page is in the audit log, with the same hash.")
def index_matches_log(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    published = json.loads(kiln.site.get(site_layout.SIMPLE_ROOT_JSON))["projects"]
    attempts = vouched_attempts(kiln.attempts(), detect.load_metadata(kiln.state))
    # a quarantined project's page offers nothing, ours included (PEP 792)
    quarantined = {row["project"] for row in detect.load_projects(kiln.state).to_pylist() if row["status"] == QUARANTINED}
    projects = {project["name"] for project in published} - quarantined
    differences = compare_index_with_log(kiln.site, attempts, projects)
    rows = [{"file": name, "difference": text} for name, text in differences]
    return dg.AssetCheckResult(passed=not rows, metadata={"differences": preview(rows, "file", "difference") if rows else "none"})
