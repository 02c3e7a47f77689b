"""The public layout: which key of the site holds what, and with which HTTP headers. URLs are a contract; nobody else spells them.

Keys are relative, with forward slashes; every store (folder, bucket) uses the same ones.
"""

import re
from datetime import date

SIMPLE_ROOT_HTML = "simple/index.html"
SIMPLE_ROOT_JSON = "simple/index.json"
CHECKPOINT = "audit/checkpoint"
LOG_KEY = "audit/log.vkey"
"""The audit log's verifier key (C2SP signed note: name+hash+key), for the reader who pins it."""

AUDIT_README = "audit/README"
"""How to check a wheel by hand, for people."""

HOME = "index.html"
PACKAGES = "packages/"
"""Prefix of the pages for people."""
PACKAGES_HTML = "packages/index.html"
PACKAGES_MD = "PACKAGES.md"
FEED = "packages/feed.atom"
STYLE = "packages/style.css"
PACKAGES_JSON = "packages/index.json"
"""Names and counts of all projects, for the search and for programs."""
STATUS_HTML = "status/index.html"
STATUS_JSON = "status/index.json"
_FOR_PEOPLE = (PACKAGES, "status/")


def is_for_people(key: str) -> bool:
    """Return whether a key is one of the pages for people and what belongs to them."""
    return key.startswith(_FOR_PEOPLE) or key in (HOME, PACKAGES_MD)


SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html; charset=utf-8"
PAGES_MAX_AGE = "public, max-age=60"
IMMUTABLE = "public, max-age=31536000, immutable"
_PAGE_STATE = re.compile("simple@[0-9a-f]{64}/")


def project_html(project: str) -> str:
    return f"simple/{project}/index.html"


def project_json(project: str) -> str:
    return f"simple/{project}/index.json"


def project_attestation(project: str) -> str:
    """Signed hashes of the project's two pages."""
    return f"simple/{project}/attestation.json"


VIEW_MANIFEST = "manifest.txt"
"""Name of a dated view's manifest (`core.dated_views`)."""


def view_manifest(day: date) -> str:
    return f"simple@{day}/{VIEW_MANIFEST}"


def view_attestation(day: date) -> str:
    """Signed hash of a dated view's manifest."""
    return f"simple@{day}/attestation.json"


def page_state(digest: str, project: str, name: str) -> str:
    """One file of one state of a project's pages (of the root index, when `project` is empty): written once."""
    return f"simple@{digest}/{project}/{name}" if project else f"simple@{digest}/{name}"


def wheel(filename: str) -> str:
    return f"wheels/{filename}"


def wheel_metadata(filename: str) -> str:
    """Core metadata beside the wheel (PEP 658, PEP 714)."""
    return f"wheels/{filename}.metadata"


def wheel_provenance(filename: str) -> str:
    """DSSE envelope, log entry and inclusion proof of the wheel, in one file for offline verification."""
    return f"wheels/{filename}.provenance.json"


def mirror_file(sha256: str, filename: str) -> str:
    """Return where a copy of upstream's file is: under its own hash, so that two files of one name never meet."""
    return f"mirror/{sha256[:2]}/{sha256}/{filename}"


def attempt_statement(statement_sha256: str) -> str:
    """The DSSE envelope of any attempt, successes and failures alike."""
    return f"audit/entries/{statement_sha256}.json"


def build_log(log_sha256: str) -> str:
    return f"audit/logs/{log_sha256}.log.gz"


def rebuild_provenance(filename: str, number: int) -> str:
    """As `wheel_provenance`, for the verdict of a wheel's rebuild; the first one recorded has number 1."""
    return f"wheels/{filename}.rebuild-{number}.json"


def rebuilt_wheel(sha256: str) -> str:
    """What a rebuild made where that is not the published wheel: evidence, in no index."""
    return f"audit/rebuilds/{sha256}.whl"


def rebuild_difference(sha256: str) -> str:
    """The text on what differs between a published wheel and a rebuilt one; `sha256` is that of the gzipped text."""
    return f"audit/rebuilds/{sha256}.txt.gz"


def package_html(project: str, part: int = 1) -> str:
    """A project's page for people; releases beyond the first part's are on further pages."""
    return f"packages/{project}/index.html" if part == 1 else f"packages/{project}/releases-{part}.html"


def packages_html(part: int) -> str:
    """The list of projects; those beyond the first part's are on further pages."""
    return PACKAGES_HTML if part == 1 else f"packages/page-{part}.html"


def package_json(project: str) -> str:
    """The same as values, for programs."""
    return f"packages/{project}/index.json"


def license_text(project: str, sha256: str) -> str:
    """A licence file out of a wheel of ours, by the hash of its text."""
    return f"packages/{project}/licenses/{sha256}.txt"


def headers(key: str) -> dict[str, str]:
    """Content-Type and Cache-Control of a key, as any HTTP edge must send them.

    Simple pages are negotiated by the edge; the stored representations carry the types that installers accept
    (`text/html`, `application/vnd.pypi.simple.v1+json`).
    """
    name = key.rpartition("/")[2]
    if key.startswith(("simple/", "simple@")) and name == "index.json":
        kind = SIMPLE_JSON
    elif name.endswith(".html"):
        kind = HTML
    elif name.endswith(".json"):
        kind = "application/json"
    elif name.endswith(".whl"):
        kind = "application/octet-stream"
    elif name.endswith((".metadata", ".vkey", ".md", ".txt")) or name in ("checkpoint", "README"):
        kind = "text/plain; charset=utf-8"
    elif name.endswith(".css"):
        kind = "text/css; charset=utf-8"
    elif name.endswith(".atom"):
        kind = "application/atom+xml"
    elif name.endswith((".log.gz", ".txt.gz")):
        kind = "application/gzip"
    else:
        kind = "application/octet-stream"
    immutable = (
        key.startswith(("wheels/", "mirror/", "audit/entries/", "audit/logs/", "audit/rebuilds/"))
        or (key.startswith("audit/tile/") and ".p/" not in key)
        or _PAGE_STATE.match(key) is not None
    )
    return {"Content-Type": kind, "Cache-Control": IMMUTABLE if immutable else PAGES_MAX_AGE}
