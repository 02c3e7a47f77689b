"""The provenance file beside a wheel: envelope, log entry, inclusion proof and checkpoint in one, for offline verification.

The verdict of each rebuild of the wheel has a file of the same form, with a media type of its own. `verify_bundle` and
`verify_rebuild` are the whole of what can be said without the site. Nothing here fetches, and no wheel is read here.
"""

import base64
from dataclasses import dataclass

from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import (
    LogEntry,
    RebuildEntry,
    entry_of,
    parse_entry,
    parse_rebuild_entry,
    rebuild_entry_of,
)
from kiln_pipeline.core.audit_log.merkle import leaf_hash, verify_inclusion
from kiln_pipeline.core.provenance.dsse import decode_base64, key_id, open_envelope
from kiln_pipeline.core.provenance.rebuild_statement import RebuildStatement, parse_rebuild_statement
from kiln_pipeline.core.provenance.statement import Statement, parse_statement
from kiln_pipeline.core.strict_json import Table, canonical, parse_canonical
from kiln_pipeline.errors import VerificationError

MEDIA_TYPE = "application/vnd.python.build.kiln.wheel-provenance.v1+json"
REBUILD_MEDIA_TYPE = "application/vnd.python.build.kiln.rebuild-provenance.v1+json"
_FIELDS = {"mediaType", "envelope", "entry", "index", "inclusionProof", "checkpoint"}


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelBundle:
    """The parts of a provenance file, each in the bytes in which it is signed or hashed."""

    envelope: bytes
    entry: bytes
    index: int
    """Position of the entry in the log."""
    proof: tuple[bytes, ...]
    """Inclusion proof (RFC 6962) of the entry in the tree of `checkpoint`."""
    checkpoint: bytes
    """A signed note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedBundle:
    """What a provenance file proves, once the log's key, and through it the host's, have been verified."""

    statement: Statement
    entry: LogEntry
    checkpoint: Checkpoint


def render_bundle(bundle: WheelBundle, media_type: str = MEDIA_TYPE) -> bytes:
    """Return the provenance file: one line of canonical JSON and a newline."""
    return (
        canonical({
            "mediaType": media_type,
            "envelope": parse_canonical(bundle.envelope[:-1], "DSSE envelope"),
            "entry": bundle.entry.decode(),
            "index": bundle.index,
            "inclusionProof": [base64.b64encode(part).decode() for part in bundle.proof],
            "checkpoint": bundle.checkpoint.decode(),
        })
        + b"\n"
    )  # fmt: skip


def parse_bundle(data: bytes, subject: str, media_type: str = MEDIA_TYPE) -> WheelBundle:
    """Parse a provenance file strictly. Raises `VerificationError` that names `subject`."""
    if data[-1:] != b"\n":
        raise VerificationError(subject=subject, reason="it does not end in a newline: is it truncated?")
    table = Table(parse_canonical(data[:-1], subject), subject, fields=_FIELDS)
    table.exactly("mediaType", media_type)
    return WheelBundle(
        envelope=canonical(table.raw("envelope")) + b"\n",
        entry=table.text("entry").encode(),
        index=table.whole("index"),
        proof=tuple(decode_base64(part, "the inclusion proof", subject) for part in table.texts("inclusionProof")),
        checkpoint=table.text("checkpoint").encode(),
    )


def verify_bundle(bundle: WheelBundle, log_key: VerifierKey) -> VerifiedBundle:
    """Verify a provenance file against the log's key: checkpoint, inclusion of the entry, both signatures, their agreement.

    The entry says which host key was enrolled; the envelope must be signed by that key and by the log's, and by nobody else.
    Raises `VerificationError` at the first doubt.
    """
    checkpoint = open_checkpoint(bundle.checkpoint, log_key)
    verify_inclusion(leaf_hash(bundle.entry), bundle.index, checkpoint.size, bundle.proof, checkpoint.root)
    entry = parse_entry(bundle.entry)
    statement = open_recorded(bundle.envelope, entry, log_key)
    return VerifiedBundle(statement=statement, entry=entry, checkpoint=checkpoint)


def verify_rebuild(bundle: WheelBundle, log_key: VerifierKey) -> RebuildStatement:
    """Verify the file of a rebuild as `verify_bundle` does a wheel's: checkpoint, inclusion, both signatures, their agreement.

    It must name the log that it is in. Raises `VerificationError` at the first doubt.
    """
    checkpoint = open_checkpoint(bundle.checkpoint, log_key)
    verify_inclusion(leaf_hash(bundle.entry), bundle.index, checkpoint.size, bundle.proof, checkpoint.root)
    return open_recorded_rebuild(bundle.envelope, parse_rebuild_entry(bundle.entry), log_key)


def open_recorded(envelope: bytes, entry: LogEntry, log_key: VerifierKey) -> Statement:
    """Return the statement of a countersigned envelope that is the one its log entry records.

    Raises `VerificationError`.
    """
    statement = parse_statement(_countersigned(envelope, entry, log_key))
    _same_entry(entry_of(statement.attempt, entry.host_key), entry)
    return statement


def open_recorded_rebuild(envelope: bytes, entry: RebuildEntry, log_key: VerifierKey) -> RebuildStatement:
    """Do as `open_recorded`, for a rebuild, which also must be of a wheel of this log. Raises `VerificationError`."""
    statement = parse_rebuild_statement(_countersigned(envelope, entry, log_key))
    _same_entry(rebuild_entry_of(statement.rebuild, entry.host_key), entry)
    if statement.origin != log_key.name:
        reason = f"it is about a wheel in the log {statement.origin}"
        raise VerificationError(subject=f"rebuild {entry.statement[:16]}…", reason=reason)
    return statement


def _countersigned(envelope: bytes, entry: LogEntry | RebuildEntry, log_key: VerifierKey) -> bytes:
    keys = {key_id(entry.host_key): entry.host_key, key_id(log_key.public_key): log_key.public_key}
    return open_envelope(envelope, keys=keys, required=tuple(keys))


def _same_entry(said: LogEntry | RebuildEntry, entry: LogEntry | RebuildEntry) -> None:
    if said != entry:
        raise VerificationError(
            subject=f"audit log entry of {entry.statement[:16]}…",
            reason="it does not say what the signed statement says",
            hint="the entry or the statement was swapped for another",
        )
