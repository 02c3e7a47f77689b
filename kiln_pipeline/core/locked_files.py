"""Which files a lock file names, with their sha256: the same few shapes in every format, so no format is known here.

What a lock pins, and for whom, is `core.lockfiles`' matter.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

from kiln_pipeline.errors import Problem, RecipeError

_HASH = re.compile(r"sha256[:=]([0-9a-fA-F]{64})\b", re.ASCII)
_URL = re.compile(r"https?://[^\s#]+\.whl")
_CONTINUED = re.compile(r"\\\r?\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedFile:
    """One file that a lock names."""

    sha256: str
    """Lower-case hex."""
    filename: str = ""
    """Empty where the lock has a hash alone, as requirements.txt does."""
    url: str = ""


def locked_files(text: str, file: str) -> tuple[LockedFile, ...]:
    """Return every file that a lock names with a sha256, in the lock's order; `file` is its name. Raises `RecipeError`."""
    if not file.endswith((".lock", ".toml")):
        return tuple(_in_lines(text))
    try:
        return tuple(_in_tables(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError([Problem(file=file, field="", message=f"is no TOML: {error}")]) from None


def _in_lines(text: str) -> Iterator[LockedFile]:
    """Read requirements.txt: ``name==1 --hash=sha256:…`` and ``name @ https://…/x.whl#sha256=…``, over continued lines."""
    for line in _CONTINUED.sub(" ", text).splitlines():
        if line.lstrip().startswith("#"):
            continue
        url = _URL.search(line)
        for sha256 in _HASH.findall(line):
            yield LockedFile(sha256=sha256.lower(), filename=_name(url[0]) if url else "", url=url[0] if url else "")


def _in_tables(value: object) -> Iterator[LockedFile]:
    """Read uv's, Poetry's, PDM's locks and pylock.toml: tables with ``hash`` or ``hashes`` beside a URL, path or name."""
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _in_tables(item)
    if not isinstance(value, dict):
        return
    table = cast("dict[str, object]", value)
    sha256 = _sha256(table)
    if sha256:
        url, file, path, name = (_text(table, key) for key in ("url", "file", "path", "name"))
        yield LockedFile(sha256=sha256, filename=file or _name(url or path) or name, url=url)
    for item in table.values():
        yield from _in_tables(item)


def _text(table: dict[str, object], key: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) else ""


def _sha256(table: dict[str, object]) -> str:
    hashes = table.get("hashes")
    stated = table.get("hash")
    if isinstance(hashes, dict):
        stated = f"sha256:{cast('dict[str, object]', hashes).get('sha256')}"
    match = _HASH.fullmatch(stated) if isinstance(stated, str) else None
    return match[1].lower() if match else ""


def _name(url: str) -> str:
    return unquote(urlsplit(url).path.replace("\\", "/").rpartition("/")[2])
