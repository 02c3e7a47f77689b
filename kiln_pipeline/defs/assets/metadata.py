"""The control plane's two tables: what upstream has, and what it lacks. Rules live in `core.missing_wheels`."""

from collections import Counter

import dagster as dg
from pydantic import Field

from kiln_pipeline.core import missing_wheels as rules
from kiln_pipeline.core import release_metadata as tables
from kiln_pipeline.defs.partitions import releases
from kiln_pipeline.defs.presentation import OWNERS, RunProgress, column_schema, data_version, failure, preview
from kiln_pipeline.errors import KilnError
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.requirements import refresh_requirements
from kiln_pipeline.workspace import Workspace


class RefreshConfig(dg.Config):
    """What to ask upstream for."""

    projects: list[str] = Field(default=[], description="Normalised project names; empty means all that have a recipe.")


@dg.asset(
    group_name="control_plane",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version="1",
    description="Every file of every tracked project, as the upstream simple index lists it (PEP 691, PEP 700). "
    "One table, refreshed with conditional requests; a project that cannot be read keeps its rows and is shown as broken.",
    metadata={"dagster/column_schema": column_schema(tables.SCHEMA)},
)
def release_metadata(
    context: dg.AssetExecutionContext, config: RefreshConfig, kiln: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    try:
        with kiln.writing("tables"):
            recipes, progress = kiln.recipes, RunProgress(context.log, kiln.progress)
            report = detect.refresh(
                [recipe.project for recipe in recipes],
                upstream=kiln.upstream,
                state=kiln.state,
                now=kiln.clock(),
                progress=progress,
                only=config.projects or None,
            )
            requirements = refresh_requirements(
                recipes, report.table, upstream=kiln.upstream, state=kiln.state, progress=progress
            )
    except KilnError as error:
        raise failure(error) from None
    broken = [{"project": project, "reason": reason} for project, reason in report.broken]
    return dg.MaterializeResult(
        data_version=data_version(kiln.state, "release_metadata.parquet", "projects.parquet"),
        metadata={
            "dagster/row_count": report.table.num_rows,
            "projects": report.projects.num_rows,
            "changed projects": report.changed,
            "unchanged projects": report.unchanged,
            "skipped files": report.skipped_files,
            "releases with known requirements": requirements.known,
            "broken": preview(broken, "project", "reason") if broken else "none",
        },
    )


@dg.asset(
    deps=[release_metadata],
    group_name="control_plane",
    kinds={"python", "pandas", "parquet"},
    owners=OWNERS,
    code_version="2",
    description="Wanted targets (recipes × defaults) minus what covers them. Every row has its verdict and its reason, "
    "also the ones that are not missing.",
    metadata={"dagster/column_schema": column_schema(rules.MISSING_SCHEMA)},
)
def missing_wheels(context: dg.AssetExecutionContext, kiln: dg.ResourceParam[Workspace]) -> dg.MaterializeResult:
    try:
        with kiln.writing("tables"):
            attempts, demand = kiln.attempts(), kiln.demand
            table = detect.find_missing(kiln.recipes, attempts, state=kiln.state, now=kiln.clock(), demand=demand)
    except KilnError as error:
        raise failure(error) from None
    missing = rules.in_order(table)
    names = {f"{row['project']}=={row['version']}" for row in missing.select(["project", "version"]).to_pylist()}
    context.instance.add_dynamic_partitions(str(releases.name), sorted(names))
    counts = Counter(table.column("verdict").to_pylist())
    by_rule = Counter(zip(table.column("verdict").to_pylist(), table.column("rule").to_pylist(), strict=True))
    explained = [{"verdict": verdict, "rule": rule, "targets": count} for (verdict, rule), count in sorted(by_rule.items())]
    return dg.MaterializeResult(
        data_version=data_version(kiln.state, "missing_wheels.parquet"),
        metadata={
            "dagster/row_count": table.num_rows,
            **{verdict: counts[verdict] for verdict in ("missing", "covered", "published", "excluded")},
            "releases with missing wheels": len(names),
            "why": preview(explained, "verdict", "rule", "targets"),
            "next to build": preview(
                missing.slice(0, 51).to_pylist(), "project", "version", "identifier", "reason", "rank_reason"
            ),
        },
    )
