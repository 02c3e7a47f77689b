"""What the log has, as tables: attempts and rebuilds. Each comes from its derived table, and beyond that from the log itself.

The tables are never the record: one that is lost, torn, or of another log is made anew from the log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempt_table import AttemptTable, parse_attempts, render_attempts
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LogEntry, RebuildEntry, parse_any_entry
from kiln_pipeline.core.audit_log.merkle import tree_root
from kiln_pipeline.core.audit_log.tiles import TileReader
from kiln_pipeline.core.provenance.wheel_bundle import open_recorded, open_recorded_rebuild
from kiln_pipeline.core.rebuild_table import RebuildTable, parse_rebuilds, render_rebuilds
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore

ATTEMPTS, REBUILDS = "attempts.parquet", "rebuilds.parquet"
"""Keys in the state: `core.attempt_table` and `core.rebuild_table`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogTables:
    """Both tables, each with how far it reaches."""

    attempt_table: AttemptTable
    rebuild_table: RebuildTable

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.attempt_table.attempts

    @property
    def rebuilds(self) -> tuple[Rebuild, ...]:
        return self.rebuild_table.rebuilds

    @property
    def size(self) -> int:
        """How many entries of the log both reach over."""
        return min(self.attempt_table.size, self.rebuild_table.size)

    def with_more(self, recorded: Sequence[Attempt | Rebuild], reader: TileReader) -> "LogTables":
        """Return the tables after `recorded` was appended, up to the end of the log."""
        attempts = (*self.attempts, *(item for item in recorded if isinstance(item, Attempt)))
        rebuilds = (*self.rebuilds, *(item for item in recorded if isinstance(item, Rebuild)))
        return LogTables(
            attempt_table=AttemptTable(attempts=attempts, size=reader.size, root=reader.root),
            rebuild_table=RebuildTable(rebuilds=rebuilds, size=reader.size, root=reader.root),
        )


def load_attempts(state: ObjectStore, site: ObjectStore) -> tuple[Attempt, ...]:
    """Return every attempt in the audit log, in its order.

    Raises `VerificationError` when the log on the site does not verify against its own key, which whoever pins it compares.
    """
    opened = _open(site)
    if opened is None:
        return ()
    key, reader = opened
    table = _stored_attempts(state, reader)
    return (*table.attempts, *_attempts(table.size, reader, site, key))


def load_rebuilds(state: ObjectStore, site: ObjectStore) -> tuple[Rebuild, ...]:
    """Return every rebuild in the audit log, in its order; as `load_attempts`."""
    opened = _open(site)
    if opened is None:
        return ()
    key, reader = opened
    table = _stored_rebuilds(state, reader)
    return (*table.rebuilds, *_rebuilds(table.size, reader, site, key))


def stored_tables(state: ObjectStore, reader: TileReader) -> LogTables:
    """Return the stored tables; an empty one where there is none, it is unreadable, or it is of another log or branch."""
    return LogTables(attempt_table=_stored_attempts(state, reader), rebuild_table=_stored_rebuilds(state, reader))


def caught_up(before: LogTables, reader: TileReader, site: ObjectStore, key: VerifierKey) -> LogTables:
    """Return the tables with the rest of the log, each entry read with its statement and both signatures verified."""
    attempts = _attempts(before.attempt_table.size, reader, site, key)
    rebuilds = _rebuilds(before.rebuild_table.size, reader, site, key)
    return before.with_more((*attempts, *rebuilds), reader)


def store_tables(before: LogTables, now: LogTables, state: ObjectStore) -> None:
    """Write the tables that reach further than the stored ones."""
    if now.rebuild_table.size != before.rebuild_table.size:
        state.put(REBUILDS, render_rebuilds(now.rebuild_table))
    if now.attempt_table.size != before.attempt_table.size:
        state.put(ATTEMPTS, render_attempts(now.attempt_table))


def _open(site: ObjectStore) -> tuple[VerifierKey, TileReader] | None:
    try:
        note = site.get(site_layout.CHECKPOINT)
    except ObjectNotFound:
        return None
    key = VerifierKey.parse(site.get(site_layout.LOG_KEY).decode("utf-8", "replace"))
    checkpoint = open_checkpoint(note, key)
    return key, TileReader(checkpoint.size, checkpoint.root, site.get)


def _stored_attempts(state: ObjectStore, reader: TileReader) -> AttemptTable:
    try:
        table = parse_attempts(state.get(ATTEMPTS))
    except (ObjectNotFound, ValueError):
        return AttemptTable()
    return table if _is_of(reader, table.size, table.root) else AttemptTable()


def _stored_rebuilds(state: ObjectStore, reader: TileReader) -> RebuildTable:
    try:
        table = parse_rebuilds(state.get(REBUILDS))
    except (ObjectNotFound, ValueError):
        return RebuildTable()
    return table if _is_of(reader, table.size, table.root) else RebuildTable()


def _is_of(reader: TileReader, size: int, root: bytes) -> bool:
    return 0 < size <= reader.size and tree_root(size, reader.node) == root


def _attempts(start: int, reader: TileReader, site: ObjectStore, key: VerifierKey) -> Iterator[Attempt]:
    """Yield the attempts from entry `start` on. Legacy entries are no attempts of ours: they stay in the log."""
    for index, data in enumerate(reader.entries(start, reader.size), start):
        entry = parse_any_entry(data)
        if isinstance(entry, LogEntry):
            statement = open_recorded(site.get(site_layout.attempt_statement(entry.statement)), entry, key)
            yield replace(statement.attempt, index=index)


def _rebuilds(start: int, reader: TileReader, site: ObjectStore, key: VerifierKey) -> Iterator[Rebuild]:
    for index, data in enumerate(reader.entries(start, reader.size), start):
        entry = parse_any_entry(data)
        if isinstance(entry, RebuildEntry):
            statement = open_recorded_rebuild(site.get(site_layout.attempt_statement(entry.statement)), entry, key)
            yield replace(statement.rebuild, index=index)
