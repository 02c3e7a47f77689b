"""The sections of an ELF file, as hashes: which part of a binary differs, without a disassembler. Bytes in, no file.

Specification: the System V ABI's ELF header and section header table, both widths and byte orders. Anything that does not fit it
has no sections here: this is a hint for a person, not a verdict.
"""

import hashlib
import struct
from collections.abc import Iterator

_MAGIC = b"\x7fELF"
_NO_BITS = 8
"""``SHT_NOBITS``: a section that takes no room in the file."""


def differing_sections(one: bytes, other: bytes) -> tuple[str, ...]:
    """Return the names of the sections that two ELF files have differently, in the order of the first; empty for other files."""
    ours, theirs = _sections(one), _sections(other)
    names = dict.fromkeys((*ours, *theirs))
    return tuple(name for name in names if ours.get(name) != theirs.get(name)) if ours and theirs else ()


def _sections(data: bytes) -> dict[str, str]:
    """Return name -> hash of a file's sections; empty when it is no ELF file, or not a sane one."""
    if data[:4] != _MAGIC or len(data) < 64 or data[4] not in (1, 2) or data[5] not in (1, 2):
        return {}
    try:
        return dict(_read(data, wide=data[4] == 2, order="<" if data[5] == 1 else ">"))
    except (struct.error, UnicodeDecodeError, ValueError):
        return {}


def _read(data: bytes, *, wide: bool, order: str) -> Iterator[tuple[str, str]]:
    table = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", data, 0x28 if wide else 0x20)[0]
    size, count, names = struct.unpack_from(f"{order}3H", data, 0x3A if wide else 0x2E)
    # name, type, then (after flags and address) offset and size in the file
    fields = struct.Struct(f"{order}II16xQQ" if wide else f"{order}II8xII")
    headers: list[tuple[int, int, int, int]] = [fields.unpack_from(data, table + number * size) for number in range(count)]
    if sum(length for _, kind, _, length in headers if kind != _NO_BITS) > 2 * len(data):
        raise ValueError("sections that overlap would be hashed many times over")
    texts = b""
    for _, _, start, length in headers[names : names + 1]:
        texts = data[start : start + length]
    for name, kind, offset, length in headers:
        label = texts[name : texts.find(b"\0", name)].decode("ascii")
        content = b"" if kind == _NO_BITS else data[offset : offset + length]
        yield label, f"{length} {hashlib.sha256(content).hexdigest()}"
