"""Downloads that are cut off and go on: over a real socket, against a server that breaks off, lies about ranges, or drips."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiln_pipeline.adapters import file_download
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.distributions import DistributionFile, FileKind
from kiln_pipeline.errors import UpstreamError
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream

NAME, DATA = "foo-1.tar.gz", bytes(range(256)) * 4000


@pytest.fixture
def server() -> Iterator[LoopbackUpstream]:
    with LoopbackUpstream({}, {NAME: DATA}) as upstream:
        yield upstream


def file(server: LoopbackUpstream, data: bytes = DATA) -> DistributionFile:
    return DistributionFile(
        filename=NAME,
        url=f"{server.origin}/files/{NAME}",
        kind=FileKind.SDIST,
        version="1",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def client(server: LoopbackUpstream, *, retries: int = 0) -> SimpleApiUpstream:
    return SimpleApiUpstream(server.url, retries=retries, backoff=0.0, timeout=5.0)


def ranges(server: LoopbackUpstream) -> list[str | None]:
    return [headers.get("Range") for headers in server.headers]


def test_a_download_that_broke_off_goes_on_at_once(server: LoopbackUpstream, tmp_path: Path) -> None:
    """Within one call, and only what is missing is asked for."""
    server.fault(NAME, "cut", times=1)
    heard: list[int] = []
    path = client(server, retries=1).download(file(server), tmp_path, received=heard.append)
    assert path.read_bytes() == DATA
    assert sum(heard) == len(DATA)
    assert ranges(server) == [None, f"bytes={len(DATA) // 2}-"]


def test_a_download_goes_on_in_another_process(server: LoopbackUpstream, tmp_path: Path) -> None:
    """What one call left behind the next one takes up; then nothing else lies there."""
    server.fault(NAME, "cut", times=1)
    with pytest.raises(UpstreamError, match="broke off"):
        client(server).download(file(server), tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == DATA[: len(DATA) // 2]
    assert client(server).download(file(server), tmp_path).read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert ranges(server)[1] == f"bytes={len(DATA) // 2}-"


def test_whoever_hears_of_the_bytes_can_stop_it(server: LoopbackUpstream, tmp_path: Path) -> None:
    """As a run does that is out of time, or a person with Ctrl-C: what came is kept."""

    def stop(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client(server).download(file(server), tmp_path, received=stop)
    (part,) = tmp_path.iterdir()
    assert 0 < part.stat().st_size < len(DATA)
    assert client(server).download(file(server), tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("fault", ["no-ranges", "wrong-range"])
def test_a_server_that_does_not_keep_to_ranges_is_asked_for_all(server: LoopbackUpstream, tmp_path: Path, fault: str) -> None:
    server.fault(NAME, "cut", times=1)
    with pytest.raises(UpstreamError, match="broke off"):
        client(server).download(file(server), tmp_path)
    server.fault(NAME, fault, times=1)  # type: ignore[arg-type]
    assert client(server, retries=1).download(file(server), tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(DATA), b"x" * (2 * len(DATA))])
def test_what_was_left_there_is_believed_only_by_its_hash(server: LoopbackUpstream, tmp_path: Path, left: bytes) -> None:
    """Zeros of a crash, a part of another file: thrown away, and all is fetched."""
    (tmp_path / f".{file(server).sha256[:32]}.part").write_bytes(left)
    assert client(server).download(file(server), tmp_path).read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_whole_file_that_is_another_one_is_refused_once_and_for_all(server: LoopbackUpstream, tmp_path: Path) -> None:
    """Also when it was resumed; nothing is left to resume the next time."""
    wrong = file(server, DATA[:-1] + b"!")
    server.fault(NAME, "cut", times=1)
    for reason in ("broke off", "its sha256 is"):
        with pytest.raises(UpstreamError, match=reason):
            client(server).download(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_drips_is_left_alone(server: LoopbackUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte comes within the timeout, and all of them would take hours."""
    monkeypatch.setattr(file_download, "_PATIENCE", 0.05)
    server.fault(NAME, "drip", seconds=0.005)
    with pytest.raises(UpstreamError, match=r"sends less than 16 kB/s .*try again later") as caught:
        client(server).download(file(server), tmp_path)
    assert caught.value.retriable
