"""Two wheels compared: the verdict on a rebuild, and what differs in words. Pure: the bytes of both in, verdict and text out.

**Stabilised**, a wheel is the set of its members' names, each with its content. That takes away what no installer looks at: the
order of the members, their times, their modes, how they are compressed, entries for folders, the zip's comments, extra fields and
padding, and of RECORD the order of its rows, its quoting and its line ends. Everything else counts: one byte in one member, a
member more or less, another hash or size in RECORD.

The verdict is `IDENTICAL` over the same bytes, `EQUAL` when both are the same once stabilised, else `DIFFERENT`. The text is
bounded, and has no control characters but the line end: it goes to terminals and pages, and one of the wheels may be hostile.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kiln_pipeline.core.elf_sections import differing_sections
from kiln_pipeline.core.rebuilds import RebuildVerdict
from kiln_pipeline.core.wheel_members import Member, WheelMembers

MAX_TEXT = 256 * 1024
"""Characters of the text; what goes beyond it is cut, and says so."""
_MOST_NAMES = 200
_MOST_LINES = 2000
"""Texts of more lines, all of them together, are not compared line by line: that takes quadratic time."""
_MOST_BYTES = 64 * 1024 * 1024
"""A binary of more bytes is not looked into for its sections."""
_RECORD = re.compile(r"[^/]+\.dist-info/RECORD")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_Rows = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What two wheels have in common."""

    verdict: RebuildVerdict
    text: str
    """What differs, for a person; empty for identical wheels."""


def compare_wheels(published: bytes, rebuilt: bytes) -> Comparison:
    """Compare a published wheel with one that was made again.

    Raises `VerificationError` when one of the two is no zip that can be read safely (`core.wheel_members`).
    """
    if published == rebuilt:
        return Comparison(verdict=RebuildVerdict.IDENTICAL, text="")
    one, other = WheelMembers(published, "the published wheel"), WheelMembers(rebuilt, "the rebuilt wheel")
    differing = [name for name, member in one.files.items() if name in other.files and member.sha256 != other.files[name].sha256]
    lost, added = sorted(one.files.keys() - other.files.keys()), sorted(other.files.keys() - one.files.keys())
    explained = {*lost, *added, *differing}
    differing = [name for name in differing if not _same_record(name, one, other, explained)]
    if lost or added or differing:
        sections = (
            _listing("members only in the published wheel", lost, one.files),
            _listing("members only in the rebuilt wheel", added, other.files),
            _differences(sorted(differing), one, other),
        )
        return Comparison(verdict=RebuildVerdict.DIFFERENT, text=_bounded(line for part in sections for line in part))
    return Comparison(verdict=RebuildVerdict.EQUAL, text=_bounded(_stabilised(one.files, other.files)))


def printable(text: str) -> str:
    """Return a text with every control character but the line end as a backslash escape."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _same_record(name: str, one: WheelMembers, other: WheelMembers, explained: set[str]) -> bool:
    """Return whether `name` is a RECORD that says the same in both, but for the rows of members that differ themselves."""
    if not _RECORD.fullmatch(name):
        return False
    ours, theirs = _rows(one.read(name)), _rows(other.read(name))
    if ours is None or theirs is None:
        return False
    return all(ours.get(path) == theirs.get(path) for path in (ours.keys() | theirs.keys()) - explained | {name})


def _rows(record: bytes) -> _Rows | None:
    """Return RECORD's rows by path; None when it is not readable, or lists a path twice."""
    try:
        rows = [tuple(row) for row in csv.reader(io.StringIO(record.decode("utf-8"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error):
        return None
    found = {row[0]: row[1:] for row in rows}
    return found if len(found) == len(rows) else None


def _listing(title: str, names: list[str], files: Mapping[str, Member]) -> Iterator[str]:
    if names:
        yield f"{title} ({len(names)}):"
        yield from (f"  {name}  {files[name].size} bytes, sha256 {files[name].sha256}" for name in names[:_MOST_NAMES])
        yield from _more(names)


def _differences(names: list[str], one: WheelMembers, other: WheelMembers) -> Iterator[str]:
    if names:
        yield f"members that differ ({len(names)}):"
    lines_left = _MOST_LINES
    for name in names[:_MOST_NAMES]:
        ours, theirs = one.files[name], other.files[name]
        yield f"  {name}  {ours.size} bytes published, {theirs.size} rebuilt"
        yield f"    sha256 {ours.sha256} published, {theirs.sha256} rebuilt"
        if max(ours.size, theirs.size) <= _MOST_BYTES:
            before, after = one.read(name), other.read(name)
            lines_left -= max(before.count(b"\n"), after.count(b"\n"))
            yield from (f"    {line}" for line in _inside(name, before, after, with_lines=lines_left >= 0))
    yield from _more(names)


def _more(names: list[str]) -> Iterator[str]:
    if len(names) > _MOST_NAMES:
        yield f"  … and {len(names) - _MOST_NAMES} more"


def _inside(name: str, ours: bytes, theirs: bytes, *, with_lines: bool) -> Iterator[str]:
    """Yield what differs within a member: lines of a text, sections of a binary."""
    before, after = _lines(ours), _lines(theirs)
    if before is None or after is None:
        if sections := differing_sections(ours, theirs):
            yield f"ELF sections that differ: {', '.join(sections[:50])}"
    elif with_lines:
        yield from difflib.unified_diff(before, after, f"published/{name}", f"rebuilt/{name}", lineterm="")
    else:
        yield f"texts of {len(before)} and {len(after)} lines, which are not compared line by line"


def _lines(data: bytes) -> list[str] | None:
    """Return a member's lines, None when it is no text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.split("\n")


def _stabilised(ours: Mapping[str, Member], theirs: Mapping[str, Member]) -> Iterator[str]:
    """Yield what stabilising took away between two wheels that are equal."""
    yield "every member is the same; what differs is of the zip alone:"
    found = list(_of_the_zip(ours, theirs))
    yield from (f"  {what}" for what in found or ["compression, comments, extra fields, entries of folders or padding"])


def _of_the_zip(ours: Mapping[str, Member], theirs: Mapping[str, Member]) -> Iterator[str]:
    if list(ours) != list(theirs):
        yield "the order of the members"
    counts = {
        "time": sum(member.modified != theirs[name].modified for name, member in ours.items()),
        "mode": sum(member.mode != theirs[name].mode for name, member in ours.items()),
        "compression": sum(member.compression != theirs[name].compression for name, member in ours.items()),
    }
    yield from (f"the {what} of {count} of {len(ours)} members" for what, count in counts.items() if count)
    if any(member.sha256 != theirs[name].sha256 for name, member in ours.items()):
        yield "RECORD's order of rows, quoting or line ends"


def _bounded(lines: Iterable[str]) -> str:
    kept: list[str] = []
    left = MAX_TEXT
    for line in lines:
        shown = printable(line)[:4000]
        left -= len(shown) + 1
        if left < 0:
            return "".join([*kept, "… and more than fits here\n"])
        kept.append(f"{shown}\n")
    return "".join(kept)
