"""Asset checks: what must hold whenever an asset has been materialised."""

import json

import dagster as dg

from kiln_pipeline.core import site_layout
from kiln_pipeline.defs.presentation import preview
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.compare import compare_index_with_log
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
    differences = compare_index_with_log(kiln.site, kiln.attempts(), [project["name"] for project in published])
    rows = [{"file": name, "difference": text} for name, text in differences]
    return dg.AssetCheckResult(passed=not rows, metadata={"differences": preview(rows, "file", "difference") if rows else "none"})
