"""Take one rebuild's bundle in: verify it against the log and the published wheel, and put its files onto the site.

Part of `stages.record`, which appends the entry and writes its proof.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.entries import rebuild_entry_of, render_entry
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION
from kiln_pipeline.core.provenance.dsse import countersign
from kiln_pipeline.core.provenance.rebuild_bundle import check_rebuild_bundle, check_verdict
from kiln_pipeline.core.rebuilds import Rebuild, rebuilds_by_wheel
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore, Signer


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenRebuild:
    """A verified verdict whose files are on the site, and the entry that will record it."""

    rebuild: Rebuild
    entry: bytes


def take_rebuild(
    bundle: str,
    files: Mapping[str, bytes],
    *,
    hosts: Mapping[str, Host],
    attempts: Sequence[Attempt],
    site: ObjectStore,
    signer: Signer,
) -> TakenRebuild:
    """Verify a bundle and put what it brings onto the site; `attempts` are those of the log, whose key `signer` holds.

    Raises `VerificationError`; then nothing was put.
    """
    checked = check_rebuild_bundle(bundle, files, hosts, attempts, signer.name)
    rebuild = checked.statement.rebuild
    if checked.wheel:
        check_verdict(checked, _published(rebuild, site))
        site.put_if_absent(site_layout.rebuilt_wheel(rebuild.rebuilt_sha256), checked.wheel)
        site.put_if_absent(site_layout.rebuild_difference(rebuild.difference_sha256), checked.difference)
    site.put_if_absent(site_layout.build_log(rebuild.log_sha256), checked.log)
    # not conditional: until its entry is in the log, an envelope left by a run that was cut off is nobody's
    site.put(site_layout.attempt_statement(rebuild.statement_sha256), countersign(files[ATTESTATION], signer))
    return TakenRebuild(rebuild=rebuild, entry=render_entry(rebuild_entry_of(rebuild, checked.host_key)))


def proof_keys(rebuilds: Sequence[Rebuild]) -> dict[int, str]:
    """Return for each of the log's `rebuilds`, by its position in the log, the key of the file that proves its verdict."""
    return {
        rebuild.index: site_layout.rebuild_provenance(wheel, number)
        for wheel, of_wheel in rebuilds_by_wheel(rebuilds).items()
        for number, rebuild in enumerate(of_wheel, 1)
    }


def _published(rebuild: Rebuild, site: ObjectStore) -> bytes:
    try:
        return site.get(site_layout.wheel(rebuild.wheel))
    except ObjectNotFound:
        reason = "it is gone from the site, so that no rebuild of it can be judged"
        raise VerificationError(subject=rebuild.wheel, reason=reason, hint="restore it from a backup") from None
