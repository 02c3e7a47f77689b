"""What one entry of the audit log says: one attempt, one rebuild, or one build log of the time before the log. No trees.

An entry is small on purpose, since whoever verifies one fetches the 256 of its bundle: it binds an attempt to its statement (and
through that to sdist, recipe, log and all else), to its wheel and to the host key that was enrolled. Digests and keys are
base64url without padding. The fields say which kind an entry is; any other set of fields is refused.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.rebuilds import Rebuild, RebuildVerdict
from kiln_pipeline.core.strict_json import Table, canonical, parse_canonical
from kiln_pipeline.errors import VerificationError

_SUBJECT = "audit log entry"
_ATTEMPT = {"attempt", "host_key", "statement", "wheel"}
_LEGACY = {"legacy", "log"}
_REBUILD = {"host_key", "rebuild", "statement", "verdict", "wheel"}
_PATH = re.compile(r"[A-Za-z0-9._-]+/3_[0-9]{1,2}/[A-Za-z0-9_+!.-]+/[0-9]+_[A-Za-z0-9_.-]+\.txt", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """One attempt as the log has it. Hashes are lower-case hex sha256."""

    attempt: str
    """Release and build identifier, ``grpcio==1.47.2 cp311-macosx_arm64``."""
    statement: str
    """sha256 of the in-toto statement: the identity of the attempt."""
    wheel: str
    """sha256 of the wheel; empty for a failure."""
    host_key: bytes
    """The raw Ed25519 public key with which the host was enrolled when the entry was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyEntry:
    """A build log of python.build's first years, as it was found: nobody signed it, and it vouches for no wheel."""

    path: str
    """Where it lay in the original's ``audit`` folder: ``<project>/<3_10>/<1_47_2>/1_build.txt``."""
    log: str
    """sha256 of the gzipped log, ``audit/logs/<sha256>.log.gz``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildEntry:
    """One rebuild of a published wheel as the log has it. Hashes are lower-case hex sha256."""

    rebuild: str
    """Release and build identifier of the wheel, ``grpcio==1.47.2 cp311-macosx_arm64``."""
    verdict: RebuildVerdict
    statement: str
    """sha256 of the in-toto statement: the identity of the rebuild."""
    wheel: str
    """sha256 of the published wheel."""
    host_key: bytes
    """The raw Ed25519 public key with which the host that rebuilt it was enrolled when the entry was made."""


AnyEntry = LogEntry | RebuildEntry | LegacyEntry


def entry_of(attempt: Attempt, host_key: bytes) -> LogEntry:
    """Return the entry that records an attempt by a host with this key."""
    return LogEntry(
        attempt=f"{attempt.release} {attempt.identifier}",
        statement=attempt.statement_sha256,
        wheel=attempt.wheel_sha256,
        host_key=host_key,
    )


def rebuild_entry_of(rebuild: Rebuild, host_key: bytes) -> RebuildEntry:
    """Return the entry that records a rebuild by a host with this key."""
    return RebuildEntry(
        rebuild=f"{rebuild.release} {rebuild.identifier}",
        verdict=rebuild.verdict,
        statement=rebuild.statement_sha256,
        wheel=rebuild.wheel_sha256,
        host_key=host_key,
    )


def is_legacy_path(path: str) -> bool:
    """Return whether a path below the original's ``audit`` folder is one of a build log."""
    return _PATH.fullmatch(path) is not None and ".." not in path


def render_entry(entry: AnyEntry) -> bytes:
    """Return the entry as the log stores and hashes it: canonical JSON, no newline, some 210 bytes."""
    if isinstance(entry, LegacyEntry):
        return canonical({"legacy": entry.path, "log": _encode(bytes.fromhex(entry.log))})
    kind = {"attempt": entry.attempt} if isinstance(entry, LogEntry) else {"rebuild": entry.rebuild, "verdict": entry.verdict}
    return canonical({
        **kind,
        "host_key": _encode(entry.host_key),
        "statement": _encode(bytes.fromhex(entry.statement)),
        "wheel": _encode(bytes.fromhex(entry.wheel)),
    })  # fmt: skip


def parse_any_entry(data: bytes) -> AnyEntry:
    """Parse an entry of any kind strictly. Raises `VerificationError`, also for a kind that nobody here knows."""
    value = parse_canonical(data, _SUBJECT)
    table = Table(value, _SUBJECT, fields=None)
    if "legacy" in table.plain():
        legacy = Table(value, _SUBJECT, fields=_LEGACY)
        path = legacy.text("legacy")
        if not is_legacy_path(path):
            raise legacy.error("legacy", "is no path of the original's audit folder")
        return LegacyEntry(path=path, log=_bytes(legacy, "log").hex())
    if "rebuild" in table.plain():
        return _rebuild(Table(value, _SUBJECT, fields=_REBUILD))
    table = Table(value, _SUBJECT, fields=_ATTEMPT)
    return LogEntry(
        attempt=table.text("attempt"),
        statement=_bytes(table, "statement").hex(),
        wheel=_bytes(table, "wheel").hex() if table.raw("wheel") != "" else "",
        host_key=_bytes(table, "host_key"),
    )


def parse_entry(data: bytes) -> LogEntry:
    """Parse the entry of an attempt strictly. Raises `VerificationError` for anything else, one of another kind too."""
    entry = parse_any_entry(data)
    if isinstance(entry, LogEntry):
        return entry
    kind = f"the unsigned legacy log {entry.path}" if isinstance(entry, LegacyEntry) else f"a rebuild of {entry.rebuild}"
    raise VerificationError(subject=_SUBJECT, reason=f"it is {kind}, which vouches for no wheel")


def parse_rebuild_entry(data: bytes) -> RebuildEntry:
    """Parse the entry of a rebuild strictly. Raises `VerificationError` for anything else, one of another kind too."""
    entry = parse_any_entry(data)
    if not isinstance(entry, RebuildEntry):
        raise VerificationError(subject=_SUBJECT, reason="it is no rebuild")
    return entry


def _rebuild(table: Table) -> RebuildEntry:
    verdict = table.text("verdict")
    if verdict not in RebuildVerdict.__members__.values():
        raise table.error("verdict", f"is {verdict!r}, which is none")
    return RebuildEntry(
        rebuild=table.text("rebuild"),
        verdict=RebuildVerdict(verdict),
        statement=_bytes(table, "statement").hex(),
        wheel=_bytes(table, "wheel").hex(),
        host_key=_bytes(table, "host_key"),
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(table: Table, field: str) -> bytes:
    """Read 32 bytes in the one spelling that `_encode` gives them."""
    text = table.text(field)
    try:
        data = base64.b64decode(f"{text}=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != 32 or _encode(data) != text:
        raise table.error(field, "is no base64url of 32 bytes")
    return data
