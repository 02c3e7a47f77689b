"""Asset checks: what must hold whenever an asset has been materialised. A blocking one keeps what comes after it from running."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.health import jumps, success
from kiln_pipeline.defs.presentation import preview
from kiln_pipeline.errors import KilnError
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.audit import unaudited
from kiln_pipeline.stages.audit_entry import incomplete, unproven, unsound
from kiln_pipeline.stages.audit_site import Difference, expected_on_pages
from kiln_pipeline.stages.mirror_report import load_report
from kiln_pipeline.stages.site_status import load_history
from kiln_pipeline.stages.verify import compare_index_with_log
from kiln_pipeline.workspace import Workspace

LATE = timedelta(hours=3)
"""After so long without a run the copies are stale."""


@dg.asset_check(asset="release_metadata", description="Every tracked project could be read from upstream.")
def upstream_answers(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    projects = detect.load_projects(kiln.state).to_pylist()
    broken = [row for row in projects if row["broken_since"] is not None]
    return dg.AssetCheckResult(
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"broken": preview(broken, "project", "broken_since", "broken_reason") if broken else "none"},
    )


@dg.asset_check(asset="missing_wheels", description="No platform's missing wheels grew by half within a day.")
def gaps_do_not_jump(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    rows = [
        {"platform": str(one.platform), "a day ago": one.before, "now": one.now}
        for one in jumps(load_history(kiln.state), kiln.clock())
    ]
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description="a recipe that asks for more, or a page of upstream's that lost files? `kiln missing PROJECT` shows each gap"
        if rows
        else "",
        metadata={"jumped": preview(rows, "platform", "a day ago", "now") if rows else "none"},
    )


@dg.asset_check(asset="audit_log", description="Of the last day's builds as many succeed as did in the 30 days before.")
def builds_succeed(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    found = success(kiln.attempts(), kiln.clock())
    fell = found is not None and found.fell
    return dg.AssetCheckResult(
        passed=not fell,
        severity=dg.AssetCheckSeverity.WARN,
        description="`kiln failures` groups what fails; a changed host, image or tool shows there first" if fell else "",
        metadata={
            "last day": f"{found.lately:.0%}" if found else "too few attempts to tell",
            "30 days before": f"{found.before:.0%}" if found else "too few attempts to tell",
        },
    )


@dg.asset_check(asset="mirror", description="The last run is of the last hours, and nothing that is to be copied failed in it.")
def mirror_is_whole(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    report = load_report(kiln.state)
    failed = report.failed if report else ()
    late = report is not None and kiln.clock() - report.finished > LATE
    rows = [
        {"project": project.project, "failing since": project.failing_since, "file": filename, "reason": reason}
        for project in failed
        for filename, reason in project.failed
    ]
    return dg.AssetCheckResult(
        passed=not failed and not late and not (report and report.problem),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "last run": report.finished.isoformat() if report else "never",
            "stopped by": (report and report.problem) or "nothing",
            "failed": preview(rows, "project", "failing since", "file", "reason") if rows else "none",
        },
    )


# What follows looks at the attempts that the nightly audit has not read yet: a publish costs in proportion to what is new.


@dg.asset_check(
    asset="audit_log", blocking=True, description="Every new wheel is, to the byte, what its signed statement and its recipe say."
)
def wheel_contents(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    return _result(unsound(kiln.site, _log_key(kiln), unaudited(kiln.state, kiln.attempts())))


@dg.asset_check(
    asset="audit_log",
    blocking=True,
    description="Every new attempt's statement names and hashes all that went into it, and its build log is there.",
)
def provenance_complete(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    return _result(incomplete(kiln.site, _log_key(kiln), unaudited(kiln.state, kiln.attempts())))


@dg.asset_check(
    asset="audit_log",
    blocking=True,
    description="The provenance file of every new wheel proves its entry in the log as it is now.",
)
def log_inclusion(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    return _result(unproven(kiln.site, _log_key(kiln), unaudited(kiln.state, kiln.attempts())))


@dg.asset_check(
    asset="simple_index", blocking=True, description="Every wheel of ours on a page is in the audit log, with the same hash."
)
def index_matches_log(kiln: dg.ResourceParam[Workspace]) -> dg.AssetCheckResult:
    try:
        attempts, projects = expected_on_pages(kiln.site, kiln.state, kiln.attempts())
        differences = compare_index_with_log(kiln.site, attempts, projects)
    except KilnError as error:
        differences = [("simple/", f"{error}; `kiln index check --mend` writes altered and missing pages anew")]
    return _result(differences)


def _log_key(kiln: Workspace) -> str:
    return str(VerifierKey.of(kiln.log_key))


def _result(found: Sequence[Difference]) -> dg.AssetCheckResult:
    rows = [{"file": key, "difference": text} for key, text in found]
    return dg.AssetCheckResult(passed=not rows, metadata={"differences": preview(rows, "file", "difference") if rows else "none"})
