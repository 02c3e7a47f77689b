"""Jobs: the refresh, the publish, and python.build's ad-hoc `build_wheel` with the parameters that its users know."""

from datetime import UTC

import dagster as dg
from pydantic import Field

from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.defs.assets.publishing import take_in, write_package_pages, write_pages
from kiln_pipeline.defs.assets.wheels import build_all, describe, why_it_failed
from kiln_pipeline.defs.presentation import RunProgress, failure, preview
from kiln_pipeline.errors import KilnError
from kiln_pipeline.stages.ad_hoc import ad_hoc_plan
from kiln_pipeline.stages.audit import audit as check_against_log
from kiln_pipeline.stages.dated_views import take_and_retain
from kiln_pipeline.workspace import Workspace

# one run at a time may write the tables, the log and the pages: see concurrency in dagster.yaml
WRITES_TABLES = {"kiln/writes": "tables"}
WRITES_SITE = {"kiln/writes": "site"}

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.assets("release_metadata", "missing_wheels"),
    tags=WRITES_TABLES,
    description="Ask upstream what changed, and compute what is missing.",
)
publish = dg.define_asset_job(
    "publish",
    selection=dg.AssetSelection.assets("audit_log", "simple_index", "package_pages"),
    tags=WRITES_SITE,
    description="Take attempt bundles from the inbox: verify, append to the audit log, publish the pages.",
)

mirror_copies = dg.define_asset_job(
    "mirror_copies",
    selection=dg.AssetSelection.assets("mirror"),
    tags={"kiln/writes": "mirror"},  # it may take an hour, and no publish waits for it
    description="Copy upstream's files of the projects whose recipe asks for it; a publish follows when something changed.",
)

replicate = dg.define_asset_job(
    "replicate",
    selection=dg.AssetSelection.assets("replicas"),
    description="Bring the [[publish]] targets of kiln.toml up to the site; asked for per target by a sensor and a schedule.",
)


class AdHocBuild(dg.Config):
    """The parameters of python.build's workflow, plus the platform."""

    package_name: str = Field(default="markupsafe", description="Project name as on the index, for example grpcio.")
    package_version: str = Field(default="2.0.1", description="Exact version, for example 1.47.2.")
    package_url: str = Field(
        default="",
        description="Where the sdist is; empty means upstream's own. Another URL must end in #sha256=… (64 hex digits).",
    )
    python_version: str = Field(default="3.11", description="3.11, 3.13t (free-threaded) or a tag such as cp311.")
    environment_variables: str = Field(
        default="", description="KEY=VALUE pairs, separated by spaces and quoted as in a shell; they reach the build."
    )
    platform: str = Field(
        default="", description=f"One of {', '.join(Platform)}; empty means the platform of the host that runs this."
    )


@dg.op(description="Verify the site against the log and the log against itself; any difference fails the run.")
def check_site(context: dg.OpExecutionContext, kiln: dg.ResourceParam[Workspace]) -> dg.Output[int]:
    progress = RunProgress(context.log, kiln.progress)
    try:
        key = str(VerifierKey.of(kiln.log_key))
        report = check_against_log(site=kiln.site, state=kiln.state, log_key=key, full=False, progress=progress)
    except KilnError as error:
        raise failure(error) from None
    rows = [{"what": name, "difference": difference} for name, difference in report.differences]
    metadata: dict[str, dg.MetadataValue | int] = {"entries": report.size, "read": report.read, "verified": report.verified}
    if rows:
        metadata["differences"] = preview(rows, "what", "difference")
        raise dg.Failure(description=f"{rows[0]['what']}: {rows[0]['difference']}", metadata=metadata, allow_retries=False)
    return dg.Output(report.verified, metadata=metadata)


@dg.job(
    description="Re-verify the site against the audit log: what is new, a seventh of the rest, every page. Writes nothing to it.",
    tags=WRITES_SITE,  # it would take a publish that is under way for a difference
)
def audit() -> None:
    check_site()


class SnapshotConfig(dg.Config):
    """How long dated views are kept."""

    keep_days: int = Field(default=90, ge=1, description="Older views go, but for the first of each month.")


@dg.op(description="Keep the index as it is published today under simple@DATE/, and remove views that are kept no longer.")
def keep_view(context: dg.OpExecutionContext, config: SnapshotConfig, kiln: dg.ResourceParam[Workspace]) -> dg.Output[int]:
    progress = RunProgress(context.log, kiln.progress)
    today = kiln.clock().astimezone(UTC).date()
    try:
        with kiln.writing("site"):
            report, removed = take_and_retain(
                today,
                today=today,
                keep_days=config.keep_days,
                site=kiln.site,
                state=kiln.state,
                signer=kiln.log_key,
                progress=progress,
            )
    except KilnError as error:
        raise failure(error) from None
    metadata = {
        "view": dg.MetadataValue.url(f"{kiln.site_url}simple@{today}/"),
        "projects": len(report.view.pages),
        "projects written": report.written,
        "bytes written": report.written_bytes,
        "removed": ", ".join(map(str, removed)) or "none",
    }
    return dg.Output(report.written, metadata=metadata)


@dg.job(
    description="A dated view of the index (simple@2026-11-22/), for frozen builds: it costs its manifest and what changed.",
    tags=WRITES_SITE,
)
def snapshot() -> None:
    keep_view()


@dg.op(description="Build one wheel as asked, whether it is missing or not; the attempt goes to the inbox like any other.")
def build_as_asked(context: dg.OpExecutionContext, config: AdHocBuild, kiln: dg.ResourceParam[Workspace]) -> dg.Output[int]:
    progress = RunProgress(context.log, kiln.progress)
    try:
        plan = ad_hoc_plan(
            package_name=config.package_name,
            package_version=config.package_version,
            package_url=config.package_url,
            python_version=config.python_version,
            environment_variables=config.environment_variables,
            platform=config.platform or kiln.platform(),
            recipes=kiln.recipes,
            upstream=kiln.upstream,
            attempts=kiln.attempts(),
        )
        attempts, refused = build_all(kiln, [plan], run_id=context.run.run_id, progress=progress)
    except KilnError as error:
        raise failure(error) from None
    metadata = describe(kiln, attempts, refused)
    if refused:
        raise dg.Failure(description=refused[0], metadata=metadata, allow_retries=False)
    return dg.Output(len(attempts), metadata=metadata)


@dg.op(description="Record and publish what waits in the inbox; then fail if the build of this run failed.")
def record_and_publish(context: dg.OpExecutionContext, built: int, kiln: dg.ResourceParam[Workspace]) -> None:
    progress = RunProgress(context.log, kiln.progress)
    try:
        recorded = take_in(kiln, progress)
        write_pages(kiln, progress)
        write_package_pages(kiln, progress)
    except KilnError as error:
        raise failure(error) from None
    failed = [attempt for attempt in recorded.recorded if attempt.failure]
    if failed:
        why = why_it_failed(failed[-1])
        reason = "{}: {}; {}".format(*why.values())
        raise dg.Failure(description=f"the attempt is recorded; it failed: {reason}", metadata=why, allow_retries=False)


@dg.job(
    description="Build one wheel by hand: python.build's workflow, with its parameters. Needs no recipe.",
    tags=WRITES_SITE,
)
def build_wheel() -> None:
    record_and_publish(build_as_asked())
