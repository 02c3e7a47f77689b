"""Dated views as values: one spelling, nothing believed that is not signed, and what retention keeps."""

from datetime import date, timedelta

import pytest

from kiln_pipeline.core.dated_views import (
    DatedView,
    check_view_statement,
    expired,
    read_view,
    root_digest,
    view_statement,
    write_view,
)
from kiln_pipeline.core.site_inventory import PAGES, ROOT, order_of
from kiln_pipeline.core.site_layout import IMMUTABLE, PAGES_MAX_AGE, SIMPLE_JSON, headers
from kiln_pipeline.errors import VerificationError

DAY = date(2026, 11, 22)
A, B, C = "a" * 64, "b" * 64, "c" * 64
VIEW = DatedView(day=DAY, root=A, pages={"foo-2": B, "bar": C})
TEXT = f"simple@2026-11-22\n. {A}\nbar {C}\nfoo-2 {B}\n".encode()


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert write_view(VIEW) == TEXT
    assert read_view(TEXT, DAY) == VIEW


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT[:-1],
        TEXT[:-70],
        TEXT + b"\n",
        TEXT.replace(b"11-22", b"11-23"),
        TEXT.replace(b"bar", b"Bar"),
        TEXT.replace(b"bar", b"../bar"),
        TEXT.replace(b"bar", b"foo-3"),
        TEXT.replace(b"bar", b"foo-2"),
        TEXT.replace(C.encode(), C.upper().encode()),
        TEXT.replace(b"\n. ", b"\n.. "),
        TEXT.replace(b"\n", b"\r\n"),
        b"\xff" + TEXT,
    ],
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="it is no manifest of that day's view"):
        read_view(data, DAY)


def test_a_page_of_a_view_lies_where_its_relative_links_lead_where_they_always_did() -> None:
    assert VIEW.place("simple/bar/index.json") == f"simple@{C}/bar/index.json"
    assert VIEW.place("simple/bar/attestation.json") == f"simple@{C}/bar/attestation.json"
    assert VIEW.place("simple/index.html") == f"simple@{A}/index.html"


@pytest.mark.parametrize(
    "key", ["simple/none/index.json", "simple/bar/other", "simple/attestation.json", "simple/a/b/index.html"]
)
def test_what_a_view_does_not_have_has_no_place(key: str) -> None:
    assert VIEW.place(key) == ""


def test_a_statement_is_of_one_manifest_and_one_day() -> None:
    check_view_statement(view_statement(TEXT, DAY), TEXT, DAY)
    for statement in (view_statement(TEXT + b" ", DAY), view_statement(TEXT, DAY + timedelta(1)), b"{}"):
        with pytest.raises(VerificationError):
            check_view_statement(statement, TEXT, DAY)


def test_both_forms_of_the_root_are_in_its_digest() -> None:
    assert len({root_digest(bytes(32), bytes(32)), root_digest(b"a" * 32, bytes(32)), root_digest(bytes(32), b"a" * 32)}) == 3


def test_retention_keeps_what_is_young_and_the_first_of_each_month() -> None:
    days = [date(2026, 8, 30), date(2026, 9, 2), date(2026, 9, 3), date(2026, 10, 1), date(2026, 11, 20), date(2026, 11, 21)]
    assert expired(days, DAY, keep_days=30) == (date(2026, 9, 3),)
    assert expired(days, DAY, keep_days=1) == (date(2026, 9, 3),)
    assert expired(days, DAY + timedelta(10), keep_days=1) == (date(2026, 9, 3), date(2026, 11, 21))
    assert expired([], DAY, keep_days=1) == ()


def test_states_are_for_ever_and_a_manifest_comes_last() -> None:
    state, manifest = f"simple@{A}/foo/index.json", "simple@2026-11-22/manifest.txt"
    assert headers(state) == {"Content-Type": SIMPLE_JSON, "Cache-Control": IMMUTABLE}
    assert headers(manifest) == {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": PAGES_MAX_AGE}
    assert (order_of(state), order_of("simple@2026-11-22/attestation.json"), order_of(manifest)) == (PAGES, PAGES, ROOT)
