"""The log as static files: hash tiles and entry bundles of C2SP tlog-tiles, read with authentication and extended.

Reading: make a `TileReader` from a verified checkpoint's size and root; every byte of every tile and bundle that it fetches is
covered by that root before it is used. Writing: `extend` says which objects to put; the caller puts them, then the checkpoint.
Specification: https://github.com/C2SP/C2SP/blob/main/tlog-tiles.md. Nothing here knows what an entry says, nor stores anything.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kiln_pipeline.core.audit_log.merkle import complete_root, leaf_hash, tree_root
from kiln_pipeline.errors import VerificationError

Fetch = Callable[[str], bytes]
"""Site key -> bytes; raises `ObjectNotFound`."""

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH_SIZE = 32
MAX_ENTRY_SIZE = 0xFFFF
"""Bytes: entry bundles prefix each entry with a big-endian uint16 length."""
ENTRIES = "entries"


def tile_key(level: int | str, index: int, width: int = WIDTH) -> str:
    """Return the site key of tile `index` of a level (or of the `ENTRIES`) with `width` hashes.

    "<N> is the index of the tile within the level. It MUST be a non-negative integer encoded into zero-padded 3-digit path
    elements. All but the last path element MUST begin with an x. […] The .p/<W> suffix is only present for partial tiles".
    """
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    suffix = "" if width == WIDTH else f".p/{width}"
    return f"audit/tile/{level}/{'/'.join(groups)}{suffix}"


class TileReader:
    """Nodes and entries of a tree whose size and root are known to be right; anything that does not fit is refused.

    Tiles are kept once fetched. The tiles on the right edge make up the root; every other tile is full, and its hash stands in
    the tile above it. Raises `VerificationError` for a doubt, and what `fetch` raises.
    """

    def __init__(self, size: int, root: bytes, fetch: Fetch) -> None:
        self.size, self.root, self._fetch = size, root, fetch
        self._tiles: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._bundles: dict[int, tuple[bytes, ...]] = {}
        for level, (index, width) in enumerate(edge_tiles(size)):
            if width:
                self._tiles[level, index] = _parse_tile(fetch(key := tile_key(level, index, width)), width, key)
        if tree_root(size, self._edge_node) != root:
            raise _error("the tiles on its right edge do not make up the root in its checkpoint")

    def node(self, level: int, n: int) -> bytes:
        """Return the hash of a node (see `merkle`). `ValueError` when the tree does not have it complete."""
        if (n + 1) << level > self.size:
            raise ValueError(f"node {n} of level {level} is not complete in a tree of {self.size}")
        row, below = divmod(level, HEIGHT)
        index, offset = divmod(n << below, WIDTH)
        return complete_root(self.tile(row, index)[offset : offset + (1 << below)])

    def tile(self, level: int, index: int) -> tuple[bytes, ...]:
        """Return the hashes of a tile, 256 or fewer."""
        if (level, index) not in self._tiles:
            key = tile_key(level, index)
            hashes = _parse_tile(self._fetch(key), WIDTH, key)
            if complete_root(hashes) != self.node((level + 1) * HEIGHT, index):
                raise _error(f"{key} has other hashes than the tile above it says")
            self._tiles[level, index] = hashes
        return self._tiles[level, index]

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the entries `start` to `stop` (exclusive), from bundles of up to 256."""
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"the tree of {self.size} has no entries {start} to {stop}")
        for position in range(start, stop):
            yield self.bundle(position // WIDTH)[position % WIDTH]

    def bundle(self, index: int) -> tuple[bytes, ...]:
        """Return the entries of bundle `index`, checked one by one against the tile of leaf hashes."""
        if index not in self._bundles:
            hashes = self.tile(0, index)
            key = tile_key(ENTRIES, index, len(hashes))
            entries = parse_bundle(self._fetch(key), key)
            if tuple(leaf_hash(entry) for entry in entries) != hashes:
                raise _error(f"{key} has other entries than the tile of their hashes says")
            self._bundles = {index: entries}
        return self._bundles[index]

    def _edge_node(self, level: int, n: int) -> bytes:
        row, below = divmod(level, HEIGHT)
        index, offset = divmod(n << below, WIDTH)
        return complete_root(self._tiles[row, index][offset : offset + (1 << below)])


def edge_tiles(size: int) -> list[tuple[int, int]]:
    """Return for each level (index, width) of the partial tile at its right end; the width is 0 when the level ends full."""
    edges: list[tuple[int, int]] = []
    while size:
        edges.append(divmod(size, WIDTH))
        size //= WIDTH
    return edges


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """What to put so that the log has more entries: the objects in their order, and the tree that they make."""

    size: int
    root: bytes
    objects: tuple[tuple[str, bytes], ...]
    filled: tuple[str, ...]
    """Keys of the tiles that became full: their partial forms (``<key>.p/<width>``) may go once the checkpoint is out."""


def extend(reader: TileReader, new_entries: Sequence[bytes]) -> Extension:
    """Return the objects of the tree of `reader` with new entries at its end: bundles, then tiles from the leaves up.

    Raises `ValueError` for an entry that is too long.
    """
    size = reader.size + len(new_entries)
    old = reader.bundle(reader.size // WIDTH) if reader.size % WIDTH else ()
    objects: list[tuple[str, bytes]] = []
    if new_entries:
        bundles = _chunks(reader.size // WIDTH, [*old, *new_entries])
        objects += [(tile_key(ENTRIES, index, len(chunk)), render_bundle(chunk)) for index, chunk in bundles]
    level = 0
    edge: dict[tuple[int, int], Sequence[bytes]] = {}
    hashes = [leaf_hash(entry) for entry in new_entries]
    while size >> (HEIGHT * level):
        index, width = divmod(reader.size >> (HEIGHT * level), WIDTH)
        row = [*(reader.tile(level, index) if width else ()), *hashes]
        chunks = list(_chunks(index, row))
        if hashes:
            objects += [(tile_key(level, index, len(chunk)), b"".join(chunk)) for index, chunk in chunks]
        edge |= {(level, index): chunk for index, chunk in chunks}
        hashes = [complete_root(chunk) for _, chunk in chunks if len(chunk) == WIDTH]
        level += 1
    return Extension(
        size=size,
        root=_root_of_edge(size, edge),
        objects=tuple(objects),
        filled=filled_tiles(reader.size, size),
    )


def filled_tiles(old: int, new: int) -> tuple[str, ...]:
    """Return the keys of the tiles and bundles that are full in the tree of `new` entries and were not in that of `old`."""
    keys = [tile_key(ENTRIES, index) for index in range(old // WIDTH, new // WIDTH)]
    level = 0
    while new >> (HEIGHT * (level + 1)):
        below = HEIGHT * (level + 1)
        keys += [tile_key(level, index) for index in range(old >> below, new >> below)]
        level += 1
    return tuple(keys)


def render_bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle: "a sequence of big-endian uint16 length-prefixed log entries"."""
    if any(len(entry) > MAX_ENTRY_SIZE for entry in entries):
        raise ValueError(f"a log entry has at most {MAX_ENTRY_SIZE} bytes")
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def parse_bundle(data: bytes, key: str) -> tuple[bytes, ...]:
    """Parse an entry bundle to its last byte. Raises `VerificationError` that names `key` when it is cut off."""
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        stop = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if position + 2 > len(data) or stop > len(data):
            raise _error(f"{key} is cut off")
        entries.append(data[position + 2 : stop])
        position = stop
    return tuple(entries)


def _chunks(first: int, items: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    for number, start in enumerate(range(0, len(items), WIDTH)):
        yield first + number, items[start : start + WIDTH]


def _root_of_edge(size: int, edge: dict[tuple[int, int], Sequence[bytes]]) -> bytes:
    """Return the root of a tree from the tiles at the right end of each level (their last, partial one)."""

    def node(level: int, n: int) -> bytes:
        row, below = divmod(level, HEIGHT)
        index, offset = divmod(n << below, WIDTH)
        return complete_root(edge[row, index][offset : offset + (1 << below)])

    return tree_root(size, node)


def _parse_tile(data: bytes, width: int, key: str) -> tuple[bytes, ...]:
    if len(data) != width * HASH_SIZE:
        raise _error(f"{key} has {len(data)} bytes, not {width * HASH_SIZE}")
    return tuple(data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE))


def _error(reason: str) -> VerificationError:
    return VerificationError(subject="audit log", reason=reason, hint="it was altered, rolled back or not read whole")
