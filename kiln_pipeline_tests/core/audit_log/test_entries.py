"""Log entries: small, canonical, strict, and never of one kind taken for the other."""

import pytest

from kiln_pipeline.core.audit_log.entries import (
    AnyEntry,
    LegacyEntry,
    LogEntry,
    RebuildEntry,
    is_legacy_path,
    parse_any_entry,
    parse_entry,
    parse_rebuild_entry,
    render_entry,
)
from kiln_pipeline.core.rebuilds import RebuildVerdict
from kiln_pipeline.core.strict_json import canonical, parse
from kiln_pipeline.errors import VerificationError

ATTEMPT = "wrapt==1.14.0 cp311-macosx_arm64"
SUCCESS = LogEntry(attempt=ATTEMPT, statement="1" * 64, wheel="3" * 64, host_key=bytes(range(32)))
FAILURE = LogEntry(attempt=ATTEMPT, statement="1" * 64, wheel="", host_key=bytes(range(32)))
REBUILD = RebuildEntry(
    rebuild=ATTEMPT, verdict=RebuildVerdict.IDENTICAL, statement="1" * 64, wheel="3" * 64, host_key=bytes(range(32))
)
LEGACY = LegacyEntry(path="grpcio/3_10/1_47_2/1_build.txt", log="5" * 64)


@pytest.mark.parametrize("entry", [SUCCESS, FAILURE, LEGACY, REBUILD])
def test_round_trip(entry: AnyEntry):
    """An entry survives its line, which has no newline; a bundle of 256 of them is some 55 kB."""
    line = render_entry(entry)
    assert parse_any_entry(line) == entry
    assert b"\n" not in line
    assert len(line) < 260


@pytest.mark.parametrize("entry", [SUCCESS, FAILURE, LEGACY, REBUILD])
def test_every_field_is_checked(entry: AnyEntry):
    """Another type, a missing and an unknown field, base64 in another spelling, another kind's fields."""
    table = parse(render_entry(entry), "entry")
    assert isinstance(table, dict)
    altered = [{**table, field: value} for field in table for value in (7, None, ["x"])]
    altered += [{name: value for name, value in table.items() if name != field} for field in table]
    altered += [{**table, "extra": ""}, {"kind": "new", **table}, {}]
    other = parse(render_entry(SUCCESS if entry is LEGACY else LEGACY), "entry")
    assert isinstance(other, dict)
    altered += [{**table, **other}]
    digest = "log" if entry is LEGACY else "statement"
    altered += [{**table, digest: value} for value in ("", "A" * 42, "A" * 44, "A" * 42 + "B", "+" * 43, "é" * 43, "5" * 64)]
    for value in altered:
        with pytest.raises(VerificationError):
            parse_any_entry(canonical(value))
    for line in (render_entry(entry) + b" ", b"[]", b"7", b""):
        with pytest.raises(VerificationError):
            parse_any_entry(line)


def test_a_legacy_entry_is_no_attempt():
    """Whoever asks for an attempt never gets an unsigned log."""
    with pytest.raises(VerificationError, match="unsigned legacy log"):
        parse_entry(render_entry(LEGACY))
    with pytest.raises(VerificationError, match="a rebuild of wrapt"):
        parse_entry(render_entry(REBUILD))
    with pytest.raises(VerificationError, match="it is no rebuild"):
        parse_rebuild_entry(render_entry(SUCCESS))
    assert parse_rebuild_entry(render_entry(REBUILD)) == REBUILD
    assert parse_entry(render_entry(SUCCESS)) == SUCCESS


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/1_build.txt",
        "a/3_10/../1_build.txt",
        "a/2_7/1_0/1_build.txt",
        "a/3_10/1_0/build.txt",
        "a/3_10/1_0/1_build.log",
        "",
    ],
)
def test_only_the_originals_layout_is_a_legacy_path(path: str):
    assert is_legacy_path("grpcio/3_10/1_47_2/1_build.txt")
    assert not is_legacy_path(path)
    with pytest.raises(VerificationError):
        parse_any_entry(canonical({"legacy": path, "log": "A" * 43}))
