"""A refresh of 10,000 unchanged projects: how long it takes, and that it writes nothing.

The upstream is a real HTTP server on 127.0.0.1 in a process of its own, serving the captured pages under 10,000 names, with
ETags and without (then every body comes over the wire again). The promise is 20 s for the tick that finds nothing changed.

    python benchmarks/refresh.py [--projects 10000] [--files 40] [--workers 8]
"""

import argparse
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.stages.detect import METADATA, PROJECTS, refresh
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_page

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PROMISE = 20.0


class Silent:
    def step(self, text: str) -> None:
        """Say nothing."""


def made_page(project: str, number: int, files: int) -> dict[str, Any]:
    """Return a captured page's last files under another project's name."""
    source = ("markupsafe", "pyyaml", "wrapt")[number % 3]
    page = captured(source)
    chosen = [file for file in page["files"] if file["filename"].endswith((".whl", ".tar.gz"))][-files:]
    renamed = [{**file, "filename": re.sub(r"^[^-]+", project.replace("-", "_"), file["filename"])} for file in chosen]
    return {**page, "name": project, "files": renamed}


CAPTURED: dict[str, dict[str, Any]] = {}


def captured(project: str) -> dict[str, Any]:
    return CAPTURED.setdefault(project, captured_page(project))


def serve(names: list[str], files: int, etags: bool, pipe: Any) -> None:
    pages = {name: made_page(name, number, files) for number, name in enumerate(names)}
    with LoopbackUpstream(pages, etags=etags) as server:
        pipe.send(server.url)
        pipe.recv()
        pipe.send((len(server.requests), server.connections))


@contextmanager
def upstream(names: list[str], files: int, *, etags: bool) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(names, files, etags, there))
    process.start()
    yield here.recv()
    here.send("stop")
    requests, connections = here.recv()
    process.join()
    print(f"    the server saw {requests:,} requests over {connections:,} connections")


def measure(title: str, names: list[str], state: DirectoryStore, url: str, workers: int) -> float:
    before = written(state)
    wall, cpu = time.perf_counter(), time.process_time()
    source = SimpleApiUpstream(url, connections=workers)
    report = refresh(names, upstream=source, state=state, now=NOW, progress=Silent(), workers=workers)
    seconds = time.perf_counter() - wall
    puts = "nothing written" if written(state) == before else "tables written"
    print(
        f"    {title}: {seconds:6.1f} s ({time.process_time() - cpu:.1f} CPU-s), {report.changed:,} changed, "
        f"{report.unchanged:,} unchanged, {len(report.broken)} broken, {report.table.num_rows:,} files, {puts}"
    )
    return seconds


def written(state: DirectoryStore) -> list[tuple[int, int]]:
    """Return inode and time of both tables: a put makes another inode, even of the same bytes."""
    paths = [state.folder / key for key in (METADATA, PROJECTS)]
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.exists()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    names = [f"project-{number:05}" for number in range(options.projects)]
    ticks: list[float] = []
    for etags in (True, False):
        kind = "with ETags" if etags else "without ETags"
        print(f"{options.projects:,} projects of {options.files} files, {options.workers} workers, {kind}")
        with tempfile.TemporaryDirectory() as folder, upstream(names, options.files, etags=etags) as url:
            state = DirectoryStore(Path(folder))
            measure("first refresh ", names, state, url, options.workers)
            ticks += [measure("unchanged tick", names, state, url, options.workers) for _ in range(2)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs; ", end="")
    print(f"peak memory {peak:.2f} GB; promise: {PROMISE:.0f} s; slowest unchanged tick: {max(ticks):.1f} s")
    return 0 if max(ticks) < PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
