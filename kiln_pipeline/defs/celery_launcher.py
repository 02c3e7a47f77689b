"""Build runs to the build hosts: one queue a platform on the broker, from which hosts take them (`worker`). Executes nothing.

Not a subclass of dagster_celery's launcher: all that could be inherited is the broker's address. That one asks a result backend
how runs are, ends a cancelled run as failed, and runs it inside the worker's pool. Here the state of a run is in the storage
alone, a cancellation is a state that the host looks for, and a run is a process of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import dagster as dg
from dagster._config import UserConfigSchema
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from kiln_pipeline.adapters.broker import Broker
from kiln_pipeline.adapters.celery_app import make_app, send_run
from kiln_pipeline.core.signs_of_life import SignOfLife, serving
from kiln_pipeline.defs.launchers import HOST_TAG, PLATFORM_TAG, QueueLauncher
from kiln_pipeline.errors import StoreError

_LOOKS = 3
"""A run that nobody holds, so many looks of the run monitoring in a row, has lost its host."""


class CeleryRunLauncher(QueueLauncher, ConfigurableClass):
    """Sends a run to the queue of its platform; a build host that serves it takes it from there (`kiln host run`)."""

    def __init__(self, broker: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self.broker = Broker(broker)
        self._app = make_app(broker)
        self._missed: dict[str, int] = {}
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"broker": dg.Field(dg.StringSource, description="The broker's address: redis://host:6379/0")}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def live_hosts(self) -> tuple[SignOfLife, ...]:
        return self.broker.live()

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        self.send(run)
        self._report(run, self.prospect(run.tags[PLATFORM_TAG]))

    def send(self, run: dg.DagsterRun) -> bool:
        """Put a run into its queue, and say whether that worked: without a broker it waits, and `waiting_runs` sends it later."""
        queue = run.tags[PLATFORM_TAG]
        try:
            send_run(self._app, run.run_id, queue)
        except OSError as error:
            self._report(run, f"the broker does not answer ({error}): the run waits, and is sent once it does")
            return False
        self._report(run, f"sent to the queue {queue}")
        return True

    def prospect(self, platform: str) -> str:
        """Say who will take a run for `platform`."""
        try:
            hosts = serving(self.broker.live(), platform)
        except StoreError as error:
            return str(error)
        return f"served by {', '.join(hosts)}" if hosts else f"no live host serves {platform}: the run waits until one does"

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status != dg.DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        # whoever holds it sees that within seconds, and ends it; one that nobody holds is cancelled here, and not started later
        if run.status != dg.DagsterRunStatus.STARTED and not self._is_held(run_id):
            self._instance.report_run_canceled(run, "no host had taken the run")
        return True

    def _is_held(self, run_id: str) -> bool:
        try:
            return bool(self.broker.holder(run_id))
        except StoreError:
            return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Fail a run only when no host has held it at several looks; a hold outlives missed signs, but no loss at the broker."""
        try:
            holder = self.broker.holder(run.run_id)
        except StoreError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"not known: {error}")
        if holder:
            self._missed.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"held by {holder}")
        missed = self._missed[run.run_id] = self._missed.get(run.run_id, 0) + 1
        host = run.tags.get(HOST_TAG, "its host")
        if missed < _LOOKS:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"no sign of life of {host}")
        del self._missed[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"{host} has given no sign of life, or has the run no more")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:  # noqa: ARG002
        return f"host: {run.tags.get(HOST_TAG, 'none')}; {self.prospect(run.tags[PLATFORM_TAG])}"

    def lost(self, runs: Iterable[dg.DagsterRun]) -> list[dg.DagsterRun]:
        """Return those of the runs that are neither in a queue nor held: the broker forgot them, or their host died early."""
        queues: dict[str, Sequence[str]] = {}
        lost: list[dg.DagsterRun] = []
        for run in runs:
            queue = run.tags[PLATFORM_TAG]
            if queue not in queues:
                queues[queue] = self.broker.waiting(queue)
            if run.run_id not in queues[queue] and not self.broker.holder(run.run_id):
                lost.append(run)
        return lost

    def _report(self, run: dg.DagsterRun, message: str) -> None:
        self._instance.report_engine_event(message, run, cls=self.__class__)
