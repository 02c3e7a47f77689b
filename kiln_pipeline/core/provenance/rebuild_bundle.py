"""Rebuild bundles: the verdict that a host leaves in the inbox, verified as a whole before anything of it is used. Bytes only.

A bundle is a folder named by the sha256 of its statement, with the attestation (signed by the host, written last), the gzipped
build log and, where another file than the published wheel was made, that wheel and the gzipped text on what differs. The
publisher compares the two wheels itself: only that the same was made, or nothing could be, rests on the host's word.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.hosts import Host, admitted
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION, bundle_id_of
from kiln_pipeline.core.provenance.dsse import key_id, open_envelope, unverified_payload
from kiln_pipeline.core.provenance.rebuild_statement import RebuildStatement, is_rebuild_statement, parse_rebuild_statement
from kiln_pipeline.core.wheel_comparison import compare_wheels
from kiln_pipeline.errors import VerificationError

LOG, WHEEL, DIFFERENCE = "rebuild.log.gz", "rebuilt.whl", "difference.txt.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRebuild:
    """A bundle in which everything agrees, about a wheel that the log has."""

    statement: RebuildStatement
    host_key: bytes
    log: bytes
    wheel: bytes = b""
    """What was made, where that is not the published wheel; else empty."""
    difference: bytes = b""


def is_rebuild_bundle(envelope: bytes) -> bool:
    """Return whether a bundle with this envelope says that it is of a rebuild; nothing is verified here."""
    return is_rebuild_statement(unverified_payload(envelope))


def check_rebuild_bundle(
    bundle_id: str, files: Mapping[str, bytes], hosts: Mapping[str, Host], attempts: Sequence[Attempt], origin: str
) -> CheckedRebuild:
    """Verify a bundle's files (name -> bytes) against the enrolled hosts and the attempts of the log called `origin`.

    In order: the id is the statement's hash; the host that it names is enrolled for the platform, not revoked, and has signed;
    the wheel is the one that the log has, by that attempt; the files are the ones that were hashed, and no others. Whether the
    verdict is right is `check_verdict`'s matter, which needs the published wheel. Raises `VerificationError`.
    """
    envelope = files[ATTESTATION]
    if bundle_id_of(envelope) != bundle_id:
        raise _error(bundle_id, "its name is not the sha256 of its statement")
    claimed = parse_rebuild_statement(unverified_payload(envelope)).rebuild
    host_key = admitted(hosts, claimed.host, claimed.identifier).public_key
    statement = parse_rebuild_statement(open_envelope(envelope, keys={key_id(host_key): host_key}, required=[key_id(host_key)]))
    _check_original(bundle_id, statement, attempts, origin)
    rebuild = statement.rebuild
    hashes = {LOG: rebuild.log_sha256}
    if rebuild.difference_sha256:
        hashes |= {DIFFERENCE: rebuild.difference_sha256, WHEEL: rebuild.rebuilt_sha256}
    if set(files) != {ATTESTATION, *hashes}:
        have = ", ".join(sorted(files))
        raise _error(bundle_id, f"it should hold {', '.join(sorted({ATTESTATION, *hashes}))}, but holds {have}")
    for name, sha256 in hashes.items():
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise _error(bundle_id, f"its {name} is not the one that its statement names")
    wheel, difference = files.get(WHEEL, b""), files.get(DIFFERENCE, b"")
    return CheckedRebuild(statement=statement, host_key=host_key, log=files[LOG], wheel=wheel, difference=difference)


def check_verdict(checked: CheckedRebuild, published: bytes) -> None:
    """Compare the published wheel with what was made, where that is another file.

    Raises `VerificationError` for another verdict than the statement's.
    """
    if not checked.wheel:
        return
    found, said = compare_wheels(published, checked.wheel).verdict, checked.statement.rebuild.verdict
    if found is not said:
        raise VerificationError(subject=checked.statement.rebuild.wheel, reason=f"its rebuild is {found}, and not {said}")


def _check_original(bundle_id: str, statement: RebuildStatement, attempts: Sequence[Attempt], origin: str) -> None:
    if statement.origin != origin:
        raise _error(bundle_id, f"it is about a wheel in the log {statement.origin[:100]!r}, and this is {origin}")
    rebuild = statement.rebuild
    attempt = next((attempt for attempt in attempts if attempt.index == rebuild.original), None)
    known = attempt and (
        attempt.wheel, attempt.wheel_sha256, attempt.release, attempt.identifier, attempt.statement_sha256
    )  # fmt: skip
    said = (rebuild.wheel, rebuild.wheel_sha256, rebuild.release, rebuild.identifier, statement.original_statement)
    if known != said:
        raise _error(bundle_id, f"entry {rebuild.original} of the log is not the attempt that made {rebuild.wheel} as it says")


def _error(bundle_id: str, reason: str) -> VerificationError:
    return VerificationError(subject=f"bundle {bundle_id[:16]}…", reason=reason)
