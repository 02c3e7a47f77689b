"""The derived table: attempts in, the same attempts out, with the watermark that says how far it reaches."""

import io
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kiln_pipeline.core.attempt_table import SCHEMA, AttemptTable, from_table, parse_attempts, render_attempts, to_table
from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier

TIMES = {"started": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "finished": datetime(2026, 1, 2, 3, 4, 5, 7, tzinfo=UTC)}
COMMON = {"host": "h", "builder": "zig", "sdist_sha256": "1" * 64, "recipe_sha256": "", "log_sha256": "2" * 64, **TIMES}
SUCCESS = Attempt(
    release=Release.of("wrapt", "1.14"),
    identifier=BuildIdentifier.parse("cp313t-manylinux_x86_64"),
    outcome=Outcome.SUCCEEDED,
    wheel="wrapt.whl",
    wheel_sha256="3" * 64,
    wheel_size=5_000_000_000,
    metadata_sha256="4" * 64,
    requires_python=">=3",
    statement_sha256="5" * 64,
    index=0,
    **COMMON,
)
FAILED = Attempt(
    release=Release.of("lz4", "4"),
    identifier=BuildIdentifier.parse("pp311-macosx_arm64"),
    outcome=Outcome.FAILED,
    failure="compile",
    proof="error: “é”",
    statement_sha256="6" * 64,
    index=1,
    **COMMON,
)
TABLE = AttemptTable(attempts=(SUCCESS, FAILED), size=2, root=bytes(range(32)))


def test_round_trip():
    """Arrow and Parquet give the same attempts back, types and all, and equal tables equal bytes."""
    assert from_table(to_table(TABLE.attempts)) == TABLE.attempts
    assert parse_attempts(render_attempts(TABLE)) == TABLE
    assert render_attempts(parse_attempts(render_attempts(TABLE))) == render_attempts(TABLE)
    assert parse_attempts(render_attempts(AttemptTable())) == AttemptTable()
    assert to_table(()).schema == SCHEMA


def test_every_field_of_an_attempt_is_a_column():
    """A field added to `Attempt` and forgotten here would be lost."""
    columns = set(SCHEMA.names) - {"project", "version"} | {"release"}
    assert columns == set(Attempt.__dataclass_fields__)


@pytest.mark.parametrize("data", [b"", b"torn", render_attempts(TABLE)[:-10], render_attempts(TABLE)[:100]])
def test_a_torn_table_is_no_table(data: bytes):
    with pytest.raises(ValueError, match=r"."):
        parse_attempts(data)


def test_another_table_is_refused():
    """Without a watermark, or with other columns."""
    for table in (to_table(TABLE.attempts), pa.table({"a": [1]})):
        sink = io.BytesIO()
        pq.write_table(table, sink)
        with pytest.raises(ValueError, match="watermark"):
            parse_attempts(sink.getvalue())
    with pytest.raises(ValueError, match="schema"):
        from_table(pa.table({"a": [1]}))
