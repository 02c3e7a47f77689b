"""Dated views: ``simple@2026-11-22/`` is the index as it was published that day, for frozen builds. Values and bytes, no store.

A view is a manifest: a line for each project with the digest that names the state of its pages. A state lies below
``simple@<digest>/<project>/``, where relative links lead where they always led, is written once, and is shared by all views since
the project last changed: a view costs its manifest and the pages that changed. Whoever serves the site looks a page up in the
manifest (``deploy/``, `adapters.site_server`).

    simple@2026-11-22
    . 0f3c…
    markupsafe 9a41…

The digest is the sha256 of the state's ``attestation.json``, which names the hashes of both pages; the root index (``.``) has no
attestation, and its digest is `root_digest`. The manifest in turn is signed, so that one signature covers the whole view.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.provenance.page_statement import PAGES
from kiln_pipeline.core.provenance.statement import STATEMENT_TYPE
from kiln_pipeline.core.strict_json import Table, canonical, parse_canonical
from kiln_pipeline.errors import VerificationError

PREDICATE_TYPE = "https://python.build/attestations/dated-view/v1"
ROOT = "."
"""Stands for the root index: no project can have this name."""
_LINE = re.compile(r"(\.|[a-z0-9]+(?:-[a-z0-9]+)*) ([0-9a-f]{64})", re.ASCII)
_FILES = (*PAGES, "attestation.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatedView:
    """Which state of each project's pages a view shows."""

    day: date
    """UTC."""
    root: str
    """Digest of the root index."""
    pages: Mapping[str, str]
    """Project -> digest."""

    def place(self, key: str) -> str:
        """Return where the object lies that the live index has under `key` (``simple/…``); empty when the view has none."""
        _, *project, name = key.split("/")
        digest = self.root if not project else self.pages.get(project[0], "")
        known = len(project) < 2 and name in (_FILES if project else PAGES)
        return "/".join([f"simple@{digest}", *project, name]) if digest and known else ""

    def keys(self) -> set[str]:
        """Return every key that belongs to the view, its manifest and attestation included."""
        keys = {site_layout.view_manifest(self.day), site_layout.view_attestation(self.day)}
        keys |= {site_layout.page_state(self.root, "", name) for name in PAGES}
        return keys | {site_layout.page_state(digest, project, name) for project, digest in self.pages.items() for name in _FILES}


def root_digest(html: bytes, json: bytes) -> str:
    """Return the digest of a root index: the sha256 of the sha256 digests (32 bytes each) of its HTML and its JSON."""
    return hashlib.sha256(html + json).hexdigest()


def write_view(view: DatedView) -> bytes:
    """Return the manifest; the same view gives the same bytes."""
    rows = sorted({ROOT: view.root, **view.pages}.items())
    return "".join([f"simple@{view.day}\n", *(f"{project} {digest}\n" for project, digest in rows)]).encode()


def read_view(data: bytes, day: date) -> DatedView:
    """Parse the manifest of `day` strictly. Raises `VerificationError`."""
    subject = site_layout.view_manifest(day)
    head, *lines = data.decode("utf-8", "replace").split("\n")
    rows = [_LINE.fullmatch(line) for line in lines[:-1]]
    pages = {row[1]: row[2] for row in rows if row}
    view = DatedView(day=day, root=pages.pop(ROOT, ""), pages=pages)
    if head != f"simple@{day}" or not view.root or write_view(view) != data:
        raise VerificationError(subject=subject, reason="it is no manifest of that day's view")
    return view


def view_statement(manifest: bytes, day: date) -> bytes:
    """Return the in-toto statement over a manifest as canonical JSON."""
    return canonical({
        "_type": STATEMENT_TYPE,
        "subject": [{"digest": {"sha256": hashlib.sha256(manifest).hexdigest()}, "name": site_layout.VIEW_MANIFEST}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"date": str(day)},
    })  # fmt: skip


def check_view_statement(payload: bytes, manifest: bytes, day: date) -> None:
    """Check that a statement, whose signature was verified, is about this manifest of this day. Raises `VerificationError`."""
    subject = site_layout.view_attestation(day)
    top = Table(parse_canonical(payload, subject), subject, fields={"_type", "subject", "predicateType", "predicate"})
    if payload != view_statement(manifest, day):
        raise top.error("subject", f"is not the manifest of simple@{day}: it was altered, or moved from another day")


def expired(days: Collection[date], today: date, *, keep_days: int) -> tuple[date, ...]:
    """Return the views that retention removes: older than `keep_days`, but for the first one of each month; oldest first."""
    firsts = {min(other for other in days if (other.year, other.month) == (day.year, day.month)) for day in days}
    return tuple(sorted(day for day in days if day < today - timedelta(days=keep_days) and day not in firsts))
