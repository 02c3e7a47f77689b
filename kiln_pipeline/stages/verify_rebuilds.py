"""Read the verdicts of a wheel's rebuilds from the files beside it, each verified like its provenance. Writes nothing.

The files are numbered from 1 without a gap. That none is held back cannot be seen from them: the audit log has them all.
"""

from collections.abc import Iterator
from itertools import count

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.audit_log.merkle import leaf_hash
from kiln_pipeline.core.audit_log.tiles import Fetch, TileReader
from kiln_pipeline.core.provenance.wheel_bundle import REBUILD_MEDIA_TYPE, WheelBundle, parse_bundle, verify_rebuild
from kiln_pipeline.core.rebuilds import Rebuild, tell
from kiln_pipeline.errors import ObjectNotFound, VerificationError


def tell_rebuilds(attempt: Attempt, index: int, *, fetch: Fetch, log_key: VerifierKey, reader: TileReader | None) -> str:
    """Return in a sentence how often, where and with what result the wheel of `attempt` (entry `index`) was rebuilt.

    `fetch` gives the bytes of a key (raises `ObjectNotFound`); with a `reader` each verdict must be in the log as it is now.
    Raises `VerificationError` for a file that is not the verdict on this wheel.
    """
    rebuilds = tuple(_read(attempt, index, fetch, log_key, reader))
    return tell(rebuilds, attempt.host) or "not rebuilt yet"


def _read(attempt: Attempt, index: int, fetch: Fetch, log_key: VerifierKey, reader: TileReader | None) -> Iterator[Rebuild]:
    last = index
    for number in count(1):
        key = site_layout.rebuild_provenance(attempt.wheel, number)
        try:
            data = fetch(key)
        except ObjectNotFound:
            return
        bundle = parse_bundle(data, key, REBUILD_MEDIA_TYPE)
        statement = verify_rebuild(bundle, log_key)
        rebuild = statement.rebuild
        said = (rebuild.wheel, rebuild.wheel_sha256, rebuild.original, statement.original_statement)
        if said != (attempt.wheel, attempt.wheel_sha256, index, attempt.statement_sha256):
            raise VerificationError(subject=key, reason="it is of a rebuild of another wheel")
        if bundle.index <= last or (reader is not None and not _has(reader, bundle)):
            raise VerificationError(subject=key, reason=f"the log has no such verdict at entry {bundle.index}")
        last = bundle.index
        yield rebuild


def _has(reader: TileReader, bundle: WheelBundle) -> bool:
    return bundle.index < reader.size and reader.node(0, bundle.index) == leaf_hash(bundle.entry)
