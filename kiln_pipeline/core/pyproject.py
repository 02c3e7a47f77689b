"""Adding build requirements to a pyproject.toml (PEP 518), as text. Reads and writes no file."""

import re
import tomllib
from collections.abc import Sequence
from typing import cast

LEGACY = 'requires = ["setuptools", "wheel"]\nbuild-backend = "setuptools.build_meta:__legacy__"\n'
"""What PEP 517 says of a source tree without ``[build-system]``."""
_TABLE = re.compile(r"^\[build-system\][^\n]*\n", re.MULTILINE)
_LIST = re.compile(r"^requires\s*=\s*\[", re.MULTILINE)


def with_requirements(text: str, adds: Sequence[str]) -> str:
    """Return a pyproject.toml whose ``build-system.requires`` also has `adds`; everything else in it stays as it is.

    `text` is empty where the source tree has none. Raises `ValueError` when it is no TOML, or its list cannot be found.
    """
    before = _requires(text)
    table = _TABLE.search(text)
    if table is None:
        lines = LEGACY.replace("[", "[" + "".join(f'"{name}", ' for name in adds), 1)
        return f"[build-system]\n{lines}\n{text}"
    found = _LIST.search(text, table.end())
    if found is None:
        raise ValueError("pyproject.toml has a [build-system] whose requires is no list that stands on a line of its own")
    at = found.end()
    result = text[:at] + "".join(f'"{name}", ' for name in adds) + text[at:]
    if _requires(result) != [*adds, *before]:
        raise ValueError("pyproject.toml names its build requirements in a way that cannot be added to")
    return result


def _requires(text: str) -> list[str]:
    system = cast(dict[str, object], tomllib.loads(text).get("build-system", {}))
    return list(cast(list[str], system.get("requires", [])))
