"""Alerts: what Dagster knows to be wrong, told to the ``[[alerts]]`` of kiln.toml. How it is told is `stages.alert`'s matter."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus

from kiln_pipeline.core.alerts import Signal
from kiln_pipeline.core.hosts_table import unserved
from kiln_pipeline.core.retries import minute
from kiln_pipeline.defs.presentation import FAILURE_CLASS
from kiln_pipeline.defs.sensors import waiting_bundles
from kiln_pipeline.defs.ticks import WAITING, failure_of_tick, sensor_status
from kiln_pipeline.errors import KilnError
from kiln_pipeline.stages.alert import alert, remember
from kiln_pipeline.stages.watch_hosts import load_queues_table
from kiln_pipeline.workspace import Workspace

QUEUED_LONG = timedelta(hours=6)
INBOX_LONG = timedelta(hours=1)
NO_HOST = timedelta(minutes=10)
FAILING_LONG = timedelta(minutes=5)
_AT_MOST = 100
_PLANNED = 5
"""Evaluations of one check that are looked at, the newest first."""


def failed_runs(automation: bool) -> dg.SensorDefinition:
    """Remember every failed run until the channels have been told."""

    @dg.run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=30,
        default_status=sensor_status(automation),
        description="Note every failed run, builds by their failure class, for the sensor `alerts` to tell.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, kiln: dg.ResourceParam[Workspace]) -> dg.SkipReason | None:
        try:
            if not kiln.alert_channels():
                return dg.SkipReason("kiln.toml has no [[alerts]]")
            remember(signal_of_run(context.dagster_run, context.get_step_failure_events()), kiln.state)
        except KilnError as error:
            raise failure_of_tick(error) from None
        return None

    return failed_runs


def signal_of_run(run: dg.DagsterRun, failures: Sequence[dg.DagsterEvent]) -> Signal:
    """Return what a failed run tells: builds are grouped by the class of their failure, others by the step that failed."""
    step = failures[0].step_key if failures else ""
    subject = f"{run.tags.get('dagster/partition') or run.job_name.strip('_')} (run {run.run_id[:8]})"
    data = failures[0].step_failure_data if failures else None
    said = data.user_failure_data if data else None
    kind = said.metadata.get(FAILURE_CLASS) if said else None
    if said and kind is not None:
        proof, hint = said.metadata.get("proof"), said.metadata.get("hint")
        return Signal(
            group=f"builds fail: {kind.value}",
            subject=subject,
            proof=str(proof.value) if proof is not None else str(said.description),
            hint=str(hint.value) if hint is not None else "",
            happened=True,
        )
    reason = (said.description if said else None) or (data.error.message if data and data.error else None) or "no step said why"
    hint = f"open run {run.run_id} in Dagster; its log begins with the reason"
    return Signal(group=f"{step or run.job_name.strip('_')} fails", subject=subject, proof=reason, hint=hint, happened=True)


def alerts(automation: bool) -> dg.SensorDefinition:
    """Tell what is wrong."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=60,
        default_status=sensor_status(automation),
        description="Tell the [[alerts]] of kiln.toml of failed runs by failure class, checks that fail, sensors that fail, runs "
        "and bundles that wait long, platforms without a host: each at most once an hour (`every`), and once when it is over.",
    )
    def alerts(context: dg.SensorEvaluationContext, kiln: dg.ResourceParam[Workspace]) -> dg.SkipReason:
        try:
            channels = kiln.alert_channels()
            if not channels:
                return dg.SkipReason("kiln.toml has no [[alerts]]")
            standing = [*_waiting(kiln, context.instance), *_failing_ticks(context.instance), *_failing_checks(context)]
            told = alert(channels, standing, state=kiln.state, now=kiln.clock(), dry_run=kiln.dry_run)
        except KilnError as error:
            raise failure_of_tick(error) from None
        for each in told:
            context.log.info(each.failure or each.text or f"nothing to tell {each.channel}")
        would = "dry run: would tell" if kiln.dry_run else "told"
        said = [each.failure or f"{would} {each.channel}: {each.text}" for each in told if each.text]
        return dg.SkipReason("\n".join(said) or f"nothing new to tell; {len(standing)} known")

    return alerts


def _waiting(kiln: Workspace, instance: dg.DagsterInstance) -> Iterator[Signal]:
    long_ago = kiln.clock() - QUEUED_LONG
    queued = dg.RunsFilter(statuses=WAITING, created_before=long_ago)
    for record in instance.get_run_records(queued, limit=_AT_MOST, ascending=True):
        run = record.dagster_run
        what = run.tags.get("dagster/partition") or run.job_name.strip("_")
        yield Signal(
            group="runs wait long in the queue",
            subject=f"{what} (run {run.run_id[:8]})",
            proof=f"queued since {minute(record.create_timestamp)}",
            hint="look at what runs before them (Runs > In progress), and at the table of hosts; cancel what hangs",
        )
    for row in unserved(load_queues_table(kiln.state)):
        yield Signal(
            group="no live host for a platform",
            subject=str(row["platform"]),
            proof=f"{row['queued']} runs wait",
            hint="start a build host of that platform, or look at the log of the one that is silent",
            patience=NO_HOST,
        )
    for key in waiting_bundles(kiln)[:_AT_MOST]:
        yield Signal(
            group="bundles wait long in the inbox",
            subject=key.removesuffix("/attestation.json"),
            proof=f"not taken in for {INBOX_LONG.total_seconds() / 3600:g} h",
            hint="look at the last run of `publish`: why it failed, or does not start",
            patience=INBOX_LONG,
        )


def _failing_ticks(instance: dg.DagsterInstance) -> Iterator[Signal]:
    for state in instance.all_instigator_state():
        if state.status is InstigatorStatus.STOPPED:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        if ticks and ticks[0].status is TickStatus.FAILURE:
            error = ticks[0].error
            yield Signal(
                group="sensors or schedules fail",
                subject=state.name,
                proof=error.message if error else "its last tick failed",
                hint="its page under Automation in Dagster has the whole error",
                patience=FAILING_LONG,
            )


def _failing_checks(context: dg.SensorEvaluationContext) -> Iterator[Signal]:
    keys = sorted(context.repository_def.asset_graph.asset_check_keys) if context.repository_def else []
    for key in keys:
        records = context.instance.event_log_storage.get_asset_check_execution_history(key, limit=_PLANNED)
        # the newest may only be planned as yet, and says nothing
        done = (each.evaluation for each in records if isinstance(each.evaluation, dg.AssetCheckEvaluation))
        evaluation = next(done, None)
        if evaluation is not None and not evaluation.passed:
            name = f"{key.asset_key.to_user_string()}: {key.name}"
            proof = evaluation.description or "it does not pass"
            hint = f"the checks of {key.asset_key.to_user_string()} in Dagster list what"
            yield Signal(group=f"check fails: {name}", subject=key.name, proof=proof, hint=hint)
