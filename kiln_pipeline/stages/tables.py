"""The tables of the state as Parquet objects, each replaced whole by one put. What they hold is the other stages' matter."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
import pyarrow as pa
import pyarrow.parquet as pq

from kiln_pipeline.errors import ObjectNotFound, StoreError
from kiln_pipeline.ports import ObjectStore

_ROWS = 1 << 17
"""Rows of a row group."""


def load_table(state: ObjectStore, key: str, schema: pa.Schema) -> pa.Table:
    """Return a table of the state, empty when there is none yet. Raises `StoreError`, also for a table of other columns."""
    try:
        data = state.get(key)
    except ObjectNotFound:
        return schema.empty_table()
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()  # read_table would import the datasets too
        if not table.schema.equals(schema):
            raise pa.ArrowInvalid("it has other columns")
    except pa.ArrowException as error:
        hint = "delete it: the next refresh makes it anew"
        raise StoreError(key=key, reason=f"it is no table that this kiln wrote: {error}", hint=hint) from error
    return table.cast(schema)  # Parquet names the items of a list otherwise: equal tables must give equal bytes


def table_bytes(table: pa.Table) -> bytes:
    """Return the table as Parquet; equal rows give equal bytes, however they came together."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=_ROWS)
    return sink.getvalue().to_pybytes()
