"""A build host's worker: takes runs from the queues of its platforms, each a child process that it watches.

`kiln host run` starts it:

    celery -A kiln_pipeline.defs.worker worker -Q macosx_arm64,macosx_x86_64 --prefetch-multiplier=1 --concurrency=1

    KILN_BROKER         redis://host:6379/0
    KILN_BEAT_SECONDS   how often it gives a sign of life (default: 10); after six that did not come it counts as gone
    DAGSTER_HOME        a folder with deploy/build-host/dagster.yaml

What a run does is the definitions' matter. A run ends here when it ends, when Dagster's storage says that it is to end or has
ended (cancelled in the interface, given up as dead while this host could not be reached), and when the worker is stopped.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from celery import signals
from celery.exceptions import Reject
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from kiln_pipeline.adapters.broker import Broker
from kiln_pipeline.adapters.celery_app import TASK, make_app
from kiln_pipeline.adapters.run_process import RunProcess
from kiln_pipeline.core.signs_of_life import BEAT_SECONDS, MISSED, SignOfLife
from kiln_pipeline.defs.launchers import HOST_TAG
from kiln_pipeline.errors import StoreError
from kiln_pipeline.workspace import host_name

_LOG = logging.getLogger("kiln.worker")
_LOOK_SECONDS = 3.0
"""How often the storage is asked whether a run is to end."""


class Host:
    """A build host: its signs of life, and the runs that it has."""

    def __init__(self, broker: Broker, name: str, *, beat: float) -> None:
        self.name, self._broker, self._beat = name, broker, beat
        self._runs: set[str] = set()
        self._sign = SignOfLife(host=name, platforms=(), slots=0)
        self._stopping, self._awake = threading.Event(), threading.Event()

    def begin(self, platforms: tuple[str, ...], slots: int) -> None:
        """Give signs of life from now on."""
        self._sign = SignOfLife(host=self.name, platforms=platforms, slots=slots)
        threading.Thread(target=self._give_signs, name="signs of life", daemon=True).start()

    def stop(self) -> None:
        """Take no more runs, and end those that there are."""
        self._stopping.set()
        self._awake.set()

    def take(self, run_id: str) -> None:
        """Execute a run from its start to its end, unless it was started, finished or taken by another already."""
        with self._instance() as instance:
            run = instance.get_run_by_id(run_id)
            if run is None or run.status != dg.DagsterRunStatus.STARTING:
                _LOG.info("run %s is %s: nothing to do", run_id, run.status.value if run else "not there")
                return
            if not self._broker.claim(run_id, self.name, seconds=self._beat * MISSED):
                _LOG.info("run %s was taken already", run_id)
                return
            self._runs.add(run_id)
            try:
                self._execute(instance, run)
            finally:
                self._runs.discard(run_id)
                self._broker.release(run_id, self.name)

    @contextmanager
    def _instance(self) -> Iterator[dg.DagsterInstance]:
        """Yield Dagster's instance once its storage answers; a host that is stopped meanwhile gives the run back."""
        while True:
            try:
                instance = dg.DagsterInstance.get()
                break
            except Exception as error:  # whatever its driver raises while it is not there
                _LOG.warning("the database does not answer: %s", error)
                if self._stopping.wait(_LOOK_SECONDS):
                    raise Reject("the host is stopped", requeue=True) from None
        with instance:
            yield instance

    def _execute(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        instance.add_run_tags(run.run_id, {HOST_TAG: self.name})
        instance.report_engine_event(f"taken by {self.name}", run)
        assert run.job_code_origin is not None
        arguments = ExecuteRunArgs(run.job_code_origin, run.run_id, instance_ref=None, set_exit_code_on_failure=True)
        process = RunProcess(
            [sys.executable, "-m", "dagster", "api", "execute_run"],
            cwd=Path.cwd(),
            environment={**os.environ, "DAGSTER_EXECUTE_RUN_ARGS": serialize_value(arguments)},
        )
        try:
            status = self._watch(process, instance, run.run_id)
        finally:
            process.close()
        self._settle(instance, run.run_id, status)

    def _watch(self, process: RunProcess, instance: dg.DagsterInstance, run_id: str) -> int:
        asked = time.monotonic()
        while True:
            status = process.wait(0.2)
            if status is not None:
                return status
            if self._stopping.is_set():
                return process.end()
            if time.monotonic() > asked + _LOOK_SECONDS:
                asked = time.monotonic()
                if _is_to_end(instance, run_id):
                    return process.end()

    def _settle(self, instance: dg.DagsterInstance, run_id: str, status: int) -> None:
        """Make sure that a run whose process has ended does not go on in the storage."""
        while True:
            try:
                run = instance.get_run_by_id(run_id)
                if run is None or run.is_finished:
                    return
                what = f"the process on {self.name} has ended with {status}"
                if run.status == dg.DagsterRunStatus.CANCELING:
                    instance.report_run_canceled(run, what)
                else:
                    instance.report_run_failed(run, f"{what}, and the run had not")
                return
            except Exception as error:
                _LOG.warning("the database does not answer: %s", error)
                if self._stopping.wait(_LOOK_SECONDS):
                    return  # nobody holds the run any more: the run monitoring finds it

    def _give_signs(self) -> None:
        while not self._awake.wait(self._beat):
            self._tell(self._sign)
        self._tell(SignOfLife(host=self.name, platforms=(), slots=0))

    def _tell(self, sign: SignOfLife) -> None:
        try:
            self._broker.tell(sign.holding(set(self._runs)), seconds=self._beat * MISSED)
        except StoreError as error:
            _LOG.warning("no sign of life: %s", error)


def _is_to_end(instance: dg.DagsterInstance, run_id: str) -> bool:
    try:
        run = instance.get_run_by_id(run_id)
    except Exception as error:  # the database is away: the build goes on
        _LOG.warning("the database does not answer: %s", error)
        return False
    return run is None or run.is_finished or run.status == dg.DagsterRunStatus.CANCELING


_BROKER = os.environ.get("KILN_BROKER", "")
host = Host(
    Broker(_BROKER),
    os.environ.get("KILN_HOST") or host_name(),
    beat=float(os.environ.get("KILN_BEAT_SECONDS", BEAT_SECONDS)),
)
app = make_app(_BROKER)


@app.task(name=TASK)
def execute_run(run_id: str) -> None:
    """Celery's only task."""
    host.take(run_id)


@signals.worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    host.begin(tuple(sorted(app.amqp.queues.consume_from)), sender.controller.concurrency)


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    host.stop()
