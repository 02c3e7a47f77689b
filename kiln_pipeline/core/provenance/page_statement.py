"""The signed hashes of a project's two simple pages: an in-toto statement of ours, read back strictly. No signing here.

It says what the publisher published, so that a page altered on its way, or in the bucket, is noticed. It does not say when:
a whole older page with its own older attestation is still valid, and only the audit log shows that a wheel is missing from it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from kiln_pipeline.core.provenance.statement import STATEMENT_TYPE
from kiln_pipeline.core.strict_json import Table, canonical, parse_canonical

PREDICATE_TYPE = "https://python.build/attestations/page/v1"
PAGES = ("index.html", "index.json")
_TEMPLATE = (
    b'{"_type":"%b","predicate":{"project":%%b},"predicateType":"%b",'
    b'"subject":[{"digest":{"sha256":"%%b"},"name":"index.html"},{"digest":{"sha256":"%%b"},"name":"index.json"}]}'
) % (STATEMENT_TYPE.encode(), PREDICATE_TYPE.encode())
"""Canonical JSON as it stands: a publish of a whole index makes tens of thousands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageStatement:
    """The sha256 of each page of one project."""

    project: str
    pages: Mapping[str, str]
    """``index.html`` and ``index.json`` -> lower-case hex sha256."""


def page_statement(project: str, pages: Mapping[str, bytes]) -> bytes:
    """Return the statement over both pages (``index.html`` and ``index.json`` -> bytes) as canonical JSON."""
    if set(pages) != set(PAGES):
        raise ValueError(f"a project has the pages {', '.join(PAGES)}, not {', '.join(sorted(pages))}")
    return _TEMPLATE % (canonical(project), *(hashlib.sha256(pages[name]).hexdigest().encode() for name in PAGES))


def read_page_statement(payload: bytes) -> PageStatement:
    """Parse a page statement strictly. Raises `VerificationError` at the first doubt."""
    subject = "page attestation"
    top = Table(parse_canonical(payload, subject), subject, fields={"_type", "subject", "predicateType", "predicate"})
    top.exactly("_type", STATEMENT_TYPE)
    top.exactly("predicateType", PREDICATE_TYPE)
    rows = top.tables("subject", fields={"digest", "name"})
    pages = {row.text("name"): row.table("digest", fields={"sha256"}).sha256("sha256") for row in rows}
    if tuple(pages) != PAGES or len(rows) != len(PAGES):
        raise top.error("subject", f"does not name the pages {', '.join(PAGES)}")
    return PageStatement(project=top.table("predicate", fields={"project"}).text("project"), pages=pages)
