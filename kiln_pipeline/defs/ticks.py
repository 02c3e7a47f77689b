"""What the ticks of all sensors and schedules have in common: an error is one sentence, a dry run only says what would be done,
work in flight is never asked for twice, and work that failed is asked for again, each time later. What to do is the sensors'
matter.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from kiln_pipeline.core.asking import Asked
from kiln_pipeline.core.retries import minute
from kiln_pipeline.errors import KilnError
from kiln_pipeline.workspace import Workspace

WHY = "kiln/why"
"""Tag of a run that automation asked for: what for, in a few words."""
IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
"""Of runs that nobody has taken yet: one that was sent to a queue is starting."""
_NAMED = 10
"""Runs that a dry run names one by one."""


def sensor_status(automation: bool) -> dg.DefaultSensorStatus:
    """Return whether a sensor is on before anybody has clicked."""
    return dg.DefaultSensorStatus.RUNNING if automation else dg.DefaultSensorStatus.STOPPED


def tick(evaluate: Callable[..., Any] | None = None, *, even_dry: bool = False) -> Callable[..., Any]:
    """Wrap what a sensor or schedule does at a tick.

    In a dry run (`Workspace.dry_run`) its run requests become a sentence, and its cursor stays: nothing counts as asked for.
    `even_dry` is for what writes nothing but tables that can be made again, so that a dry run knows what would follow.
    """
    if evaluate is None:
        return functools.partial(tick, even_dry=even_dry)

    @functools.wraps(evaluate)
    def wrapped(context: Any, kiln: Workspace) -> Any:
        try:
            answer = evaluate(context, kiln=kiln)
        except KilnError as error:
            raise failure_of_tick(error) from None
        return _told(answer) if kiln.dry_run and not even_dry else answer

    return wrapped


def failure_of_tick(error: KilnError) -> dg.Failure:
    """Return the error as a tick shows it."""
    return dg.Failure(description=str(error), allow_retries=False)


def ask_for(
    context: dg.SensorEvaluationContext,
    kiln: Workspace,
    asked: Asked,
    *,
    job: str,
    what: str,
    why: str,
    run_config: dict[str, Any] | None = None,
    done_is_done: bool = False,
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run of `job` that does `what` (a digest of the work), unless one is under way or was asked for lately (`asked`).

    `done_is_done`: the same work, once a run for it has succeeded or somebody has stopped it, is not asked for again. Without
    it, that the work is still there means that it was not done.
    """
    now = kiln.clock()
    if busy := under_way(context.instance, job):
        return dg.SkipReason(f"{job} is under way ({busy[:8]}); looked at again when it has ended")
    if asked.what == what:
        if done_is_done and _is_settled(context.instance, asked):
            return dg.SkipReason("nothing has changed since it was done, or stopped by somebody")
        if due := asked.waits_until(what, now):
            return dg.SkipReason(f"asked for {asked.times}×, and not done; asked for again {minute(due)}: {why}")
    asked = asked.again(what, now)
    request = dg.RunRequest(run_key=asked.key, run_config=run_config, tags={WHY: why[:250]})
    return dg.SensorResult(run_requests=[request], cursor=str(asked))


def under_way(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str] | None = None) -> str:
    """Return the id of a run of `job` (with these tags) that is queued or running; empty when there is none."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=IN_FLIGHT, tags=tags), limit=1)
    return records[0].dagster_run.run_id if records else ""


def _is_settled(instance: dg.DagsterInstance, asked: Asked) -> bool:
    """Return whether the run that was asked for succeeded, or somebody stopped it; one that retention removed counts as done."""
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/run_key": asked.key}), limit=1)
    return not records or records[0].dagster_run.status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)


def _told(answer: Any) -> Any:
    """Say what would be asked for."""
    if isinstance(answer, dg.SensorResult):
        requests = list(answer.run_requests or [])
    elif isinstance(answer, dg.RunRequest):
        requests = [answer]
    elif isinstance(answer, dg.SkipReason) or answer is None:
        return answer
    else:
        requests = list(answer)
    if not requests:
        return dg.SkipReason("dry run: nothing would be asked for")
    names = [str(request.partition_key or request.tags.get(WHY) or "everything") for request in requests]
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    runs = "1 run" if len(names) == 1 else f"{len(names)} runs"
    return dg.SkipReason(f"dry run: would ask for {runs}: {', '.join(names[:_NAMED])}{more}")
