"""Upstream's project page (simple API JSON: PEP 691, 700, 714, 792), parsed once into a `ProjectPage`. No network, no clock.

The page is input of a stranger. What is wrong with the page as a whole is an `UpstreamError`; what is wrong with one file leaves
that file out, with its reason in `ProjectPage.skipped`. Nothing is guessed, and no row is made that upstream did not state.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn, cast
from urllib.parse import urljoin, urlsplit, urlunsplit

from packaging.version import Version

from kiln_pipeline.core.distributions import DistributionFile, ProjectPage, project_name
from kiln_pipeline.core.simple_index.filenames import normalised_version, parse_filename
from kiln_pipeline.errors import UpstreamError

MAX_BODY = 100_000_000
"""Bytes. The largest real pages have some 10 MB."""
MAX_FILE_SIZE = 1 << 36
"""Bytes (64 GiB). A file that claims more is no distribution."""
_MAX_TEXT = 4096
"""Characters of a URL, a requires-python or a yank reason; longer reasons are cut, the others leave the file out."""

_API_VERSION = re.compile(r"(?P<major>[0-9]{1,9})\.(?P<minor>[0-9]{1,9})", re.ASCII)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_UPLOAD_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z", re.ASCII)
_URL = re.compile(r"[!#-;=?-\[\]_a-z~%]+", re.ASCII)  # RFC 3986's characters: no space, quote, angle bracket, backslash
_STATUS = re.compile(r"[a-z][a-z-]{0,31}", re.ASCII)


def parse_project_page(body: bytes, *, project: str, base_url: str, max_body: int = MAX_BODY) -> ProjectPage:
    """Parse the JSON page of `project` (a normalised name), resolving its relative URLs against `base_url`, where it was found.

    Raises `UpstreamError` when the body is larger than `max_body` bytes, no JSON, of another project or of an API version
    other than 1.1 and later 1.x, or when a top-level key has the wrong type. The order of `files` is upstream's; `versions` are
    normalised, ascending and each there once.
    """
    subject = f"project {project}"
    if len(body) > max_body:
        _reject(subject, f"its page has {len(body):,} bytes, more than {max_body:,}")
    top = _load(body, subject)
    serial = _check_meta(top.get("meta"), subject)
    _check_name(top.get("name"), project, subject)
    status, status_reason = _status(top.get("project-status"), subject)
    skipped: list[tuple[str, str]] = []
    files = _files(_list(top, "files", subject), project, _without_credentials(base_url), skipped)
    stated = _list(top, "versions", subject) if "versions" in top else [file.version for file in files]
    return ProjectPage(
        project=project,
        files=files,
        versions=_versions(stated, skipped),
        status=status,
        status_reason=status_reason,
        serial=serial,
        skipped=tuple(skipped),
    )


def _reject(subject: str, reason: str, hint: str = "") -> NoReturn:
    raise UpstreamError(subject=subject, reason=reason, hint=hint or "ask whoever runs the upstream index, or use another one")


def _load(body: bytes, subject: str) -> Mapping[str, object]:
    if body.lstrip()[:1] == b"<":
        _reject(subject, "upstream answered with HTML instead of JSON", "the endpoint must speak the simple API's JSON (PEP 691)")
    try:
        top = cast("object", json.loads(body.decode("utf-8"), parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        _reject(subject, f"its page is no valid JSON: {_shown(str(error))}")
    if not isinstance(top, dict):
        _reject(subject, "its page is no JSON object")
    return cast("dict[str, object]", top)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _list(top: Mapping[str, object], key: str, subject: str) -> list[object]:
    value = top.get(key)
    if not isinstance(value, list):
        _reject(subject, f"its page's {key!r} is no list")
    return cast("list[object]", value)


def _check_meta(meta: object, subject: str) -> str:
    """Check the API version ("clients … MUST fail with an error" for a greater major version) and return the serial, if any."""
    if not isinstance(meta, dict):
        _reject(subject, "its page has no 'meta' object")
    table = cast("dict[str, object]", meta)
    stated = table.get("api-version")
    version = _API_VERSION.fullmatch(stated) if isinstance(stated, str) else None
    if version is None:
        _reject(subject, "its page states no API version")
    if int(version["major"]) != 1:
        _reject(subject, f"its page has API version {stated}, and kiln reads 1.x", "look for a newer kiln")
    if int(version["minor"]) < 1:
        _reject(subject, "its page has API version 1.0, which states no sizes", "the endpoint must speak 1.1 or later (PEP 700)")
    serial = table.get("_last-serial")
    text = str(serial) if type(serial) is int and abs(serial) < 1 << 63 else serial
    return text if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20 else ""


def _check_name(name: object, project: str, subject: str) -> None:
    try:
        same = isinstance(name, str) and project_name(name) == project
    except ValueError:
        same = False
    if not same:
        _reject(subject, f"its page is another project's: {_shown(name) if isinstance(name, str) else 'it has no name'}")


def _status(value: object, subject: str) -> tuple[str, str]:
    if value is None:
        return "active", ""
    table = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    status, reason = table.get("status", "active"), table.get("reason") or ""
    if not isinstance(value, dict) or not isinstance(status, str) or not _STATUS.fullmatch(status) or not isinstance(reason, str):
        _reject(subject, "its page's 'project-status' is not as PEP 792 says")
    return status, _prose(reason)


def _versions(stated: Sequence[object], skipped: list[tuple[str, str]]) -> tuple[str, ...]:
    versions: set[str] = set()
    for number, value in enumerate(stated):
        try:
            versions.add(normalised_version(_text(value, "version")))
        except ValueError as error:
            skipped.append((f"versions[{number}]", str(error)))
    return tuple(sorted(versions, key=Version))


def _files(items: list[object], project: str, base_url: str, skipped: list[tuple[str, str]]) -> tuple[DistributionFile, ...]:
    files: dict[str, DistributionFile] = {}
    for number, item in enumerate(items):
        shown = f"files[{number}]"
        try:
            if not isinstance(item, dict):
                raise ValueError("it is no JSON object")
            table = cast("dict[str, object]", item)
            filename = _text(table.get("filename"), "filename")
            shown = _shown(filename) or shown
            if filename in files:
                raise ValueError("its filename is there twice; the first one counts")
            files[filename] = _file(table, filename, project, base_url)
        except ValueError as error:
            skipped.append((shown, str(error)))
    return tuple(files.values())


def _file(table: Mapping[str, object], filename: str, project: str, base_url: str) -> DistributionFile:
    kind, version = parse_filename(filename, project)
    yanked, yanked_reason = _yanked(table.get("yanked"))
    metadata = table.get("core-metadata", table.get("dist-info-metadata"))  # PEP 714 renamed it
    provenance = table.get("provenance")
    return DistributionFile(
        filename=filename,
        url=_url(table.get("url"), base_url, "url"),
        kind=kind,
        version=version,
        sha256=_sha256(table.get("hashes"), "hashes"),
        size=_size(table.get("size")),
        requires_python=_requires_python(table.get("requires-python")),
        upload_time=_upload_time(table.get("upload-time")),
        yanked=yanked,
        yanked_reason=yanked_reason,
        core_metadata=_core_metadata(metadata),
        provenance="" if provenance is None else _url(provenance, base_url, "provenance"),
    )


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its {key} is {'missing' if value is None else 'no text'}")
    return value


def _sha256(value: object, key: str) -> str:
    if not isinstance(value, dict):
        raise ValueError(f"its {key} are no JSON object")
    digest = cast("dict[str, object]", value).get("sha256")
    if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
        raise ValueError(f"its {key} have no sha256 of 64 hexadecimal digits")
    return digest.lower()


def _size(value: object) -> int:
    if type(value) is not int:  # JSON's true is an int to Python
        raise ValueError("its size is missing or no whole number (PEP 700)")
    if not 0 <= value <= MAX_FILE_SIZE:
        raise ValueError(f"its size is not between 0 and {MAX_FILE_SIZE:,} bytes")
    return value


def _requires_python(value: object) -> str:
    """Keep what upstream wrote, even when it is no specifier set: whoever uses it decides what that means."""
    if value is None:
        return ""
    text = _text(value, "requires-python").strip()
    if len(text) > _MAX_TEXT or not text.isascii() or not text.isprintable():
        raise ValueError("its requires-python has characters that no specifier has, or too many")
    return text


def _upload_time(value: object) -> datetime | None:
    if value is None:
        return None
    text = _text(value, "upload-time")
    try:
        if _UPLOAD_TIME.fullmatch(text) is None:
            raise ValueError
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("its upload-time is no UTC time of the form 2026-01-31T12:00:00Z (PEP 700)") from None


def _yanked(value: object) -> tuple[bool, str]:
    """Read ``yanked``: "either a boolean … or an arbitrary, but non-empty, string"; an empty one is false, as in pip."""
    if value is None or isinstance(value, bool):
        return bool(value), ""
    text = _text(value, "yanked")
    return bool(text), _prose(text)


def _core_metadata(value: object) -> str:
    if value is None or value is False or value is True:
        return "true" if value else ""
    hashes = cast("dict[str, object]", value) if isinstance(value, dict) else {"sha256": None}
    if "sha256" not in hashes and all(isinstance(digest, str) for digest in hashes.values()):
        return "true"  # no hash, or none that we know: the file exists
    return _sha256(cast("object", value), "core-metadata hashes")


def _url(value: object, base_url: str, key: str) -> str:
    """Return the absolute URL, without fragment. A local file is one only when the page itself was one."""
    text = _text(value, key)
    if len(text) > _MAX_TEXT or _URL.fullmatch(text) is None:
        raise ValueError(f"its {key} has characters that no URL has, or too many")
    absolute = (text if text.startswith(("https://", "http://")) else urljoin(base_url, text)).partition("#")[0]
    url = urlsplit(absolute)
    local = url.scheme == "file" and base_url.startswith("file:")
    if not local and (url.scheme not in ("http", "https") or not url.hostname):
        raise ValueError(f"its {key} is not one of http or https")
    if url.path.endswith("/") or not url.path:
        raise ValueError(f"its {key} names no file")
    if "@" in url.netloc:
        raise ValueError(f"its {key} carries a user name")
    return absolute


def _without_credentials(base_url: str) -> str:
    """Drop ``user:password@``, which must not reach the URLs that kiln publishes."""
    url = urlsplit(base_url)
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))


def _prose(text: str) -> str:
    """Return text for people in one printable line: control characters, lone surrogates and the like become U+FFFD."""
    line = " ".join(text[:_MAX_TEXT].split())
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def _shown(text: str) -> str:
    """Return hostile text fit for a terminal, a table and a page: ASCII, escaped, at most 120 characters."""
    return ascii(text[:120])[1:-1][:120]
