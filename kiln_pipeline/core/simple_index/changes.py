"""Which project pages have to be written anew: digests of everything that a page is made from. No store and no page here.

A digest is exact: two inputs with the same digest give the same bytes. Of upstream's files it takes the digest that the refresh
has left in the table of projects: thousands of unchanged projects cost milliseconds, and their files are not even read.
"""

# pyarrow ships no annotations and makes its functions at import: what it gives is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import DistributionFile, FileKind
from kiln_pipeline.core.mirror.copies import PageMirror
from kiln_pipeline.core.simple_index import render

_BLOCK = 5000
"""Files that are in memory as texts or objects at one time."""

_FILE_COLUMNS = tuple(field.name for field in fields(DistributionFile))


def input_digests(
    *,
    projects: Collection[str],
    project_table: pa.Table,
    attempts: Mapping[str, Sequence[Attempt]],
    superseded: Collection[str],
    signing_key: bytes,
    mirrors: Mapping[str, PageMirror] = MappingProxyType({}),
) -> dict[str, bytes]:
    """Return the 32-byte digest of each of `projects` that `project_table` has.

    `project_table` is the table of `core.release_metadata`; `attempts` are those that are listed, by project; `signing_key` is
    the public key that signs the pages; `mirrors` are those of copied projects. The renderer's own behaviour is part of it.
    """
    salt = bytes.fromhex(render.fingerprint()) + signing_key
    states = _Rows(project_table.select(["status", "status_reason", "versions", "files_digest"]))
    rows = {project: row for row, project in enumerate(project_table.column("project").to_pylist())}
    digests: dict[str, bytes] = {}
    for project in projects:
        row = rows.get(project)
        if row is None:
            continue
        own = _own(attempts[project], superseded) if project in attempts else b""
        own += mirrors[project].digest_input() if project in mirrors else b""
        digests[project] = hashlib.sha256(b"".join((salt, states.part(row), own))).digest()
    return digests


def row_ranges(metadata: pa.Table) -> dict[str, tuple[int, int]]:
    """Return the half-open range of rows of each project. Raises `ValueError` when a project's rows are not contiguous."""
    if not len(metadata):
        return {}
    runs = pc.run_end_encode(metadata.column("project").combine_chunks(), run_end_type=pa.int64())
    ends: list[int] = _numbers(runs.run_ends).tolist()
    names: list[str] = runs.values.to_pylist()
    ranges = dict(zip(names, zip([0, *ends], ends, strict=False), strict=True))
    if len(ranges) != len(names):
        raise ValueError("the rows of a project are not contiguous: sort the table by project")
    return ranges


def in_blocks(metadata: pa.Table, projects: Sequence[str]) -> Iterator[tuple[Sequence[str], pa.Table]]:
    """Yield the sorted `projects` in blocks, each with its rows: some thousand files at a time, whatever single projects have."""
    ranges = row_ranges(metadata)
    block: list[str] = []
    first = last = 0
    for project in projects:
        start, stop = ranges.get(project, (last, last))
        if block and stop - first > _BLOCK:
            yield block, metadata.slice(first, last - first)
            block, first = [], start
        block.append(project)
        last = stop
    if block:
        yield block, metadata.slice(first, last - first)


def files_by_project(metadata: pa.Table, projects: Sequence[str]) -> Iterator[tuple[str, tuple[DistributionFile, ...]]]:
    """Yield each of `projects` with its files in page order: `release_metadata.project_files` for many at once."""
    if not projects:
        return
    ranges = row_ranges(metadata)
    rows = [np.arange(*ranges.get(project, (0, 0)), dtype=np.int64) for project in projects]
    taken = metadata.select(_FILE_COLUMNS).take(pa.array(np.concatenate(rows)))
    columns = [column.to_pylist() for column in taken.itercolumns()]
    kind = _FILE_COLUMNS.index("kind")
    columns[kind] = [FileKind(value) for value in columns[kind]]
    files = (DistributionFile(**dict(zip(_FILE_COLUMNS, values, strict=True))) for values in zip(*columns, strict=True))
    for project, own in zip(projects, rows, strict=True):
        yield project, tuple(islice(files, len(own)))


class _Rows:
    """Every row of a table of texts, and of lists of them, as bytes: first their lengths, each in 8 bytes, and then the texts.

    Rows with the same bytes are equal.
    """

    def __init__(self, table: pa.Table) -> None:
        numbers: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        texts: list[pa.Array] = []
        for column in table.itercolumns():
            values = column.combine_chunks()
            if pa.types.is_list(values.type):
                numbers.append(_numbers(pc.list_value_length(values)))
                values = pc.binary_join(values, "\0")
            numbers.append(_numbers(pc.binary_length(values)))
            texts.append(values.cast(pa.large_binary()))
        matrix = np.stack(numbers, axis=1)
        fixed = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(8 * len(numbers)), len(table), [None, pa.py_buffer(matrix.tobytes())]
        )
        joined = pc.binary_join_element_wise(fixed.cast(pa.large_binary()), *texts, pa.scalar(b"", pa.large_binary()))
        _, offsets, data = joined.buffers()
        self._data = memoryview(data or b"")
        self._offsets: list[int] = np.frombuffer(offsets, dtype=np.int64).tolist() if len(table) else [0]

    def part(self, row: int) -> memoryview:
        return self._data[self._offsets[row] : self._offsets[row + 1]]


def _numbers(column: pa.Array) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    values = column.cast(pa.int64())
    data = values.buffers()[1]
    return np.frombuffer(data if data is not None else b"", dtype=np.int64, count=len(values), offset=8 * values.offset)


def _own(attempts: Iterable[Attempt], superseded: Collection[str]) -> bytes:
    facts = [
        [
            *(a.index, a.release.version, a.wheel, a.wheel_sha256, a.wheel_size, a.metadata_sha256, a.requires_python),
            *(a.finished.isoformat(), a.sdist_sha256, bool(a.recipe_sha256), a.wheel in superseded),
        ]
        for a in attempts
    ]
    return repr(sorted(facts)).encode("utf-8", "surrogatepass")
