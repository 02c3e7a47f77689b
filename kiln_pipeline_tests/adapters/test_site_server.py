"""The development server, asked over real HTTP; pip and uv install from it."""

import hashlib
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pypi_simple
import pytest
from uv import find_uv_bin

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.site_server import SiteServer, negotiate
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.errors import StoreError
from kiln_pipeline.stages.publish import publish
from kiln_pipeline_tests.core.simple_index.pages import attempt, upstream_file
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, make_wheel

JSON = "application/vnd.pypi.simple.v1+json"
VERSIONED_HTML = "application/vnd.pypi.simple.v1+html"
PIP = f"{JSON}, {VERSIONED_HTML}; q=0.1, text/html; q=0.01"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/html", "text/html"),
        ("text/*", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("image/png", "text/html"),
        ("gibberish;;q=,,", "text/html"),
        (PIP, JSON),
        ("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01", JSON),
        (f"{JSON}, */*", JSON),
        (f"{JSON};q=0.5, */*", "text/html"),
        (f"{JSON};q=0, */*;q=0.1", "text/html"),
        (f"{JSON};q=0.2, text/html;q=0.3", "text/html"),
        (f"{JSON}; Q=0.3 , text/html ;q=0.2", JSON),
        (f"{JSON};q=nan-sense, text/html;q=0.1", "text/html"),
        (f"text/html, {JSON}", JSON),
        ("application/vnd.pypi.simple.latest+json", JSON),
        (JSON.upper(), JSON),
        (VERSIONED_HTML, VERSIONED_HTML),
        ("application/vnd.pypi.simple.latest+html", VERSIONED_HTML),
        ("application/*", JSON),
    ],
)
def test_the_accept_header_decides(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


SIGNER = MemorySigner("index.example.org")


class Steps:
    def step(self, text: str) -> None: ...


def publish_wheels(folder: Path, *wheels: tuple[str, bytes], state: MemoryStore | None = None) -> list[Attempt]:
    """Publish real wheels into `folder`, beside an upstream that has nothing but an sdist of foo."""
    site, attempts = DirectoryStore(folder), list[Attempt]()
    metadata = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"
    for index, (filename, data) in enumerate(wheels):
        site.put_if_absent(site_layout.wheel(filename), data)
        site.put_if_absent(site_layout.wheel_metadata(filename), metadata)
        site.put_if_absent(site_layout.wheel_provenance(filename), b"{}\n")
        hashes = {"wheel_sha256": hashlib.sha256(data).hexdigest(), "metadata_sha256": hashlib.sha256(metadata).hexdigest()}
        attempts.append(attempt(filename, **hashes, wheel_size=len(data), index=index))
    pages = {
        "foo": ProjectPage(project="foo", files=(upstream_file("foo-1.0.tar.gz"),), versions=("1.0",)),
        "foo-bar": ProjectPage(project="foo-bar", files=()),
    }
    publish(
        projects=list(pages),
        metadata=lambda _: replace_projects(empty(), pages),
        project_table=replace_states(empty_projects(), {name: ProjectState.of(page) for name, page in pages.items()}),
        attempts=attempts,
        superseded=(),
        site=site,
        state=state or MemoryStore(),
        signer=SIGNER,
        progress=Steps(),
    )
    return attempts


WHEEL = make_wheel("foo", "1.0", "py3-none-any", extension=None, build="1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    folder = tmp_path_factory.mktemp("site")
    publish_wheels(folder, WHEEL, make_wheel("foo", "0.9+local", "py3-none-any", extension=None, build="1"))
    DirectoryStore(folder).put("packages/index.html", b"<p>packages</p>")
    (folder / ".kiln-tmp-secret").write_text("secret")
    (folder / "simple" / ".hidden").write_text("secret")
    (folder.parent / "outside").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "outside")
    with SiteServer(folder) as running:
        yield running


def ask(server: SiteServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for exactly this path, as only a raw client does; header names come with underscores."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "accept", "content_type"),
    [
        ("/simple/", "*/*", "text/html; charset=utf-8"),
        ("/simple/", PIP, JSON),
        ("/simple/foo/", "*/*", "text/html; charset=utf-8"),
        ("/simple/foo/", PIP, JSON),
        ("/simple/foo/", VERSIONED_HTML, VERSIONED_HTML),
        ("/simple/foo/", "image/png", "text/html; charset=utf-8"),
    ],
)
def test_pages_are_negotiated(server: SiteServer, path: str, accept: str, content_type: str) -> None:
    status, headers, body = ask(server, path, Accept=accept)
    assert (status, headers["content-type"], headers["vary"]) == (200, content_type, "Accept")
    assert headers["cache-control"] == "public, max-age=60"
    assert body.startswith(b"{" if content_type == JSON else b"<!DOCTYPE html>")


def test_both_forms_can_be_asked_for_by_name(server: SiteServer) -> None:
    for name, kind in (("index.json", JSON), ("index.html", "text/html; charset=utf-8")):
        status, headers, _ = ask(server, f"/simple/foo/{name}")
        assert (status, headers["content-type"]) == (200, kind)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/simple", "/simple/"),
        ("/simple/foo", "/simple/foo/"),
        ("/simple/foo?a=b", "/simple/foo/?a=b"),
        ("/simple/Foo.Bar/", "/simple/foo-bar/"),
        ("/simple/foo__bar", "/simple/foo-bar/"),
        ("/simple/FOO/index.json", "/simple/foo/index.json"),
        ("/packages", "/packages/"),
    ],
)
def test_one_address_for_each_page(server: SiteServer, path: str, location: str) -> None:
    status, headers, _ = ask(server, path)
    assert (status, headers["location"]) == (301, location)


def test_an_unknown_project_is_404_with_a_hint(server: SiteServer) -> None:
    for path in ("/simple/unknown/", "/simple/unknown", "/simple/foo/nothing", "/simple/%00/", "/simple/f%C3%B6%C3%B6/"):
        assert ask(server, path, Accept=PIP)[0] == 404
    assert ask(server, "/simple/unknown/")[2] == b"Not found.\nOnly tracked projects are in this index.\n"


@pytest.mark.parametrize(
    "path",
    [
        "/.kiln-tmp-secret",
        "/simple/.hidden",
        "/../outside",
        "/simple/../../outside",
        "/%2e%2e/outside",
        "/simple/..%2f..%2foutside",
        "/..%5coutside",
        "//outside",
        "/link",
        "/wheels/",
        "/simple//foo/",
    ],
)
def test_nothing_but_the_site_is_served(server: SiteServer, path: str) -> None:
    status, _, body = ask(server, path)
    assert status == 404
    assert b"secret" not in body


def test_a_wheel_is_immutable_and_its_metadata_is_beside_it(server: SiteServer) -> None:
    status, headers, body = ask(server, f"/wheels/{WHEEL[0]}")
    assert (status, body) == (200, WHEEL[1])
    assert headers["content-type"] == "application/octet-stream"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert ask(server, f"/wheels/{WHEEL[0]}.metadata")[2].startswith(b"Metadata-Version: 2.1\n")
    assert ask(server, "/wheels/foo-0.9%2Blocal-1-py3-none-any.whl")[0] == 200


def test_head_has_the_headers_and_no_body(server: SiteServer) -> None:
    for path, size in ((f"/wheels/{WHEEL[0]}", len(WHEEL[1])), ("/simple/foo/", len(ask(server, "/simple/foo/")[2]))):
        status, headers, body = ask(server, path, "HEAD")
        assert (status, headers["content-length"], body) == (200, str(size), b"")


def test_what_is_known_is_not_sent_again(server: SiteServer) -> None:
    for path in (f"/wheels/{WHEEL[0]}", "/simple/foo/"):
        etag = ask(server, path)[1]["etag"]
        for known in (etag, f'"other", W/{etag}', "*"):
            status, headers, body = ask(server, path, If_None_Match=known)
            assert (status, headers["etag"], body) == (304, etag, b"")
        assert ask(server, path, If_None_Match='"other"')[0] == 200
    assert ask(server, "/simple/foo/", Accept=JSON)[1]["etag"] != ask(server, "/simple/foo/")[1]["etag"]


def test_a_range_of_a_wheel(server: SiteServer) -> None:
    """What pip's lazy wheels and resumed downloads ask for."""
    status, headers, body = ask(server, f"/wheels/{WHEEL[0]}", Range="bytes=-10")
    size = len(WHEEL[1])
    assert (status, headers["content-range"], body) == (206, f"bytes {size - 10}-{size - 1}/{size}", WHEEL[1][-10:])
    assert ask(server, f"/wheels/{WHEEL[0]}", Range=f"bytes={size}-")[0] == 416


def test_writing_is_refused(server: SiteServer) -> None:
    for method in ("PUT", "POST", "DELETE"):
        assert ask(server, "/simple/foo/", method)[0] == 405


def test_the_root_greets_with_the_line_to_type_until_there_is_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    with SiteServer(folder) as empty_server:
        assert b"<b>" not in ask(empty_server, "/", Host="<b>.example.org")[2]
        assert ask(empty_server, "/simple/")[0] == 404
        status, headers, body = ask(empty_server, "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f"pip install --index-url {empty_server.url}simple/ PROJECT".encode() in body
        DirectoryStore(folder).put("index.html", b"own")
        assert ask(empty_server, "/")[2] == b"own"


class BrokenStore(MemoryStore):
    def get(self, key: str) -> bytes:
        raise StoreError(key=key, reason="the service answered 500")


def test_a_site_in_a_bucket_is_read_through(server: SiteServer, tmp_path: Path) -> None:
    """The same status, headers and bytes as from a folder, wheels' ETags apart."""
    publish_wheels(tmp_path, WHEEL)
    folder, store = DirectoryStore(tmp_path), MemoryStore()
    store.put_many([(key, folder.get(key)) for key in folder.keys()])
    with SiteServer(tmp_path) as one, SiteServer(store) as other:
        for path in (
            "/simple/",
            "/simple/foo/",
            "/simple/foo",
            "/simple/Foo/",
            "/simple/none/",
            "/",
            "/nothing/",
            f"/wheels/{WHEEL[0]}",
        ):
            for accept in (PIP, "text/html"):
                ours, theirs = (ask(each, path, Accept=accept) for each in (one, other))
                for name in ("date", "etag", "last-modified", "accept-ranges"):
                    ours[1].pop(name, None), theirs[1].pop(name, None)
                assert ours[:2] == theirs[:2]
                assert ours[2].replace(one.url.encode(), b"") == theirs[2].replace(other.url.encode(), b"")
        etag = ask(other, "/simple/foo/")[1]["etag"]
        assert ask(other, "/simple/foo/", If_None_Match=etag)[0] == 304
    with SiteServer(BrokenStore()) as broken:
        assert ask(broken, "/simple/foo/")[0] == 502


def test_a_port_that_is_taken_is_told(server: SiteServer) -> None:
    port = urlsplit(server.url).port
    with pytest.raises(StoreError) as caught, SiteServer(Path(), port=port or 0):
        pytest.fail("two servers on one port")
    assert str(caught.value) == f"127.0.0.1:{port}: cannot listen there: Address already in use (choose another port)"


def test_pypi_simple_reads_the_same_files_in_both_forms(server: SiteServer) -> None:
    pages = []
    for accept in (pypi_simple.ACCEPT_JSON_ONLY, pypi_simple.ACCEPT_HTML_ONLY):
        with pypi_simple.PyPISimple(f"{server.url}simple/", accept=accept) as client:
            assert client.get_index_page().projects == ["foo", "foo-bar"]
            page = client.get_project_page("foo")
            pages.append([(p.filename, p.url, p.digests, p.requires_python, p.has_metadata or False) for p in page.packages])
            metadata = client.get_package_metadata(page.packages[0])
            assert metadata.startswith("Metadata-Version: 2.1\n")
    assert pages[0] == pages[1]
    assert [filename for filename, *_ in pages[0]] == [WHEEL[0], "foo-0.9+local-1-py3-none-any.whl", "foo-1.0.tar.gz"]


def clean_environment(tmp_path: Path) -> dict[str, str]:
    """An environment without anybody's package index settings."""
    names = ("PATH", "LANG", "LC_ALL", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
    }


def test_pip_installs_our_wheel(server: SiteServer, tmp_path: Path) -> None:
    """Ours, not upstream's sdist of the same version (whose address does not exist); pip checks sha256 and core metadata."""
    target = tmp_path / "target"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-cache-dir",
        "--target",
        target,
        "--index-url",
        f"{server.url}simple/",
    ]
    done = subprocess.run(
        [*command, "Foo==1.0"],
        env=clean_environment(tmp_path),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (target / "foo" / "__init__.py").is_file()
    assert (target / "foo-1.0.dist-info" / "WHEEL").read_text().splitlines()[-1] == "Build: 1"


def test_pip_refuses_a_wheel_with_other_bytes(tmp_path: Path) -> None:
    publish_wheels(tmp_path / "site", WHEEL)
    (tmp_path / "site" / "wheels" / WHEEL[0]).write_bytes(WHEEL[1] + b"x")
    with SiteServer(tmp_path / "site") as altered:
        command = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "-d", tmp_path, "foo"]
        done = subprocess.run(
            [*command, "--index-url", f"{altered.url}simple/"],
            env=clean_environment(tmp_path),
            text=True,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


@pytest.mark.slow
def test_uv_installs_our_wheel(server: SiteServer, tmp_path: Path) -> None:
    """With an exclude-newer after our build, which needs our upload time."""
    target = tmp_path / "target"
    command = [
        find_uv_bin(),
        "pip",
        "install",
        "--no-cache",
        "--target",
        target,
        "--index-url",
        f"{server.url}simple/",
        "foo==1.0",
    ]
    done = subprocess.run(
        [*command, "--exclude-newer", "2026-11-02", "--python", sys.executable],
        env=clean_environment(tmp_path),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (target / "foo-1.0.dist-info" / "WHEEL").read_text().splitlines()[-1] == "Build: 1"
