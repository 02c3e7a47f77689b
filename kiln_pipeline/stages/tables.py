"""The tables of the state as Parquet objects, each replaced whole by one put. What they hold is the other stages' matter."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from bisect import bisect_left
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kiln_pipeline.errors import ObjectNotFound, StoreError
from kiln_pipeline.ports import ObjectStore

_ROWS = 1 << 13
"""Rows of a row group: what `load_rows` reads at least."""


def load_table(state: ObjectStore, key: str, schema: pa.Schema) -> pa.Table:
    """Return a table of the state, empty when there is none yet. Raises `StoreError`, also for a table of other columns."""
    try:
        data = state.get(key)
    except ObjectNotFound:
        return schema.empty_table()
    with _readable(key):
        return _as_written(pq.ParquetFile(pa.BufferReader(data)).read(), schema)  # read_table would import the datasets too


def load_rows(state: ObjectStore, key: str, schema: pa.Schema, column: str, values: Collection[str]) -> pa.Table:
    """As `load_table`, but only the rows whose `column`, by which the table is sorted, is one of `values`."""
    try:
        data = state.get(key)
    except ObjectNotFound:
        return schema.empty_table()
    wanted = sorted(values)
    with _readable(key):
        file = pq.ParquetFile(pa.BufferReader(data))
        number = file.schema_arrow.get_field_index(column)
        groups = [
            group
            for group in range(file.num_row_groups)
            if _may_hold(file.metadata.row_group(group).column(number).statistics, wanted)
        ]
        table = _as_written(file.read_row_groups(groups), schema)
        return table.filter(pc.is_in(table.column(column), value_set=pa.array(wanted, pa.string())))


def _may_hold(statistics: Any, wanted: Sequence[str]) -> bool:
    """Return whether a row group can hold one of the sorted values."""
    if statistics is None or not statistics.has_min_max:
        return True
    first = bisect_left(wanted, statistics.min)
    return first < len(wanted) and wanted[first] <= statistics.max


@contextmanager
def _readable(key: str) -> Generator[None]:
    try:
        yield
    except pa.ArrowException as error:
        hint = "delete it: the next refresh makes it anew"
        raise StoreError(key=key, reason=f"it is no table that this kiln wrote: {error}", hint=hint) from error


def _as_written(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if not table.schema.equals(schema):
        raise pa.ArrowInvalid("it has other columns")
    return table.cast(schema)  # Parquet names the items of a list otherwise: equal tables must give equal bytes


def table_bytes(table: pa.Table) -> bytes:
    """Return the table as Parquet; equal rows give equal bytes, however they came together."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=_ROWS)
    return sink.getvalue().to_pybytes()
