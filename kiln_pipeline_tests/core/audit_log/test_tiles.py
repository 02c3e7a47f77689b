"""Tiles: any way of growing the log gives the same files, and no byte of a fetched file is trusted unseen."""

import pytest

from kiln_pipeline.core.audit_log.merkle import EMPTY_ROOT, leaf_hash, tree_root
from kiln_pipeline.core.audit_log.tiles import TileReader, extend, parse_bundle, render_bundle, tile_key
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline_tests.core.audit_log.test_merkle import naive_root
from kiln_pipeline_tests.fakes import MemoryStore

ENTRIES = [f"entry {number}".encode() for number in range(66_000)]


def grown(*sizes: int) -> tuple[MemoryStore, TileReader]:
    """A log grown in steps to these sizes; partial tiles go when full."""
    store = MemoryStore()
    reader = TileReader(0, EMPTY_ROOT, store.get)
    for size in sizes:
        extension = extend(reader, ENTRIES[reader.size : size])
        for key, data in extension.objects:
            store.put(key, data)
        for key in extension.filled:
            for partial in list(store.keys(f"{key}.p/")):
                store.delete(partial)
        reader = TileReader(extension.size, extension.root, store.get)
    return store, reader


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((0, 0), "audit/tile/0/000"),
        ((0, 1234067), "audit/tile/0/x001/x234/067"),
        ((3, 999, 255), "audit/tile/3/999.p/255"),
        (("entries", 1000, 1), "audit/tile/entries/x001/000.p/1"),
    ],
)
def test_tile_keys(arguments: tuple, key: str):
    """The specification's examples of path encoding."""
    assert tile_key(*arguments) == key


@pytest.mark.parametrize("sizes", [(1,), (255,), (256,), (257,), (1, 2, 3, 300), (200, 256, 600), (512, 513), (700, 700)])
def test_growth_in_steps_gives_the_recursive_root(sizes: tuple[int, ...]):
    """Whatever the steps: RFC 6962's root, the same nodes, the same entries."""
    _, reader = grown(*sizes)
    size = sizes[-1]
    assert (reader.size, reader.root) == (size, naive_root(ENTRIES[:size]))
    assert list(reader.entries(0, size)) == ENTRIES[:size]
    assert [reader.node(0, n) for n in range(size)] == [leaf_hash(entry) for entry in ENTRIES[:size]]
    assert tree_root(size, reader.node) == reader.root
    assert [tree_root(old, reader.node) for old in (1, size // 2, size - 1)] == [
        naive_root(ENTRIES[:old]) for old in (1, size // 2, size - 1)
    ]


def test_a_log_of_three_levels():
    """Above 65,536 entries there is a third level; its files are as the specification lists them."""
    store, reader = grown(65_000, 65_535, 66_000)
    assert reader.root == naive_root(ENTRIES)
    keys = [key for key in sorted(store.objects) if not key.startswith(("audit/tile/0/", "audit/tile/entries/"))]
    assert keys == ["audit/tile/1/000", "audit/tile/1/001.p/1", "audit/tile/2/000.p/1"]
    fresh = grown(66_000)[0]
    kept = {key: data for key, data in store.objects.items() if key in fresh.objects}
    assert kept == fresh.objects


def test_every_flipped_byte_is_refused():
    """Each file that a reader of the whole log fetches is covered to its last byte, whichever bit is flipped."""
    store, reader = grown(520)
    for key, data in store.objects.items():
        for position in range(0, len(data), 1 if len(data) < 600 else 61):
            altered = bytearray(data)
            altered[position] ^= 1 << (position % 8)
            files = store.objects | {key: bytes(altered)}
            with pytest.raises(VerificationError):
                list(TileReader(reader.size, reader.root, files.__getitem__).entries(0, 520))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""])
def test_truncated_and_longer_files_are_refused(change):
    """A file cut off, or with something behind its end."""
    store, reader = grown(260)
    for key, data in store.objects.items():
        files = store.objects | {key: change(data)}
        with pytest.raises(VerificationError):
            list(TileReader(reader.size, reader.root, files.__getitem__).entries(0, 260))


def test_a_missing_tile_is_missing():
    """What fetch raises comes through: the caller says which object is gone."""
    store, reader = grown(260)
    store.delete("audit/tile/0/000")
    with pytest.raises(ObjectNotFound):
        TileReader(reader.size, reader.root, store.get).node(0, 3)


def test_no_answers_outside_of_the_tree():
    _, reader = grown(3)
    for question in (lambda: reader.node(0, 3), lambda: reader.node(1, 1), lambda: list(reader.entries(0, 4))):
        with pytest.raises(ValueError, match=r"not complete|no entries"):
            question()


def test_bundles():
    """Lengths are big-endian uint16; the longest entry has 65,535 bytes."""
    entries = (b"", b"a", bytes(65_535))
    assert parse_bundle(render_bundle(entries), "key") == entries
    assert render_bundle((b"ab",)) == b"\0\2ab"
    with pytest.raises(ValueError, match="at most 65535"):
        render_bundle((bytes(65_536),))
    for data in (b"\0", b"\0\2a"):
        with pytest.raises(VerificationError, match="cut off"):
            parse_bundle(data, "key")
