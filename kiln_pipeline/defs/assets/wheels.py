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
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.missing_wheels import missing_for
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.defs.assets.metadata import missing_wheels
from kiln_pipeline.defs.partitions import partition_of, release_by_platform
from kiln_pipeline.defs.presentation import FAILURE_CLASS, OWNERS, RunProgress, failure, lineage, preview, sdist_urls
from kiln_pipeline.errors import KilnError
from kiln_pipeline.ports import Progress, WheelBuilder
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.stages.build_many import build_many
from kiln_pipeline.workspace import Workspace


class BuildConfig(dg.Config):
    """Which of the partition's missing wheels to build."""

    pythons: list[str] = Field(default=[], description="Python tags such as cp311; empty means every missing one.")
    limit: int = Field(default=0, description="Build at most this many; 0 means no limit.")
    jobs: int = Field(default=0, ge=0, description="Builds at the same time; 0 means what the host's cores and memory allow.")


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


def build_all(
    kiln: Workspace, todo: list[BuildPlan], *, run_id: str, progress: Progress, jobs: int = 0
) -> tuple[list[Attempt], list[str]]:
    """Run the plans, `jobs` at the same time (0: what this host has room for).

    Returns the attempts in the order of the plans and, for what this host cannot build, why.
    """
    signer = kiln.host_key  # made on first use: here, in one thread

    def build(plan: BuildPlan, builder: WheelBuilder, said: Progress) -> Attempt:
        return build_wheel(
            plan,
            builder=builder,
            upstream=kiln.upstream,
            inbox=kiln.inbox,
            signer=signer,
            clock=kiln.clock,
            work=kiln.home / "work",
            progress=said,
            run_id=run_id,
        )

    built = build_many(
        todo, builders_for=kiln.builders_for, build=build, at_once=jobs or kiln.builds_at_once(), progress=progress
    )
    return list(built.attempts), list(built.refused)


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
            **lineage(attempt, kiln.site_url, sdists, {}),  # what is just built has no rebuild yet
        }
        for attempt in attempts
    ]
    return {
        "built": sum(attempt.outcome is Outcome.SUCCEEDED for attempt in attempts),
        "failed": sum(attempt.outcome is Outcome.FAILED for attempt in attempts),
        "attempts": preview(
            rows,
            "identifier",
            "outcome",
            "builder",
            "wheel or failure",
            "seconds",
            "sdist",
            "recipe",
            "attestation",
            "log",
            "rebuild",
        ),
        "not buildable here": dg.MetadataValue.md("\n".join(f"- {why}" for why in refused) or "none"),
    }


def why_it_failed(attempt: Attempt) -> dict[str, str]:
    """Return a failed attempt's class, the line that proves it, and a hint for a person."""
    found = classify(attempt.proof)  # the hint is the rule's, and not on record
    hint = found.hint if found.failure_class == attempt.failure else "its build log has more"
    return {FAILURE_CLASS: attempt.failure, "proof": attempt.proof, "hint": hint}


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
        attempts, refused = build_all(
            kiln, todo[: config.limit or None], run_id=context.run.run_id, progress=progress, jobs=config.jobs
        )
    except KilnError as error:
        raise failure(error) from None
    metadata = describe(kiln, attempts, refused)
    built = [attempt for attempt in attempts if attempt.outcome is Outcome.SUCCEEDED]
    if not built and (attempts or refused):
        why = why_it_failed(attempts[0]) if attempts else {}
        first = "{}: {}; {}".format(*why.values()) if why else refused[0]
        raise dg.Failure(
            description=f"no wheel of {release} for {platform}: {first}", metadata={**why, **metadata}, allow_retries=False
        )
    hashes = "\n".join(sorted(attempt.wheel_sha256 for attempt in built))
    return dg.MaterializeResult(data_version=dg.DataVersion(hashlib.sha256(hashes.encode()).hexdigest()), metadata=metadata)
