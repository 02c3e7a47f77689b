"""Verify dated views, and look through one at the site as it was. Trusts nothing but the log's key; writes nothing."""

import hashlib
from datetime import date

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.tiles import Fetch
from kiln_pipeline.core.dated_views import DatedView, check_view_statement, read_view, root_digest
from kiln_pipeline.core.provenance.dsse import key_id, open_envelope
from kiln_pipeline.core.provenance.page_statement import PAGES
from kiln_pipeline.errors import ObjectNotFound, VerificationError


def check_view(day: date, *, fetch: Fetch, log_key: bytes) -> DatedView:
    """Return the view of a day as the log's key (32 raw bytes) signed it. Raises `VerificationError`."""
    try:
        text, envelope = fetch(site_layout.view_manifest(day)), fetch(site_layout.view_attestation(day))
    except ObjectNotFound as error:
        raise VerificationError(subject=f"simple@{day}", reason="there is no such view") from error
    signed_by = key_id(log_key)
    check_view_statement(open_envelope(envelope, keys={signed_by: log_key}, required=[signed_by]), text, day)
    return read_view(text, day)


def as_of(view: DatedView, fetch: Fetch) -> Fetch:
    """Return a `fetch` that gives, for what lies under ``simple/`` today, what the view shows there; all else as it is.

    A page's attestation and the root index are held to the digests of the view, and so to its signature; a page is held to its
    attestation by whoever reads it.
    """

    def get(key: str) -> bytes:
        if not key.startswith("simple/"):
            return fetch(key)
        place = view.place(key)
        if not place:
            raise ObjectNotFound(key)
        data = fetch(place)
        folder, _, name = place.rpartition("/")
        stated = folder.partition("/")[0].removeprefix("simple@")
        if name == "attestation.json":
            found = hashlib.sha256(data).hexdigest()
        elif "/" in folder:
            return data
        else:
            found = root_digest(*(hashlib.sha256(data if each == name else fetch(f"{folder}/{each}")).digest() for each in PAGES))
        if found != stated:
            raise VerificationError(subject=place, reason="it is not what the signed view states: it was altered")
        return data

    return get
