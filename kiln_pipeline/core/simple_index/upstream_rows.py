"""Upstream's files as the text of pages, column by column for thousands at once: what `render` writes for one file after another.

It is an order of magnitude faster, which is what a full publish of a large index waits for. Byte for byte it makes what `render`
makes, or leaves a project to it: one with a text that has to be escaped where texts rarely are. The tests hold the two against
each other.
"""

# pyarrow ships no annotations and makes its functions at import: what it gives is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
from collections import Counter
from collections.abc import Callable, Mapping
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.simple_index.changes import row_ranges
from kiln_pipeline.core.simple_index.render import html_text, json_text

_PLAIN = r"^[A-Za-z0-9 ._~:/@!$*()+,;=%\[\]?-]*$"
"""What neither JSON nor HTML escapes."""
_ADDRESS = r"^https?://[^#]*$"
"""What `model.overlay` takes over as it is."""
_NO_COMMA = -1


class UpstreamRows:
    """The files of `table` (`core.release_metadata.SCHEMA`, sorted by project) as parts of their projects' pages."""

    def __init__(self, table: pa.Table) -> None:
        self._ranges = row_ranges(table)
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        self._versions: list[str] = columns["version"].to_pylist()
        self._doubtful = {*_with_doubles(columns), *columns["project"].filter(pc.invert(_is_plain(columns))).to_pylist()}
        parts = _Parts(columns)
        self._json, self._html = _Lines(parts.json()), _Lines(parts.html())

    def __contains__(self, project: str) -> bool:
        """Whether the project's files can be had from here; else they are `model.overlay`'s and `render`'s affair."""
        return project not in self._doubtful

    def versions(self, project: str) -> list[str]:
        """Return the version of each file."""
        start, stop = self._ranges.get(project, (0, 0))
        return self._versions[start:stop]

    def json(self, project: str) -> bytes:
        """Return the files as JSON objects with commas between them."""
        return self._json.part(*self._ranges.get(project, (0, 0)))[:_NO_COMMA]

    def html(self, project: str) -> bytes:
        """Return the files as anchors, each a line."""
        return self._html.part(*self._ranges.get(project, (0, 0)))


def _is_plain(columns: Mapping[str, pa.Array]) -> pa.Array:
    """Return for each row whether its texts, those apart that `_Parts` escapes, can stand in both formats as they are."""
    plain = [
        pc.match_substring_regex(columns[name], _PLAIN) for name in ("filename", "url", "sha256", "core_metadata", "provenance")
    ]
    addresses = [
        pc.match_substring_regex(columns["url"], _ADDRESS),
        pc.or_(pc.match_substring_regex(columns["provenance"], _ADDRESS), pc.equal(columns["provenance"], "")),
    ]
    return reduce(pc.and_, [*plain, *addresses])


def _with_doubles(columns: Mapping[str, pa.Array]) -> set[str]:
    """Return the projects that may list a filename twice."""
    filenames = columns["filename"]
    if pc.count_distinct(filenames).as_py() == len(filenames):
        return set()
    counts = Counter(zip(columns["project"].to_pylist(), filenames.to_pylist(), strict=True))
    return {project for (project, _), count in counts.items() if count > 1}


class _Parts:
    """The pieces that a file's text is put together from, each for all files."""

    def __init__(self, columns: Mapping[str, pa.Array]) -> None:
        self._columns = columns
        self._size = columns["size"].cast(pa.string())
        # "2022-12-01 12:34:56.789012Z" and no microseconds where there are none: as `datetime.isoformat` has it
        text = pc.binary_replace_slice(columns["upload_time"].cast(pa.string()), 10, 11, "T")
        self._time = pc.fill_null(pc.replace_substring(text, ".000000Z", "Z"), "")
        self._reason = pc.if_else(columns["yanked"], pc.binary_join_element_wise("!", columns["yanked_reason"], ""), "")

    def json(self) -> pa.Array:
        column = self._columns
        return _concatenated(
            *('{"filename":"', column["filename"], '","url":"', column["url"], '","hashes":{'),
            *(_unless_empty(column["sha256"], '"sha256":"', '"'), '},"size":', self._size),
            _mapped(column["requires_python"], lambda text: text and f',"requires-python":{json_text(text)}'),
            _hash(column["core_metadata"], ',"core-metadata":true', ',"core-metadata":{"sha256":"', '"}'),
            _unless_empty(self._time, ',"upload-time":"', '"'),
            _mapped(self._reason, lambda text: text and f',"yanked":{json_text(text[1:]) if text[1:] else "true"}'),
            *(_unless_empty(column["provenance"], ',"provenance":"', '"'), "},"),
        )

    def html(self) -> pa.Array:
        column = self._columns
        metadata = column["core_metadata"]
        return _concatenated(
            *('<a href="', column["url"], _unless_empty(column["sha256"], "#sha256=", ""), '"'),
            _mapped(column["requires_python"], lambda text: text and f' data-requires-python="{html_text(text)}"'),
            _hash(metadata, ' data-core-metadata="true"', ' data-core-metadata="sha256=', '"'),
            _hash(metadata, ' data-dist-info-metadata="true"', ' data-dist-info-metadata="sha256=', '"'),
            _mapped(self._reason, lambda text: text and f' data-yanked="{html_text(text[1:])}"'),
            _unless_empty(column["provenance"], ' data-provenance="', '"'),
            *(' data-size="', self._size, '"', _unless_empty(self._time, ' data-upload-time="', '"')),
            *(">", column["filename"], "</a><br>\n"),
        )


def _concatenated(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _unless_empty(column: pa.Array, before: str, after: str) -> pa.Array:
    return pc.if_else(pc.equal(column, ""), "", _concatenated(before, column, after))


def _hash(column: pa.Array, if_true: str, before: str, after: str) -> pa.Array:
    """Return the text for core metadata: none, there without a hash (``true``), or with one."""
    return pc.if_else(pc.equal(column, "true"), if_true, _unless_empty(column, before, after))


def _mapped(column: pa.Array, text_of: Callable[[str], str]) -> pa.Array:
    """Return `text_of` of each value; it is called once for each that differs, and escapes."""
    encoded = column.dictionary_encode()
    texts = [text_of(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(encoded.indices)


class _Lines:
    """The texts of a column as one run of bytes, which ranges of rows are cut from."""

    def __init__(self, column: pa.Array) -> None:
        _, offsets, data = column.cast(pa.large_binary()).buffers()
        self._data = memoryview(data or b"")
        self._offsets: list[int] = memoryview(offsets).cast("q").tolist() if len(column) else [0]

    def part(self, start: int, stop: int) -> bytes:
        return bytes(self._data[self._offsets[start] : self._offsets[stop]])
