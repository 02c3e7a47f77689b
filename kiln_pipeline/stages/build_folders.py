"""Folders that builds work in: each is gone when its build is over, and at the next one's start when its kiln was killed.

A lock beside the folder tells whether its build still runs; the system itself lets it go when a process dies, SIGKILL included.
"""

import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def build_folder(work: Path, prefix: str) -> Generator[Path]:
    """Yield a fresh folder ``<work>/<prefix>…`` for the time of the block, after removing those that nobody works in any more.

    A folder that cannot be removed must not cost the wheel that was made in it: it is tried again by the next build.
    """
    work.mkdir(parents=True, exist_ok=True)
    for folder in sorted({path.with_suffix("") for path in work.glob(f"{prefix}*")}):
        _sweep(folder)
    folder, lock = _locked(work, prefix)
    try:
        folder.mkdir(mode=0o700)
        yield folder.resolve()
    finally:
        _remove(folder)
        lock.release()


def _locked(work: Path, prefix: str) -> tuple[Path, FileLock]:
    """Return the path of a folder to be, and its lock, held: no folder of a running build is ever without."""
    while True:
        folder = work / f"{prefix}{secrets.token_hex(6)}"
        lock = FileLock(_lock_of(folder))
        lock.acquire()
        if _lock_of(folder).exists():
            return folder, lock
        lock.release()  # another build's sweep came between


def _sweep(folder: Path) -> None:
    try:
        with FileLock(_lock_of(folder), timeout=0):
            _remove(folder)
    except Timeout:
        pass  # its build runs


def _remove(folder: Path) -> None:
    """Remove a folder, and its lock with it when that succeeded."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
