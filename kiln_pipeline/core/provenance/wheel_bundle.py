"""The provenance file beside a wheel: envelope, log entry, inclusion proof and checkpoint in one, for offline verification.

`verify_bundle` is the whole of what can be said without the site. Nothing here fetches, and no wheel is read here.
"""

import base64
from dataclasses import dataclass

from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LogEntry, entry_of, parse_entry
from kiln_pipeline.core.audit_log.merkle import leaf_hash, verify_inclusion
from kiln_pipeline.core.provenance.dsse import decode_base64, key_id, open_envelope
from kiln_pipeline.core.provenance.statement import Statement, parse_statement
from kiln_pipeline.core.strict_json import Table, canonical, parse_canonical
from kiln_pipeline.errors import VerificationError

MEDIA_TYPE = "application/vnd.python.build.kiln.wheel-provenance.v1+json"
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


def render_bundle(bundle: WheelBundle) -> bytes:
    """Return the provenance file: one line of canonical JSON and a newline."""
    return (
        canonical({
            "mediaType": MEDIA_TYPE,
            "envelope": parse_canonical(bundle.envelope[:-1], "DSSE envelope"),
            "entry": bundle.entry.decode(),
            "index": bundle.index,
            "inclusionProof": [base64.b64encode(part).decode() for part in bundle.proof],
            "checkpoint": bundle.checkpoint.decode(),
        })
        + b"\n"
    )  # fmt: skip


def parse_bundle(data: bytes, subject: str) -> WheelBundle:
    """Parse a provenance file strictly. Raises `VerificationError` that names `subject`."""
    if data[-1:] != b"\n":
        raise VerificationError(subject=subject, reason="it does not end in a newline: is it truncated?")
    table = Table(parse_canonical(data[:-1], subject), subject, fields=_FIELDS)
    table.exactly("mediaType", MEDIA_TYPE)
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


def open_recorded(envelope: bytes, entry: LogEntry, log_key: VerifierKey) -> Statement:
    """Return the statement of a countersigned envelope that is the one its log entry records.

    Raises `VerificationError`.
    """
    keys = {key_id(entry.host_key): entry.host_key, key_id(log_key.public_key): log_key.public_key}
    statement = parse_statement(open_envelope(envelope, keys=keys, required=tuple(keys)))
    if entry_of(statement.attempt, entry.host_key) != entry:
        raise VerificationError(
            subject=f"audit log entry of {entry.statement[:16]}…",
            reason="it does not say what the signed statement says",
            hint="the entry or the statement was swapped for another",
        )
    return statement
