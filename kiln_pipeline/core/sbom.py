"""A software bill of materials of what the repair step bundled into a wheel: CycloneDX in ``.dist-info/sboms`` (PEP 770).

Each bundled library is listed as the file it is, with its sha256, and with the package of the system that it was copied from, its
version and its licence, where the package manager knew them when the wheel was repaired (`core.repair_log`).
Specifications: https://peps.python.org/pep-0770/, https://cyclonedx.org/docs/1.5/json/. Bytes in, bytes out.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import parse_wheel_filename

from kiln_pipeline.core.repair_log import Origin
from kiln_pipeline.core.strict_json import canonical

_NOWHERE: Mapping[str, Origin] = MappingProxyType({})
NAME = "sboms/kiln.cdx.json"
"""Where it is, below ``.dist-info``."""
_BUNDLED = re.compile(r"(?:^|/)(?:[^/]*\.libs|\.dylibs)/[^/]+$")
_LIBRARY = re.compile(
    r"(?P<name>.+?)(?:-[0-9a-f]{8})?(?:\.so(?:\.(?P<so>[0-9][0-9.]*))?|(?:\.(?P<dylib>[0-9][0-9.]*))?\.dylib|\.dll)", re.ASCII
)
"""auditwheel and delvewheel put eight digits of a hash behind a library's name; delocate leaves it as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledLibrary:
    """One library that is in a wheel and not of it."""

    path: str
    """In the wheel."""
    name: str
    """Without the hash that the repair tool put into it: ``libyaml-0``."""
    abi: str
    """The version in its filename, which is that of its interface, not of its release; empty when there is none."""
    sha256: str
    origin: Origin | None = None
    """The package that it was copied from; None where none owns it."""


def bundled_paths(members: Iterable[str]) -> tuple[str, ...]:
    """Return the paths of the libraries that the repair step put aside (``*.libs/``, ``.dylibs/``), sorted."""
    return tuple(sorted(path for path in members if _BUNDLED.search(path) and _LIBRARY.fullmatch(path.rpartition("/")[2])))


def bundled_libraries(files: Mapping[str, bytes], origins: Mapping[str, Origin] = _NOWHERE) -> tuple[BundledLibrary, ...]:
    """Return what is to be said of the bundled libraries among `files` (path in the wheel -> bytes), sorted by path.

    `origins` are by filename, as in `core.repair_log`.
    """
    found: list[BundledLibrary] = []
    for path in bundled_paths(files):
        filename = path.rpartition("/")[2]
        match = _LIBRARY.fullmatch(filename)
        assert match is not None
        found.append(
            BundledLibrary(
                path=path,
                name=match["name"],
                abi=match["so"] or match["dylib"] or "",
                sha256=hashlib.sha256(files[path]).hexdigest(),
                origin=origins.get(filename),
            )
        )
    return tuple(found)


def render_sbom(filename: str, libraries: Iterable[BundledLibrary]) -> bytes:
    """Return the CycloneDX document of the wheel called `filename`: the same bytes for the same libraries."""
    project, version, *_ = parse_wheel_filename(filename)
    purl = f"pkg:pypi/{project}@{quote(str(version), safe='')}"
    components = [
        {
            "type": "library",
            "bom-ref": f"file:{library.path}",
            "name": library.name,
            **_origin(library.origin),
            "hashes": [{"alg": "SHA-256", "content": library.sha256}],
            "properties": [
                {"name": "kiln:path", "value": library.path},
                *([{"name": "kiln:abi-version", "value": library.abi}] if library.abi else []),
            ],
        }
        for library in libraries
    ]
    return (
        canonical({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "library", "bom-ref": purl, "name": str(project), "version": str(version), "purl": purl,
                },
            },
            "components": components,
            "dependencies": [{"ref": purl, "dependsOn": [component["bom-ref"] for component in components]}],
        })
        + b"\n"
    )  # fmt: skip


def _origin(origin: Origin | None) -> dict[str, object]:
    """Return CycloneDX's fields for the package: an SPDX expression as one, any other text as a licence's name."""
    if origin is None:
        return {}
    fields: dict[str, object] = {"version": origin.version, "purl": origin.purl}
    if origin.license:
        try:
            fields["licenses"] = [{"expression": canonicalize_license_expression(origin.license)}]
        except InvalidLicenseExpression:
            fields["licenses"] = [{"license": {"name": origin.license}}]
    return fields
