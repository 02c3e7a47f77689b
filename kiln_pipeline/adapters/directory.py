"""An `ObjectStore` in a plain folder. No knowledge of what keys mean.

A put is a temporary file in the target's own folder, flushed to disk, then renamed (or hard-linked, for write-once) onto its
name, then the folder itself is flushed: readers and crashes see the old object or the new one, never a part. Names that start
with ``.kiln-`` are ours; they are no objects.
"""

import ctypes
import errno
import filecmp
import io
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kiln_pipeline.errors import ObjectExists, ObjectNotFound, StoreError

RESERVED = ".kiln-"
_TEMPORARY = f"{RESERVED}tmp-"
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
_STALE_SECONDS = 3600.0
_MANY = 50
_CHUNK = 1 << 20
"""Bytes of one piece of a file."""
_LIBC = ctypes.CDLL(None, use_errno=True)

_REASONS = {
    errno.ENOSPC: ("no space left on device", "free some space and run again: what was there before is still whole"),
    errno.EDQUOT: ("no space left in the disk quota", "free some space and run again: what was there before is still whole"),
    errno.EFBIG: ("the file is larger than the file system or the process's limit allows", "see `ulimit -f`"),
    errno.EACCES: ("no permission", "give the user that runs kiln the right to read and write this folder"),
    errno.EPERM: ("the operation is not permitted", "give the user that runs kiln the right to read and write this folder"),
    errno.EROFS: ("the file system is read-only", "remount it writable, or set KILN_HOME to another folder"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "use a shorter path for KILN_HOME"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "remove that file: kiln did not write it"),
    errno.EEXIST: ("a file stands where a folder is needed", "remove that file: kiln did not write it"),
    errno.EISDIR: ("a folder stands where a file is needed", "remove that folder: kiln did not write it"),
}


class DirectoryStore:
    """A flat store of bytes in `folder`, which is made on the first put. Safe with several writers, threads or processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = os.fspath(folder)

    def __str__(self) -> str:
        return str(self.folder)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFound(key) from None
        except OSError as error:
            raise store_error(key, error) from error

    def chunks(self, key: str) -> Iterator[bytes]:
        try:
            with self._path(key).open("rb", buffering=0) as file:
                yield from _pieces(file)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFound(key) from None
        except OSError as error:
            raise store_error(key, error) from error

    def put(self, key: str, data: bytes) -> None:
        self.put_many([(key, data)])

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """As `put` for each, but flushed together: one flush of the file system is cheaper than thousands of single ones."""
        flush_all = len(objects) >= _MANY and hasattr(_LIBC, "syncfs")
        token = secrets.token_hex(8)
        staged: list[tuple[str, str, str]] = []
        try:
            for number, (key, data) in enumerate(objects):
                path = self._name(key)
                temporary = f"{path[: path.rindex('/')]}/{_TEMPORARY}{token}-{number}"
                staged.append((key, temporary, path))
                try:
                    _create(temporary, [data], flush=not flush_all)
                except OSError as error:
                    raise store_error(key, error) from error
            if flush_all:
                _flush_file_system(self.folder)
            for key, temporary, path in staged:
                try:
                    os.replace(temporary, path)  # noqa: PTH105 - tens of thousands of them
                except OSError as error:
                    raise store_error(key, error) from error
            if flush_all:
                _flush_file_system(self.folder)
            else:
                for folder in dict.fromkeys(Path(path).parent for _, _, path in staged):
                    with _explained(os.fspath(folder)):
                        _flush_folder(folder)
        except BaseException:
            for _, temporary, _ in staged:
                with suppress(OSError):  # renamed already, or never made
                    Path(temporary).unlink()
            raise

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._put_once(key, lambda: self.get(key) == data, lambda: [data])

    def put_file(self, key: str, path: Path) -> bool:
        try:
            with path.open("rb", buffering=0) as file:

                def pieces() -> Iterator[bytes]:
                    file.seek(0)
                    return _pieces(file)

                return self._put_once(key, lambda: self.exists(key) and filecmp.cmp(self._path(key), path, shallow=False), pieces)
        except OSError as error:
            raise store_error(os.fspath(path), error) from error

    def _put_once(self, key: str, same: Callable[[], bool], pieces: Callable[[], Iterable[bytes]]) -> bool:
        """Write the `pieces` under a new key; `same` tells whether the object that is there has these bytes."""
        path = self._path(key)
        while True:
            with suppress(ObjectNotFound):
                if self.exists(key):
                    if not same():
                        raise ObjectExists(key)
                    return False
            # a hard link, unlike a rename, fails when the name is taken: of two writers one wins and the other compares
            temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
            try:
                with _explained(key):
                    _create(temporary, pieces(), flush=True)
                    with suppress(FileExistsError):
                        path.hardlink_to(temporary)
                        _flush_folder(path.parent)
                        return True
                    if path.is_dir():
                        raise IsADirectoryError(errno.EISDIR, "is a folder")
            finally:
                with suppress(OSError):  # never made
                    temporary.unlink()

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink()
            _flush_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise store_error(key, error) from error
        with suppress(OSError):  # not empty: then it stays, and so do those above
            for folder in path.relative_to(self.folder).parents[:-1]:
                (self.folder / folder).rmdir()

    def keys(self, prefix: str = "") -> Iterator[str]:
        folder = prefix.rpartition("/")[0]
        if folder:
            self._path(folder)
        return (key for key in self._walk(f"{folder}/" if folder else "") if key.startswith(prefix))

    def clean(self) -> int:
        """Remove temporary files that killed writers left more than an hour ago; return how many."""
        removed = 0
        for path in self.folder.rglob(f"{_TEMPORARY}*"):
            with suppress(OSError):  # its writer was alive after all, and has just removed or renamed it
                if time.time() - path.lstat().st_mtime > _STALE_SECONDS:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return Path(self._name(key))

    def _name(self, key: str) -> str:
        """Return the path of an object as text, which is several times as fast to make. Raises `StoreError` for no valid key."""
        parts = key.split("/")
        if _FORBIDDEN.search(key) or any(part in ("", ".", "..") or part.startswith(RESERVED) for part in parts):
            raise StoreError(key=repr(key), reason="it is no valid key", hint="use relative paths with forward slashes")
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise StoreError(key=repr(key), reason="it is no valid key", hint="it is not valid Unicode") from error
        return f"{self._root}/{key}"

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the keys below `folder` (empty, or ending in a slash) in byte order of whole keys, not of path parts."""
        try:
            with os.scandir(self.folder / folder) as entries:
                names = [e.name + "/" if e.is_dir() else e.name for e in entries if not e.name.startswith(RESERVED)]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise store_error(folder, error) from error
        for name in sorted(names, key=os.fsencode):
            if name.endswith("/"):
                yield from self._walk(folder + name)
            else:
                yield folder + name


def _pieces(file: io.FileIO) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def _create(path: str | Path, pieces: Iterable[bytes], *, flush: bool) -> None:
    """Write a new file, its folder made when missing; a `delete` beside us may remove an empty folder again."""
    for attempt in range(100):
        try:
            # 0o666 and the umask, not mkstemp's 0o600: a web server reads the site
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            break
        except FileNotFoundError:
            if attempt == 99:
                raise
            with suppress(FileNotFoundError):
                _make_folder(Path(path).parent, flush=flush)
    else:
        raise AssertionError("unreachable")
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        if flush:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path, *, flush: bool) -> None:
    """Make `folder` and those above it, each flushed into its parent, so that a crash cannot lose a whole new folder."""
    if not folder.parent.is_dir():
        _make_folder(folder.parent, flush=flush)
    try:
        folder.mkdir()
    except FileExistsError:
        # a `delete` beside us may have removed the folder since: that is no folder, and no obstacle either; asked once, for
        # between two questions it may go as well
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(folder.stat().st_mode):
                raise
    else:
        if flush:
            _flush_folder(folder.parent)


def _flush_file_system(folder: Path) -> None:
    """Flush everything that was written to the file system of `folder` (Linux only). Raises `StoreError` when that fails."""
    with _explained(os.fspath(folder)):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _LIBC.syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    with suppress(FileNotFoundError):  # a `delete` beside us removed the empty folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _explained(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(key, error) from error


def store_error(key: str, error: OSError) -> StoreError:
    """Return what the operating system refused, in words, with what to do."""
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or type(error).__name__, ""))
    return StoreError(key=key, reason=reason, hint=hint)
