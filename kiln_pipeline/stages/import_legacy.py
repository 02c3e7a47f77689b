"""Take build logs of python.build's first years into the audit log, as what they are: unsigned, vouching for no wheel."""

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.audit_log.entries import LegacyEntry, is_legacy_path, parse_any_entry, render_entry
from kiln_pipeline.errors import ObjectNotFound, Problem, RecipeError, VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, Signer
from kiln_pipeline.stages.append import append, open_log, remove_partials
from kiln_pipeline.stages.audit_readme import put_readme


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyReport:
    """What an import did."""

    added: int
    already: int
    """Logs that were on record with the same content."""
    skipped: tuple[str, ...] = ()
    """Paths that are none of the original's layout, sorted."""


def import_legacy(
    files: Iterable[tuple[str, bytes]], *, site: ObjectStore, state: ObjectStore, log_signer: Signer, progress: Progress
) -> LegacyReport:
    """Append one legacy entry for each build log that the log does not have; `files` are (path below the folder, content).

    A path is on record once: the same content again is nothing to do. Raises `VerificationError`, before anything is appended,
    when a path is on record with other content, and `RecipeError` when not one file has the layout.
    """
    log = open_log(site, state, log_signer)
    known = {
        entry.path: entry.log
        for entry in map(parse_any_entry, log.reader.entries(0, log.size))
        if isinstance(entry, LegacyEntry)
    }  # fmt: skip
    entries: list[bytes] = []
    skipped: list[str] = []
    already = 0
    for path, data in sorted(files, key=lambda file: _order(file[0])):
        if not is_legacy_path(path):
            skipped.append(path)
        elif path in known:
            if _content(site, known[path]) != data:
                hint = "a log is written once: find out which of the two is the true one"
                raise VerificationError(subject=path, reason="it is on record with other content", hint=hint)
            already += 1
        else:
            packed = gzip.compress(data, mtime=0)
            sha256 = hashlib.sha256(packed).hexdigest()
            site.put_if_absent(site_layout.build_log(sha256), packed)
            entries.append(render_entry(LegacyEntry(path=path, log=sha256)))
    if not entries and not already:
        message = "has no build log at <project>/<3_10>/<1_47_2>/<number>_<name>.txt, the layout of the original's audit folder"
        raise RecipeError([Problem(file="the folder", field="", message=message)])
    extended = append(log, entries, site=site, state=state, signer=log_signer)
    remove_partials(log.size, extended.size, site)
    put_readme(site, VerifierKey.of(log_signer))
    progress.step(f"legacy logs: {len(entries)} added, {already} already on record, {len(skipped)} other files left out")
    return LegacyReport(added=len(entries), already=already, skipped=tuple(sorted(skipped)))


def _order(path: str) -> tuple[str, tuple[int, ...], str, int, str]:
    """Sort by project, Python, version, then the number as a number; other paths anywhere, since they are left out."""
    if not is_legacy_path(path):
        return path, (), "", 0, ""
    project, python, version, name = path.split("/")
    return project, tuple(map(int, python.split("_"))), version, int(name.partition("_")[0]), name


def _content(site: ObjectStore, sha256: str) -> bytes:
    key = site_layout.build_log(sha256)
    try:
        return gzip.decompress(site.get(key))
    except (ObjectNotFound, OSError, EOFError) as error:
        raise VerificationError(subject=key, reason=f"it cannot be read: {error}", hint="see `kiln audit check`") from error
