"""Attempts as a Parquet table with a watermark: how far into which log it reaches. Derived data; the log itself is the record."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("project", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("identifier", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("started", _TIME, nullable=False),
        pa.field("finished", _TIME, nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("builder", pa.string(), nullable=False),
        pa.field("sdist_sha256", pa.string(), nullable=False),
        pa.field("recipe_sha256", pa.string(), nullable=False),
        pa.field("wheel", pa.string(), nullable=False),
        pa.field("wheel_sha256", pa.string(), nullable=False),
        pa.field("wheel_size", pa.int64(), nullable=False),
        pa.field("metadata_sha256", pa.string(), nullable=False),
        pa.field("requires_python", pa.string(), nullable=False),
        pa.field("failure", pa.string(), nullable=False),
        pa.field("proof", pa.string(), nullable=False),
        pa.field("log_sha256", pa.string(), nullable=False),
        pa.field("tool", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("ladder", pa.int64(), nullable=False),
        pa.field("statement_sha256", pa.string(), nullable=False),
    ]
)
_SIZE, _ROOT = b"kiln.tree_size", b"kiln.tree_root"


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptTable:
    """The attempts of the first `size` entries of the log whose root hash at that size is `root`, in the log's order."""

    attempts: tuple[Attempt, ...] = ()
    size: int = 0
    root: bytes = b""


def to_table(attempts: Iterable[Attempt]) -> pa.Table:
    """Return the attempts as an Arrow table with `SCHEMA`, one row each, in their order."""
    names = [field.name for field in fields(Attempt) if field.name not in ("release", "identifier", "outcome")]
    rows = [
        {name: getattr(attempt, name) for name in names}
        | {
            "project": attempt.release.project,
            "version": attempt.release.version,
            "identifier": str(attempt.identifier),
            "outcome": str(attempt.outcome),
        }
        for attempt in attempts
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def from_table(table: pa.Table) -> tuple[Attempt, ...]:
    """Return the attempts of a table made by `to_table`. Raises `ValueError` when its schema is another one."""
    if not table.schema.equals(SCHEMA):
        raise ValueError("the table of attempts has another schema")
    identifiers: dict[str, BuildIdentifier] = {}
    attempts: list[Attempt] = []
    for row in table.to_pylist():
        release = Release(project=row.pop("project"), version=row.pop("version"))
        identifier, outcome = row.pop("identifier"), Outcome(row.pop("outcome"))
        if identifier not in identifiers:
            identifiers[identifier] = BuildIdentifier.parse(identifier)
        attempts.append(Attempt(release=release, identifier=identifiers[identifier], outcome=outcome, **row))
    return tuple(attempts)


def render_attempts(table: AttemptTable) -> bytes:
    """Return the Parquet file; equal tables give equal bytes with one version of pyarrow."""
    marked = to_table(table.attempts).replace_schema_metadata({_SIZE: str(table.size).encode(), _ROOT: table.root.hex().encode()})
    sink = io.BytesIO()
    pq.write_table(marked, sink, compression="zstd")
    return sink.getvalue()


def parse_attempts(data: bytes) -> AttemptTable:
    """Read what `render_attempts` wrote. Raises `ValueError` (pyarrow's errors are ones) for anything else."""
    table = pq.ParquetFile(io.BytesIO(data)).read()
    marks = table.schema.metadata or {}
    if not {_SIZE, _ROOT} <= marks.keys():
        raise ValueError("the table of attempts has no watermark")
    attempts = from_table(table.replace_schema_metadata(None))
    return AttemptTable(attempts=attempts, size=int(marks[_SIZE]), root=bytes.fromhex(marks[_ROOT].decode()))
