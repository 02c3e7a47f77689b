"""Gather the status from the state and the log, and keep the history of counts. The words are `core.site_status`'."""

# pyarrow ships no annotations: what its tables give is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.site_status import history
from kiln_pipeline.core.site_status.current import brought_up_to
from kiln_pipeline.core.site_status.model import MirrorState, Status, newest_record, status_of
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.mirror_report import load_report
from kiln_pipeline.stages.tables import load_table, table_bytes

HISTORY = "missing_history.parquet"
"""Key in the state (`core.site_status.history`). Deleting it loses the plot's past, and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteStatus:
    """The status, and the history that its plot is made of."""

    status: Status
    history: pa.Table


def load_history(state: ObjectStore) -> pa.Table:
    """Return the history of counts, empty before the first. Raises `StoreError`."""
    return load_table(state, HISTORY, history.HISTORY_SCHEMA)


def note_counts(missing: pa.Table, state: ObjectStore, *, now: datetime) -> pa.Table:
    """Add the counts of a `missing_wheels` table to the history if they are others than the last; return the history."""
    before = load_history(state)
    after = history.with_counts(before, history.counts_of(missing), now)
    if after is not before:
        state.put(HISTORY, table_bytes(after))
    return after


def site_status(
    *,
    recipes: Sequence[Recipe],
    missing: pa.Table,
    projects: pa.Table,
    attempts: Sequence[Attempt],
    rebuilds: Sequence[Rebuild],
    site: ObjectStore,
    state: ObjectStore,
    clock: datetime,
    live: bool,
) -> SiteStatus:
    """Return the status: as of `clock` when `live`, else as of the newest record, and then the counts are noted.

    `clock` also decides which failures are due again. Raises `StoreError`, and `VerificationError` when the checkpoint on the
    site does not verify.
    """
    current = brought_up_to(missing, attempts, recipes, now=clock)
    past = load_history(state) if live else note_counts(current, state, now=clock)
    status = status_of(
        recipes=recipes,
        missing=current,
        projects=projects,
        attempts=attempts,
        rebuilds=rebuilds,
        log=_log(site),
        mirror=_mirror(state),
        now=clock if live else newest_record(attempts, rebuilds, past),
    )
    return SiteStatus(status=status, history=past)


def _log(site: ObjectStore) -> tuple[int, bytes] | None:
    try:
        note = site.get(site_layout.CHECKPOINT)
    except ObjectNotFound:
        return None
    checkpoint = open_checkpoint(note, VerifierKey.parse(site.get(site_layout.LOG_KEY).decode("utf-8", "replace")))
    return checkpoint.size, checkpoint.root


def _mirror(state: ObjectStore) -> MirrorState | None:
    report = load_report(state)
    if report is None:
        return None
    return MirrorState(
        finished=report.finished,
        projects=len(report.projects),
        wanted=report.total("wanted"),
        left=report.total("left"),
        failing=tuple((project.project, len(project.failed), project.failing_since) for project in report.failed),
        problem=report.problem,
    )
