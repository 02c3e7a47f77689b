"""Record attempts: take bundles from the inbox, verify, countersign, append to the audit log. The publisher's half of a build.

The order of writes: wheels, metadata, build logs and envelopes; then the log with its checkpoint; then the wheels' provenance;
then the derived table; then the bundle leaves the inbox. A run that was cut off is finished by the next one, to the same bytes:
what it had appended is recognised in the log and gets its provenance before anything new is appended. No index page is made here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempt_table import AttemptTable, parse_attempts, render_attempts
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LogEntry, entry_of, parse_any_entry, render_entry
from kiln_pipeline.core.audit_log.merkle import inclusion_proof, tree_root
from kiln_pipeline.core.audit_log.tiles import MAX_ENTRY_SIZE, TileReader
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION, CheckedAttempt, bundle_id_of, check_attempt_bundle
from kiln_pipeline.core.provenance.dsse import countersign
from kiln_pipeline.core.provenance.wheel_bundle import WheelBundle, open_recorded, render_bundle
from kiln_pipeline.errors import ObjectExists, ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, Signer
from kiln_pipeline.stages.append import OpenLog, append, open_log, remove_partials
from kiln_pipeline.stages.audit_readme import put_readme

ATTEMPTS = "attempts.parquet"
"""Key in the state: `core.attempt_table`, derived from the log and made anew whenever it does not fit it."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pending:
    """A verified bundle whose files are on the site, and the entry that will record it."""

    attempt: Attempt
    entry: bytes
    note: str


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
    before = _stored_table(state, log.reader)
    table = _caught_up(before, log.reader, site, VerifierKey.of(log_signer))
    known = {attempt.statement_sha256: attempt for attempt in table.attempts}
    pending: list[_Pending] = []
    already: list[str] = []
    refused: list[tuple[str, str]] = []
    for bundle in _complete_bundles(inbox):
        try:
            if bundle in known and bundle_id_of(inbox.get(f"{bundle}/{ATTESTATION}")) == bundle:
                already.append(bundle)
                continue
            checked = check_attempt_bundle(bundle, _files(inbox, bundle), hosts)
            pending.append(_put_files(checked, inbox.get(f"{bundle}/{ATTESTATION}"), site, log_signer, recipes))
        except (VerificationError, ObjectExists) as error:
            progress.step(f"refused bundle {bundle[:16]}…: {error}")
            refused.append((bundle, str(error)))
    _put_provenance([known[bundle] for bundle in already], log, site)
    pending.sort(key=lambda item: (item.attempt.finished, item.attempt.statement_sha256))
    log = append(log, [item.entry for item in pending], site=site, state=state, signer=log_signer)
    recorded = tuple(replace(item.attempt, index=table.size + number) for number, item in enumerate(pending))
    _put_provenance(recorded, log, site)
    remove_partials(before.size, log.size, site)
    if log.size:
        put_readme(site, VerifierKey.of(log_signer))
    if log.size != before.size:
        now = AttemptTable(attempts=(*table.attempts, *recorded), size=log.size, root=log.reader.root)
        state.put(ATTEMPTS, render_attempts(now))
    for attempt in recorded:
        progress.step(f"entry {attempt.index}: {attempt.release} {attempt.identifier} {attempt.outcome}")
    for bundle in (*already, *(attempt.statement_sha256 for attempt in recorded)):
        _delete(inbox, bundle)
    for bundle, reason in refused:
        _move_aside(inbox, bundle, reason)
    return RecordReport(
        recorded=recorded,
        already=tuple(already),
        refused=tuple(refused),
        notes=tuple((item.attempt.statement_sha256, item.note) for item in pending if item.note),
        size=log.size,
    )


def load_attempts(state: ObjectStore, site: ObjectStore) -> tuple[Attempt, ...]:
    """Return every attempt in the audit log, in its order: from the derived table, and beyond it from the log itself.

    Raises `VerificationError` when the log on the site does not verify against its own key, which whoever pins it compares.
    """
    try:
        note = site.get(site_layout.CHECKPOINT)
    except ObjectNotFound:
        return ()
    key = VerifierKey.parse(site.get(site_layout.LOG_KEY).decode("utf-8", "replace"))
    checkpoint = open_checkpoint(note, key)
    reader = TileReader(checkpoint.size, checkpoint.root, site.get)
    return _caught_up(_stored_table(state, reader), reader, site, key).attempts


def refused_bundles(inbox: ObjectStore) -> tuple[tuple[str, str], ...]:
    """Return (bundle, reason) of all that were ever refused and still lie aside in the inbox."""
    reasons = [key for key in inbox.keys(REFUSED) if key.endswith(f"/{REASON}")]
    return tuple((key.split("/")[1], inbox.get(key).decode("utf-8", "replace").rstrip("\n")) for key in reasons)


def _stored_table(state: ObjectStore, reader: TileReader) -> AttemptTable:
    """Return the stored table, or an empty one when there is none, it is unreadable, or it is of another log or branch."""
    try:
        table = parse_attempts(state.get(ATTEMPTS))
    except (ObjectNotFound, ValueError):
        return AttemptTable()
    if not 0 < table.size <= reader.size or tree_root(table.size, reader.node) != table.root:
        return AttemptTable()
    return table


def _caught_up(table: AttemptTable, reader: TileReader, site: ObjectStore, key: VerifierKey) -> AttemptTable:
    """Return the table with the rest of the log's attempts, each read with its statement and both signatures verified.

    Legacy entries are no attempts of ours: they stay in the log.
    """
    attempts = list(table.attempts)
    for index, data in enumerate(reader.entries(table.size, reader.size), table.size):
        entry = parse_any_entry(data)
        if isinstance(entry, LogEntry):
            statement = open_recorded(site.get(site_layout.attempt_statement(entry.statement)), entry, key)
            attempts.append(replace(statement.attempt, index=index))
    return AttemptTable(attempts=tuple(attempts), size=reader.size, root=reader.root)


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
    return _Pending(attempt=attempt, entry=entry, note=note)


def _put_provenance(attempts: Sequence[Attempt], log: OpenLog, site: ObjectStore) -> None:
    """Write the provenance file of each wheel that has none, over the log as it stands."""
    for attempt in attempts:
        key = site_layout.wheel_provenance(attempt.wheel)
        if not attempt.wheel or site.exists(key):
            continue
        (entry,) = log.reader.entries(attempt.index, attempt.index + 1)
        bundle = WheelBundle(
            envelope=site.get(site_layout.attempt_statement(attempt.statement_sha256)),
            entry=entry,
            index=attempt.index,
            proof=inclusion_proof(attempt.index, log.size, log.reader.node),
            checkpoint=log.note,
        )
        site.put_if_absent(key, render_bundle(bundle))


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
