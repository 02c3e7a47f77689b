"""Look at the build hosts: who answers, what runs and waits, what the audit log has of each. Asks nobody: it is given all."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.hosts_table import HOSTS, QUEUES, BuildRun, Heartbeat, hosts_table, queues_table
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.tables import load_table, table_bytes

HOSTS_KEY, QUEUES_KEY = "hosts.parquet", "queues.parquet"
"""Keys in the state: `core.hosts_table`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostsSeen:
    """Both tables, as of one moment."""

    hosts: pa.Table
    queues: pa.Table


def watch_hosts(
    *,
    enrolled: Mapping[str, Host],
    heartbeats: Sequence[Heartbeat],
    runs: Sequence[BuildRun],
    attempts: Iterable[Attempt],
    state: ObjectStore,
    now: datetime,
) -> HostsSeen:
    """Bring both tables up to `now` and return them. Raises `StoreError`."""
    hosts = hosts_table(
        enrolled=enrolled, heartbeats=heartbeats, runs=runs, attempts=attempts, before=load_hosts_table(state), now=now
    )
    seen = HostsSeen(hosts=hosts, queues=queues_table(hosts, runs, now=now))
    state.put_many([(HOSTS_KEY, table_bytes(seen.hosts)), (QUEUES_KEY, table_bytes(seen.queues))])
    return seen


def load_hosts_table(state: ObjectStore) -> pa.Table:
    """Return the hosts as of the last look, with the columns of `HOSTS`; empty before the first."""
    return load_table(state, HOSTS_KEY, HOSTS)


def load_queues_table(state: ObjectStore) -> pa.Table:
    """Return the platforms' queues as of the last look, with the columns of `QUEUES`; empty before the first."""
    return load_table(state, QUEUES_KEY, QUEUES)
