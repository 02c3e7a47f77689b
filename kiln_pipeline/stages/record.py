"""Record attempts and rebuilds: take bundles from the inbox, verify, countersign, append to the audit log. The publisher's half.

The order of writes: wheels, metadata, build logs and envelopes; then the log with its checkpoint; then the provenance of wheels
and verdicts; then the derived tables; then the bundle leaves the inbox. A run that was cut off is finished by the next one, to
the same bytes: what it had appended is recognised in the log and gets its provenance before anything new is appended. No index
page is made here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.audit_log.entries import entry_of, render_entry
from kiln_pipeline.core.audit_log.merkle import inclusion_proof
from kiln_pipeline.core.audit_log.tiles import MAX_ENTRY_SIZE
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION, CheckedAttempt, bundle_id_of, check_attempt_bundle
from kiln_pipeline.core.provenance.dsse import countersign
from kiln_pipeline.core.provenance.rebuild_bundle import is_rebuild_bundle
from kiln_pipeline.core.provenance.wheel_bundle import MEDIA_TYPE, REBUILD_MEDIA_TYPE, WheelBundle, render_bundle
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.errors import ObjectExists, VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, Signer
from kiln_pipeline.stages.append import OpenLog, append, open_log, remove_partials
from kiln_pipeline.stages.audit_readme import put_readme
from kiln_pipeline.stages.log_tables import ATTEMPTS, caught_up, load_attempts, store_tables, stored_tables
from kiln_pipeline.stages.take_rebuild import proof_keys, take_rebuild

__all__ = ["ATTEMPTS", "REASON", "REFUSED", "RecordReport", "load_attempts", "record", "refused_bundles"]

REFUSED = "refused/"
"""Prefix in the inbox: bundles that were refused, each with a ``reason.txt``."""
REASON = "reason.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordReport:
    """What one run recorded. Bundles are named by their id, the sha256 of their statement."""

    recorded: tuple[Attempt, ...] = ()
    """Appended by this run, in the log's order."""
    already: tuple[str, ...] = ()
    """Bundles that the log had: of a run that was cut off, or sent twice. They were not appended again."""
    refused: tuple[tuple[str, str], ...] = ()
    """(bundle, reason): moved aside under ``refused/`` in the inbox."""
    notes: tuple[tuple[str, str], ...] = ()
    """(bundle, note): recorded, but worth a look."""
    size: int = 0
    """Entries in the log."""
    rebuilds: tuple[Rebuild, ...] = ()
    """Verdicts appended by this run, in the log's order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pending:
    """A verified bundle whose files are on the site, and the entry that will record it."""

    recorded: Attempt | Rebuild
    entry: bytes
    note: str = ""


def record(
    *,
    inbox: ObjectStore,
    site: ObjectStore,
    state: ObjectStore,
    log_signer: Signer,
    hosts: Mapping[str, Host],
    recipes: Mapping[str, str] | None,
    progress: Progress,
) -> RecordReport:
    """Record every complete bundle of the inbox; see the module's docstring for the order.

    `hosts` maps names to enrolled hosts; `recipes` maps projects to the sha256 of the recipe in force, and an
    attempt with another one is recorded with a note. A bundle that does not verify is moved aside and stalls no other.
    Raises `VerificationError`, with nothing written, when the log was rolled back or forked, and `StoreError`; run again then.
    """
    log = open_log(site, state, log_signer)
    key = VerifierKey.of(log_signer)
    before = stored_tables(state, log.reader)
    tables = caught_up(before, log.reader, site, key)
    known = {item.statement_sha256: item for item in (*tables.attempts, *tables.rebuilds)}
    pending: list[_Pending] = []
    already: list[str] = []
    refused: list[tuple[str, str]] = []
    for bundle in _complete_bundles(inbox):
        try:
            files = _files(inbox, bundle)
            envelope = files.get(ATTESTATION)
            if envelope is None:
                continue  # another publisher has just recorded it
            if bundle in known and bundle_id_of(envelope) == bundle:
                already.append(bundle)
            elif is_rebuild_bundle(envelope):
                verdict = take_rebuild(bundle, files, hosts=hosts, attempts=tables.attempts, site=site, signer=log_signer)
                pending.append(_Pending(recorded=verdict.rebuild, entry=verdict.entry))
            else:
                checked = check_attempt_bundle(bundle, files, hosts)
                pending.append(_put_files(checked, envelope, site, log_signer, recipes))
        except (VerificationError, ObjectExists) as error:
            progress.step(f"refused bundle {bundle[:16]}…: {error}")
            refused.append((bundle, str(error)))
    _put_proofs([known[bundle] for bundle in already], tables.rebuilds, log, site)
    pending.sort(key=lambda item: (item.recorded.finished, item.recorded.statement_sha256))
    start = log.size
    log = append(log, [item.entry for item in pending], site=site, state=state, signer=log_signer)
    recorded = tuple(replace(item.recorded, index=start + number) for number, item in enumerate(pending))
    now = tables.with_more(recorded, log.reader)
    _put_proofs(recorded, now.rebuilds, log, site)
    remove_partials(before.size, log.size, site)
    if log.size:
        put_readme(site, key)
    store_tables(before, now, state)
    for item in recorded:
        progress.step(f"entry {item.index}: {told(item)}")
    for bundle in (*already, *(item.statement_sha256 for item in recorded)):
        _delete(inbox, bundle)
    for bundle, reason in refused:
        _move_aside(inbox, bundle, reason)
    return RecordReport(
        recorded=tuple(item for item in recorded if isinstance(item, Attempt)),
        already=tuple(already),
        refused=tuple(refused),
        notes=tuple((item.recorded.statement_sha256, item.note) for item in pending if item.note),
        size=log.size,
        rebuilds=tuple(item for item in recorded if isinstance(item, Rebuild)),
    )


def told(item: Attempt | Rebuild) -> str:
    """Return what was recorded, in a line."""
    if isinstance(item, Rebuild):
        return f"rebuild of {item.wheel}: {item.verdict}"
    return f"{item.release} {item.identifier} {item.outcome}"


def refused_bundles(inbox: ObjectStore) -> tuple[tuple[str, str], ...]:
    """Return (bundle, reason) of all that were ever refused and still lie aside in the inbox."""
    reasons = [key for key in inbox.keys(REFUSED) if key.endswith(f"/{REASON}")]
    return tuple((key.split("/")[1], inbox.get(key).decode("utf-8", "replace").rstrip("\n")) for key in reasons)


def _complete_bundles(inbox: ObjectStore) -> list[str]:
    """Return the ids of the bundles that were written to their end; remove what is left of one that was moved aside."""
    keys = [key for key in inbox.keys("") if key.count("/") == 1 and not key.startswith(REFUSED)]
    complete = {key.partition("/")[0] for key in keys if key.endswith(f"/{ATTESTATION}")}
    for key in keys:
        bundle = key.partition("/")[0]
        if bundle not in complete and inbox.exists(f"{REFUSED}{bundle}/{REASON}"):
            inbox.delete(key)
    return sorted(complete)


def _files(inbox: ObjectStore, bundle: str) -> dict[str, bytes]:
    return {key.removeprefix(f"{bundle}/"): inbox.get(key) for key in inbox.keys(f"{bundle}/")}


def _put_files(
    checked: CheckedAttempt, envelope: bytes, site: ObjectStore, signer: Signer, recipes: Mapping[str, str] | None
) -> _Pending:
    """Put what a bundle brings onto the site; no page names it yet. Raises `ObjectExists` for a filename with other bytes."""
    attempt = checked.statement.attempt
    countersigned = countersign(envelope, signer)
    entry = render_entry(entry_of(attempt, checked.host_key))
    if len(entry) > MAX_ENTRY_SIZE:
        raise VerificationError(subject=str(attempt.release)[:100], reason=f"its log entry would have {len(entry)} bytes")
    if attempt.wheel:
        site.put_if_absent(site_layout.wheel(attempt.wheel), checked.wheel)
        site.put_if_absent(site_layout.wheel_metadata(attempt.wheel), checked.metadata)
    site.put_if_absent(site_layout.build_log(attempt.log_sha256), checked.log)
    # not conditional: until its entry is in the log, an envelope left by a run that was cut off is nobody's
    site.put(site_layout.attempt_statement(attempt.statement_sha256), countersigned)
    in_force = (recipes or {}).get(attempt.release.project, attempt.recipe_sha256)
    note = "" if in_force == attempt.recipe_sha256 else "it was built with another recipe than the one now in force"
    return _Pending(recorded=attempt, entry=entry, note=note)


def _put_proofs(items: Sequence[Attempt | Rebuild], rebuilds: Sequence[Rebuild], log: OpenLog, site: ObjectStore) -> None:
    """Write the provenance file of each wheel and of each verdict that has none, over the log as it stands."""
    verdicts = proof_keys(rebuilds)
    for item in items:
        if isinstance(item, Rebuild):
            key, media_type = verdicts[item.index], REBUILD_MEDIA_TYPE
        else:
            key, media_type = site_layout.wheel_provenance(item.wheel), MEDIA_TYPE
        if not item.wheel or site.exists(key):
            continue
        (entry,) = log.reader.entries(item.index, item.index + 1)
        bundle = WheelBundle(
            envelope=site.get(site_layout.attempt_statement(item.statement_sha256)),
            entry=entry,
            index=item.index,
            proof=inclusion_proof(item.index, log.size, log.reader.node),
            checkpoint=log.note,
        )
        site.put_if_absent(key, render_bundle(bundle, media_type))


def _delete(inbox: ObjectStore, bundle: str) -> None:
    """Delete a recorded bundle, the attestation last: until it is gone, the next run knows the bundle and goes on deleting."""
    for key in [*(key for key in inbox.keys(f"{bundle}/") if not key.endswith(f"/{ATTESTATION}")), f"{bundle}/{ATTESTATION}"]:
        inbox.delete(key)


def _move_aside(inbox: ObjectStore, bundle: str, reason: str) -> None:
    """Move a refused bundle, the reason last; then delete it, the attestation first, so that it is not judged half-gone."""
    for name, data in _files(inbox, bundle).items():
        inbox.put(f"{REFUSED}{bundle}/{name}", data)
    inbox.put(f"{REFUSED}{bundle}/{REASON}", f"{reason}\n".encode())
    inbox.delete(f"{bundle}/{ATTESTATION}")
    for key in list(inbox.keys(f"{bundle}/")):
        inbox.delete(key)
