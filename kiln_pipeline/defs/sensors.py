"""Sensors: what happens when something changed. Run keys and cursors make sure that nothing in flight is asked for twice."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from kiln_pipeline.core.asking import Asked, Watch
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.missing_wheels import in_order
from kiln_pipeline.core.retries import minute
from kiln_pipeline.core.simple_index import manifest
from kiln_pipeline.core.site_layout import CHECKPOINT
from kiln_pipeline.defs import jobs
from kiln_pipeline.defs.assets.wheels import wheels
from kiln_pipeline.defs.build_platforms import builds_under_way, built_here
from kiln_pipeline.defs.partitions import partition_key
from kiln_pipeline.defs.presentation import data_version
from kiln_pipeline.defs.ticks import WHY, ask_for, sensor_status, tick, under_way
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.mirror import COPIES
from kiln_pipeline.workspace import Workspace

WINDOW = 20
"""Build runs of one platform that are queued or under way at most: a backlog is enqueued in bounded steps."""

LOOK_SECONDS = 30.0
"""How long one tick asks upstream: Dagster gives a tick a minute."""


def new_releases(automation: bool, every: int = 3600) -> dg.SensorDefinition:
    """Notice changed projects between the refreshes; `every` is in seconds."""

    @dg.sensor(
        job=jobs.refresh,
        minimum_interval_seconds=every,
        default_status=sensor_status(automation),
        description="Ask upstream, with conditional requests, which tracked projects changed; refresh those. How often: "
        "KILN_LOOK_EVERY, hourly by default. While upstream does not answer it asks later each time, hourly at last.",
    )
    @tick(even_dry=True)
    def new_releases(context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]) -> dg.SensorResult | dg.SkipReason:
        watch, now, end = Watch.parse(context.cursor), kiln.clock(), time.monotonic() + LOOK_SECONDS
        if until := watch.waits_until(now):
            return dg.SkipReason(f"upstream did not answer {watch.failures}×; looked at again {minute(until)}")
        if busy := under_way(context.instance, jobs.refresh.name):
            return dg.SkipReason(f"refresh is under way ({busy[:8]})")
        look = detect.look_for_changes(
            [recipe.project for recipe in kiln.recipes],
            upstream=kiln.upstream,
            state=kiln.state,
            after=watch.after,
            keep_going=lambda: time.monotonic() < end,
        )
        watch = replace(watch.failed(now) if look.outage else replace(watch, failures=0, until=""), after=look.last)
        if not look.changed:
            context.update_cursor(str(watch))
            return dg.SkipReason(look.outage or f"nothing changed upstream among {look.asked} projects")
        answer = ask_for(
            context,
            kiln,
            watch.asked,
            job=jobs.refresh.name,
            what=_digest(look.changed),
            why=f"{len(look.changed)} changed upstream: {', '.join(look.changed)}",
            run_config={"ops": {"release_metadata": {"config": {"projects": list(look.changed)}}}},
        )
        if isinstance(answer, dg.SensorResult):
            return answer._replace(cursor=str(replace(watch, asked=Asked.parse(answer.cursor))))
        context.update_cursor(str(watch))
        return answer

    return new_releases


def missing_wheels_to_build(automation: bool) -> dg.SensorDefinition:
    """Turn missing wheels into build runs, in the order of their rank."""

    @dg.sensor(
        target=dg.AssetSelection.assets(wheels),
        minimum_interval_seconds=60,
        default_status=sensor_status(automation),
        description="Ask for build runs, one per release and platform that this instance or its build hosts build for; of one "
        f"platform at most {WINDOW} are queued or under way.",
    )
    @tick
    def missing_wheels_to_build(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        tries = Counter((str(attempt.release), str(attempt.identifier)) for attempt in kiln.attempts())
        recipes = {recipe.project: recipe.sha256 for recipe in kiln.recipes}
        missing = detect.load_missing(kiln.state)
        asked = set(json.loads(context.cursor)) if context.cursor else set[str]()
        current: set[str] = set()
        fresh: list[dg.RunRequest] = []
        for platform in built_here(kiln, context.instance):
            wanted: dict[dg.MultiPartitionKey, list[str]] = {}
            for row in in_order(missing, platform).to_pylist():
                release = Release(project=row["project"], version=row["version"])
                identifier = str(row["identifier"])
                # a wheel that is due again after a failure is new work: the number of tries is part of the run's key
                work = f"{identifier} {row['sdist_sha256']} {tries[str(release), identifier]}"
                wanted.setdefault(partition_key(release, platform), []).append(work)
            # the same work has the same key: a second tick does not ask again; a new recipe, sdist or target is new work
            keys = {_run_key(key, items, recipes): key for key, items in wanted.items()}
            current |= keys.keys()
            room = max(0, WINDOW - builds_under_way(context.instance, platform))
            new = [run_key for run_key in keys if run_key not in asked][:room]
            fresh += [dg.RunRequest(run_key=run_key, partition_key=keys[run_key]) for run_key in new]
        if not fresh:
            left = len(current - asked)
            return dg.SkipReason(
                f"{left} more wait until fewer than {WINDOW} build runs of their platform are queued or under way"
                if left
                else "every missing wheel that is built for here has been asked for"
            )
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
        minimum_interval_seconds=10,
        default_status=sensor_status(automation),
        description="Start a publish when attempt bundles wait in the inbox. One at a time: what arrives during a publish shares "
        "the next one. A publish that fails is started again after 1, 2, 4, … minutes, hourly at last.",
    )
    @tick
    def inbox_to_publish(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        waiting = waiting_bundles(kiln)
        if not waiting:
            return dg.SkipReason("the inbox is empty")
        why = f"{len(waiting)} bundles in the inbox" if len(waiting) > 1 else "1 bundle in the inbox"
        return ask_for(context, kiln, Asked.parse(context.cursor), job=jobs.publish.name, what=_digest(waiting), why=why)

    return inbox_to_publish


def waiting_bundles(kiln: Workspace) -> list[str]:
    """Return the keys of what waits in the inbox, in order."""
    return sorted(key for key in kiln.inbox.keys("") if key.endswith("/attestation.json") and not key.startswith("refused/"))


def changes_to_publish(automation: bool) -> dg.SensorDefinition:
    """Publish when upstream, the recipes or the mirror's copies have changed: yanks and deletions reach the pages too."""

    @dg.sensor(
        job=jobs.publish,
        minimum_interval_seconds=120,
        default_status=sensor_status(automation),
        description="Start a publish when the tables of upstream, of missing wheels or of copies, or the recipes, have changed "
        "since the last one that succeeded.",
    )
    @tick
    def changes_to_publish(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        if not kiln.state.exists(detect.PROJECTS):
            return dg.SkipReason("upstream has not been asked yet")
        tables = data_version(kiln.state, detect.METADATA, detect.PROJECTS, detect.MISSING, COPIES).value
        what = _digest([tables, *(f"{recipe.project} {recipe.sha256}" for recipe in kiln.recipes)])
        why = "tables or recipes have changed"
        asked = Asked.parse(context.cursor)
        return ask_for(context, kiln, asked, job=jobs.publish.name, what=what, why=why, done_is_done=True)

    return changes_to_publish


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()


def site_to_targets(automation: bool) -> dg.SensorDefinition:
    """Copy the site to each target when it has changed."""

    @dg.sensor(
        job=jobs.replicate,
        minimum_interval_seconds=60,
        default_status=sensor_status(automation),
        description="Start a run for each [[publish]] target of kiln.toml when the site has changed since the last one.",
    )
    @tick
    def site_to_targets(
        context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]
    ) -> dg.SensorResult | dg.SkipReason:
        targets = kiln.publish_targets()
        version = data_version(kiln.state, manifest.KEY).value + data_version(kiln.site, CHECKPOINT).value
        asked = _asked_targets(context.cursor)
        current = {name: hashlib.sha256(f"{target} {version}".encode()).hexdigest() for name, target in targets.items()}
        fresh = [name for name in sorted(targets) if asked.get(name) != current[name]]
        if not fresh:
            return dg.SkipReason("no target, or the site has not changed")
        return dg.SensorResult(
            run_requests=[target_run(name, f"{name}|{current[name]}") for name in fresh], cursor=json.dumps(current)
        )

    return site_to_targets


def _asked_targets(cursor: str | None) -> dict[str, str]:
    """Return target -> digest of what it was asked to have; a cursor that is none means that nothing was."""
    try:
        asked = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def target_run(name: str, key: str | None = None) -> dg.RunRequest:
    """Return the request for a run that is for one target alone; runs for one target follow each other."""
    config = {"ops": {"replicas": {"config": {"targets": [name]}}}}
    return dg.RunRequest(run_key=key, run_config=config, tags={"kiln/writes": f"target {name}", WHY: f"target {name}"})
