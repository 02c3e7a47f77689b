"""Sensors: what happens when something changed. Run keys and cursors make sure that nothing in flight is asked for twice."""

import hashlib
import json
from collections import Counter

import dagster as dg

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.missing_wheels import in_order
from kiln_pipeline.core.simple_index import manifest
from kiln_pipeline.core.site_layout import CHECKPOINT
from kiln_pipeline.defs import jobs
from kiln_pipeline.defs.assets.wheels import wheels
from kiln_pipeline.defs.partitions import partition_key
from kiln_pipeline.defs.presentation import data_version
from kiln_pipeline.errors import KilnError
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.mirror import COPIES
from kiln_pipeline.workspace import Workspace

WINDOW = 20
"""Build runs asked for per tick: a backlog is enqueued in bounded steps."""


def _status(automation: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if automation else dg.DefaultSensorStatus.STOPPED


def new_releases(automation: bool) -> dg.SensorDefinition:
    """Notice changed projects between the hourly refreshes."""

    @dg.sensor(
        job=jobs.refresh,
        minimum_interval_seconds=300,
        default_status=_status(automation),
        description="Ask upstream, with conditional requests, which tracked projects changed; refresh those.",
    )
    def new_releases(context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]) -> dg.SensorResult | dg.SkipReason:
        try:
            changed = detect.changed_projects(
                [recipe.project for recipe in kiln.recipes], upstream=kiln.upstream, state=kiln.state
            )
        except KilnError as error:
            raise failure_of_tick(error) from None
        if not changed:
            return dg.SkipReason("nothing changed upstream")
        key = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
        config = {"ops": {"release_metadata": {"config": {"projects": sorted(changed)}}}}
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, run_config=config)])

    return new_releases


def missing_wheels_to_build(automation: bool) -> dg.SensorDefinition:
    """Turn missing wheels into build runs, in the order of their rank."""

    @dg.sensor(
        target=dg.AssetSelection.assets(wheels),
        minimum_interval_seconds=60,
        default_status=_status(automation),
        description=f"Ask for at most {WINDOW} build runs a tick, one per release and platform that this instance can build.",
    )
    def missing_wheels_to_build(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        platform = kiln.platform()
        tries = Counter((str(attempt.release), str(attempt.identifier)) for attempt in kiln.attempts())
        wanted: dict[dg.MultiPartitionKey, list[str]] = {}
        for row in in_order(detect.load_missing(kiln.state), platform).to_pylist():
            release = Release(project=row["project"], version=row["version"])
            identifier = str(row["identifier"])
            # a wheel that is due again after a failure is new work: the number of tries is part of the run's key
            work = f"{identifier} {row['sdist_sha256']} {tries[str(release), identifier]}"
            wanted.setdefault(partition_key(release, platform), []).append(work)
        recipes = {recipe.project: recipe.sha256 for recipe in kiln.recipes}
        requests = [
            # the same work has the same key: a second tick does not ask again; a new recipe, sdist or target is new work
            dg.RunRequest(run_key=_run_key(key, items, recipes), partition_key=key)
            for key, items in wanted.items()
        ]
        asked = set(json.loads(context.cursor)) if context.cursor else set[str]()
        fresh = [request for request in requests if request.run_key not in asked][:WINDOW]
        if not fresh:
            return dg.SkipReason("every missing wheel that this instance can build has been asked for")
        current = {str(request.run_key) for request in requests}
        cursor = sorted((asked & current) | {str(request.run_key) for request in fresh})
        return dg.SensorResult(run_requests=fresh, cursor=json.dumps(cursor))

    return missing_wheels_to_build


def _run_key(key: dg.MultiPartitionKey, items: list[str], recipes: dict[str, str]) -> str:
    project = Release.parse(key.keys_by_dimension["release"]).project
    digest = hashlib.sha256("\n".join([*sorted(items), recipes.get(project, "")]).encode()).hexdigest()
    return f"{key}|{digest[:16]}"


def inbox_to_publish(automation: bool) -> dg.SensorDefinition:
    """Publish when bundles have arrived."""

    @dg.sensor(
        job=jobs.publish,
        minimum_interval_seconds=30,
        default_status=_status(automation),
        description="Start a publish when attempt bundles wait in the inbox; all that wait share one run.",
    )
    def inbox_to_publish(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        waiting = sorted(
            key for key in kiln.inbox.keys("") if key.endswith("/attestation.json") and not key.startswith("refused/")
        )
        if not waiting:
            return dg.SkipReason("the inbox is empty")
        key = hashlib.sha256("\n".join(waiting).encode()).hexdigest()
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key)])

    return inbox_to_publish


def changes_to_publish(automation: bool) -> dg.SensorDefinition:
    """Publish when upstream, the recipes or the mirror's copies have changed: yanks and deletions reach the pages too."""

    @dg.sensor(
        job=jobs.publish,
        minimum_interval_seconds=120,
        default_status=_status(automation),
        description="Start a publish when the tables of upstream, of missing wheels or of copies, or the recipes, have changed.",
    )
    def changes_to_publish(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        if not kiln.state.exists(detect.PROJECTS):
            return dg.SkipReason("upstream has not been asked yet")
        tables = data_version(kiln.state, detect.METADATA, detect.PROJECTS, detect.MISSING, COPIES).value
        recipes = sorted((recipe.project, recipe.sha256) for recipe in kiln.recipes)
        key = hashlib.sha256(json.dumps([tables, recipes]).encode()).hexdigest()
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key)])

    return changes_to_publish


def site_to_targets(automation: bool) -> dg.SensorDefinition:
    """Copy the site to each target when it has changed."""

    @dg.sensor(
        job=jobs.replicate,
        minimum_interval_seconds=60,
        default_status=_status(automation),
        description="Start a run for each [[publish]] target of kiln.toml when the site has changed since the last one.",
    )
    def site_to_targets(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            targets = kiln.publish_targets()
            version = data_version(kiln.state, manifest.KEY).value + data_version(kiln.site, CHECKPOINT).value
        except KilnError as error:
            raise failure_of_tick(error) from None
        asked: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        current = {name: hashlib.sha256(f"{target} {version}".encode()).hexdigest() for name, target in targets.items()}
        fresh = [name for name in sorted(targets) if asked.get(name) != current[name]]
        if not fresh:
            return dg.SkipReason("no target, or the site has not changed")
        return dg.SensorResult(
            run_requests=[target_run(name, f"{name}|{current[name]}") for name in fresh], cursor=json.dumps(current)
        )

    return site_to_targets


def target_run(name: str, key: str | None = None) -> dg.RunRequest:
    """Return the request for a run that is for one target alone; runs for one target follow each other."""
    config = {"ops": {"replicas": {"config": {"targets": [name]}}}}
    return dg.RunRequest(run_key=key, run_config=config, tags={"kiln/writes": f"target {name}"})


def failure_of_tick(error: KilnError) -> dg.Failure:
    """Return the error as a tick shows it."""
    return dg.Failure(description=str(error), allow_retries=False)
