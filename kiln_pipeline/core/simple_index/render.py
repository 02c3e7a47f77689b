"""Pages of the simple index as bytes, JSON and HTML from one model. The same page gives the same bytes; nothing is decided here.

JSON is simple API 1.4 (PEP 691, 700, 714, 740, 792), HTML is what PEP 833 froze (PEP 503, 592, 629, 658, 714, 740, 792).
Whatever upstream wrote is text: it is escaped everywhere, and can neither end an attribute nor break the encoding.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from kiln_pipeline.core.simple_index.model import IndexFile, IndexPage

API_VERSION = "1.4"
_HTML_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="pypi:repository-version" content="{API_VERSION}">"""
_SPECIAL = re.compile("[&<>\"'\0]").search
json_text = json.JSONEncoder(separators=(",", ":")).encode
"""ASCII only, so that a lone surrogate from upstream stays the escape that it was."""


def project_json(page: IndexPage, more: bytes = b"") -> bytes:
    """Return the JSON form (``application/vnd.pypi.simple.v1+json``) of a project page.

    `more` are further files as JSON objects with commas between them (`upstream_rows`), which follow those of the page.
    """
    value: dict[str, object] = {"meta": {"api-version": API_VERSION}, "name": page.project}
    if page.status != "active" or page.status_reason:
        reason = {"reason": page.status_reason} if page.status_reason else {}
        value["project-status"] = {"status": page.status, **reason}
    value["versions"] = page.versions
    value["files"] = [_json_file(file) for file in page.files]
    head = json_text(value).encode()[: -len("]}")]
    return b"".join((head, b"," if page.files and more else b"", more, b"]}\n"))


def project_html(page: IndexPage, more: bytes = b"") -> bytes:
    """Return the HTML form (``text/html``, ``application/vnd.pypi.simple.v1+html``) of a project page.

    `more` are further files as anchors, each a line (`upstream_rows`), which follow those of the page.
    """
    metas = [f'<meta name="pypi:project-status" content="{html_text(page.status)}">']
    if page.status_reason:
        metas.append(f'<meta name="pypi:project-status-reason" content="{html_text(page.status_reason)}">')
    return _html(f"Links for {page.project}", metas, [_html_file(file) for file in page.files], more)


def root_json(projects: Iterable[str]) -> bytes:
    """Return the JSON form of the root index over normalised names."""
    value = {"meta": {"api-version": API_VERSION}, "projects": [{"name": project} for project in sorted(projects)]}
    return (json_text(value) + "\n").encode()


def root_html(projects: Iterable[str]) -> bytes:
    """Return the HTML form of the root index over normalised names."""
    return _html("Simple index", [], [f'<a href="{html_text(name)}/">{html_text(name)}</a><br>' for name in sorted(projects)])


def fingerprint() -> str:
    """Return the sha256 of a page that uses every feature: it changes when this module writes other bytes than before."""
    file = IndexFile(
        filename="a-1.whl",
        url="https://files.example.org/a-1.whl",
        sha256="0" * 64,
        size=1,
        requires_python=">=3",
        upload_time=datetime(2026, 1, 1, tzinfo=UTC),
        yanked=True,
        yanked_reason='"',
        core_metadata="1" * 64,
        provenance="https://files.example.org/p",
        attestation="../../a",
    )
    page = IndexPage(project="a", files=(file,), versions=("1",), status="archived", status_reason="<")
    digest = hashlib.sha256(project_json(page))
    for more in (project_html(page), root_json(["a"]), root_html(["a"])):
        digest.update(more)
    return digest.hexdigest()


def _json_file(file: IndexFile) -> dict[str, object]:
    value: dict[str, object] = {"filename": file.filename, "url": file.url, "hashes": {}, "size": file.size}
    if file.sha256:
        value["hashes"] = {"sha256": file.sha256}
    if file.requires_python:
        value["requires-python"] = file.requires_python
    if file.core_metadata:
        # never `dist-info-metadata` too: pip 23.0 fails on a dictionary there (PEP 714 tells why)
        value["core-metadata"] = True if file.core_metadata == "true" else {"sha256": file.core_metadata}
    if file.upload_time is not None:
        value["upload-time"] = _time(file.upload_time)
    if file.yanked:
        value["yanked"] = file.yanked_reason or True
    if file.provenance:
        value["provenance"] = file.provenance
    if file.attestation:
        value["_attestation"] = file.attestation
    return value


def _html_file(file: IndexFile) -> str:
    attributes = [f'<a href="{html_text(file.url)}{"#sha256=" + html_text(file.sha256) if file.sha256 else ""}"']
    if file.requires_python:
        attributes.append(f'data-requires-python="{html_text(file.requires_python)}"')
    if file.core_metadata:
        value = "true" if file.core_metadata == "true" else f"sha256={html_text(file.core_metadata)}"
        attributes.append(f'data-core-metadata="{value}" data-dist-info-metadata="{value}"')
    if file.yanked:
        attributes.append(f'data-yanked="{html_text(file.yanked_reason)}"')
    if file.provenance:
        attributes.append(f'data-provenance="{html_text(file.provenance)}"')
    # no PEP has these two; uv reads them, and without an upload time its exclude-newer drops the file
    attributes.append(f'data-size="{file.size}"')
    if file.upload_time is not None:
        attributes.append(f'data-upload-time="{_time(file.upload_time)}"')
    return " ".join(attributes) + f">{html_text(file.filename)}</a><br>"


def _html(title: str, metas: list[str], links: list[str], more: bytes = b"") -> bytes:
    name = html_text(title)
    lines = [_HTML_HEAD, *metas, f"<title>{name}</title>", "</head>", "<body>", f"<h1>{name}</h1>", *links, ""]
    # a lone surrogate has no UTF-8 form: it becomes a question mark
    return "\n".join(lines).encode("utf-8", "replace") + more + b"</body>\n</html>\n"


def html_text(text: str) -> str:
    """Escape for an attribute or an element; NUL, which HTML forbids, becomes the replacement character."""
    return escape(text.replace("\0", "\ufffd")) if _SPECIAL(text) else text


def _time(time: datetime) -> str:
    """``2022-12-01T12:34:56.789012Z``: "an ISO 8601 date/time string in the UTC timezone with a Z suffix" (PEP 700)."""
    return (time if time.tzinfo is UTC else time.astimezone(UTC)).isoformat()[: -len("+00:00")] + "Z"
