"""Replicate: bring other places (buckets, folders) up to what the site is. The site's own store is only read.

A reader of a target meets the same promises as one of the site, at every moment: objects are written in the order of
`core.site_inventory` and removed in the reverse one, and what was published is never overwritten. Each target has its own note
in the state of what it holds, so that a copy is in proportion to what changed; what a run is about to touch is noted first as of
unknown content. Whatever stops a target stops that one alone, and the next run goes on from there.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.site_inventory import (
    is_removable,
    is_write_once,
    order_of,
    write_inventory,
)
from kiln_pipeline.errors import KilnError, ObjectNotFound, StoreError, VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, ReleasePage
from kiln_pipeline.stages.inventory import Snapshot
from kiln_pipeline.stages.release_wheels import release_wheels
from kiln_pipeline.stages.targets import TargetReport, noted, state_key

_UNKNOWN = "?"
"""The hash of what a run was about to write or remove: it is neither there for sure, nor not there."""
_TOGETHER = 200
"""Objects between two looks at `keep_going`."""
_NOTED_BYTES = 256 * 1024 * 1024
"""Bytes after which what has been copied is noted: a killed run has at most that much to compare again."""
_PARALLEL = 8
_OF_ANY_SIZE = ("mirror/", "wheels/")
_NOT_AS_NOTED = "the site is being published, and the next run takes it; else `kiln index check` tells what is wrong"


def replicate(
    snapshot: Snapshot,
    *,
    site: ObjectStore,
    targets: Mapping[str, ObjectStore | ReleasePage],
    state: ObjectStore,
    progress: Progress,
    keep_going: Callable[[], bool] = lambda: True,
    parallel: int = _PARALLEL,
) -> tuple[TargetReport, ...]:
    """Bring every target (by name: a store, or a page of releases) up to `snapshot`, side by side.

    Returns a report on each, sorted by name. `keep_going` is asked now and then by each target; when it says no, the target is
    left as it is, consistent, for the next run.
    `parallel` is the number of objects that one target is sent at a time. Raises nothing of its own: see `TargetReport.problem`.
    """
    if not targets:
        return ()

    def one(name: str) -> TargetReport:
        target = targets[name]
        if isinstance(target, ReleasePage):
            return release_wheels(name, target, snapshot, site=site, state=state, keep_going=keep_going)
        return _Target(name, target, snapshot, site=site, state=state, keep_going=keep_going, parallel=parallel).run()

    with ThreadPoolExecutor(len(targets)) as pool:
        reports = tuple(pool.map(one, sorted(targets)))
    for report in reports:
        ending = f"stopped: {report.problem}" if report.problem else "caught up" if not report.left else f"{report.left} left"
        if report.copied or report.removed or report.problem or report.left:
            progress.step(f"target {report.name}: {report.copied} copied, {report.removed} removed, {ending}")
    return reports


class _StoppedError(Exception):
    """`keep_going` said no."""


@dataclass(kw_only=True, slots=True)
class _Done:
    copied: int = 0
    copied_bytes: int = 0
    removed: int = 0
    noted_bytes: int = 0
    noted: int = 0
    pending: set[str] = field(default_factory=set[str])


class _Target:
    """One target's run. The legal order: `_plan`, `_note`, `_write`, `_remove`, `_note`."""

    def __init__(
        self,
        name: str,
        store: ObjectStore,
        snapshot: Snapshot,
        *,
        site: ObjectStore,
        state: ObjectStore,
        keep_going: Callable[[], bool],
        parallel: int,
    ) -> None:
        self._name, self._store, self._snapshot = name, store, snapshot
        self._site, self._state, self._keep_going, self._parallel = site, state, keep_going, parallel
        self._wanted = snapshot.objects
        self._has: dict[str, str] = {}
        self._done = _Done()

    def run(self) -> TargetReport:
        problem = ""
        try:
            self._run()
        except _StoppedError:
            pass
        except KilnError as error:
            problem = str(error)
        return TargetReport(
            name=self._name,
            copied=self._done.copied,
            copied_bytes=self._done.copied_bytes,
            removed=self._done.removed,
            left=len(self._done.pending),
            problem=problem,
        )

    def _run(self) -> None:
        self._has = noted(self._name, str(self._store), self._state)
        copies = [key for key in self._wanted if self._lacks(key)]
        removals = [key for key in self._has if key not in self._wanted and is_removable(key, self._wanted)]
        if not copies and not removals:
            return
        self._done.pending = {*copies, *removals}
        if site_layout.SIMPLE_ROOT_JSON not in self._wanted:
            hint = "publish the index first; nothing was copied or removed"
            raise StoreError(key=site_layout.SIMPLE_ROOT_JSON, reason="the site has no index", hint=hint)
        self._check_log()
        self._has |= dict.fromkeys(self._done.pending, _UNKNOWN)
        self._note()
        try:
            for step in sorted({order_of(key) for key in copies}):
                self._write(sorted(key for key in copies if order_of(key) == step))
            for key in sorted(removals, key=lambda key: (-order_of(key), key)):
                self._go_on()
                self._store.delete(key)
                del self._has[key]
                self._done.removed += 1
                self._done.pending.discard(key)
        finally:
            self._note()

    def _lacks(self, key: str) -> bool:
        has, wanted = self._has.get(key), self._wanted[key]
        return has is None or has == _UNKNOWN or (wanted != "" and has != wanted)

    def _check_log(self) -> None:
        """Refuse to put an older log, or another one, over the target's: a stranger would call that a rollback, and be right."""
        try:
            theirs = self._store.get(site_layout.CHECKPOINT)
        except ObjectNotFound:
            return
        hint = "the site was rolled back, or this place belongs to another site: restore it, or take an empty place"
        if not self._snapshot.checkpoint:
            raise VerificationError(subject=str(self._store), reason="it has an audit log, and the site has none", hint=hint)
        key = VerifierKey.parse(self._snapshot.log_key.decode("utf-8", "replace"))
        ahead, ours = open_checkpoint(theirs, key), open_checkpoint(self._snapshot.checkpoint, key)
        if ahead.size > ours.size or (ahead.size == ours.size and ahead.root != ours.root):
            reason = f"its audit log has {ahead.size} entries, and the site's {ours.size} do not continue it"
            raise VerificationError(subject=str(self._store), reason=reason, hint=hint)

    def _write(self, keys: Sequence[str]) -> None:
        """Write the objects of one step, in any order among themselves."""
        once = [key for key in keys if is_write_once(key)]
        for batch in _batches([key for key in keys if not is_write_once(key)], _TOGETHER):
            self._go_on()
            objects = [(key, self._read(key)) for key in batch]
            self._store.put_many(objects)
            for key, data in objects:
                self._wrote(key, len(data), hashlib.sha256(data).hexdigest())
        with ThreadPoolExecutor(self._parallel) as pool:
            for batch in _batches(once, self._parallel):
                self._go_on()
                for key, (size, sha256) in zip(batch, pool.map(self._put_once, batch), strict=True):
                    self._wrote(key, size, sha256)

    def _put_once(self, key: str) -> tuple[int, str]:
        """Copy an object that never changes; return its size and hash."""
        if self._wanted[key] and key.startswith(_OF_ANY_SIZE):
            return self._put_file(key)
        data = self._read(key)
        self._store.put_if_absent(key, data)
        return len(data), hashlib.sha256(data).hexdigest()

    def _put_file(self, key: str) -> tuple[int, str]:
        """Copy an object by way of a file: wheels of gigabytes do not fit into memory, several at a time."""
        digest = hashlib.sha256()
        with TemporaryDirectory(prefix="kiln-") as folder:
            path = Path(folder) / "object"
            try:
                with path.open("wb") as file:
                    for chunk in self._site.chunks(key):
                        digest.update(chunk)
                        file.write(chunk)
            except ObjectNotFound:
                raise StoreError(key=key, reason="the site does not have it", hint=_NOT_AS_NOTED) from None
            except OSError as error:
                raise StoreError(key=key, reason=f"no room for it on the way: {error.strerror or error}") from error
            if digest.hexdigest() != self._wanted[key]:
                raise StoreError(key=key, reason="the site has other bytes than it noted", hint=_NOT_AS_NOTED)
            self._store.put_file(key, path)
            return path.stat().st_size, digest.hexdigest()

    def _read(self, key: str) -> bytes:
        """Return an object of the site as the snapshot has it."""
        if key == site_layout.CHECKPOINT:
            return self._snapshot.checkpoint  # by now the site may have a newer one, over tiles that are not here
        try:
            data = self._site.get(key)
        except ObjectNotFound:
            raise StoreError(key=key, reason="the site does not have it", hint=_NOT_AS_NOTED) from None
        if self._wanted[key] and hashlib.sha256(data).hexdigest() != self._wanted[key]:
            raise StoreError(key=key, reason="the site has other bytes than it noted", hint=_NOT_AS_NOTED)
        return data

    def _wrote(self, key: str, size: int, sha256: str) -> None:
        done = self._done
        self._has[key] = sha256
        done.pending.discard(key)
        done.copied, done.copied_bytes = done.copied + 1, done.copied_bytes + size

    def _go_on(self) -> None:
        """Stop when there is no more time; note now and then what has been done."""
        if not self._keep_going():
            raise _StoppedError
        done = self._done
        # in proportion to what the note already has: all the notes of a first copy cost a few times the last one
        if done.copied_bytes - done.noted_bytes >= _NOTED_BYTES or done.copied - done.noted >= max(_TOGETHER, done.noted // 2):
            self._note()

    def _note(self) -> None:
        self._state.put(state_key(self._name), write_inventory(self._has, str(self._store)))
        self._done.noted, self._done.noted_bytes = self._done.copied, self._done.copied_bytes


def _batches(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
