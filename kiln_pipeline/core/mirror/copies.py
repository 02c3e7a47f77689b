"""The table of upstream's files that our site has copies of, and what a page takes from it. Nothing is copied here.

A copy lies under its own sha256 and never changes. It is *listed* while upstream lists the file and the recipe wants it; then it
is unlisted, stays for the recipe's ``keep``, and goes.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import pyarrow as pa

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.mirror.settings import Rest

_TIME = pa.timestamp("us", tz="UTC")
COPIES_SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("filename", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("metadata_sha256", pa.string(), nullable=False),
        pa.field("copied", _TIME, nullable=False),
        pa.field("unlisted", _TIME),
        pa.field("place", pa.string(), nullable=False),
    ]
)
"""Sorted by project, filename and sha256. `place` is the store that has the copy: another one has it not."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Copy:
    """One file of upstream's on our site, verified. Hashes are lower-case hex, `size` is in bytes, times are UTC."""

    project: str
    filename: str
    sha256: str
    size: int
    metadata_sha256: str = ""
    """Of its core metadata file beside it; empty when upstream has none."""
    copied: datetime
    unlisted: datetime | None = None
    """When upstream or the recipe was first found not to want it any more."""

    @property
    def key(self) -> str:
        """Where it is on the site."""
        return site_layout.mirror_file(self.sha256, self.filename)

    @property
    def objects(self) -> dict[str, str]:
        """Key -> sha256 of the file and of its core metadata."""
        metadata = {f"{self.key}.metadata": self.metadata_sha256} if self.metadata_sha256 else {}
        return {self.key: self.sha256, **metadata}


@dataclass(frozen=True, kw_only=True, slots=True)
class PageMirror:
    """What one project's page shows of upstream's files."""

    copies: Mapping[str, Copy] = field(default_factory=lambda: MappingProxyType({}))
    """The listed ones by sha256."""
    rest: Rest = Rest.LINK

    def digest_input(self) -> bytes:
        """Return bytes that are equal when the page is."""
        shown = sorted((copy.key, copy.metadata_sha256) for copy in self.copies.values())
        return repr((str(self.rest), shown)).encode("utf-8", "surrogatepass")


def copies_table(copies: Iterable[Copy], place: str) -> pa.Table:
    """Return the table of `copies`, which are all in the store that `place` names."""
    return pa.Table.from_pylist([{**asdict(copy), "place": place} for copy in sorted(copies)], schema=COPIES_SCHEMA)


def copies_of(table: pa.Table, place: str) -> tuple[Copy, ...]:
    """Return the copies that a table says are at `place`, sorted."""
    rows = (row for row in table.to_pylist() if row.pop("place") == place)
    times = ("copied", "unlisted")
    utc = ({**row, **{name: row[name] and row[name].astimezone(UTC) for name in times}} for row in rows)
    return tuple(Copy(**row) for row in utc)
