"""One contract for all that serves a site to installers, each run for real: `kiln serve`, nginx, a Worker (see `edges`)."""

import http.client
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.core.site_layout import headers
from kiln_pipeline.stages.dated_views import take_view
from kiln_pipeline_tests.adapters.test_site_server import JSON, PIP, SIGNER, VERSIONED_HTML, WHEEL, Steps, publish_wheels
from kiln_pipeline_tests.edges import EDGES, run_edge
from kiln_pipeline_tests.fakes import MemoryStore, make_wheel
from kiln_pipeline_tests.s3_server import S3Server

pytestmark = pytest.mark.slow

LOCAL = make_wheel("foo", "0.9+local", "py3-none-any", extension=None, build="1")
EPOCH = make_wheel("foo", "1!2.0", "py3-none-any", extension=None, build="1")
DAY = date(2026, 11, 22)
HTML = "text/html; charset=utf-8"
ABSENT = b"Not found.\nOnly tracked projects are in this index.\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges") / "site"
    store, state = DirectoryStore(folder), MemoryStore()
    publish_wheels(folder, LOCAL, state=state)
    take_view(DAY, today=DAY, site=store, state=state, signer=SIGNER, progress=Steps())
    (folder.parent / "before").mkdir()
    for name in ("index.html", "index.json"):
        (folder.parent / "before" / name).write_bytes(store.get(f"simple/foo/{name}"))
    publish_wheels(folder, WHEEL, LOCAL, EPOCH, state=state)
    others = ("audit/checkpoint", "audit/log.vkey", "audit/tile/0/000", "audit/tile/0/001.p/3", "audit/entries/ab.json")
    for key in (*others, "audit/logs/ab.log.gz", "packages/foo/index.html", "PACKAGES.md", "index.html"):
        store.put(key, key.encode())
    (folder.parent / "outside").write_text("secret")
    return folder


@pytest.fixture(scope="module", params=EDGES)
def edge(
    request: pytest.FixtureRequest, site: Path, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a running edge."""
    with run_edge(request.param, site, s3_server, tmp_path_factory.mktemp("edge") / "edge") as url:
        yield url


Answer = tuple[int, dict[str, str], bytes]


def ask(edge: str, path: str, method: str = "GET", **more: str) -> Answer:
    """Ask for exactly this path, as only a raw client does; header names come with underscores."""
    connection = http.client.HTTPConnection(urlsplit(edge).netloc, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in more.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# what they send, as captured from each
INSTALLERS = {
    "pip 26": (PIP, JSON),
    "pip 22.2": ("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.01", JSON),
    "pip 18 to 22.1": ("text/html", HTML),
    "uv": (f"{JSON}, {VERSIONED_HTML};q=0.2, text/html;q=0.01", JSON),
    "Poetry": (f"{JSON}, */*", JSON),
    "PDM": (f"{JSON}, {VERSIONED_HTML};q=0.2, text/html;q=0.1, */*;q=0.01", JSON),
    "easy_install": ("*/*", HTML),
    "a browser": ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
    "nothing": ("", HTML),
    "latest": ("application/vnd.pypi.simple.latest+json", JSON),
    "shouting": (JSON.upper(), JSON),
}


@pytest.mark.parametrize("path", ["/simple/", "/simple/foo/"])
@pytest.mark.parametrize("client", INSTALLERS)
def test_every_installer_gets_the_form_that_it_prefers(edge: str, site: Path, path: str, client: str) -> None:
    accept, kind = INSTALLERS[client]
    status, found, body = ask(edge, path, Accept=accept)
    kept = {name: found.get(name) for name in ("content-type", "vary", "cache-control")}
    assert (status, kept) == (200, {"content-type": kind, "vary": "Accept", "cache-control": "public, max-age=60"})
    assert body == (site / path[1:] / ("index.json" if kind == JSON else "index.html")).read_bytes()


@pytest.mark.parametrize(
    ("accept", "acceptable"),
    [
        (f"{JSON};q=0, text/html", {HTML}),
        (f"{JSON}; q=0.0, */*;q=0.1", {HTML}),
        (f"{JSON};q=0.5, text/html;q=0.4", {JSON}),
        # nginx cannot compare qualities: it gives the one that was named, which is acceptable too
        (f"{JSON};q=0.2, text/html;q=0.3", {HTML, JSON}),
        (f"{JSON};q=0.5, */*", {HTML, JSON}),
        (VERSIONED_HTML, {VERSIONED_HTML, HTML}),
        ("image/png", {HTML}),
        ("gibberish;;q=,,", {HTML}),
    ],
)
def test_qualities_are_heeded(edge: str, accept: str, acceptable: set[str]) -> None:
    status, found, _ = ask(edge, "/simple/foo/", Accept=accept)
    assert (status, found["vary"]) == (200, "Accept")
    assert found["content-type"] in acceptable


def test_every_object_has_the_headers_of_the_layout(edge: str, site: Path) -> None:
    store = DirectoryStore(site)
    for key in store.keys():
        status, found, body = ask(edge, "/" + key.replace("+", "%2B").replace("!", "%21"))
        assert (status, body) == (200, store.get(key)), key
        assert {"Content-Type": found["content-type"], "Cache-Control": found["cache-control"]} == headers(key), key
        assert "vary" not in found


def test_pages_of_folders(edge: str) -> None:
    for path, body in (("/", b"index.html"), ("/packages/foo/", b"packages/foo/index.html")):
        status, found, answer = ask(edge, path)
        assert (status, found["content-type"], answer) == (200, HTML, body)


@pytest.mark.parametrize(
    ("path", "location"), [("/simple", "/simple/"), ("/simple/foo", "/simple/foo/"), ("/packages/foo", "/packages/foo/")]
)
def test_one_address_for_each_page(edge: str, path: str, location: str) -> None:
    status, found, _ = ask(edge, path)
    assert (status, urlsplit(found["location"]).path) == (301, location)


def test_another_spelling_is_led_to_the_normal_one_or_not_found(edge: str) -> None:
    """Never another page, and never one page at two addresses. nginx does not normalise, and installers do."""
    status, found, _ = ask(edge, "/simple/Foo_Bar/")
    assert (status, found.get("location")) in ((301, "/simple/foo-bar/"), (404, None))


ABSENCES = ["/simple/none/", "/simple/none/index.json", "/nothing", "/nothing/", "/wheels/none-1-py3-none-any.whl"]
HOSTILE = [
    *("/wheels/", "/audit/", "/audit/tile/", "/packages/"),  # folders without a page are not listed
    *("/.kiln-tmp-secret", "/simple/.hidden", "/simple//foo/", "//outside"),
    *("/../outside", "/simple/../../outside", "/%2e%2e/outside", "/simple/..%2f..%2foutside", "/..%5coutside"),
    *("/simple/%00/", "/simple/f%C3%B6%C3%B6/", "/simple/%ff/", "/simple/foo%3Facl", "/%"),
]


@pytest.mark.parametrize("path", ABSENCES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_there_is_404_and_never_403(edge: str, path: str, method: str) -> None:
    """uv stops at 403; and a bucket says 403 to a stranger who asks for what it does not have."""
    status, found, body = ask(edge, path, method, Accept=PIP)
    assert (status, "cache-control" in found) == (404, False)
    if method == "GET" and path.startswith("/simple/"):
        assert body == ABSENT


@pytest.mark.parametrize("path", HOSTILE)
def test_nothing_but_the_site_is_served(edge: str, path: str) -> None:
    """A client library would tidy these paths up; a server may call some of them bad requests."""
    status, _, body = ask(edge, path)
    # nginx takes two slashes for one, and leads to the folder before it looks whether there is one
    assert status in (301, 400, 404) or (status == 200 and "//" in path)
    assert b"secret" not in body
    assert b"<Contents>" not in body


def test_a_head_has_the_headers_and_no_body(edge: str, site: Path) -> None:
    for path, size in ((f"/wheels/{WHEEL[0]}", len(WHEEL[1])), ("/simple/foo/", (site / "simple/foo/index.json").stat().st_size)):
        get, head = (ask(edge, path, method, Accept=JSON) for method in ("GET", "HEAD"))
        assert (head[0], int(head[1]["content-length"]), head[2]) == (200, size, b"")
        assert {name: get[1][name] for name in ("content-type", "etag")} == {
            name: head[1][name] for name in ("content-type", "etag")
        }


def test_what_is_known_is_not_sent_again(edge: str) -> None:
    for path in (f"/wheels/{WHEEL[0]}", "/simple/foo/", "/simple/"):
        etag = ask(edge, path)[1]["etag"]
        status, found, body = ask(edge, path, If_None_Match=etag)
        assert (status, body, found.get("vary")) == (304, b"", None if "wheels" in path else "Accept")
        assert ask(edge, path, If_None_Match='"other"')[0] == 200
    assert ask(edge, "/simple/foo/", Accept=JSON)[1]["etag"] != ask(edge, "/simple/foo/")[1]["etag"]


def test_a_range_of_a_wheel(edge: str) -> None:
    """What pip's lazy wheels and resumed downloads ask for."""
    path, size = f"/wheels/{WHEEL[0]}", len(WHEEL[1])
    for asked, start in (("bytes=10-19", 10), ("bytes=-10", size - 10)):
        status, found, body = ask(edge, path, Range=asked)
        assert (status, found["content-range"], body) == (206, f"bytes {start}-{start + 9}/{size}", WHEEL[1][start : start + 10])
    assert ask(edge, path, Range=f"bytes={size}-")[0] == 416


def test_writing_is_refused(edge: str) -> None:
    for method in ("PUT", "POST", "DELETE"):
        assert ask(edge, "/simple/foo/", method)[0] == 405


def test_a_plus_comes_in_either_spelling_or_is_not_found(edge: str) -> None:
    assert ask(edge, f"/wheels/{LOCAL[0].replace('+', '%2B')}")[2] == LOCAL[1]
    assert ask(edge, f"/wheels/{LOCAL[0]}")[2] in (LOCAL[1], ABSENT)


def test_a_query_changes_nothing(edge: str) -> None:
    assert ask(edge, "/simple/foo/?acl", Accept=JSON)[2] == ask(edge, "/simple/foo/", Accept=JSON)[2]
    assert ask(edge, f"/wheels/{WHEEL[0]}?a=b")[2] == WHEEL[1]


@pytest.mark.parametrize("client", INSTALLERS)
def test_a_dated_view_is_the_index_as_it_was(edge: str, site: Path, client: str) -> None:
    accept, kind = INSTALLERS[client]
    status, found, body = ask(edge, f"/simple@{DAY}/foo/", Accept=accept)
    assert (status, found["content-type"], found["vary"]) == (200, kind, "Accept")
    assert found["cache-control"] == "public, max-age=31536000, immutable"
    assert body == (site.parent / "before" / ("index.json" if kind == JSON else "index.html")).read_bytes()
    assert WHEEL[0].encode() not in body


def test_a_dated_view_answers_like_the_live_index(edge: str) -> None:
    view = f"/simple@{DAY}"
    assert ask(edge, f"{view}/", Accept=JSON)[2] == ask(edge, "/simple/", Accept=JSON)[2]
    etag = ask(edge, f"{view}/foo/", Accept=JSON)[1]["etag"]
    status, found, body = ask(edge, f"{view}/foo/", Accept=JSON, If_None_Match=etag)
    assert (status, found["vary"], body) == (304, "Accept", b"")
    assert ask(edge, f"{view}/foo/", "HEAD", Accept=JSON)[0] == 200
    status, found, _ = ask(edge, f"{view}/foo")
    assert (status, urlsplit(found["location"]).path) == (301, f"{view}/foo/")
    assert ask(edge, f"{view.replace('@', '%40')}/foo/", Accept=JSON)[0] in (200, 301)
    for path in (
        f"{view}/none/",
        "/simple@2026-11-21/foo/",
        "/simple@2026-11-21/",
        "/simple@2026-13-99/foo/",
        "/simple@today/foo/",
    ):
        assert ask(edge, path, Accept=PIP)[0] == 404, path
