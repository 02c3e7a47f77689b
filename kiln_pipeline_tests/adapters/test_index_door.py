"""The index through a socket, as a container without a network has it: same pages, same files, its notes told at the door."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kiln_pipeline.adapters.index_bounds import free_port, given_out, through_a_socket
from kiln_pipeline.adapters.index_door import Door
from kiln_pipeline.adapters.index_view import Policy
from kiln_pipeline_tests.adapters.test_index_view import SDIST, UPLOADED, download, status
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_page, captured_sdists


@contextmanager
def door(upstream: LoopbackUpstream, log: Path, cutoff: str) -> Iterator[str]:
    """Open the door on this host, and yield the address of the index behind it."""
    port = free_port()
    with through_a_socket(Policy(upstream=upstream.url, cutoff=cutoff), port, log=log, environment={}) as (volume, _):
        folder, _, inside = volume.removeprefix("--volume=").partition(":")
        assert (inside, [path.is_socket() for path in Path(folder).iterdir()]) == ("/run/kiln-index", [True])
        with Door(port, f"{folder}/index") as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield f"http://127.0.0.1:{port}/simple/"
            finally:
                server.shutdown()
                thread.join()
    assert not Path(folder).exists()


def test_pip_gets_files_through_the_door(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And the file's name and hash are printed where the build asked, not where the index is."""
    log = tmp_path / "log"
    with LoopbackUpstream({"markupsafe": captured_page("markupsafe")}, captured_sdists()) as upstream:
        with door(upstream, log, UPLOADED) as index:
            assert download(index, tmp_path / "to") == SDIST
        told = given_out(capfd.readouterr().err)
        assert told == (("markupsafe==2.0.1", "594c67807fb16238b30c44bdf74f36c02cdf22d1c8cda91ef8a0ed8dabf5620a"),)
        with door(upstream, log, "2001-01-01T00:00:00Z") as index:
            assert b"<a " not in urllib.request.urlopen(f"{index}markupsafe/").read()
            assert (status(f"{index}no-such/"), status(f"{index.replace('simple', 'files')}markupsafe/{SDIST}")) == (404, 404)
        assert capfd.readouterr().err == "kiln: index: no file of markupsafe is within the bounds of this build\n"
    assert not log.exists()
