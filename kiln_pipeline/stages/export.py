"""Export the audit trail as a history of files, one revision per entry of the log: for people who read git, not tiles.

The layout is the one of the original's ``audit`` branch: ``<project>/<3_10>/<1_47_2>/…``. Each revision names its entry and that
entry's hash, so that the next export knows where to go on, and that the history is of this log.
"""

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LegacyEntry, RebuildEntry, parse_any_entry
from kiln_pipeline.core.audit_log.merkle import leaf_hash
from kiln_pipeline.core.audit_log.tiles import TileReader
from kiln_pipeline.core.provenance.wheel_bundle import open_recorded, open_recorded_rebuild
from kiln_pipeline.core.rebuilds import Rebuild, summary
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import History, ObjectStore, Progress, Revision

BRANCH = "audit"
_UNDATED = datetime(1970, 1, 1, tzinfo=UTC)
"""When nobody knows: a legacy log has no date of its own."""
_MARK = re.compile(r"^Kiln-Entry: (\d+)\nKiln-Leaf: ([0-9a-f]{64})$", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_STEP = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What an export did."""

    added: int
    """Revisions written by this run."""
    size: int
    """Entries in the log, and revisions in the history."""


def export(*, site: ObjectStore, log_key: str, history: History, progress: Progress) -> ExportReport:
    """Add a revision for each entry of the log that `history` does not have. Run again, it adds only what is new.

    `log_key` is the log's verifier key. Every entry is verified before it is written. Raises `VerificationError` when the log
    does not verify, or when the history is of another log, or somebody has added to it.
    """
    key = VerifierKey.parse(log_key)
    checkpoint = open_checkpoint(_get(site, site_layout.CHECKPOINT), key)
    reader = TileReader(checkpoint.size, checkpoint.root, lambda name: _get(site, name))
    start = _next_entry(history.tip(), reader)
    if start < reader.size:
        history.append(_revisions(start, reader, site, key, progress))
    progress.step(f"export: {reader.size - start} revisions added, {reader.size} in all")
    return ExportReport(added=reader.size - start, size=reader.size)


def _next_entry(tip: str, reader: TileReader) -> int:
    """Return the entry after the history's newest one, which must be of this log."""
    if not tip:
        return 0
    mark = _MARK.search(tip)
    if mark is None:
        hint = "export to an empty folder, or to a branch of its own"
        raise VerificationError(subject="audit history", reason="its newest revision is not one of an export", hint=hint)
    index, leaf = int(mark[1]), bytes.fromhex(mark[2])
    if index >= reader.size or reader.node(0, index) != leaf:
        reason = f"it says of entry {index} what the log of {reader.size} entries does not"
        hint = "it is the history of another log, or one of the two was altered: find out which"
        raise VerificationError(subject="audit history", reason=reason, hint=hint)
    return index + 1


def _revisions(start: int, reader: TileReader, site: ObjectStore, key: VerifierKey, progress: Progress) -> Iterator[Revision]:
    for index, data in enumerate(reader.entries(start, reader.size), start):
        entry = parse_any_entry(data)
        mark = f"Kiln-Entry: {index}\nKiln-Leaf: {leaf_hash(data).hex()}\n"
        if isinstance(entry, LegacyEntry):
            yield Revision(
                message=f"entry {index}: legacy log {entry.path}, unsigned\n\n{mark}",
                author="unknown",
                committer=key.name,
                when=_UNDATED,
                files={entry.path: _log(site, entry.log)},
            )
        elif isinstance(entry, RebuildEntry):
            yield _rebuilt(index, entry, site, key, mark)
        else:
            envelope = _get(site, site_layout.attempt_statement(entry.statement))
            attempt = open_recorded(envelope, entry, key).attempt
            place = f"{_folder(attempt)}/{index}_{attempt.identifier.platform}"
            yield Revision(
                message=f"entry {index}: {entry.attempt} {attempt.outcome}\n\n{_result(attempt)}\n\n{mark}",
                author=attempt.host,
                committer=key.name,
                when=attempt.finished,
                files={f"{place}.txt": _log(site, attempt.log_sha256), f"{place}.json": envelope},
            )
        if (index + 1) % _STEP == 0:
            progress.step(f"export: entry {index + 1} of {reader.size}")


def _rebuilt(index: int, entry: RebuildEntry, site: ObjectStore, key: VerifierKey, mark: str) -> Revision:
    envelope = _get(site, site_layout.attempt_statement(entry.statement))
    rebuild = open_recorded_rebuild(envelope, entry, key).rebuild
    place = f"{_folder(rebuild)}/{index}_{rebuild.identifier.platform}_rebuild"
    files = {f"{place}.txt": _log(site, rebuild.log_sha256), f"{place}.json": envelope}
    if rebuild.difference_sha256:
        files[f"{place}_difference.txt"] = _unpacked(
            site, site_layout.rebuild_difference(rebuild.difference_sha256), rebuild.difference_sha256
        )
    return Revision(
        message=f"entry {index}: rebuild of {entry.rebuild}: {entry.verdict}\n\n{_CONTROL.sub(' ', summary(rebuild))}\n\n{mark}",
        author=rebuild.host,
        committer=key.name,
        when=rebuild.finished,
        files=files,
    )


def _folder(item: Attempt | Rebuild) -> str:
    python = item.identifier.python
    tag = f"{python.major}_{python.minor}{'t' if python.free_threaded else ''}"
    return f"{item.release.project}/{tag}/{item.release.version.replace('.', '_')}"


def _result(attempt: Attempt) -> str:
    text = f"{attempt.wheel} sha256 {attempt.wheel_sha256}" if attempt.wheel else f"{attempt.failure}: {attempt.proof}"
    return _CONTROL.sub(" ", text)


def _log(site: ObjectStore, sha256: str) -> bytes:
    return _unpacked(site, site_layout.build_log(sha256), sha256)


def _unpacked(site: ObjectStore, key: str, sha256: str) -> bytes:
    packed = _get(site, key)
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise VerificationError(subject=key, reason="it is not the one that was recorded: its sha256 differs")
    return gzip.decompress(packed)


def _get(site: ObjectStore, key: str) -> bytes:
    try:
        return site.get(key)
    except ObjectNotFound as error:
        raise VerificationError(subject=key, reason="it is missing", hint="see `kiln audit check`") from error
