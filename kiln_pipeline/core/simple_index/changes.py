"""Which project pages have to be written anew: digests of everything that a page is made from. No store and no page here.

A digest is exact: two inputs with the same digest give the same bytes. All upstream rows are joined column by column in one
pass, so that an hourly publish of thousands of unchanged projects costs milliseconds, not a rendering of each.
"""

# pyarrow ships no annotations and makes its functions at import: what it gives is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import DistributionFile
from kiln_pipeline.core.simple_index import render

_FILE_COLUMNS = tuple(field.name for field in fields(DistributionFile))


def input_digests(
    *,
    projects: Collection[str],
    metadata: pa.Table,
    project_table: pa.Table,
    attempts: Mapping[str, Sequence[Attempt]],
    superseded: Collection[str],
    signing_key: bytes,
) -> dict[str, bytes]:
    """Return the 32-byte digest of each of `projects` that `project_table` has.

    `metadata` and `project_table` are the tables of `core.release_metadata`, sorted by project; `attempts` are those that are
    listed, by project; `signing_key` is the public key that signs the pages. The renderer's own behaviour is part of it.
    """
    salt = bytes.fromhex(render.fingerprint()) + signing_key
    files, files_of = _rows(metadata.select(_FILE_COLUMNS)), row_ranges(metadata)
    states = _rows(project_table.select(["status", "status_reason", "versions"]))
    rows = {project: row for row, project in enumerate(project_table.column("project").to_pylist())}
    digests: dict[str, bytes] = {}
    for project in projects:
        row = rows.get(project)
        if row is None:
            continue
        start, stop = files_of.get(project, (0, 0))
        digest = hashlib.sha256(salt)
        digest.update(states.part(row, row + 1))
        digest.update(files.part(start, stop))
        if project in attempts:
            digest.update(_own(attempts[project], superseded))
        digests[project] = digest.digest()
    return digests


def row_ranges(metadata: pa.Table) -> dict[str, tuple[int, int]]:
    """Return the half-open range of rows of each project. Raises `ValueError` when a project's rows are not contiguous."""
    if not len(metadata):
        return {}
    runs = pc.run_end_encode(metadata.column("project").combine_chunks(), run_end_type=pa.int64())
    ends: list[int] = runs.run_ends.to_numpy().tolist()
    names: list[str] = runs.values.to_pylist()
    ranges = dict(zip(names, zip([0, *ends], ends, strict=False), strict=True))
    if len(ranges) != len(names):
        raise ValueError("the rows of a project are not contiguous: sort the table by project")
    return ranges


class _Rows:
    """Every row of a table as bytes, where two rows have the same bytes only when they are equal: texts, lengths and numbers."""

    def __init__(self, *, text: memoryview, offsets: list[int], numbers: memoryview, width: int) -> None:
        """`offsets` cut `text`, and every `width` bytes cut `numbers`, into rows."""
        self._text, self._offsets, self._numbers, self._width = text, offsets, numbers, width

    def part(self, start: int, stop: int) -> bytes:
        text = self._text[self._offsets[start] : self._offsets[stop]]
        return b"%d %d " % (stop - start, len(text)) + text + self._numbers[start * self._width : stop * self._width]


def _rows(table: pa.Table) -> _Rows:
    texts: list[pa.Array] = []
    numbers: list[pa.Array] = []
    for column in table.itercolumns():
        values = column.combine_chunks()
        if pa.types.is_list(values.type):
            numbers.append(pc.list_value_length(values))
            values = pc.binary_join(values, "\0")
        if pa.types.is_string(values.type):
            texts.append(values.cast(pa.large_string()))
            numbers.append(pc.binary_length(values))
        else:
            numbers.append(pc.is_valid(values))
            numbers.append(pc.fill_null(values.cast(pa.int64()), 0))
    joined = pc.binary_join_element_wise(*texts, pa.scalar("", pa.large_string()))
    _, offsets, text = joined.buffers()
    matrix = np.stack([column.cast(pa.int64()).to_numpy(zero_copy_only=False) for column in numbers], axis=1)
    return _Rows(
        text=memoryview(text or b""),
        offsets=np.frombuffer(offsets, dtype=np.int64).tolist() if len(table) else [0],
        numbers=memoryview(matrix.tobytes()),
        width=8 * len(numbers),
    )


def _own(attempts: Iterable[Attempt], superseded: Collection[str]) -> bytes:
    facts = [
        [
            *(a.index, a.release.version, a.wheel, a.wheel_sha256, a.wheel_size, a.metadata_sha256, a.requires_python),
            *(a.finished.isoformat(), a.sdist_sha256, bool(a.recipe_sha256), a.wheel in superseded),
        ]
        for a in attempts
    ]
    return repr(sorted(facts)).encode("utf-8", "surrogatepass")
