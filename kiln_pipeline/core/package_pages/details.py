"""What the pages for people show of a wheel's content: its licence texts, and the libraries that its repair bundled.

Bytes in, values out. Both are read once per wheel, since a wheel never changes; `render_details` is how they are kept.
"""

import io
import json
import re
import zipfile
from dataclasses import asdict, dataclass
from email.message import Message
from email.parser import BytesParser
from typing import Any, cast

from kiln_pipeline.core import sbom
from kiln_pipeline.core.strict_json import canonical

MAX_TEXT = 256 * 1024
"""Bytes of one licence text that are kept: no licence is longer, and a page links to it."""
_MAX_FIELD = 100
_LICENSE = re.compile(
    r"[^/]+\.dist-info/(?:licenses/(?P<path>.+)|(?P<name>(?:LICEN[CS]E|COPYING|NOTICE|AUTHORS|COPYRIGHT)[^/]*))", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """One bundled library, from the wheel's bill of materials."""

    name: str
    version: str
    license: str
    purl: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelDetails:
    """What one wheel holds besides its code."""

    license: str = ""
    """What its core metadata states: an SPDX expression, else the ``License`` field, else the classifiers; a line at most."""
    licenses: tuple[tuple[str, str], ...] = ()
    """(path below ``.dist-info``, text), sorted by path."""
    libraries: tuple[Library, ...] = ()


def read_details(data: bytes) -> WheelDetails:
    """Return the details of a wheel that was verified when it was recorded (`core.wheel_contents`)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = sorted(archive.namelist())
        licenses: list[tuple[str, str]] = []
        for name in members:
            match = _LICENSE.fullmatch(name)
            if match is not None and not name.endswith("/"):
                with archive.open(name) as file:
                    licenses.append((match["path"] or match["name"], file.read(MAX_TEXT).decode("utf-8", "replace")))
        found = [name for name in members if name.endswith(f".dist-info/{sbom.NAME}")]
        bill = cast(dict[str, Any], json.loads(archive.read(found[0]))) if found else {}
        (metadata,) = (name for name in members if name.count("/") == 1 and name.endswith(".dist-info/METADATA"))
        stated = _license(BytesParser().parsebytes(archive.read(metadata), headersonly=True))
    return WheelDetails(
        license=stated,
        licenses=tuple(licenses),
        libraries=tuple(_library(item) for item in bill.get("components", [])),
    )


def _license(core: Message) -> str:
    """Return the licence in a line; the ``License`` field of old metadata can hold a whole text, or say nothing."""
    field = str(core.get("License", "")).strip()
    classifiers = [str(line).rpartition("::")[2].strip() for line in core.get_all("Classifier", []) if "License ::" in str(line)]
    short = field if field.lower() not in ("", "unknown") and "\n" not in field and len(field) <= _MAX_FIELD else ""
    return str(core.get("License-Expression", "")).strip() or short or ", ".join(sorted(classifiers))


def _library(component: dict[str, Any]) -> Library:
    licenses = component.get("licenses", [])
    stated = [item.get("expression") or item.get("license", {}).get("name", "") for item in licenses]
    return Library(
        name=component["name"],
        version=component.get("version", ""),
        license=" AND ".join(text for text in stated if text),
        purl=component.get("purl", ""),
    )


def render_details(details: WheelDetails) -> bytes:
    """Return the details as JSON; `parse_details` reads it back."""
    return canonical(asdict(details))


def parse_details(data: bytes) -> WheelDetails:
    """Return what `render_details` wrote."""
    value = json.loads(data)
    return WheelDetails(
        license=value["license"],
        licenses=tuple((path, text) for path, text in value["licenses"]),
        libraries=tuple(Library(**item) for item in value["libraries"]),
    )
