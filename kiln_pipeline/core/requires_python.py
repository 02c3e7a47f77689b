"""Whether a ``Requires-Python`` admits a Python minor version, by range intersection. Nothing here knows files or platforms.

``>=3.8.1`` admits Python 3.8: some patch release of it. Comparing with "3.8" alone would say no.
"""

import re
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet

_PATCH = re.compile(r"(?<![\d.])(\d+)\.(\d+)\.(\d+)")

_LONGEST = 1024
"""Characters. A longer one is no specifier set that anyone wrote; Python refuses integers of thousands of digits."""


@lru_cache(maxsize=65_536)
def admits(requires_python: str, major: int, minor: int) -> bool:
    """Return whether some final release ``major.minor.patch`` satisfies `requires_python`; an empty one admits all.

    What is no PEP 440 specifier set admits all too, as pip decides. A clause changes its answer along the patch releases
    only next to a patch number that it names, so those, their neighbours and 0 are all that need asking.
    """
    specifiers = _parsed(requires_python)
    if specifiers is None:
        return True
    named = {int(patch) for x, y, patch in _PATCH.findall(requires_python) if (int(x), int(y)) == (major, minor)}
    patches = sorted({0, 1} | {max(patch + step, 0) for patch in named for step in (-1, 0, 1)})
    return any(specifiers.contains(f"{major}.{minor}.{patch}") for patch in patches)


@lru_cache(maxsize=65_536)
def _parsed(requires_python: str) -> SpecifierSet | None:
    if len(requires_python) > _LONGEST:
        return None
    try:
        return SpecifierSet(requires_python)
    except InvalidSpecifier:
        return None
