"""A wheel's members, read from bytes that nobody vouches for: safe over any input, and bounded in time and memory.

Knows the zip, and nothing of what a wheel must hold (`core.wheel_contents` does). Refused: what is no readable zip, more members
or unpacked bytes than a wheel may have, a name twice, names that leave the folder, symbolic links, and a member whose bytes are
not those of its checksum. A member is never unpacked further than the size that its entry states.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from kiln_pipeline.core.wheel_contents import UNREADABLE, layout_problems
from kiln_pipeline.errors import VerificationError

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file in a wheel: what it holds, and what stabilising takes away."""

    size: int
    sha256: str
    modified: tuple[int, ...]
    """Year to second, as the zip has it."""
    mode: int
    """The upper half of the external attributes: Unix permissions, where they were written on such a system."""
    compression: tuple[int, int]
    """Method, and bytes when compressed."""


class WheelMembers:
    """The members of one wheel by name, in the archive's order."""

    def __init__(self, data: bytes, subject: str) -> None:
        """Read and hash every member. Raises `VerificationError` that names `subject`, with every problem of the layout."""
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            problems = list(layout_problems(self._archive))
            if problems:
                raise VerificationError(subject=subject, reason="; ".join(problems[:20]))
            self.files: Mapping[str, Member] = {
                info.filename: self._member(info) for info in self._archive.infolist() if not info.is_dir()
            }
        except UNREADABLE as error:
            raise VerificationError(subject=subject, reason=f"it is no valid zip file: {error}") from error

    def read(self, name: str) -> bytes:
        """Return the content of a member that was hashed before."""
        return self._archive.read(name)

    def _member(self, info: zipfile.ZipInfo) -> Member:
        digest = hashlib.sha256()
        with self._archive.open(info) as member:
            while chunk := member.read(_CHUNK):
                digest.update(chunk)
        return Member(
            size=info.file_size,
            sha256=digest.hexdigest(),
            modified=info.date_time,
            mode=info.external_attr >> 16,
            compression=(info.compress_type, info.compress_size),
        )
