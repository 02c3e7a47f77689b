"""What a recipe says about upstream's own files: link to them, keep copies of them, or have no page. Reads it from TOML.

``mirror = "copy"`` is short for a table ``[mirror]`` with nothing but a mode. Which files that admits is `core.mirror.filters`.
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from packaging.specifiers import SpecifierSet

from kiln_pipeline.core import recipe_values as values
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.toml_tables import TableReader, did_you_mean

_SIZE = re.compile(r"(?P<number>\d{1,6})(?P<unit>kB|MB|GB)", re.ASCII)
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


class MirrorMode(StrEnum):
    """Where a project's page sends installers for upstream's files."""

    LINK = "link"
    """To upstream's own addresses."""
    COPY = "copy"
    """To verified copies on our site, where they are there."""
    NONE = "none"
    """Nowhere: the project has no page. One with our wheels alone would hide upstream's from uv, Poetry and PDM."""


class Rest(StrEnum):
    """What becomes of files without a copy on the page of a project that is copied."""

    LINK = "link"
    HIDE = "hide"
    """For networks that cannot reach upstream: an installer chooses among what it can get."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """One project's mirror. The filters are for copies; an empty or zero one admits everything."""

    mode: MirrorMode = MirrorMode.LINK
    versions: tuple[SpecifierSet, ...] = ()
    """A union: any of them."""
    pythons: tuple[PythonTag, ...] = ()
    platforms: tuple[Platform, ...] = ()
    sdists: bool = True
    max_size: int = 0
    """Bytes of one file."""
    min_age: timedelta = timedelta()
    """Since its upload."""
    max_age: timedelta = timedelta()
    keep: timedelta = timedelta(days=30)
    """How long a copy stays after it has left the page, for locks that name its address."""
    rest: Rest = Rest.LINK


_FOR_COPIES = ("versions", "pythons", "platforms", "sdists", "max-size", "min-age", "max-age", "keep", "rest")


def read_mirror(reader: TableReader, beneath: Mirror) -> Mirror:
    """Return what the key ``mirror`` says, over `beneath`; `beneath` itself without one. Problems go to the reader."""
    value = reader.raw("mirror", "string", "table")
    if not isinstance(value, dict):
        mode = None if value is None else reader.text("mirror", _mode)
        return beneath if mode is None else replace(beneath, mode=mode)
    table = reader.table("mirror")
    stated = {
        "mode": table.text("mode", _mode),
        "versions": table.texts("versions", values.specifier_set, or_one=True),
        "pythons": table.texts("pythons", PythonTag.parse),
        "platforms": table.texts("platforms", values.platform),
        "sdists": table.flag("sdists"),
        "max_size": table.text("max-size", size),
        "min_age": table.text("min-age", values.age),
        "max_age": table.text("max-age", values.age),
        "keep": table.text("keep", values.age),
        "rest": table.text("rest", _rest),
    }
    mirror = replace(beneath, **{name: value for name, value in stated.items() if value is not None})
    for key in ("versions", "pythons", "platforms"):
        if stated[key] == ():
            table.report(key, "is empty; list at least one, or leave the key out to copy all")
    if mirror.max_age and mirror.max_age <= mirror.min_age:
        table.report("max-age", "is not above min-age: no file is ever copied; write a longer one")
    if mirror.mode is not MirrorMode.COPY:
        for key in _FOR_COPIES:
            if key in table:
                table.report(key, f'is for copies, and the mode is "{mirror.mode}"; write mode = "copy", or leave it out')
    table.finish()
    return mirror


def size(text: str) -> int:
    """``200MB`` as bytes; kB, MB and GB are powers of 1000."""
    match = _SIZE.fullmatch(text)
    if match is None or not int(match["number"]):
        raise ValueError(f"{text!r} is no size; write for example 200MB or 2GB")
    return int(match["number"]) * _UNITS[match["unit"]]


def _mode(text: str) -> MirrorMode:
    try:
        return MirrorMode(text)
    except ValueError:
        raise ValueError(f"{text!r} is no way of mirroring; {did_you_mean(text, [mode.value for mode in MirrorMode])}") from None


def _rest(text: str) -> Rest:
    try:
        return Rest(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither 'link' nor 'hide'; write one of them") from None
