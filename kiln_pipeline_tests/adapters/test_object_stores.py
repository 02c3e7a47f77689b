"""The contract of `ObjectStore`, on every implementation. What only one of them promises is tested elsewhere."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.errors import ObjectExists, ObjectNotFound, StoreError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.s3_server import S3Server


@pytest.fixture(params=["memory", "directory", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "directory":
        return DirectoryStore(tmp_path / "new" / "store")
    server: S3Server = request.getfixturevalue("s3_server")
    return S3Store(server.new_bucket("new/store/"), multipart_from=1 << 20, part_size=5 << 20)


def test_a_new_store_is_empty(store: ObjectStore) -> None:
    assert list(store.keys()) == []
    assert not store.exists("simple/index.html")


def test_what_was_put_comes_back(store: ObjectStore) -> None:
    for data in (b"", b"one", bytes(range(256)) * 10_000):
        store.put("simple/foo/index.html", data)
        assert store.get("simple/foo/index.html") == data
    assert store.exists("simple/foo/index.html")
    assert list(store.keys()) == ["simple/foo/index.html"]


def test_an_absent_object_is_named(store: ObjectStore) -> None:
    store.put("a/b", b"")
    for key in ("a", "a/c", "a/b/c", "b"):
        assert not store.exists(key)
        with pytest.raises(ObjectNotFound) as caught:
            store.get(key)
        assert caught.value.key == key


def test_write_once_never_overwrites(store: ObjectStore) -> None:
    """The second put of the same bytes says that nothing was written; other bytes are refused and change nothing."""
    assert store.put_if_absent("wheels/foo.whl", b"one") is True
    assert store.put_if_absent("wheels/foo.whl", b"one") is False
    with pytest.raises(ObjectExists) as caught:
        store.put_if_absent("wheels/foo.whl", b"two")
    assert str(caught.value) == "wheels/foo.whl: exists already with other bytes (published files are never overwritten)"
    assert store.get("wheels/foo.whl") == b"one"
    assert list(store.keys()) == ["wheels/foo.whl"]


@pytest.mark.parametrize("size", [0, 1000, 12 << 20])
def test_a_file_is_written_once_and_read_in_pieces(store: ObjectStore, tmp_path: Path, size: int) -> None:
    """Empty, small, and of several parts; the file stays, and its key takes no other bytes."""
    data = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    source, other = tmp_path / "source", tmp_path / "other"
    source.write_bytes(data)
    other.write_bytes(data[:-1] + b"?")
    assert store.put_file("mirror/foo.whl", source) is True
    assert store.put_file("mirror/foo.whl", source) is False
    assert b"".join(store.chunks("mirror/foo.whl")) == store.get("mirror/foo.whl") == source.read_bytes() == data
    with pytest.raises(ObjectExists):
        store.put_file("mirror/foo.whl", other)
    assert store.put_if_absent("mirror/foo.whl", data) is False
    assert list(store.keys()) == ["mirror/foo.whl"]


def test_pieces_of_an_absent_object_and_a_file_that_is_not_there_are_errors(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        list(store.chunks("a"))
    if not isinstance(store, MemoryStore):
        with pytest.raises(StoreError, match="absent"):
            store.put_file("a", tmp_path / "absent")
    assert not store.exists("a")


def test_delete_removes_and_is_idempotent(store: ObjectStore) -> None:
    store.put("simple/foo/index.html", b"")
    store.put("simple/bar/index.html", b"")
    for _ in range(2):
        store.delete("simple/foo/index.html")
        assert list(store.keys()) == ["simple/bar/index.html"]
    store.delete("never/was")
    store.put("simple/foo/index.html", b"again")
    assert store.get("simple/foo/index.html") == b"again"


def test_keys_are_in_byte_order_of_the_whole_key(store: ObjectStore) -> None:
    """'-' sorts before '/', and '/' before '0': a walk of folders by their names would get this wrong."""
    keys = ["a-b/x", "a.b", "a/x", "a/y/z", "a0", "aé", "B", "a/y-z", "ａ"]
    for key in keys:
        store.put(key, b"")
    assert list(store.keys()) == sorted(keys, key=str.encode)
    assert list(store.keys("a")) == sorted((key for key in keys if key.startswith("a")), key=str.encode)
    assert list(store.keys("a/")) == ["a/x", "a/y-z", "a/y/z"]
    assert list(store.keys("a/y")) == ["a/y-z", "a/y/z"]
    assert list(store.keys("a/y/")) == ["a/y/z"]
    assert list(store.keys("nothing/here")) == []


def test_keys_with_the_characters_of_filenames_survive(store: ObjectStore) -> None:
    keys = ["wheels/torch-2.1.0+cpu-1-cp311-cp311-linux_x86_64.whl", "wheels/a!1 b%2B~é.whl", ".well-known/x", "a..b/c."]
    for key in keys:
        store.put(key, key.encode())
    assert [store.get(key).decode() for key in keys] == keys
    assert set(store.keys()) == set(keys)


def test_of_many_writers_once_exactly_one_wins(store: ObjectStore) -> None:
    """Eight threads write eight different wheels under one name, again and again: one wins, the others are told."""

    def attempt(key: str, data: bytes) -> bytes | None:
        try:
            return data if store.put_if_absent(key, data) else None
        except ObjectExists:
            return None

    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            key = f"wheels/{turn}.whl"
            results = list(pool.map(attempt, [key] * 8, [bytes([n]) * 1000 for n in range(8)]))
            assert [data for data in results if data is not None] == [store.get(key)]


@pytest.mark.parametrize("count", [0, 3, 200])
def test_many_are_written_at_once(store: ObjectStore, count: int) -> None:
    """Few and many take different ways in a folder; new ones and replaced ones, in old and new folders, end alike."""
    store.put("simple/p1/index.html", b"old")
    objects = [
        (f"simple/p{number}/{name}", f"{number}{name}".encode()) for number in range(count) for name in ("a", "index.html")
    ]
    store.put_many(objects)
    assert [(key, store.get(key)) for key in store.keys()] == sorted(
        [*dict([("simple/p1/index.html", b"old"), *objects]).items()]
    )
