"""Attempt bundles: what a build host leaves in the inbox, verified as a whole before anything of it is used. Bytes only.

A bundle is a folder named by the sha256 of its statement, with `ATTESTATION` (the envelope, signed by the host; the file that
is written last), one gzipped build log (``….log.gz``) and, for a success, the wheel under its own filename. Nothing else.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from kiln_pipeline.core.hosts import Host, admitted
from kiln_pipeline.core.provenance.completeness import gaps
from kiln_pipeline.core.provenance.dsse import key_id, open_envelope, unverified_payload
from kiln_pipeline.core.provenance.statement import Statement, WheelClaim, claim_of, parse_statement
from kiln_pipeline.core.wheel_checks import check_wheel
from kiln_pipeline.core.wheel_contents import WheelFacts, read_wheel
from kiln_pipeline.errors import VerificationError

ATTESTATION = "attestation.json"
LOG_SUFFIX = ".log.gz"
_FILENAME = re.compile(r"[A-Za-z0-9_.+!-]{1,250}\.whl", re.ASCII)
"""What becomes a key of the site: no slash, no space, nothing that a URL or a page would have to guess at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedAttempt:
    """A bundle in which everything agrees."""

    statement: Statement
    host_key: bytes
    log: bytes
    """Gzipped, as it was hashed."""
    wheel: bytes = b""
    """Empty for a failure."""
    metadata: bytes = b""
    """The wheel's core metadata file."""


def check_attempt_bundle(bundle_id: str, files: Mapping[str, bytes], hosts: Mapping[str, Host]) -> CheckedAttempt:
    """Verify a bundle's files (name -> bytes) against the enrolled hosts, by name.

    In order: the id is the statement's hash; the host that the statement names is enrolled for the platform, not revoked, and
    has signed; its statement leaves nothing open (`core.provenance.completeness`); the log is the one that was hashed; the wheel
    is the one of the statement, and what the plan asked for. Raises `VerificationError`.
    """
    envelope = files[ATTESTATION]
    if bundle_id_of(envelope) != bundle_id:
        raise _error(bundle_id, "its name is not the sha256 of its statement")
    claimed = parse_statement(unverified_payload(envelope)).attempt
    host_key = admitted(hosts, claimed.host, claimed.identifier).public_key
    statement = parse_statement(open_envelope(envelope, keys={key_id(host_key): host_key}, required=[key_id(host_key)]))
    if open_questions := gaps(statement):
        raise _error(bundle_id, f"its provenance is not complete: {'; '.join(open_questions)}")
    log = _only_log(bundle_id, files, statement)
    if statement.wheel is None:
        return CheckedAttempt(statement=statement, host_key=host_key, log=log)
    facts = _check_wheel(files[statement.wheel.filename], statement, statement.wheel)
    wheel = files[statement.wheel.filename]
    return CheckedAttempt(statement=statement, host_key=host_key, log=log, wheel=wheel, metadata=facts.metadata)


def bundle_id_of(envelope: bytes) -> str:
    """Return the id of the bundle that holds this envelope. Raises `VerificationError` when it is none."""
    return hashlib.sha256(unverified_payload(envelope)).hexdigest()


def _only_log(bundle_id: str, files: Mapping[str, bytes], statement: Statement) -> bytes:
    """Return the log; the bundle has it, the attestation, the wheel of the statement, and no other file."""
    expected = {ATTESTATION, statement.wheel.filename} if statement.wheel else {ATTESTATION}
    missing, others = sorted(expected - set(files)), sorted(set(files) - expected)
    if missing or len(others) != 1 or not others[0].endswith(LOG_SUFFIX):
        have = ", ".join(sorted(files))
        raise _error(bundle_id, f"it should hold {', '.join(sorted(expected))} and one …{LOG_SUFFIX}, but holds {have}")
    log = files[others[0]]
    if hashlib.sha256(log).hexdigest() != statement.attempt.log_sha256:
        raise _error(bundle_id, "its log is not the one that its statement names")
    return log


def _check_wheel(data: bytes, statement: Statement, claim: WheelClaim) -> WheelFacts:
    if not _FILENAME.fullmatch(claim.filename):
        raise VerificationError(subject=repr(claim.filename[:300]), reason="no wheel of ours can be called so")
    if hashlib.sha256(data).hexdigest() != claim.sha256:
        raise VerificationError(subject=claim.filename, reason="its sha256 is not the one that its statement names")
    facts = read_wheel(claim.filename, data)
    found = claim_of(facts)
    wrong = [field.name for field in fields(claim) if getattr(claim, field.name) != getattr(found, field.name)]
    if wrong:
        raise VerificationError(subject=claim.filename, reason=f"its statement says something else of: {', '.join(wrong)}")
    check_wheel(facts, statement.plan)
    if facts.build != str(statement.plan.build_number):
        reason = f"its build tag is {facts.build or 'missing'}, not the plan's {statement.plan.build_number}"
        raise VerificationError(subject=claim.filename, reason=reason)
    return facts


def _error(bundle_id: str, reason: str) -> VerificationError:
    return VerificationError(subject=f"bundle {bundle_id[:16]}…", reason=reason)
