"""Patches that a recipe lays over an sdist before it is built: unified diffs, and what they must say. Nothing is applied here."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_HEADER = re.compile(r"^--- (?P<old>[^\t\n]+)[^\n]*\n\+\+\+ (?P<new>[^\t\n]+)[^\n]*\n@@ ", re.MULTILINE)
_SPECIAL = re.compile(
    r"^(?P<line>(?:rename|copy) (?:from|to) .*|(?:old|new|deleted|new file|deleted file) mode .*|GIT binary .*)", re.M
)
_NOTHING = "/dev/null"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """One file of ``recipes/<project>/patches``."""

    name: str
    """For example ``python-3.12.patch``."""
    text: str

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8, lower-case hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def patched_files(text: str) -> tuple[str, ...]:
    """Return the files that a unified diff changes, relative to the sdist's folder, sorted.

    The diff begins with words on what it does and where it comes from, and names its files ``a/PATH`` and ``b/PATH``. It only
    changes and adds text: a recipe says with ``before-build`` what it removes. Raises `ValueError` with what to mend.
    """
    first = _HEADER.search(text)
    if first is None:
        raise ValueError("is no unified diff: no '--- a/FILE', '+++ b/FILE', '@@' are in it; make it with git diff")
    if not text[: first.start()].strip().removeprefix("diff --git").strip():
        raise ValueError("says nothing before its first '---'; write there what it does, and which upstream version has it")
    special = _SPECIAL.search(text)
    if special is not None:
        raise ValueError(f"has {special['line']!r}; only the lines of text files can be changed and files added")
    return tuple(sorted({_path(match["old"], match["new"]) for match in _HEADER.finditer(text)}))


def _path(old: str, new: str) -> str:
    if new == _NOTHING:
        raise ValueError(f"removes {old}; remove files with before-build in [cibuildwheel]")
    path = PurePosixPath(new)
    if not new.startswith("b/") or (old != _NOTHING and old != f"a/{new[2:]}"):
        raise ValueError(f"names {old} and {new}; write a/{path.name} and b/{path.name}, with the path in the sdist")
    if ".." in path.parts or "\\" in new or path.is_absolute() or len(path.parts) < 2:
        raise ValueError(f"changes {new}, which is no path inside the sdist")
    return str(PurePosixPath(*path.parts[1:]))
