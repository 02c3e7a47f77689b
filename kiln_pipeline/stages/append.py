"""Append to the audit log on a site, crash-safe and never inconsistently. Knows stores and a signer; no inbox, no wheels.

The order makes it safe to be killed anywhere: tiles and entries that no checkpoint names yet, then the signed checkpoint into
the private state (`LAST_CHECKPOINT`), then the same checkpoint onto the site. Whoever signs next starts from what the state says
was signed last, so two different continuations of one checkpoint are never signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from kiln_pipeline.core.audit_log.merkle import EMPTY_ROOT, tree_root
from kiln_pipeline.core.audit_log.tiles import TileReader, extend, filled_tiles
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore, Signer

LAST_CHECKPOINT = "last_checkpoint"
"""Key in the state: the checkpoint that was signed last, whether it has reached the site or not."""
_RESTORE = "nothing was written; restore the site's audit/ from a backup that has it, or find out who changed it"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLog:
    """The log as it stands: a reader of its tree and the signed note on the site (empty before the first entry)."""

    reader: TileReader
    note: bytes

    @property
    def size(self) -> int:
        return self.reader.size


def open_log(site: ObjectStore, state: ObjectStore, signer: Signer) -> OpenLog:
    """Verify the log on the site against what was signed last, and publish a signed checkpoint that a crash held back.

    Raises `VerificationError`, before anything is written, when the site's log is by another key, was rolled back, forked, or
    lacks what its checkpoint promises.
    """
    key = VerifierKey.of(signer)
    published_key = _get(site, site_layout.LOG_KEY)
    if published_key is not None and published_key != f"{key}\n".encode():
        raise _error("the site belongs to a log with another key", "use the key that signed it, or a new, empty site")
    signed_note, public_note = _get(state, LAST_CHECKPOINT), _get(site, site_layout.CHECKPOINT)
    signed, public = (open_checkpoint(note, key) if note is not None else None for note in (signed_note, public_note))
    newest, note = (signed, signed_note) if _size(signed) > _size(public) else (public, public_note)
    if newest is None or note is None:
        return OpenLog(reader=TileReader(0, EMPTY_ROOT, site.get), note=b"")
    try:
        reader = TileReader(newest.size, newest.root, site.get)
        for _ in reader.entries(_size(public), newest.size):
            pass  # each is checked as it is read: a checkpoint goes out only over entries that are there
        continues = all(tree_root(old.size, reader.node) == old.root for old in (signed, public) if old is not None)
    except (VerificationError, ObjectNotFound) as error:
        reason = f"{newest.size} entries were signed, and the site does not have them: {error}"
        raise _error(reason, f"the log was rolled back or altered; {_RESTORE}") from error
    if not continues:
        raise _error("the site's checkpoint and the last one signed are of two different logs", f"it was forked; {_RESTORE}")
    if public_note != note:
        site.put(site_layout.CHECKPOINT, note)
    if signed_note != note:
        state.put(LAST_CHECKPOINT, note)
    return OpenLog(reader=reader, note=note)


def append(log: OpenLog, entries: Sequence[bytes], *, site: ObjectStore, state: ObjectStore, signer: Signer) -> OpenLog:
    """Append entries in one batch and return the log with them; the same log when there are none.

    The tiles are put without a condition: beyond the last signed checkpoint nothing is published yet, and a batch that was cut
    off may have left other bytes there. They are read back before the checkpoint over them is signed.
    """
    if not entries:
        return log
    _require_alone(log, state)
    extension = extend(log.reader, entries)
    for key, data in extension.objects:
        site.put(key, data)
    reader = TileReader(extension.size, extension.root, site.get)
    for _ in reader.entries(log.size, extension.size):
        pass  # each is checked as it is read
    _require_alone(log, state)
    note = sign_checkpoint(extension.size, extension.root, signer)
    site.put_if_absent(site_layout.LOG_KEY, f"{VerifierKey.of(signer)}\n".encode())
    state.put(LAST_CHECKPOINT, note)
    site.put(site_layout.CHECKPOINT, note)
    return OpenLog(reader=reader, note=note)


def remove_partials(old: int, new: int, site: ObjectStore) -> None:
    """Delete the partial tiles of those that became full between two published sizes (tlog-tiles allows it then)."""
    for key in filled_tiles(old, new):
        for partial in list(site.keys(f"{key}.p/")):
            site.delete(partial)


def _require_alone(log: OpenLog, state: ObjectStore) -> None:
    """One publisher at a time is the caller's promise (a lock); this notices when it is broken, before anything is signed."""
    if (_get(state, LAST_CHECKPOINT) or b"") != log.note:
        raise _error("another publisher has appended to it since this one began", "nothing was signed; run again, one at a time")


def _size(checkpoint: Checkpoint | None) -> int:
    return checkpoint.size if checkpoint is not None else 0


def _get(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFound:
        return None


def _error(reason: str, hint: str) -> VerificationError:
    return VerificationError(subject="audit log", reason=reason, hint=hint)
