"""The lock that lets one run at a time write to a folder, and who holds it. What is in the folder is `directory`'s matter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kiln_pipeline.adapters.directory import RESERVED, store_error
from kiln_pipeline.errors import StoreError

_LOCK = f"{RESERVED}lock"
_HOLDER = f"{RESERVED}lock-holder"


@contextmanager
def exclusive(folder: Path, purpose: str) -> Iterator[None]:
    """Hold `folder` for this process while the block runs; `purpose` is what the one who comes second reads.

    Raises `StoreError` at once when another process (or another block of this one) holds it, saying which. The operating
    system releases the lock when the process ends, however it ends.
    """
    lock = FileLock(folder / _LOCK)
    holder = folder / _HOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(f"{os.getpid()} {purpose}")
    except Timeout:
        raise StoreError(key=os.fspath(folder), reason=_held(holder), hint="wait until it is done, or end it") from None
    except OSError as error:
        lock.release()
        raise store_error(os.fspath(folder), error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _held(holder: Path) -> str:
    try:
        pid, _, purpose = holder.read_text().partition(" ")
    except (OSError, UnicodeDecodeError):
        pid = purpose = ""
    if not purpose:  # it has the lock, and has not written its name yet
        return "another process holds the lock"
    return f"process {pid} holds the lock ({purpose})"
