"""Environment markers (PEP 508, PEP 751) evaluated for a target instead of the running interpreter."""

import re
from functools import lru_cache
from itertools import product

from packaging.markers import InvalidMarker, Marker

from kiln_pipeline.core.platforms import BuildIdentifier

_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_PATCHES = (0, 99)
"""A target is any patch release of its Python: the first and one after the last stand for all."""
_IMPLEMENTATIONS = {"cp": ("cpython", "CPython"), "pp": ("pypy", "PyPy")}


def environment(identifier: BuildIdentifier, *, patch: int) -> dict[str, str]:
    """Return the marker variables of a target but those about extras. What no target fixes (a kernel's release) is empty."""
    python, platform = identifier.python, identifier.platform
    name, spelled = _IMPLEMENTATIONS[python.implementation]
    mac = platform.family == "macosx"
    return {
        "implementation_name": name,
        "implementation_version": f"{python.version}.{patch}" if name == "cpython" else "7.3.17",
        "os_name": "posix",
        "platform_machine": platform.machine,
        "platform_python_implementation": spelled,
        "platform_release": "",
        "platform_system": "Darwin" if mac else "Linux",
        "platform_version": "",
        "python_full_version": f"{python.version}.{patch}",
        "python_version": python.version,
        "sys_platform": "darwin" if mac else "linux",
    }


def check_marker(text: str) -> str:
    """Return `text`. Raises `ValueError` when it is no marker."""
    try:
        Marker(text)
    except InvalidMarker as error:
        raise ValueError(f"{text!r} is no environment marker: {str(error).splitlines()[0]}") from None
    return text


@lru_cache(maxsize=8192)
def may_hold(marker: str, identifier: BuildIdentifier) -> bool:
    """Return whether a marker holds on a target for some patch release, extras and groups; an empty one always does."""
    if not marker:
        return True
    parsed = Marker(marker)
    quoted = frozenset(single or double for single, double in _QUOTED.findall(marker))
    named = {True: quoted, False: frozenset[str]()}
    extras = sorted({"", *quoted}) if "extra" in marker else [""]
    for patch, extra, chosen in product(_PATCHES, extras, (True, False)):
        sets = {"extras": named[chosen], "dependency_groups": named[chosen]}
        if parsed.evaluate({**environment(identifier, patch=patch), "extra": extra, **sets}, context="lock_file"):
            return True
    return False
