"""What a build log says of the repair step (`adapters.repair_notes` writes it there): the wheel before, the libraries bundled.

A build writes its own log, so this is its word, as good as the wheel itself: a line that is not of the form says nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

from kiln_pipeline.core.build_plan import UNREPAIRED, Material

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BEFORE = re.compile(r"^kiln: before repair: ([A-Za-z0-9_.+!-]+\.whl) sha256=([0-9a-f]{64})$", re.MULTILINE)
_BUNDLED = re.compile(r"^kiln: bundled: (\{.*\})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a bundled library came from: the system's package that owns it."""

    package: str
    version: str
    """As the package manager writes it: ``1.2.13.dfsg-1``."""
    license: str
    """As the package states it; empty where it does not."""
    purl: str
    """Package URL (https://github.com/package-url/purl-spec)."""


def unrepaired_wheel(log: str) -> Material | None:
    """Return the wheel that the repair step was given last, or None when the build did not come so far or has no such step."""
    found = _BEFORE.findall(_COLOUR.sub("", log))
    return Material(name=found[-1][0], kind=UNREPAIRED, sha256=found[-1][1]) if found else None


def bundled_origins(log: str) -> Mapping[str, Origin]:
    """Return the origins of bundled libraries by their filename in the wheel (``libz-eb09ad1d.so.1.2.13``)."""
    names = [field.name for field in fields(Origin)]
    found: dict[str, Origin] = {}
    for line in _BUNDLED.findall(_COLOUR.sub("", log)):
        try:
            stated = cast(dict[str, object], json.loads(line))
        except ValueError:
            continue
        texts = {name: value for name, value in stated.items() if isinstance(value, str)}
        if texts.keys() == {"file", *names}:
            found[texts["file"]] = Origin(**{name: texts[name] for name in names})
    return found
