"""Two wheels compared: what stabilising takes away, what counts, and that no input harms whoever compares."""

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kiln_pipeline.core import wheel_comparison
from kiln_pipeline.core.elf_sections import differing_sections
from kiln_pipeline.core.rebuilds import RebuildVerdict
from kiln_pipeline.core.wheel_comparison import MAX_TEXT, compare_wheels
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.fakes import make_wheel

_, WHEEL = make_wheel("wrapt", "1.14.0", "cp311-cp311-macosx_11_0_arm64", build="1")
RECORD = "wrapt-1.14.0.dist-info/RECORD"
MODULE = "wrapt/__init__.py"

Change = Callable[[dict[str, bytes]], dict[str, bytes]]


def members(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(
    files: dict[str, bytes],
    *,
    year: int = 2020,
    mode: int = 0,
    method: int = zipfile.ZIP_STORED,
    level: int | None = None,
    folders: tuple[str, ...] = (),
    comment: bytes = b"",
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=level) as archive:
        archive.comment = comment
        for folder in folders:
            archive.writestr(zipfile.ZipInfo(folder, (2020, 1, 1, 0, 0, 0)), b"")
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
            info.external_attr, info.compress_type = mode << 16, method
            archive.writestr(info, data)
    return buffer.getvalue()


def text_of(rebuilt: bytes) -> str:
    comparison = compare_wheels(WHEEL, rebuilt)
    return f"{comparison.verdict}\n{comparison.text}"


def test_the_same_bytes_are_identical() -> None:
    comparison = compare_wheels(WHEEL, bytes(WHEEL))
    assert (comparison.verdict, comparison.text) == (RebuildVerdict.IDENTICAL, "")


def backwards(files: dict[str, bytes]) -> dict[str, bytes]:
    return dict(reversed(files.items()))


def record_rewritten(files: dict[str, bytes]) -> dict[str, bytes]:
    rows = files[RECORD].decode().splitlines()
    return files | {RECORD: "\r\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in reversed(rows)).encode()}


@pytest.mark.parametrize(
    ("rebuilt", "said"),
    [
        (packed(backwards(members(WHEEL))), "the order of the members"),
        (packed(members(WHEEL), year=2021), "the time of 5 of 5 members"),
        (packed(members(WHEEL), mode=0o100755), "the mode of 5 of 5 members"),
        (packed(members(WHEEL), method=zipfile.ZIP_DEFLATED), "the compression of 5 of 5 members"),
        (packed(members(WHEEL), method=zipfile.ZIP_LZMA), "the compression of 5 of 5 members"),
        (packed(record_rewritten(members(WHEEL))), "RECORD's order of rows, quoting or line ends"),
        (packed(members(WHEEL), folders=("wrapt/",)), "entries of folders"),
        (packed(members(WHEEL), comment=b"made on a Tuesday"), "comments"),
        (b"#!/bin/sh\n" + WHEEL, "padding"),
    ],
    ids=["order", "times", "modes", "deflated", "lzma", "RECORD", "folders", "comment", "prefix"],
)
def test_stabilised_away(rebuilt: bytes, said: str) -> None:
    """What no installer looks at makes two wheels equal, and is named."""
    comparison = compare_wheels(WHEEL, rebuilt)
    assert comparison.verdict is RebuildVerdict.EQUAL, comparison.text
    assert said in comparison.text


def test_equal_over_everything_at_once() -> None:
    files = record_rewritten(backwards(members(WHEEL)))
    text = text_of(packed(files, year=2024, mode=0o100644, method=zipfile.ZIP_DEFLATED, level=9, comment=b"x"))
    assert text.splitlines() == [
        "equal",
        "every member is the same; what differs is of the zip alone:",
        "  the order of the members",
        "  the time of 5 of 5 members",
        "  the mode of 5 of 5 members",
        "  the compression of 5 of 5 members",
        "  RECORD's order of rows, quoting or line ends",
    ]


def changed(**contents: bytes | None) -> Change:
    def change(files: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data for name, data in (files | contents).items() if data is not None}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(**{MODULE: b"import os\n"}), "+import os"),
        (changed(**{MODULE: None}), "members only in the published wheel (1):"),
        (changed(**{"wrapt/extra.py": b"x"}), "members only in the rebuilt wheel (1):"),
        (lambda files: files | {RECORD: files[RECORD].replace(b"sha256=", b"sha512=", 1)}, "RECORD"),
        (lambda files: files | {RECORD: files[RECORD] + b"wrapt/ghost.py,,\n"}, "+wrapt/ghost.py,,"),
        (lambda files: files | {RECORD: files[RECORD] * 2}, "RECORD"),
        (lambda files: files | {RECORD: b"\xff"}, "RECORD"),
        (changed(**{"WRAPT/__init__.py": b""}), "WRAPT/__init__.py"),
    ],
    ids=["content", "lost", "added", "hash", "row", "rows twice", "no text", "case"],
)
def test_what_counts(change: Change, said: str) -> None:
    """One byte, one member, one row of RECORD: different, and the text says where."""
    text = text_of(packed(change(members(WHEEL))))
    assert text.startswith("different\n")
    assert said in text


def test_records_rows_of_members_that_differ_are_told_once() -> None:
    """A wheel whose RECORD is right about its own other module: the module is listed, RECORD is not."""
    _, other = make_wheel("wrapt", "1.14.0", "cp311-cp311-macosx_11_0_arm64", build="1", extension="_other")
    text = text_of(other)
    assert "_speedups" in text
    assert "_other" in text
    assert "RECORD" not in text


def elf(*sections: tuple[str, bytes]) -> bytes:
    """Return a small 64-bit little-endian ELF file with these sections."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _ in (*sections, (".shstrtab", b"")))
    body, headers, offset, name = b"", [bytes(64)], 64, 1
    for title, content in (*sections, (".shstrtab", names)):
        headers.append(struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, len(content), 0, 0, 1, 0))
        body, offset, name = body + content, offset + len(content), name + len(title) + 1
    start = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 3, 62, 1, 0, 0, offset, 0, 64, 0, 0, 64, len(headers), len(headers) - 1
    )
    return start + body + b"".join(headers)


def test_of_a_binary_the_sections_are_named() -> None:
    """A hint of what to look at, without a disassembler."""
    ours, theirs = elf((".text", b"\x90\xff"), (".comment", b"zig 0.16")), elf((".text", b"\x90\xff"), (".comment", b"zig 0.17"))
    assert differing_sections(ours, theirs) == (".comment",)
    module = next(name for name in members(WHEEL) if name.endswith(".so"))
    comparison = compare_wheels(packed(members(WHEEL) | {module: ours}), packed(members(WHEEL) | {module: theirs}))
    assert "ELF sections that differ: .comment" in comparison.text


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is Linux's format")
def test_a_real_binary_has_its_sections() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    start = data.index(b"GCC: (") if b"GCC: (" in data else len(data) // 2
    assert len(differing_sections(data, data[:start] + b"\0" + data[start + 1 :])) == 1


@pytest.mark.parametrize("cut", [5, 63, 64, 70, 130, 200])
def test_a_torn_binary_has_none(cut: int) -> None:
    """A hint may be missing; nothing is raised."""
    whole = elf((".text", b"\x90"), (".data", b"1"))
    assert differing_sections(whole, whole[:cut]) == ()


def test_overlapping_sections_are_not_hashed_over_and_over() -> None:
    """Sixty thousand sections that all are the whole file: no section, at once."""
    data = bytearray(elf((".text", b"x")))
    table = struct.unpack_from("<Q", data, 0x28)[0]
    data[table:] = struct.pack("<IIQQQQIIQQ", 0, 1, 0, 0, 0, 1 << 22, 0, 0, 1, 0) * 60_000
    struct.pack_into("<H", data, 0x3C, 60_000)
    assert differing_sections(bytes(data), elf((".text", b"y"))) == ()


def bomb() -> bytes:
    """A directory that states 9 GiB in a few kilobytes."""
    data = bytearray(packed({"wrapt/zeros": bytes(1000)}, method=zipfile.ZIP_DEFLATED))
    position = data.index(b"PK\1\2")
    struct.pack_into("<I", data, position + 24, 0xFFFFFFF0)
    entry = bytes(data[position : data.index(b"PK\5\6")])
    directory = b"".join(entry.replace(b"wrapt/zeros", f"wrapt/zero{number}".encode()) for number in range(3))
    end = bytearray(data[data.index(b"PK\5\6") :])
    struct.pack_into("<HHI", end, 8, 3, 3, len(directory))
    return bytes(data[:position]) + directory + bytes(end)


def flipped_inside() -> bytes:
    data = bytearray(packed({"wrapt/text": b"never mind" * 50}))
    data[60] ^= 1
    return bytes(data)


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("wrapt/a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("wrapt/a", b"2")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (lambda: b"", "no valid zip"),
        (lambda: b"PK\3\4 and no more", "no valid zip"),
        (lambda: WHEEL[: len(WHEEL) // 2], "no valid zip"),
        (flipped_inside, "Bad CRC-32"),
        (bomb, "unpacks to"),
        (twice, "is there twice"),
        (lambda: packed({"../../etc/passwd": b""}), "unsafe path"),
        (lambda: packed({"/etc/passwd": b""}), "unsafe path"),
        (lambda: packed({"a\\b": b""}), "unsafe path"),
        (lambda: packed({"link": b"/etc/passwd"}, mode=0o120777), "symbolic link"),
    ],
    ids=["empty", "start only", "torn", "flipped", "bomb", "twice", "parent", "absolute", "backslash", "link"],
)
def test_a_hostile_zip_is_refused_on_either_side(hostile: Callable[[], bytes], said: str) -> None:
    """By name, before anything of it is compared."""
    data = hostile()
    with pytest.raises(VerificationError, match=said) as refusal:
        compare_wheels(WHEEL, data)
    assert refusal.value.subject == "the rebuilt wheel"
    with pytest.raises(VerificationError, match=said):
        compare_wheels(data, WHEEL)


def test_the_text_is_bounded_and_safe_to_print() -> None:
    """Terminal escapes, bidirectional marks and floods of members or lines do not get through."""
    hostile = {f"wrapt/{number}\x1b[2J\u202e.py": b"" for number in range(5000)} | {"wrapt/long.py": b"x" * 2_000_000}
    text = compare_wheels(WHEEL, packed(members(WHEEL) | hostile | {MODULE: b"\x1b]0;owned\x07\n" * 1500})).text
    assert len(text) <= MAX_TEXT + 100
    assert all(character == "\n" or character.isprintable() for character in text)
    assert "\\x1b[2J\\u202e" in text
    assert "… and 4801 more" in text


def test_many_long_texts_take_no_quadratic_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are compared up to a number of lines of all members together."""
    compared: list[int] = []
    real = wheel_comparison.difflib.unified_diff

    def counting(before: list[str], after: list[str], *names: str, lineterm: str) -> object:
        compared.append(len(before))
        return real(before, after, *names, lineterm=lineterm)

    monkeypatch.setattr(wheel_comparison.difflib, "unified_diff", counting)
    one = {f"wrapt/{number}.py": b"a\n" * 900 for number in range(10)}
    other = {f"wrapt/{number}.py": b"b\n" * 900 for number in range(10)}
    text = compare_wheels(packed(one), packed(other)).text
    assert len(compared) == 2
    assert text.count("which are not compared line by line") == 8
