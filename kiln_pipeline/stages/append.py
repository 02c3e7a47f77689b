"""Append to the audit log on a site, crash-safe and never inconsistently. Knows stores and a signer; no inbox, no wheels.

The order makes it safe to be killed anywhere, and to be run by two at once: first the batch of entries into the private state,
under the size of the log that it follows and write-once; then its tiles, which no checkpoint names yet; then the signed
checkpoint into the state (`LAST_CHECKPOINT`) and onto the site. What follows a log of one size is so decided once: whoever comes
next, or second, carries out what was decided, to the same bytes, and two different continuations of one checkpoint are never
signed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from kiln_pipeline.core.audit_log.merkle import EMPTY_ROOT, tree_root
from kiln_pipeline.core.audit_log.tiles import TileReader, extend, filled_tiles, parse_bundle, render_bundle
from kiln_pipeline.errors import ObjectExists, ObjectNotFound, VerificationError
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
    """Verify the log on the site against what was signed last, and carry out what a crash held back: a checkpoint, a batch.

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
        return _caught_up(OpenLog(reader=TileReader(0, EMPTY_ROOT, site.get), note=b""), site=site, state=state, signer=signer)
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
    log = OpenLog(reader=reader, note=note)
    if signed_note != note:
        state.put(LAST_CHECKPOINT, note)
    if public_note != note:
        site.put(site_layout.CHECKPOINT, note)
    return _caught_up(log, site=site, state=state, signer=signer)


def append(log: OpenLog, entries: Sequence[bytes], *, site: ObjectStore, state: ObjectStore, signer: Signer) -> OpenLog:
    """Append entries in one batch and return the log with them; the same log when there are none.

    Raises `VerificationError`, with nothing written, when another publisher has decided otherwise what follows `log`.
    """
    if not entries:
        require_newest(log, state, signer)
        return log
    try:
        state.put_if_absent(_batch_key(log.size, signer), render_bundle(entries))
    except ObjectExists:
        raise _overtaken() from None
    extended = _carry_out(log, entries, site=site, state=state, signer=signer)
    _caught_up(extended, site=site, state=state, signer=signer)  # whoever went on meanwhile has the newest checkpoint
    return extended


def require_newest(log: OpenLog, state: ObjectStore, signer: Signer) -> None:
    """Raise `VerificationError` when another publisher has decided what follows `log`: what this one knows is out of date."""
    if state.exists(_batch_key(log.size, signer)):
        raise _overtaken()


def _caught_up(log: OpenLog, *, site: ObjectStore, state: ObjectStore, signer: Signer) -> OpenLog:
    """Carry out every batch that was decided on, and return the log as it is then."""
    while (batch := _get(state, key := _batch_key(log.size, signer))) is not None:
        log = _carry_out(log, parse_bundle(batch, key), site=site, state=state, signer=signer)
    return log


def _carry_out(log: OpenLog, entries: Sequence[bytes], *, site: ObjectStore, state: ObjectStore, signer: Signer) -> OpenLog:
    """Write the tiles of a batch, read them back, and then sign and publish the checkpoint over them."""
    extension = extend(log.reader, entries)
    for key, data in extension.objects:
        site.put(key, data)
    reader = TileReader(extension.size, extension.root, site.get)
    for _ in reader.entries(log.size, extension.size):
        pass  # each is checked as it is read
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


def _batch_key(size: int, signer: Signer) -> str:
    """Return where in the state the batch is that follows `size` entries of the log of this key."""
    return f"log_batches/{hashlib.sha256(signer.public_key).hexdigest()}/{size}"


def _overtaken() -> VerificationError:
    return _error("another publisher has appended to it since this one began", "nothing was signed; run again, one at a time")


def _size(checkpoint: Checkpoint | None) -> int:
    return checkpoint.size if checkpoint is not None else 0


def _get(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFound:
        return None


def _error(reason: str, hint: str) -> VerificationError:
    return VerificationError(subject="audit log", reason=reason, hint=hint)
