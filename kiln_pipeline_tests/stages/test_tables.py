"""Tables of the state: rows of some projects are found without reading the others, wherever the row groups end."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kiln_pipeline.errors import StoreError
from kiln_pipeline.stages import tables
from kiln_pipeline.stages.tables import load_rows, load_table, table_bytes
from kiln_pipeline_tests.fakes import MemoryStore

SCHEMA = pa.schema([pa.field("project", pa.string(), nullable=False), pa.field("number", pa.int64(), nullable=False)])


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
def test_rows_of_some_projects(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS", rows)
    names = [name for name in ("a", "b", "bb", "c", "e", "g") for _ in range(3)]
    table = pa.table([names, list(range(len(names)))], schema=SCHEMA)
    state = MemoryStore()
    state.put("x", table_bytes(table))
    assert load_table(state, "x", SCHEMA).equals(table)
    for wanted in ([], ["a"], ["bb"], ["d"], ["0"], ["z"], ["g", "a"], ["c", "d", "e"], list("abceg")):
        expected = table.filter(pc.is_in(table.column("project"), value_set=pa.array(wanted, pa.string())))
        assert load_rows(state, "x", SCHEMA, "project", wanted).equals(expected)


def test_a_table_that_is_not_there_is_empty_and_another_one_is_refused() -> None:
    state = MemoryStore()
    assert load_rows(state, "x", SCHEMA, "project", ["a"]).num_rows == 0
    for data in (b"PAR1", table_bytes(pa.table({"project": ["a"]}))):
        state.put("x", data)
        with pytest.raises(StoreError, match="x: it is no table that this kiln wrote"):
            load_rows(state, "x", SCHEMA, "project", ["a"])
