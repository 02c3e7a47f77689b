"""One file from upstream to disk: resumed where it was cut off (RFC 9110, ranges), checked before it gets its name.

The bytes that came so far are in a hidden file beside the name, under the file's hash. They are believed only when the whole
file has that hash; what was resumed and turns out wrong is fetched once more from its beginning. Nothing is flushed to disk for
certain: a crash can cost a download, and no caller takes a file without its hash.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import requests

from kiln_pipeline.adapters.http_get import BrokenOffError, HttpGetter, check_status
from kiln_pipeline.core.distributions import DistributionFile
from kiln_pipeline.core.simple_index.filenames import filename_problem
from kiln_pipeline.core.simple_index.parse import MAX_FILE_SIZE
from kiln_pipeline.errors import StoreError, UpstreamError

SLOWEST = 16_000
"""Bytes a second, on the average since a request: a server that drips is left alone. Waits of ours do not count."""
_PATIENCE = 30.0
"""Seconds before that is asked for."""


def download(file: DistributionFile, folder: Path, http: HttpGetter, *, retries: int, received: Callable[[int], None]) -> Path:
    """Download a file into `folder` under its own filename and return its path. Bytes that are there already and right are kept.

    Raises `UpstreamError` when the bytes are not the ones that upstream stated, and `StoreError` when `folder` cannot be written;
    then nothing is left behind. When upstream broke off, or `received` raised, what came so far is left for the next time.
    """
    subject = f"file {file.filename[:120]!a}".replace("'", "")
    problem = filename_problem(file.filename)
    if problem:
        raise UpstreamError(subject=subject, reason=problem)
    path, part = folder / file.filename, folder / f".{file.sha256[:32]}.part"
    for attempt in range(retries + 1):
        try:
            if not _has(path, file):
                folder.mkdir(parents=True, exist_ok=True)
                if _fetch(subject, file, part, http, received) and not _has(part, file):
                    part.unlink()  # what was there of it from another time was wrong
                    _fetch(subject, file, part, http, received)
                _check(subject, file, part)
                part.replace(path)
            return path
        except UpstreamError as error:
            _keep(part, worth=error.retriable)
            if attempt == retries or not isinstance(error, BrokenOffError):
                raise
        except OSError as error:
            _keep(part, worth=False)
            reason = f"it cannot be written: {error.strerror or error}"
            raise StoreError(key=str(path), reason=reason, hint="free some space or check the permissions") from error
    raise AssertionError("the last attempt returns or raises")


def _fetch(subject: str, file: DistributionFile, part: Path, http: HttpGetter, received: Callable[[int], None]) -> bool:
    """Write what is missing of a file to `part`; return whether some of it was there already."""
    with part.open("ab") as out:
        have = out.tell()
        if file.size and have >= file.size:
            return True
        asked = {"Range": f"bytes={have}-"} if have else {}
        with http.answer(subject, file.url, {"Accept-Encoding": "identity", **asked}) as response:
            resumed = have > 0 and _continues(response, have)
            if not resumed:
                out.truncate(have := 0)
                if response.status_code not in (206, 416):
                    check_status(subject, response)
                else:  # an answer to another question: the next attempt asks for all of it
                    raise BrokenOffError(subject=subject, reason="upstream cannot resume it", retriable=True)
            _receive(subject, file, response, out, have, http, received)
        return resumed


def _receive(
    subject: str,
    file: DistributionFile,
    response: requests.Response,
    out: BinaryIO,
    have: int,
    http: HttpGetter,
    received: Callable[[int], None],
) -> None:
    begun, came = time.monotonic(), 0
    for chunk in http.body(subject, response, (file.size or MAX_FILE_SIZE) - have, deadline=float("inf")):
        out.write(chunk)
        came += len(chunk)
        waited = time.monotonic()
        received(len(chunk))
        begun += time.monotonic() - waited
        seconds = time.monotonic() - begun
        if seconds > _PATIENCE and came / seconds < SLOWEST:
            reason = f"upstream sends less than {SLOWEST / 1000:g} kB/s"
            raise UpstreamError(subject=subject, reason=reason, hint="try again later", retriable=True)


def _continues(response: requests.Response, have: int) -> bool:
    """Return whether an answer is the rest of a file after its first `have` bytes."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _keep(part: Path, *, worth: bool) -> None:
    """Leave what came so far for the next time, when it is `worth` something."""
    with suppress(OSError):
        if not worth or not part.stat().st_size:
            part.unlink()


def _has(path: Path, file: DistributionFile) -> bool:
    if not path.is_file() or (file.size and path.stat().st_size != file.size):
        return False
    return _digest(path) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as there:
        return hashlib.file_digest(there, "sha256").hexdigest()


def _check(subject: str, file: DistributionFile, part: Path) -> None:
    size, digest = part.stat().st_size, _digest(part)
    if digest == file.sha256 and file.size in (0, size):
        return
    what = f"it has {size:,} bytes instead of {file.size:,}" if file.size not in (0, size) else f"its sha256 is {digest}"
    reason = f"{what}: not the file that upstream states"
    raise UpstreamError(subject=subject, reason=reason, hint="it was thrown away; try again later")
