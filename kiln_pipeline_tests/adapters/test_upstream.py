"""The adapter against a real loopback server that misbehaves in every way that upstreams do."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.distributions import DistributionFile, FileKind
from kiln_pipeline.core.simple_index.parse import parse_project_page
from kiln_pipeline.errors import ProjectNotFound, StoreError, UpstreamError
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_page, captured_sdists

SDIST = "MarkupSafe-2.0.1.tar.gz"
PAGE = "/simple/markupsafe/"


@pytest.fixture
def server() -> Iterator[LoopbackUpstream]:
    with LoopbackUpstream({"markupsafe": captured_page("markupsafe")}, captured_sdists()) as upstream:
        yield upstream


def client(server: LoopbackUpstream, *, retries: int = 0, timeout: float = 2.0, **options: object) -> SimpleApiUpstream:
    return SimpleApiUpstream(server.url, retries=retries, backoff=0.0, timeout=timeout, **options)  # type: ignore[arg-type]


def sdist(server: LoopbackUpstream) -> DistributionFile:
    data = server.files[SDIST]
    return DistributionFile(
        filename=SDIST,
        url=f"{server.origin}/files/{SDIST}",
        kind=FileKind.SDIST,
        version="2.0.1",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def test_a_page_is_parsed_and_the_same_bytes_are_not_parsed_again(server: LoopbackUpstream) -> None:
    """Without ETags the page is fetched and None is returned when its bytes are the same."""
    upstream = client(server)
    fetched = upstream.project_page("MarkupSafe")
    assert fetched is not None
    assert fetched.page == parse_project_page(server.body(PAGE) or b"", project="markupsafe", base_url=server.url)
    assert upstream.project_page("markupsafe", validator=fetched.validator) is None
    server.set_page("markupsafe", {**captured_page("markupsafe"), "versions": ["2.0.1"]})
    changed = upstream.project_page("markupsafe", validator=fetched.validator)
    assert changed is not None
    assert changed.validator != fetched.validator
    assert changed.page == replace(fetched.page, versions=("2.0.1",))


def test_with_etags_an_unchanged_page_is_not_even_sent() -> None:
    """If-None-Match goes out with the ETag of before, and 304 is None."""
    with LoopbackUpstream({"wrapt": captured_page("wrapt")}, etags=True) as server:
        upstream = client(server)
        fetched = upstream.project_page("wrapt")
        assert fetched is not None
        assert upstream.project_page("wrapt", validator=fetched.validator) is None
        assert server.headers[1]["If-None-Match"] == fetched.validator.split(" ")[2]
        server.fault("wrapt", "same-etag-500")
        with pytest.raises(UpstreamError, match="answered 500"):
            upstream.project_page("wrapt", validator=fetched.validator)


def test_a_validator_of_another_endpoint_or_reading_counts_for_nothing(server: LoopbackUpstream) -> None:
    fetched = client(server).project_page("markupsafe")
    assert fetched is not None
    again = client(server).project_page("markupsafe", validator="0" + fetched.validator[1:])
    assert again == fetched


def test_an_unknown_project_is_not_found(server: LoopbackUpstream) -> None:
    with pytest.raises(ProjectNotFound, match=r"project no-such: .*404.*check the spelling"):
        client(server).project_page("no.such")


def test_a_name_that_is_none_is_never_asked_for(server: LoopbackUpstream) -> None:
    """A path cannot be smuggled in as a project name."""
    with pytest.raises(UpstreamError, match="no valid project name"):
        client(server).project_page("../files/x")
    assert server.requests == []


@pytest.mark.parametrize(
    ("fault", "reason", "retriable"),
    [
        (500, "answered 500", True),
        (429, "answered 429", True),
        (403, "answered 403.*user name and password", False),
        (418, "answered 418", False),
        (304, "answered 304", False),
        ("truncated", "broke off", True),
        ("truncated-chunks", "broke off", True),
        ("malformed", "no valid JSON", False),
        ("html", "HTML instead of JSON", False),
        ("slow", "did not answer within 0.3 s", True),
        ("huge", "more than 1,000,000 bytes", False),
        ("gzip-bomb", "more than 1,000,000 bytes", False),
        ("gzip-broken", "broke off or cannot be decoded", True),
        ("retry-after-nonsense", "answered 503", True),
        ("redirect-ftp", "redirected it to ftp: refused", False),
        ("redirect-loop", "redirected it more than 5 times", False),
    ],
)
def test_every_fault_is_an_upstream_error(server: LoopbackUpstream, fault: object, reason: str, retriable: bool) -> None:
    """Whatever upstream does, it is said in one sentence about the project, and whether trying again helps."""
    server.fault("markupsafe", fault, seconds=0.6)  # type: ignore[arg-type]
    with pytest.raises(UpstreamError, match=f"^project markupsafe: .*{reason}") as caught:
        client(server, timeout=0.3, max_body=1_000_000).project_page("markupsafe")
    assert (caught.value.retriable, type(caught.value).__mro__[1 if "broke" in reason else 0]) == (retriable, UpstreamError)


def test_a_dripping_answer_ends_at_the_deadline(server: LoopbackUpstream) -> None:
    """A byte now and then keeps no worker busy for ever, although no single wait is long."""
    server.fault("markupsafe", "drip", seconds=0.02)
    started = time.monotonic()
    with pytest.raises(UpstreamError, match=r"took more than 0\.2 s"):
        client(server, deadline=0.2).project_page("markupsafe")
    assert time.monotonic() - started < 2


def test_a_dead_host_is_an_upstream_error(server: LoopbackUpstream) -> None:
    with pytest.raises(UpstreamError, match=r"project markupsafe: 127.0.0.1 cannot be reached \(check the network\)"):
        SimpleApiUpstream("http://127.0.0.1:9/simple", retries=0).project_page("markupsafe")


@pytest.mark.parametrize("fault", [503, "truncated", "truncated-chunks"])
def test_a_passing_fault_is_tried_again(server: LoopbackUpstream, fault: object) -> None:
    server.fault("markupsafe", fault, times=2)  # type: ignore[arg-type]
    assert client(server, retries=2).project_page("markupsafe") is not None
    assert server.count("markupsafe") == 3


def test_retry_after_is_obeyed(server: LoopbackUpstream) -> None:
    server.fault("markupsafe", "retry-after", times=1, seconds=1)
    started = time.monotonic()
    assert client(server, retries=1).project_page("markupsafe") is not None
    assert time.monotonic() - started >= 1


def test_a_compressed_page_is_the_same_page(server: LoopbackUpstream) -> None:
    """The digest is of what was said, not of how it was sent."""
    plain = client(server).project_page("markupsafe")
    server.fault("markupsafe", "gzip")
    assert client(server).project_page("markupsafe") == plain


def test_a_redirect_on_the_same_scheme_is_followed(server: LoopbackUpstream) -> None:
    server.fault("markupsafe", "redirect")
    assert client(server).project_page("markupsafe") is not None
    assert server.count("markupsafe") == 2


def test_connections_are_kept_and_bounded(server: LoopbackUpstream) -> None:
    """Twenty requests of both kinds go over one connection."""
    server.etags = True
    upstream = client(server)
    fetched = upstream.project_page("markupsafe")
    assert fetched is not None
    for _ in range(10):
        assert upstream.project_page("markupsafe", validator=fetched.validator) is None
        assert upstream.project_page("markupsafe") == fetched
    assert server.connections == 1


def test_credentials_stay_on_the_endpoint(server: LoopbackUpstream, tmp_path: Path) -> None:
    """The endpoint's user reaches its own host only; the pages' URLs and the errors never show it."""
    with LoopbackUpstream({}, captured_sdists()) as elsewhere:
        session = requests.Session()
        session.headers["Authorization"] = "Bearer of-the-session"
        endpoint = server.url.replace("http://", "http://user:s%2Fcret@")
        upstream = SimpleApiUpstream(endpoint, session=session, retries=0)
        fetched = upstream.project_page("markupsafe")
        assert fetched is not None
        assert server.headers[0]["Authorization"] == "Basic dXNlcjpzL2NyZXQ="
        assert "cret" not in repr(fetched)
        upstream.download(sdist(elsewhere), tmp_path)
        assert "Authorization" not in elsewhere.headers[0]


def test_a_file_is_downloaded_under_its_own_name(server: LoopbackUpstream, tmp_path: Path) -> None:
    """The folder is made, the bytes are right, nothing else is left; a second time nothing is asked for."""
    folder = tmp_path / "new" / "folder"
    upstream = client(server)
    assert upstream.download(sdist(server), folder) == folder / SDIST
    assert (folder / SDIST).read_bytes() == server.files[SDIST]
    assert [path.name for path in folder.iterdir()] == [SDIST]
    upstream.download(sdist(server), folder)
    assert server.count(SDIST) == 1
    (folder / SDIST).write_bytes(b"x" * len(server.files[SDIST]))
    upstream.download(sdist(server), folder)
    assert (folder / SDIST).read_bytes() == server.files[SDIST]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong-bytes", "its sha256 is [0-9a-f]{64}: not the file that upstream states"),
        ("malformed", "it has 9,298 bytes instead of 18,596"),
        ("huge", "more than 18,596 bytes"),
        (404, "does not have it"),
        (500, "answered 500"),
        ("redirect-ftp", "refused"),
    ],
)
def test_a_wrong_file_never_gets_its_name(server: LoopbackUpstream, tmp_path: Path, fault: object, reason: str) -> None:
    server.fault(SDIST, fault)  # type: ignore[arg-type]
    with pytest.raises(UpstreamError, match=f"^file {SDIST}: .*{reason}"):
        client(server).download(sdist(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "filename", ["../x.tar.gz", "/etc/passwd", "", ".", "..", "a\\b.tar.gz", "a\0.whl", ".hidden", "x" * 256]
)
def test_a_filename_is_never_a_path(server: LoopbackUpstream, tmp_path: Path, filename: str) -> None:
    with pytest.raises(UpstreamError, match="its filename has"):
        client(server).download(replace(sdist(server), filename=filename), tmp_path / "folder")
    assert (list(tmp_path.iterdir()), server.requests) == ([], [])


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://files.example.org/x", "http://[", "http://127.0.0.1:99999/x", "nothing"]
)
def test_a_url_that_is_none_is_an_upstream_error(server: LoopbackUpstream, tmp_path: Path, url: str) -> None:
    with pytest.raises(UpstreamError, match="cannot be asked for"):
        client(server).download(replace(sdist(server), url=url), tmp_path)


def test_a_folder_that_cannot_be_written_is_a_store_error(server: LoopbackUpstream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"it cannot be written: .*free some space"):
        client(server).download(sdist(server), tmp_path / "file" / "folder")


def test_a_full_disk_is_a_store_error_and_leaves_nothing(
    server: LoopbackUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        client(server).download(sdist(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_core_metadata_is_fetched_beside_its_wheel_and_checked(server: LoopbackUpstream) -> None:
    """Where its page states a hash, other bytes are refused; without one they are taken; what is not there is an error."""
    metadata, name = b"Metadata-Version: 2.1\nRequires-Dist: foo==1\n", "foo-1-py3-none-any.whl.metadata"
    server.files[name] = metadata
    wheel = replace(sdist(server), url=f"{server.origin}/files/foo-1-py3-none-any.whl", kind=FileKind.WHEEL)
    upstream = client(server, retries=1)
    assert upstream.core_metadata(replace(wheel, core_metadata=hashlib.sha256(metadata).hexdigest())) == metadata
    assert upstream.core_metadata(replace(wheel, core_metadata="true")) == metadata
    with pytest.raises(UpstreamError, match="its sha256 is not 000"):
        upstream.core_metadata(replace(wheel, core_metadata="0" * 64))
    server.fault(name, "truncated", times=1)
    assert upstream.core_metadata(replace(wheel, core_metadata="true")) == metadata
    with pytest.raises(UpstreamError, match="404"):
        upstream.core_metadata(replace(wheel, url=f"{server.origin}/files/bar.whl", core_metadata="true"))
