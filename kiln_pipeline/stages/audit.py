"""Audit: hold the whole site against the log, and the log against itself. Reads everything, repairs nothing.

Each run reads in full what is new since the last one and a seventh of the rest, in turn, so that every published byte is read
again within a week of daily runs; a full one reads all of it. That no file is gone or unknown, and what the pages say, is looked
at whole in each run. How far it came is noted after each bundle of the log: one that was cut off goes on from there.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.audit_log.entries import LegacyEntry, RebuildEntry, parse_any_entry
from kiln_pipeline.core.audit_log.merkle import tree_root
from kiln_pipeline.core.audit_log.tiles import WIDTH, TileReader
from kiln_pipeline.core.provenance.wheel_bundle import open_recorded, open_recorded_rebuild
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.strict_json import Table, canonical, parse
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore, Progress
from kiln_pipeline.stages.append import LAST_CHECKPOINT
from kiln_pipeline.stages.audit_entry import (
    check_provenance,
    check_verdict_again,
    check_verdict_proof,
    check_wheel_file,
    get_recorded,
    open_site_log,
    same_hash,
)
from kiln_pipeline.stages.audit_site import Difference, compare_files, compare_pages, compare_readme, compare_views
from kiln_pipeline.stages.log_tables import load_attempts, load_rebuilds
from kiln_pipeline.stages.take_rebuild import proof_keys

PROGRESS = "audit_progress.json"
"""Key in the state: how far the log has been verified (`_Watermark`)."""
_TURN = 7
"""Runs in which what was verified before is read again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """What one audit found."""

    size: int
    """Entries in the log."""
    read: int
    """Entries whose files were read by this run."""
    verified: int
    """Entries whose files have been read by this run or an earlier one, from the first one on without a gap."""
    differences: tuple[Difference, ...] = ()
    """Sorted by key; empty when site and log say the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Watermark:
    size: int = 0
    """Entries that were verified, from the first one on."""
    root: str = ""
    """Root hash (hex) of the tree of those: a log that was rewritten below it is noticed."""
    turn: int = 0
    """The entry at which reading again goes on."""
    full: int = 0
    """Entries that an unfinished full audit has read; 0 when there is none."""


def audit(
    *,
    site: ObjectStore,
    state: ObjectStore,
    log_key: str,
    full: bool,
    progress: Progress,
) -> AuditReport:
    """Verify the site against its log; see the module's docstring.

    `log_key` is the log's verifier key. Raises `VerificationError` when the log itself cannot be believed, and `StoreError` when
    the attempts in it cannot be read: then nothing else can be said. Every other difference is in the report, and what it is
    about counts as not verified.
    """
    mark = _read_mark(state)
    if not (mark.size or state.exists(LAST_CHECKPOINT) or site.exists(site_layout.CHECKPOINT)):
        return AuditReport(size=0, read=0, verified=0, differences=tuple(compare_files(site, ())))
    key, reader = open_site_log(site, log_key)
    if mark.size > reader.size or (mark.size and tree_root(mark.size, reader.node).hex() != mark.root):
        reason = f"the log of {reader.size} entries does not continue the one of {mark.size} that was audited before"
        raise VerificationError(subject="audit log", reason=reason, hint="it was rolled back, rewritten or forked")
    attempts, rebuilds = load_attempts(state, site), load_rebuilds(state, site)
    run = _Run(site, state, key, reader, attempts, rebuilds, progress)
    run.read_entries(mark, full=full)
    others = (
        *compare_files(site, attempts, rebuilds),
        *compare_readme(site, key),
        *compare_pages(site, state, attempts, log_key),
        *compare_views(site, state, log_key, full=full),
    )
    # what was read says more of a file than that it is gone
    found = tuple(sorted((dict(others) | dict(run.differences)).items()))
    progress.step(f"audit: {run.read} of {reader.size} entries read, {len(found)} differences")
    return AuditReport(size=reader.size, read=run.read, verified=run.mark.size, differences=found)


class _Run:
    """Reads entries with all that belongs to them, bundle by bundle, and moves the watermark over those without a doubt."""

    def __init__(
        self,
        site: ObjectStore,
        state: ObjectStore,
        key: VerifierKey,
        reader: TileReader,
        attempts: Sequence[Attempt],
        rebuilds: Sequence[Rebuild],
        progress: Progress,
    ) -> None:
        self.differences: list[Difference] = []
        self.read = 0
        self.mark = _Watermark()
        self._site, self._state, self._key, self._reader = site, state, key, reader
        self._attempts = {attempt.index: attempt for attempt in attempts}
        self._rebuilds = {rebuild.index: rebuild for rebuild in rebuilds}
        self._verdicts = proof_keys(rebuilds)
        self._progress = progress

    def read_entries(self, mark: _Watermark, *, full: bool) -> None:
        """Read again what is in turn (all of it when `full`), then what is new."""
        self.mark = mark
        if full:
            for stop in self._sound(mark.full, mark.size):
                self._note(replace(self.mark, full=stop))
            if not self.differences:
                self._note(replace(self.mark, full=0))
        elif mark.size:
            turn = mark.turn % mark.size
            for stop in self._sound(turn, min(mark.size, turn - (-mark.size // _TURN))):
                self._note(replace(self.mark, turn=stop % mark.size))
        for stop in self._sound(mark.size, self._reader.size):
            self._note(replace(self.mark, size=stop, root=tree_root(stop, self._reader.node).hex()))

    def _sound(self, start: int, stop: int) -> Iterator[int]:
        """Read the entries `start` to `stop`, and yield how far there was no doubt, after each bundle, until there is one."""
        sound = True
        while start < stop:
            end = min(stop, (start // WIDTH + 1) * WIDTH)
            for index in range(start, end):
                try:
                    self._check(index)
                except _Doubt as doubt:
                    self.differences.append((doubt.key, str(doubt)))
                    sound = False
                self.read += 1
            self._progress.step(f"audit: entries {start} to {end} of {self._reader.size}")
            if sound:
                yield end
            start = end

    def _note(self, mark: _Watermark) -> None:
        if mark != self.mark:
            self.mark = mark
            self._state.put(PROGRESS, canonical({"size": mark.size, "root": mark.root, "turn": mark.turn, "full": mark.full}))

    def _check(self, index: int) -> None:
        """Check one entry and every file that it binds. Raises `_Doubt`."""
        with _doubting(f"entry {index}"):
            (data,) = self._reader.entries(index, index + 1)
            entry = parse_any_entry(data)
        if isinstance(entry, LegacyEntry):
            self._check_hash(site_layout.build_log(entry.log), entry.log)
            return
        if isinstance(entry, RebuildEntry):
            self._check_rebuild(index, entry)
            return
        key = site_layout.attempt_statement(entry.statement)
        with _doubting(key):
            statement = open_recorded(get_recorded(self._site, key), entry, self._key)
            if self._attempts.get(index) != (attempt := replace(statement.attempt, index=index)):
                raise VerificationError(
                    subject="attempts.parquet", reason="it says something else", hint="delete it: it is derived"
                )
        self._check_hash(site_layout.build_log(attempt.log_sha256), attempt.log_sha256)
        if statement.wheel is None:
            return
        key = site_layout.wheel(attempt.wheel)
        with _doubting(key):
            check_wheel_file(attempt, statement, self._site)
        self._check_hash(site_layout.wheel_metadata(attempt.wheel), attempt.metadata_sha256)
        with _doubting(site_layout.wheel_provenance(attempt.wheel)):
            check_provenance(attempt, self._site, self._key, self._reader)

    def _check_rebuild(self, index: int, entry: RebuildEntry) -> None:
        key = site_layout.attempt_statement(entry.statement)
        with _doubting(key):
            rebuild = replace(open_recorded_rebuild(get_recorded(self._site, key), entry, self._key).rebuild, index=index)
            if self._rebuilds.get(index) != rebuild:
                raise VerificationError(
                    subject="rebuilds.parquet", reason="it says something else", hint="delete it: it is derived"
                )
        self._check_hash(site_layout.build_log(rebuild.log_sha256), rebuild.log_sha256)
        with _doubting(site_layout.rebuilt_wheel(rebuild.rebuilt_sha256)):
            check_verdict_again(rebuild, self._site)
        with _doubting(name := self._verdicts[index]):
            check_verdict_proof(rebuild, name, self._site, self._key, self._reader)

    def _check_hash(self, key: str, sha256: str) -> None:
        with _doubting(key):
            same_hash(get_recorded(self._site, key), sha256)


class _Doubt(Exception):
    """What is wrong with one key; goes no further than `_Run`."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        super().__init__(reason)


@contextmanager
def _doubting(key: str) -> Generator[None]:
    try:
        yield
    except (VerificationError, ObjectNotFound) as error:
        raise _Doubt(key, error.reason) from error


def unaudited(state: ObjectStore, attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Return the attempts that no audit has read yet: what the checks before a publish look at, whatever the log's length."""
    size = _read_mark(state).size
    return tuple(attempt for attempt in attempts if attempt.index >= size)


def _read_mark(state: ObjectStore) -> _Watermark:
    """Return how far the last audit came; from the start when that is not readable: reading too much does no harm."""
    try:
        table = Table(parse(state.get(PROGRESS), PROGRESS), PROGRESS, fields={"size", "root", "turn", "full"})
        return _Watermark(
            size=table.whole("size"), root=table.text("root"), turn=table.whole("turn"), full=table.whole("full")
        )  # fmt: skip
    except (ObjectNotFound, VerificationError):
        return _Watermark()
