"""The world of the suite, made once: an upstream, two sites, four servers, four installers."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from kiln_pipeline_tests.edges import EDGES, free_port, run_edge
from kiln_pipeline_tests.installers import world
from kiln_pipeline_tests.installers.programs import PROGRAMS, Addresses, Folder, Outcome, Program, Wish, make_environment
from kiln_pipeline_tests.installers.scenarios import OLD
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream
from kiln_pipeline_tests.s3_server import S3Server


class Runs:
    """What installers do for each wish and server, once. They work side by side while the first scenarios wait for them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, itertools.count()
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._done: dict[tuple[str, Wish, Addresses], Future[Outcome]] = {}

    def folder(self) -> Folder:
        """Return a new project's folder with an empty environment."""
        return Folder.made(self._folder / str(next(self._count)))

    def begin(self, program: Program, wish: Wish, at: Addresses) -> Future[Outcome]:
        """Lock and install a wish, unless that was begun before."""
        key = (program.name, wish, at)
        if key not in self._done:
            self._done[key] = self._pool.submit(lambda: program.install(self.folder(), wish, at))
        return self._done[key]

    def begin_new(self, program: Program, wish: Wish, at: Addresses) -> Future[Outcome]:
        """Lock and install a wish again, since the site is another now."""
        return self._pool.submit(lambda: program.install(self.folder(), wish, at))

    def begin_old(self, program: Program, wish: Wish, at: Addresses, lock: str) -> Future[Outcome]:
        """Only install a lock that was made earlier."""
        return self._pool.submit(lambda: program.install_lock(self.folder(), wish, at, lock))

    def begin_lock(self, program: Program, wish: Wish, at: Addresses) -> Future[Outcome]:
        """Only lock it."""
        return self._pool.submit(lambda: program.make_lock(self.folder(), wish, at))

    def grant(self, program: Program, wish: Wish, at: Addresses) -> Outcome:
        return self.begin(program, wish, at).result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def upstream() -> Iterator[LoopbackUpstream]:
    with world.upstream() as server:
        yield server


@pytest.fixture(scope="session")
def sites(upstream: LoopbackUpstream, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The site before upstream caught up, and now."""
    return world.publish_sites(upstream, tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that somebody has put our wheels into."""
    folder = tmp_path_factory.mktemp("vendor")
    for file in world.OURS:
        (folder / file.filename).write_bytes(file.data)
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Program]:
    folder = tmp_path_factory.mktemp("installers")
    return {name: make_environment(name, folder) for name in PROGRAMS}


class Server:
    """A running server: `at`, and the locks that were made when it served the site as it was before."""

    def __init__(self, at: Addresses, old_locks: Mapping[str, Outcome]) -> None:
        self.at, self.old_locks = at, old_locks


@pytest.fixture(scope="session")
def servers(
    upstream: LoopbackUpstream,
    sites: tuple[Path, Path],
    vendor: Path,
    programs: Mapping[str, Program],
    runs: Runs,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Server]]:
    """Starts each edge when it is asked for: over the site as it was before, then, at the same address, as it is now."""
    before, now = sites
    with ExitStack() as stack:

        @cache
        def start(edge: str) -> Server:
            folder, port = tmp_path_factory.mktemp("server"), free_port()
            with run_edge(edge, before, s3_server, folder / "before", port=port) as site:
                at = Addresses(site=site, upstream=f"{upstream.origin}/", vendor=vendor)
                locking = {name: runs.begin_lock(program, OLD, at) for name, program in programs.items()}
                old_locks = {name: lock.result() for name, lock in locking.items()}
            stack.enter_context(run_edge(edge, now, s3_server, folder / "now", port=port))
            return Server(at, old_locks)

        yield start


@pytest.fixture(scope="session", params=EDGES)
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    return servers(request.param)


@pytest.fixture(scope="session")
def at(server: Server) -> Addresses:
    return server.at


@pytest.fixture(scope="session", params=PROGRAMS)
def program(request: pytest.FixtureRequest, programs: Mapping[str, Program]) -> Program:
    return programs[request.param]
