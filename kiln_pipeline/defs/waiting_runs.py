"""Runs that wait for a build host: which platforms have work and no host, and runs whose message got lost. Starts none."""

import json
from collections import Counter
from collections.abc import Sequence

import dagster as dg

from kiln_pipeline.core.signs_of_life import serving
from kiln_pipeline.defs.launchers import PLATFORM_TAG, QueueLauncher, RoutedRunLauncher
from kiln_pipeline.defs.ticks import sensor_status
from kiln_pipeline.errors import StoreError


def waiting_runs(automation: bool) -> dg.SensorDefinition:
    """Look at what was launched and not taken."""

    @dg.sensor(
        minimum_interval_seconds=15,
        default_status=sensor_status(automation),
        description="Say for which platforms runs wait without a live host, and send runs again that the broker has lost.",
    )
    def waiting_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        router = context.instance.run_launcher
        if not isinstance(router, RoutedRunLauncher):
            return dg.SensorResult(skip_reason="this instance builds on this host alone", cursor="[]")
        starting = context.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING]))
        try:
            lost = _lost(router, starting)
            # a message that is just on its way is in no queue either: what was lost at the last look, too, is lost
            before = set(json.loads(context.cursor or "[]"))
            again = [run for run in lost if run.run_id in before and _send(router, run)]
            reason = _who_waits(router, starting)
        except StoreError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        if again:
            reason = f"{reason}; {len(again)} that the broker had lost were sent again"
        left = {run.run_id for run in lost} - {run.run_id for run in again}
        return dg.SensorResult(skip_reason=reason, cursor=json.dumps(sorted(left)))

    return waiting_runs


def _lost(router: RoutedRunLauncher, runs: Sequence[dg.DagsterRun]) -> Sequence[dg.DagsterRun]:
    launchers = {id(launcher): launcher for run in runs if isinstance(launcher := router.route(run), QueueLauncher)}
    return [run for launcher in launchers.values() for run in launcher.lost(one for one in runs if router.route(one) is launcher)]


def _send(router: RoutedRunLauncher, run: dg.DagsterRun) -> bool:
    launcher = router.route(run)
    return isinstance(launcher, QueueLauncher) and launcher.send(run)


def _who_waits(router: RoutedRunLauncher, runs: Sequence[dg.DagsterRun]) -> str:
    waiting = Counter(run.tags[PLATFORM_TAG] for run in runs if run.tags.get(PLATFORM_TAG) in router.platforms)
    live = router.live_hosts()
    told = [
        f"{count} wait for {platform}, {'served by ' + ', '.join(hosts) if hosts else 'and no live host serves it'}"
        for platform, count in sorted(waiting.items())
        for hosts in [serving(live, platform)]
    ]
    return "; ".join(told) or "no run waits for a host"
