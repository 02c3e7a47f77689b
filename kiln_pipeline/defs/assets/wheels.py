"""`wheels`: build the missing Python versions of one release on one platform, and leave attempt bundles in the inbox.

Runs on a build host. Nothing here signs for the publisher, reads the log key or writes to the site.
"""

import hashlib
from collections.abc import Iterable

import dagster as dg
from pydantic import Field

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.build_plan import BuildPlan, plan_for
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.missing_wheels import missing_for
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.defs.assets.metadata import missing_wheels
from kiln_pipeline.defs.partitions import partition_of, release_by_platform
from kiln_pipeline.defs.presentation import OWNERS, RunProgress, failure, lineage, preview, sdist_urls
from kiln_pipeline.errors import BuildError, KilnError, UpstreamError
from kiln_pipeline.ports import Progress
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.workspace import Workspace


class BuildConfig(dg.Config):
    """Which of the partition's missing wheels to build."""

    pythons: list[str] = Field(default=[], description="Python tags such as cp311; empty means every missing one.")
    limit: int = Field(default=0, description="Build at most this many; 0 means no limit.")


def plans(kiln: Workspace, release: Release, platform: Platform, pythons: Iterable[str] = ()) -> list[BuildPlan]:
    """Return the plans of one partition's missing wheels, as the last `missing_wheels` table has them."""
    wanted = set(pythons)
    recipe = next((recipe for recipe in kiln.recipes if recipe.project == release.project), None)
    attempts = kiln.attempts()
    # the table may be older than the log: what is published by now is not built again
    published = {attempt.identifier for attempt in attempts if attempt.wheel and attempt.release == release}
    missing = missing_for(detect.load_missing(kiln.state), release, platform)
    return [
        plan_for(item, recipe=recipe, attempts=attempts)
        for item in missing
        if item.identifier not in published and (not wanted or str(item.identifier.python) in wanted)
    ]


def build_all(kiln: Workspace, todo: list[BuildPlan], *, run_id: str, progress: Progress) -> tuple[list[Attempt], list[str]]:
    """Run the plans one after the other; return the attempts and, for what this host cannot build, why."""
    attempts: list[Attempt] = []
    refused: list[str] = []
    for plan in todo:
        try:
            builders = kiln.builders_for(plan.identifier)
        except BuildError as error:
            refused.append(str(error))
            progress.step(f"cannot build {plan.release} {error}")
            continue
        for builder in builders:
            try:
                attempt = build_wheel(
                    plan,
                    builder=builder,
                    upstream=kiln.upstream,
                    inbox=kiln.inbox,
                    signer=kiln.host_key,
                    clock=kiln.clock,
                    work=kiln.home / "work",
                    progress=progress,
                    run_id=run_id,
                )
            except UpstreamError as error:  # its sdist cannot be had: nothing to record, and no reason to stop the others
                refused.append(str(error))
                progress.step(f"cannot build {plan.release} {plan.identifier}: {error}")
                break
            attempts.append(attempt)
            # an engine that answers but cannot get its image says nothing about the package: the next builder may try
            if attempt.failure != FailureClass.ENGINE:
                break
    return attempts, refused


def describe(kiln: Workspace, attempts: list[Attempt], refused: list[str]) -> dict[str, dg.MetadataValue | int]:
    """Return the metadata of a build run: counts, and each attempt's wheel or failure with the line that proves it, and links."""
    sdists = sdist_urls(detect.load_metadata(kiln.state), attempts)
    rows = [
        {
            "identifier": attempt.identifier,
            "outcome": attempt.outcome,
            "builder": attempt.builder,
            "wheel or failure": attempt.wheel or f"{attempt.failure}: {attempt.proof}",
            "seconds": round((attempt.finished - attempt.started).total_seconds(), 1),
            **lineage(attempt, kiln.site_url, sdists),
        }
        for attempt in attempts
    ]
    return {
        "built": sum(attempt.outcome is Outcome.SUCCEEDED for attempt in attempts),
        "failed": sum(attempt.outcome is Outcome.FAILED for attempt in attempts),
        "attempts": preview(
            rows, "identifier", "outcome", "builder", "wheel or failure", "seconds", "sdist", "recipe", "attestation", "log"
        ),
        "not buildable here": dg.MetadataValue.md("\n".join(f"- {why}" for why in refused) or "none"),
    }


@dg.asset(
    deps=[missing_wheels],
    partitions_def=release_by_platform,
    group_name="build_hosts",
    kinds={"python", "cplus"},
    owners=OWNERS,
    code_version="1",
    description="One run builds the missing Python versions of one release on one platform, on a host of that platform. "
    "Every attempt, failed ones too, goes to the inbox as a signed bundle; wheels that succeed are kept even when others fail.",
)
def wheels(context: dg.AssetExecutionContext, config: BuildConfig, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    release, platform = partition_of(context)
    progress = RunProgress(context.log, kiln.progress)
    try:
        todo = plans(kiln, release, platform, config.pythons)
        attempts, refused = build_all(kiln, todo[: config.limit or None], run_id=context.run.run_id, progress=progress)
    except KilnError as error:
        raise failure(error) from None
    metadata = describe(kiln, attempts, refused)
    built = [attempt for attempt in attempts if attempt.outcome is Outcome.SUCCEEDED]
    if not built and (attempts or refused):
        first = f"{attempts[0].failure}: {attempts[0].proof}" if attempts else refused[0]
        raise dg.Failure(description=f"no wheel of {release} for {platform}: {first}", metadata=metadata, allow_retries=False)
    hashes = "\n".join(sorted(attempt.wheel_sha256 for attempt in built))
    return dg.MaterializeResult(data_version=dg.DataVersion(hashlib.sha256(hashes.encode()).hexdigest()), metadata=metadata)
