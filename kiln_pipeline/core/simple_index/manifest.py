"""What the last publish wrote: per project the digest of its inputs and the sha256 of each page. Bytes in, bytes out.

It makes the next publish cheap, and says which object of ``simple/`` should hold what. It is no proof: the signed page
attestations are.
"""

# pyarrow ships no annotations: what it gives is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
import hashlib
from collections.abc import Mapping
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from kiln_pipeline.core import site_layout
from kiln_pipeline.errors import StoreError

KEY = "site_manifest.parquet"
ROOT = ""
"""The name under which the root index stands among the projects: no project can have it."""

_DIGEST = pa.binary(32)
_SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("inputs", _DIGEST, nullable=False),
        pa.field("html", _DIGEST, nullable=False),
        pa.field("json", _DIGEST, nullable=False),
        pa.field("attestation", _DIGEST),
    ]
)


class Entry(NamedTuple):
    """One project's row: 32-byte sha256 digests. The root index has no attestation."""

    inputs: bytes
    html: bytes
    json: bytes
    attestation: bytes | None = None

    @classmethod
    def of(cls, inputs: bytes, html: bytes, json: bytes, attestation: bytes | None = None) -> Self:
        """Return the entry of pages with this content."""
        signed = None if attestation is None else hashlib.sha256(attestation).digest()
        return cls(inputs, hashlib.sha256(html).digest(), hashlib.sha256(json).digest(), signed)


UNKNOWN = Entry(bytes(32), bytes(32), bytes(32), bytes(32))
"""Stands for pages that may have any content, or be absent: they are written anew."""


def write_manifest(entries: Mapping[str, Entry]) -> bytes:
    """Return the Parquet file; the same entries give the same bytes."""
    rows = sorted(entries.items())
    columns = [[project for project, _ in rows], *([entry[index] for _, entry in rows] for index in range(4))]
    table = pa.table([pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    # digests neither repeat nor compress
    pq.write_table(table, sink, compression="NONE", use_dictionary=False, write_statistics=False)
    return sink.getvalue().to_pybytes()


def read_manifest(data: bytes) -> dict[str, Entry]:
    """Return the entries by project. Raises `StoreError` when `data` is no manifest."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()  # read_table would import the datasets too
        if not table.schema.equals(_SCHEMA):
            raise pa.ArrowInvalid("it has other columns")
    except pa.ArrowException as error:
        hint = "delete it: the next publish then writes every page anew"
        raise StoreError(key=KEY, reason=f"it is no manifest: {error}", hint=hint) from error
    projects, *digests = (column.combine_chunks() for column in table.itercolumns())
    rows = zip(*(_digests(column) for column in digests), strict=True)
    return dict(zip(projects.to_pylist(), map(Entry._make, rows), strict=True))


def _digests(column: pa.Array) -> list[bytes] | list[bytes | None]:
    """Return the values of a column of digests, several times as fast as pyarrow does: an hourly publish reads them all."""
    if column.null_count or column.offset:
        return column.to_pylist()
    data = column.buffers()[1].to_pybytes()
    return [data[start : start + 32] for start in range(0, 32 * len(column), 32)]


def expected_objects(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return key -> lower-case hex sha256 of every object that the publish of these entries left under ``simple/``."""
    objects: dict[str, str] = {}
    for project, entry in sorted(entries.items()):
        digests = [digest.hex() for digest in entry[1:] if digest is not None]
        objects.update(zip(page_keys(project), digests, strict=True))
    return objects


def page_keys(project: str) -> tuple[str, ...]:
    """Return the keys of HTML, JSON and attestation of a project, or of HTML and JSON of the `ROOT`."""
    if project == ROOT:
        return site_layout.SIMPLE_ROOT_HTML, site_layout.SIMPLE_ROOT_JSON
    return site_layout.project_html(project), site_layout.project_json(project), site_layout.project_attestation(project)
