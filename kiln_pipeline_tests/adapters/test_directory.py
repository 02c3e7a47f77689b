"""What `DirectoryStore` promises beyond the contract of stores: keys, crashes, a full disk, two writers, the lock."""

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.folder_lock import exclusive
from kiln_pipeline.errors import ObjectNotFound, StoreError


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../up", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\0b", "a\x7fb", "a/\ud800", ".kiln-lock"],
)
def test_a_key_that_leaves_the_folder_or_the_alphabet_is_refused(tmp_path: Path, key: str) -> None:
    store = DirectoryStore(tmp_path / "store")
    for call in (store.get, store.exists, store.delete, lambda k: store.put(k, b""), lambda k: store.put_if_absent(k, b"")):
        with pytest.raises(StoreError, match="it is no valid key") as caught:
            call(key)
        assert not isinstance(caught.value, ObjectNotFound)
    assert list(tmp_path.iterdir()) == []


def test_listing_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    with pytest.raises(StoreError, match="it is no valid key"):
        DirectoryStore(tmp_path / "store").keys("../")


def test_files_have_the_modes_that_the_umask_gives(tmp_path: Path) -> None:
    """A web server under another user reads the site: the private mode of temporary files must not stay."""
    before = os.umask(0o022)
    try:
        DirectoryStore(tmp_path).put("a/b", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o644


def test_temporary_files_are_no_objects_and_old_ones_go(tmp_path: Path) -> None:
    """A writer that was killed leaves a temporary file: nobody sees it, and `clean` removes it when it is old enough."""
    store = DirectoryStore(tmp_path)
    store.put("a/b", b"")
    old, young = tmp_path / "a" / ".kiln-tmp-old", tmp_path / "a" / ".kiln-tmp-young"
    old.write_text("half a pa")
    young.write_text("half a pa")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    assert list(store.keys()) == ["a/b"]
    assert store.clean() == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".kiln-tmp-young", "b"]


def test_the_last_file_of_a_folder_takes_the_folder_with_it(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("simple/foo/index.html", b"")
    store.delete("simple/foo/index.html")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("simple", b"")
    with pytest.raises(StoreError, match="a file stands where a folder is needed"):
        store.put("simple/foo", b"")


@pytest.mark.parametrize("write_once", [False, True])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, write_once: bool) -> None:
    store = DirectoryStore(tmp_path)
    store.put("simple/foo", b"")
    with pytest.raises(StoreError, match="a folder stands where a file is needed"):
        (store.put_if_absent if write_once else store.put)("simple", b"")
    assert list(store.keys()) == ["simple/foo"]


def _in_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], text=True, capture_output=True, timeout=60, check=False)


LIMITED = """
import resource, sys
from pathlib import Path
from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.errors import StoreError
store = DirectoryStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for put in (store.put, store.put_if_absent):
    try:
        put("page" if put == store.put else "wheel", b"x" * 50_000)
    except StoreError as error:
        print(error)
"""


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    """A real write that the system cuts off after 10,000 of 50,000 bytes (RLIMIT_FSIZE)."""
    store = DirectoryStore(tmp_path)
    store.put("page", b"old")
    child = _in_child(LIMITED, str(tmp_path))
    reason = "the file is larger than the file system or the process's limit allows (see `ulimit -f`)"
    assert (child.stdout, child.stderr) == (f"page: {reason}\nwheel: {reason}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert store.get("page") == b"old"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a tmpfs")
    return disk


def test_a_full_disk_is_told_and_leaves_the_old_object(tiny_disk: Path) -> None:
    store = DirectoryStore(tiny_disk)
    try:
        store.put("page", b"old")
        for put, key in ((store.put, "page"), (store.put_if_absent, "wheel")):
            with pytest.raises(StoreError) as caught:
                put(key, b"x" * 100_000)
            assert str(caught.value).startswith(f"{key}: no space left on device (free some space and run again")
        assert [path.name for path in tiny_disk.iterdir()] == ["page"]
        assert store.get("page") == b"old"
        store.put("page", b"new, after space was freed")
    finally:
        subprocess.run(["umount", tiny_disk], check=True)


def test_a_disk_that_fills_up_between_many_leaves_no_temporary_file(tiny_disk: Path) -> None:
    store = DirectoryStore(tiny_disk)
    try:
        store.put("p1", b"old")
        with pytest.raises(StoreError, match="no space left on device"):
            store.put_many([(f"p{number}", b"x" * 1000) for number in range(200)])
        assert [path.name for path in tiny_disk.iterdir()] == ["p1"]
        assert store.get("p1") == b"old"
    finally:
        subprocess.run(["umount", tiny_disk], check=True)


def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    """Root may write anywhere, so the child gives up being root."""
    (tmp_path / "site").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    code = f"""
import os, sys
from pathlib import Path
from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.errors import StoreError
os.chdir({str(tmp_path)!r})
if os.getuid() == 0:
    os.setuid(65534)
else:
    os.chmod("site", 0o555)
try:
    DirectoryStore(Path("site")).put("page", b"")
except StoreError as error:
    print(error)
"""
    child = _in_child(code)
    hint = "give the user that runs kiln the right to read and write this folder"
    assert (child.stdout, child.stderr) == (f"page: no permission ({hint})\n", "")


def test_readers_see_whole_pages_while_two_writers_replace_them(tmp_path: Path) -> None:
    """Pages of one repeated byte: a reader that saw a part of one would see two bytes, or another length."""
    store = DirectoryStore(tmp_path)
    store.put("page", b"0" * 100_000)

    def write(byte: bytes) -> None:
        for _ in range(30):
            store.put("page", byte * 100_000)

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, b"1"), pool.submit(write, b"2")]
        while not all(writer.done() for writer in writers):
            page = store.get("page")
            assert page in (page[:1] * 100_000,)
        for writer in writers:
            writer.result()
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_put_and_delete_in_one_folder_do_not_trip_over_each_other(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)

    def churn(key: str) -> None:
        for _ in range(100):
            store.put(key, b"")
            store.delete(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, ["a/b/1", "a/b/2", "a/3", "a/b/c/4"]))
    assert list(store.keys()) == []


KILLED = """
import itertools, sys
from pathlib import Path
from kiln_pipeline.adapters.directory import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
print("ready", flush=True)
for turn in itertools.count():
    store.put("page", str(turn % 10).encode() * 200_000)
"""


def test_a_killed_writer_leaves_a_whole_page(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for turn in range(5):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout:
            child.stdout.readline()
            time.sleep(0.02 + turn * 0.003)
            child.kill()
            child.wait()
        if store.exists("page"):
            page = store.get("page")
            assert page == page[:1] * 200_000
    assert list(store.keys()) == ["page"]


def test_one_run_at_a_time_and_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with exclusive(home, "kiln run"):
        code = (
            "import sys\nfrom pathlib import Path\nfrom kiln_pipeline.adapters.folder_lock import exclusive\n"
            "from kiln_pipeline.errors import StoreError\n"
            "try:\n    exclusive(Path(sys.argv[1]), 'kiln sync').__enter__()\nexcept StoreError as error:\n    print(error)\n"
        )
        child = _in_child(code, str(home))
        told = f"{home}: process {os.getpid()} holds the lock (kiln run) (wait until it is done, or end it)\n"
        assert (child.stdout, child.stderr) == (told, "")
        with pytest.raises(StoreError, match="holds the lock"), exclusive(home, "kiln run"):
            pytest.fail("the same process got it twice")
        assert list(DirectoryStore(home).keys()) == []
    with exclusive(home, "kiln run"):
        pass


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom kiln_pipeline.adapters.folder_lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'kiln run'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert _in_child(code, str(tmp_path)).returncode == -9
    with exclusive(tmp_path, "kiln run"):
        assert (tmp_path / ".kiln-lock-holder").read_text() == f"{os.getpid()} kiln run"
