"""Which objects a site consists of, and in which order a reader must come to see them. Knows keys and hashes, no store.

An inventory maps key -> lower-case hex sha256; an empty one stands for an object that never changes and whose content is
covered by signatures instead (log tiles, envelopes, provenance). It is made from what the last publish noted and from the audit
log, so that nobody has to list a bucket.
"""

# pyarrow ships no annotations: what it gives is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.tiles import ENTRIES, HEIGHT, WIDTH, tile_key
from kiln_pipeline.core.rebuilds import Rebuild, rebuilds_by_wheel
from kiln_pipeline.errors import StoreError

_SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("sha256", pa.string(), nullable=False)])
_PLACE = b"place"

FILES, LOG_IDENTITY, CHECKPOINT, PROVENANCE, PAGES, OTHERS, ROOT = range(7)
"""The order of writes: a page names only files that are there, the root only pages, a provenance file only a checkpoint that the
log has reached. Removals go the other way."""


def order_of(key: str) -> int:
    """Return when an object is written, from `FILES` to `ROOT`."""
    if key == site_layout.CHECKPOINT:
        return CHECKPOINT
    if key == site_layout.AUDIT_README:
        return OTHERS
    if key == site_layout.LOG_KEY:
        return LOG_IDENTITY
    if key in (site_layout.SIMPLE_ROOT_HTML, site_layout.SIMPLE_ROOT_JSON):
        return ROOT
    if key.startswith("wheels/") and key.endswith(".json"):
        return PROVENANCE
    if key.startswith("simple@") and key.endswith("/" + site_layout.VIEW_MANIFEST):
        return ROOT  # a dated view is there once its manifest is
    if key.startswith(("simple/", "simple@")):
        return PAGES
    return FILES if key.startswith(("wheels/", "mirror/", "audit/")) else OTHERS


def is_write_once(key: str) -> bool:
    """Return whether the object under `key` never changes once it is there."""
    return key.startswith(("wheels/", "mirror/", "audit/")) and key not in (site_layout.CHECKPOINT, site_layout.AUDIT_README)


def is_removable(key: str, wanted: Collection[str]) -> bool:
    """Return whether an object that is not among the `wanted` may go: a page, a copy of upstream's, a full tile's partial one.

    Until then readers who hold an earlier checkpoint need the tile. Nothing else that was published ever goes.
    """
    if key.startswith("mirror/"):
        return True
    tile, partial, _ = key.partition(".p/")
    return tile in wanted if partial and key.startswith("audit/tile/") else not is_write_once(key)


def attempt_objects(attempts: Iterable[Attempt]) -> dict[str, str]:
    """Return the inventory of what these attempts, which the log has, put onto the site."""
    objects: dict[str, str] = {}
    for attempt in attempts:
        objects[site_layout.attempt_statement(attempt.statement_sha256)] = ""
        objects[site_layout.build_log(attempt.log_sha256)] = attempt.log_sha256
        if attempt.wheel:
            objects[site_layout.wheel(attempt.wheel)] = attempt.wheel_sha256
            objects[site_layout.wheel_metadata(attempt.wheel)] = attempt.metadata_sha256
            objects[site_layout.wheel_provenance(attempt.wheel)] = ""
    return objects


def rebuild_objects(rebuilds: Iterable[Rebuild]) -> dict[str, str]:
    """Return the inventory of what these rebuilds, which are all that the log has, put onto the site."""
    objects: dict[str, str] = {}
    for wheel, of_wheel in rebuilds_by_wheel(rebuilds).items():
        for number, rebuild in enumerate(of_wheel, 1):
            objects[site_layout.rebuild_provenance(wheel, number)] = ""
            objects[site_layout.attempt_statement(rebuild.statement_sha256)] = ""
            objects[site_layout.build_log(rebuild.log_sha256)] = rebuild.log_sha256
            if rebuild.difference_sha256:
                objects[site_layout.rebuild_difference(rebuild.difference_sha256)] = rebuild.difference_sha256
                objects[site_layout.rebuilt_wheel(rebuild.rebuilt_sha256)] = rebuild.rebuilt_sha256
    return objects


def log_objects(size: int) -> dict[str, str]:
    """Return the inventory of the tiles and entry bundles of a log with `size` entries, its checkpoint and key apart."""
    keys = [tile_key(ENTRIES, index, width) for index, width in _tiles(size)]
    level = 0
    while size >> (HEIGHT * level):
        keys += [tile_key(level, index, width) for index, width in _tiles(size >> (HEIGHT * level))]
        level += 1
    return dict.fromkeys(keys, "")


def _tiles(count: int) -> list[tuple[int, int]]:
    full = [(index, WIDTH) for index in range(count // WIDTH)]
    return [*full, (count // WIDTH, count % WIDTH)] if count % WIDTH else full


def write_inventory(objects: Mapping[str, str], place: str) -> bytes:
    """Return a Parquet file that says what is at `place`; the same inventory gives the same bytes."""
    rows = sorted(objects.items())
    table = pa.table([[key for key, _ in rows], [sha256 for _, sha256 in rows]], schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    described = table.replace_schema_metadata({_PLACE: place.encode()})
    pq.write_table(described, sink, compression="zstd", use_dictionary=False, write_statistics=False)
    return sink.getvalue().to_pybytes()


def read_inventory(data: bytes, key: str) -> tuple[dict[str, str], str]:
    """Return an inventory and its place. Raises `StoreError` that names `key` when `data` is none."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()  # read_table would import the datasets too
        if not table.schema.equals(_SCHEMA):
            raise pa.ArrowInvalid("it has other columns")
    except pa.ArrowException as error:
        hint = "delete it: everything is then compared and copied anew"
        raise StoreError(key=key, reason=f"it is no inventory: {error}", hint=hint) from error
    keys, hashes = (column.to_pylist() for column in table.itercolumns())
    return dict(zip(keys, hashes, strict=True)), (table.schema.metadata or {}).get(_PLACE, b"").decode("utf-8", "replace")
