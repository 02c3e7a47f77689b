"""Rebuilds as a Parquet table with a watermark, as `core.attempt_table` is of attempts. Derived; the log itself is the record."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
import io
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.rebuilds import Rebuild, RebuildVerdict

_TIME = pa.timestamp("us", tz="UTC")
_NUMBERS = ("original", "index")
_PARSED = ("release", "identifier", "verdict", "started", "finished", *_NUMBERS)
SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("identifier", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("started", _TIME, nullable=False),
        pa.field("finished", _TIME, nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in _NUMBERS),
        *(pa.field(field.name, pa.string(), nullable=False) for field in fields(Rebuild) if field.name not in _PARSED),
    ]
)
_SIZE, _ROOT = b"kiln.tree_size", b"kiln.tree_root"


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildTable:
    """The rebuilds of the first `size` entries of the log whose root hash at that size is `root`, in the log's order."""

    rebuilds: tuple[Rebuild, ...] = ()
    size: int = 0
    root: bytes = b""


def render_rebuilds(table: RebuildTable) -> bytes:
    """Return the Parquet file; equal tables give equal bytes with one version of pyarrow."""
    rows = [
        {field.name: getattr(rebuild, field.name) for field in fields(Rebuild)}
        | {
            "project": rebuild.release.project,
            "version": rebuild.release.version,
            "identifier": str(rebuild.identifier),
            "verdict": str(rebuild.verdict),
        }
        for rebuild in table.rebuilds
    ]
    marks = {_SIZE: str(table.size).encode(), _ROOT: table.root.hex().encode()}
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata(marks), sink, compression="zstd")
    return sink.getvalue()


def parse_rebuilds(data: bytes) -> RebuildTable:
    """Read what `render_rebuilds` wrote. Raises `ValueError` (pyarrow's errors are ones) for anything else."""
    table = pq.ParquetFile(io.BytesIO(data)).read()
    marks = table.schema.metadata or {}
    if not {_SIZE, _ROOT} <= marks.keys() or not table.schema.equals(SCHEMA):
        raise ValueError("the table of rebuilds has no watermark, or another schema")
    rebuilds = tuple(
        Rebuild(
            release=Release(project=row.pop("project"), version=row.pop("version")),
            identifier=BuildIdentifier.parse(row.pop("identifier")),
            verdict=RebuildVerdict(row.pop("verdict")),
            **row,
        )
        for row in table.to_pylist()
    )
    return RebuildTable(rebuilds=rebuilds, size=int(marks[_SIZE]), root=bytes.fromhex(marks[_ROOT].decode()))
