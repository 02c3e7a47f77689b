"""The copying half of the mirror: many files of many projects side by side, within bounds, one bad project apart.

Each file: its core metadata is put beside its place, then it is downloaded, verified, and put. A page can therefore never name a
copy whose metadata is not there. Which files, and what is noted of them, is `stages.mirror`'s matter.
"""

import hashlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.distributions import DistributionFile
from kiln_pipeline.core.mirror.copies import Copy
from kiln_pipeline.errors import ObjectExists, StoreError, UpstreamError
from kiln_pipeline.ports import ObjectStore, Progress, UpstreamIndex

_IN_A_ROW = 3
"""So many files of one project that fail one after the other, and the rest of it waits for the next run."""
_NOTED_BYTES, _NOTED_FILES = 256_000_000, 200
"""After so much, what was copied is noted: a killed run has at most that to look for again."""

Meter = Callable[[int, int], None]
"""Hears how many bytes were received since, of how many in all."""


def unmetered(received: int, total: int) -> None:
    """Hear of the bytes, and do nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one run may take."""

    workers: int = 8
    """Files at a time; half of them of one project, while others have some too."""
    bytes_per_second: int = 0
    """Of all downloads together; 0: no bound."""
    keep_going: Callable[[], bool] = lambda: True
    """Asked with every piece of a file: when it says no, the run ends, and the next one goes on from there."""


class _OutOfTimeError(Exception):
    """`Limits.keep_going` said no."""


class Bandwidth:
    """Bounds the bytes a second of several threads together: who received too soon waits."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate, self._lock = bytes_per_second, Lock()
        self._free = 0.0

    def __call__(self, received: int) -> None:
        """Wait until `received` bytes more are due."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + received / self._rate
            pause = self._free - now
        time.sleep(pause)


class Copier:
    """One run. Call `copy` once; then the attributes tell what became of it."""

    def __init__(
        self,
        *,
        upstream: UpstreamIndex,
        site: ObjectStore,
        work: Path,
        now: datetime,
        limits: Limits,
        meter: Meter,
        progress: Progress,
    ) -> None:
        self.copied: list[Copy] = []
        self.failed: dict[str, dict[str, str]] = {}
        """Project -> filename -> reason."""
        self.problem = ""
        self._upstream, self._site, self._work, self._now = upstream, site, work, now
        self._limits, self._meter, self._progress = limits, meter, progress
        self._bandwidth, self._total = Bandwidth(limits.bytes_per_second), 0
        self._stopped = False

    def copy(self, todo: Mapping[str, Sequence[DistributionFile]], *, noted: Callable[[Sequence[Copy]], None]) -> None:
        """Copy the files of each project; `noted` is given what was copied, now and then and at the end."""
        queue = _Queue(todo, self._limits.workers)
        self._total = sum(file.size for files in todo.values() for file in files)
        running: dict[Future[Copy], tuple[str, DistributionFile]] = {}
        mark = 0
        with ThreadPoolExecutor(self._limits.workers, thread_name_prefix="mirror") as pool:
            try:
                while True:
                    while not self._stopped and (item := queue.next()) is not None:
                        running[pool.submit(self._copy, *item)] = item
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        self._take(future, *running.pop(future), queue)
                    since = self.copied[mark:]
                    if len(since) >= _NOTED_FILES or sum(copy.size for copy in since) >= _NOTED_BYTES:
                        noted(since)
                        mark = len(self.copied)
            finally:
                self._stopped = True  # an interruption: the threads end at their next piece
                noted(self.copied[mark:])

    def _take(self, future: Future[Copy], project: str, file: DistributionFile, queue: "_Queue") -> None:
        try:
            self.copied.append(future.result())
            queue.ended(project, well=True)
            return
        except _OutOfTimeError:
            queue.ended(project, well=True)
            if not self._stopped:
                self._progress.step("mirror: out of time; the next run goes on from here")
            self._stopped = True
            return
        except (UpstreamError, ObjectExists) as error:
            reason = str(error)
        except StoreError as error:  # a disk that is full for one is full for all
            self._stopped, self.problem = True, str(error)
            queue.ended(project, well=False)
            return
        self._progress.step(f"mirror: {project}: {reason}")
        self.failed.setdefault(project, {})[file.filename] = reason
        if queue.ended(project, well=False):
            self._progress.step(f"mirror: {project}: {_IN_A_ROW} files in a row failed; the rest of it waits for the next run")

    def _copy(self, project: str, file: DistributionFile) -> Copy:
        if self._stopped or not self._limits.keep_going():
            raise _OutOfTimeError
        key = site_layout.mirror_file(file.sha256, file.filename)
        metadata = self._upstream.core_metadata(file) if file.core_metadata else b""
        if metadata:
            self._site.put_if_absent(f"{key}.metadata", metadata)
        if not self._site.exists(key):  # of a run that was killed before it was noted: its name is its hash
            folder = self._work / file.sha256
            self._site.put_file(key, self._upstream.download(file, folder, received=self._received))
            with suppress(OSError):  # what is left is overwritten or removed another time
                shutil.rmtree(folder)
        return Copy(
            project=project,
            filename=file.filename,
            sha256=file.sha256,
            size=file.size,
            metadata_sha256=hashlib.sha256(metadata).hexdigest() if metadata else "",
            copied=self._now,
        )

    def _received(self, size: int) -> None:
        self._meter(size, self._total)
        self._bandwidth(size)
        if self._stopped or not self._limits.keep_going():
            raise _OutOfTimeError


class _Queue:
    """Hands out files, the projects in turn, so that a slow project delays the others by no more than its share."""

    def __init__(self, todo: Mapping[str, Sequence[DistributionFile]], workers: int) -> None:
        self._files = {project: deque(files) for project, files in todo.items() if files}
        self._turns = deque(self._files)
        self._running = dict.fromkeys(self._files, 0)
        self._failures = dict.fromkeys(self._files, 0)
        self._workers, self._share = workers, max(1, workers // 2)

    def next(self) -> tuple[str, DistributionFile] | None:
        """Return the next file that may begin; None when there is none just now."""
        if sum(self._running.values()) >= self._workers:
            return None
        open_projects = [project for project in self._turns if self._files[project]]
        share = self._workers if len(open_projects) == 1 else self._share
        for project in open_projects:
            if self._running[project] < share:
                self._turns.remove(project)
                self._turns.append(project)
                self._running[project] += 1
                return project, self._files[project].popleft()
        return None

    def ended(self, project: str, *, well: bool) -> bool:
        """Note the end of a file; return whether the project has failed too often now, and hands out no more."""
        self._running[project] -= 1
        self._failures[project] = 0 if well else self._failures[project] + 1
        if self._failures[project] < _IN_A_ROW or not self._files[project]:
            return False
        self._files[project].clear()
        return True
