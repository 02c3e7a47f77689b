"""Celery, as kiln uses it: one task, one queue a platform, at-least-once. It knows neither Dagster nor what a run does.

No result backend: how a run ended is in Dagster's storage, and asking a second place is how healthy runs come to be failed.
"""

from celery import Celery

TASK = "kiln.execute_run"
VISIBILITY_SECONDS = 7 * 24 * 3600
"""After so long without an acknowledgement the broker delivers again; above the longest run. A second delivery does no harm."""


def make_app(broker: str) -> Celery:
    """Return the application that control plane and build hosts share."""
    app = Celery("kiln", broker=broker, backend=None, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        accept_content=["json"],
        task_serializer="json",
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_pool="threads",  # each run is a child process, which a thread waits for
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a host that lost the broker tries until it is back
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


def send_run(app: Celery, run_id: str, queue: str) -> None:
    """Put a run into a queue; its id is the task's, so that the same run sent twice is known as such.

    Raises:
        OSError: the broker does not answer. (kombu's `OperationalError` is one.)

    """
    app.send_task(
        TASK,
        args=[run_id],
        task_id=run_id,
        queue=queue,
        retry_policy={"max_retries": 2, "interval_start": 0.2, "interval_max": 1.0},
    )
