"""Log entries: small, canonical, strict."""

import base64

import pytest

from kiln_pipeline.core.attempts import Outcome
from kiln_pipeline.core.audit_log.entries import LogEntry, parse_entry, render_entry
from kiln_pipeline.core.strict_json import canonical, parse
from kiln_pipeline.errors import VerificationError

SUCCESS = LogEntry(
    statement="1" * 64,
    envelope="2" * 64,
    outcome=Outcome.SUCCEEDED,
    release="wrapt==1.14.0",
    identifier="cp311-macosx_arm64",
    wheel="wrapt-1.14.0-1-cp311-cp311-macosx_11_0_arm64.whl",
    wheel_sha256="3" * 64,
    metadata_sha256="4" * 64,
    log="5" * 64,
    host="mac-mini-1",
    host_key=bytes(range(32)),
)
FAILURE = LogEntry(
    statement="1" * 64,
    envelope="2" * 64,
    outcome=Outcome.FAILED,
    release="wrapt==1.14.0",
    identifier="cp311-macosx_arm64",
    wheel="",
    wheel_sha256="",
    metadata_sha256="",
    log="5" * 64,
    host="mac-mini-1",
    host_key=bytes(range(32)),
)


@pytest.mark.parametrize("entry", [SUCCESS, FAILURE])
def test_round_trip(entry: LogEntry):
    """An entry survives its line, which has no newline and stays far below tlog-tiles' 64 kB."""
    line = render_entry(entry)
    assert parse_entry(line) == entry
    assert b"\n" not in line
    assert len(line) < 1000


@pytest.mark.parametrize("entry", [SUCCESS, FAILURE])
def test_every_field_is_checked(entry: LogEntry):
    """Another type, a missing and an unknown field, base64 in another spelling, a wheel of a failure."""
    table = parse(render_entry(entry), "entry")
    assert isinstance(table, dict)
    altered = [{**table, field: value} for field in table for value in (7, None, ["x"])]
    altered += [{name: value for name, value in table.items() if name != field} for field in table]
    altered += [{**table, "extra": ""}, {**table, "outcome": "lost"}, {**table, "log": "5" * 63}, {**table, "log": "A" * 64}]
    altered += [{**table, "host_key": base64.b64encode(bytes(31) + b"\1").decode().replace("E=", "F=")}]
    altered += [{**table, "wheel_sha256": "" if entry.wheel else "3" * 64}]
    for value in altered:
        with pytest.raises(VerificationError):
            parse_entry(canonical(value))
    with pytest.raises(VerificationError):
        parse_entry(render_entry(entry) + b" ")
