"""What one entry of the audit log says: one attempt, bound by hashes to its statement, wheel, log and host key. No trees."""

import base64
import hashlib
from dataclasses import dataclass, fields

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.provenance.dsse import decode_base64
from kiln_pipeline.core.strict_json import Table, canonical, parse_canonical
from kiln_pipeline.errors import VerificationError


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """One attempt as the log has it. Hashes are lower-case hex sha256; a failed attempt has no wheel (empty texts)."""

    statement: str
    """sha256 of the in-toto statement: the identity of the attempt."""
    envelope: str
    """sha256 of the countersigned envelope, the object ``audit/entries/<statement>.json``."""
    outcome: Outcome
    release: str
    identifier: str
    wheel: str
    wheel_sha256: str
    metadata_sha256: str
    log: str
    """sha256 of the gzipped build log."""
    host: str
    host_key: bytes
    """The raw Ed25519 public key with which the host was enrolled when the entry was made."""


def entry_of(attempt: Attempt, *, envelope: bytes, host_key: bytes) -> LogEntry:
    """Return the entry that records an attempt with this countersigned envelope."""
    return LogEntry(
        statement=attempt.statement_sha256,
        envelope=hashlib.sha256(envelope).hexdigest(),
        outcome=attempt.outcome,
        release=str(attempt.release),
        identifier=str(attempt.identifier),
        wheel=attempt.wheel,
        wheel_sha256=attempt.wheel_sha256,
        metadata_sha256=attempt.metadata_sha256,
        log=attempt.log_sha256,
        host=attempt.host,
        host_key=host_key,
    )


def render_entry(entry: LogEntry) -> bytes:
    """Return the entry as the log stores and hashes it: canonical JSON, no newline, some 700 bytes."""
    table = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return canonical(table | {"host_key": base64.b64encode(entry.host_key).decode()})


def parse_entry(data: bytes) -> LogEntry:
    """Parse an entry strictly. Raises `VerificationError`."""
    subject = "audit log entry"
    table = Table(parse_canonical(data, subject), subject, fields={field.name for field in fields(LogEntry)})
    outcome = table.text("outcome")
    if outcome not in set(Outcome):
        raise VerificationError(subject=subject, reason=f"{outcome!r} is no outcome")
    if outcome == Outcome.FAILED:
        for field in ("wheel", "wheel_sha256", "metadata_sha256"):
            table.exactly(field, "")
    succeeded = outcome == Outcome.SUCCEEDED
    return LogEntry(
        statement=table.sha256("statement"),
        envelope=table.sha256("envelope"),
        outcome=Outcome(outcome),
        release=table.text("release"),
        identifier=table.text("identifier"),
        wheel=table.text("wheel"),
        wheel_sha256=table.sha256("wheel_sha256") if succeeded else "",
        metadata_sha256=table.sha256("metadata_sha256") if succeeded else "",
        log=table.sha256("log"),
        host=table.text("host"),
        host_key=decode_base64(table.text("host_key"), "the host's key", subject),
    )
