"""What one log entry binds on the site, checked piece by piece: for the audit, and for the checks that run before a publish.

Reads; repairs nothing. Each finding is a (key, reason) pair, and nothing is found only where everything was read.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import parse_entry
from kiln_pipeline.core.audit_log.merkle import leaf_hash, tree_root
from kiln_pipeline.core.audit_log.tiles import TileReader
from kiln_pipeline.core.provenance.completeness import gaps
from kiln_pipeline.core.provenance.statement import Statement, claim_of
from kiln_pipeline.core.provenance.wheel_bundle import (
    REBUILD_MEDIA_TYPE,
    WheelBundle,
    open_recorded,
    parse_bundle,
    verify_bundle,
    verify_rebuild,
)
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.wheel_checks import check_wheel
from kiln_pipeline.core.wheel_comparison import compare_wheels
from kiln_pipeline.core.wheel_contents import WheelFacts, read_wheel
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.audit_site import Difference


def unproven(site: ObjectStore, log_key: str, attempts: Sequence[Attempt]) -> tuple[Difference, ...]:
    """Return (key, reason) for each wheel whose entry its provenance file does not prove to be in the log as it is."""

    def check(attempt: Attempt, key: VerifierKey, reader: TileReader) -> None:
        check_provenance(attempt, site, key, reader)

    published = [attempt for attempt in attempts if attempt.wheel]
    return _findings(site, log_key, published, check, lambda attempt: site_layout.wheel_provenance(attempt.wheel))


def unsound(site: ObjectStore, log_key: str, attempts: Sequence[Attempt]) -> tuple[Difference, ...]:
    """Return (key, reason) for each wheel that is not, to the byte and in what it contains, what its statement says of it."""

    def check(attempt: Attempt, key: VerifierKey, reader: TileReader) -> None:
        statement = _statement(attempt, site, key, reader)
        check_wheel(check_wheel_file(attempt, statement, site), statement.plan)

    published = [attempt for attempt in attempts if attempt.wheel]
    return _findings(site, log_key, published, check, lambda attempt: site_layout.wheel(attempt.wheel))


def incomplete(site: ObjectStore, log_key: str, attempts: Sequence[Attempt]) -> tuple[Difference, ...]:
    """Return (key, reason) for each attempt whose provenance leaves something open, or whose build log is not there."""

    def check(attempt: Attempt, key: VerifierKey, reader: TileReader) -> None:
        found = gaps(_statement(attempt, site, key, reader))
        if found:
            raise VerificationError(subject=str(attempt.release), reason="; ".join(found))
        same_hash(get_recorded(site, site_layout.build_log(attempt.log_sha256)), attempt.log_sha256)

    return _findings(site, log_key, attempts, check, lambda attempt: site_layout.attempt_statement(attempt.statement_sha256))


def open_site_log(site: ObjectStore, log_key: str) -> tuple[VerifierKey, TileReader]:
    """Return the log's key and a reader of its tiles. Raises `VerificationError` when its checkpoint cannot be believed."""
    key = VerifierKey.parse(log_key)
    checkpoint = open_checkpoint(get_recorded(site, site_layout.CHECKPOINT), key)
    return key, TileReader(checkpoint.size, checkpoint.root, lambda name: get_recorded(site, name))


def check_provenance(attempt: Attempt, site: ObjectStore, key: VerifierKey, reader: TileReader) -> None:
    """Check that a wheel's provenance file is of its attempt, and proves an entry that is where it says in the log as it is."""
    name = site_layout.wheel_provenance(attempt.wheel)
    bundle = parse_bundle(get_recorded(site, name), name)
    verified = verify_bundle(bundle, key)
    if replace(verified.statement.attempt, index=bundle.index) != attempt:
        raise VerificationError(subject=name, reason="it is of another attempt than the log's entry")
    _check_place(name, bundle, verified.checkpoint, reader)


def check_verdict_proof(rebuild: Rebuild, name: str, site: ObjectStore, key: VerifierKey, reader: TileReader) -> None:
    """Check that the file `name` is of this rebuild, and proves an entry that is where it says in the log as it is."""
    bundle = parse_bundle(get_recorded(site, name), name, REBUILD_MEDIA_TYPE)
    if replace(verify_rebuild(bundle, key).rebuild, index=bundle.index) != rebuild:
        raise VerificationError(subject=name, reason="it is of another rebuild than the log's entry")
    _check_place(name, bundle, open_checkpoint(bundle.checkpoint, key), reader)


def check_verdict_again(rebuild: Rebuild, site: ObjectStore) -> None:
    """Compare the published wheel with the one that was made again, where that is another file. Raises `VerificationError`."""
    if not rebuild.difference_sha256:
        return
    same_hash(get_recorded(site, site_layout.rebuild_difference(rebuild.difference_sha256)), rebuild.difference_sha256)
    wheel = get_recorded(site, site_layout.rebuilt_wheel(rebuild.rebuilt_sha256))
    same_hash(wheel, rebuild.rebuilt_sha256)
    found = compare_wheels(get_recorded(site, site_layout.wheel(rebuild.wheel)), wheel).verdict
    if found is not rebuild.verdict:
        raise VerificationError(subject=rebuild.wheel, reason=f"the two wheels are {found}, and the log says {rebuild.verdict}")


def _check_place(name: str, bundle: WheelBundle, then: Checkpoint, reader: TileReader) -> None:
    if bundle.index >= reader.size or reader.node(0, bundle.index) != leaf_hash(bundle.entry):
        raise VerificationError(subject=name, reason=f"the log has another entry {bundle.index}")
    if then.size > reader.size or tree_root(then.size, reader.node) != then.root:
        raise VerificationError(subject=name, reason=f"the log does not continue the checkpoint of {then.size} entries in it")


def check_wheel_file(attempt: Attempt, statement: Statement, site: ObjectStore) -> WheelFacts:
    """Check the wheel itself against the log and its statement, and return its facts. Raises `VerificationError`."""
    data = get_recorded(site, site_layout.wheel(attempt.wheel))
    same_hash(data, attempt.wheel_sha256)
    facts = read_wheel(attempt.wheel, data)
    if claim_of(facts) != statement.wheel:
        raise VerificationError(subject=attempt.wheel, reason="its statement says something else than the wheel")
    return facts


def same_hash(data: bytes, sha256: str) -> None:
    """Raise `VerificationError` unless `data` has that sha256."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise VerificationError(subject=sha256, reason=f"its sha256 is {found}, and the log has {sha256}")


def get_recorded(site: ObjectStore, key: str) -> bytes:
    """Return what the log says is there. Raises `VerificationError` when it is gone."""
    try:
        return site.get(key)
    except ObjectNotFound as error:
        raise VerificationError(subject=key, reason="it is gone", hint="restore it from a backup") from error


def _statement(attempt: Attempt, site: ObjectStore, key: VerifierKey, reader: TileReader) -> Statement:
    """Return an attempt's statement as its log entry binds it."""
    (data,) = reader.entries(attempt.index, attempt.index + 1)
    return open_recorded(get_recorded(site, site_layout.attempt_statement(attempt.statement_sha256)), parse_entry(data), key)


def _findings(
    site: ObjectStore,
    log_key: str,
    attempts: Sequence[Attempt],
    check: Callable[[Attempt, VerifierKey, TileReader], None],
    key_of: Callable[[Attempt], str],
) -> tuple[Difference, ...]:
    if not attempts:
        return ()
    key, reader = open_site_log(site, log_key)
    found: list[Difference] = []
    for attempt in attempts:
        try:
            check(attempt, key, reader)
        except VerificationError as error:
            found.append((key_of(attempt), str(error)))
    return tuple(found)
