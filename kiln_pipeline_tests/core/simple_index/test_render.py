"""Pages as bytes: exactly these, and read back right by pip's own parser and by pypi-simple."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pypi_simple
from hypothesis import given
from hypothesis import strategies as st
from pip._internal.index.collector import IndexContent, parse_links
from pypi_simple.html import RepositoryPage

from kiln_pipeline.core.simple_index import render
from kiln_pipeline.core.simple_index.model import IndexFile, IndexPage

OURS = IndexFile(
    filename="foo-1.0+x-1-cp311-cp311-linux_x86_64.whl",
    url="../../wheels/foo-1.0%2Bx-1-cp311-cp311-linux_x86_64.whl",
    sha256="b" * 64,
    size=2000,
    requires_python=">=3.7, <4",
    upload_time=datetime(2026, 11, 1, 11, 5, tzinfo=timezone(timedelta(hours=1))),
    core_metadata="c" * 64,
    attestation="../../wheels/foo-1.0%2Bx-1-cp311-cp311-linux_x86_64.whl.provenance.json",
)
THEIRS = IndexFile(
    filename="foo-1.0.tar.gz",
    url="https://files.example.org/a/foo-1.0.tar.gz?x=1&y=2",
    sha256="a" * 64,
    size=1000,
    upload_time=datetime(2022, 12, 1, 12, 0, 0, 120, tzinfo=UTC),
    yanked=True,
    yanked_reason="broken: \"<b>\" & 'c'\nsee 1.1",
    core_metadata="true",
    provenance="https://files.example.org/provenance",
)
OLD = IndexFile(filename="foo-0.9.zip", url="https://files.example.org/foo-0.9.zip", sha256="", size=10, yanked=True)
PAGE = IndexPage(project="foo", files=(OURS, THEIRS, OLD), versions=("0.9", "1.0"), status="archived", status_reason="use <bar>")
BASE = "https://index.example.org/simple/foo/"


def test_the_json_form_has_exactly_these_bytes() -> None:
    assert render.project_json(PAGE).decode() == (
        '{"meta":{"api-version":"1.4"},"name":"foo","project-status":{"status":"archived","reason":"use <bar>"},'
        '"versions":["0.9","1.0"],"files":['
        '{"filename":"foo-1.0+x-1-cp311-cp311-linux_x86_64.whl","url":"../../wheels/foo-1.0%2Bx-1-cp311-cp311-linux_x86_64.whl",'
        f'"hashes":{{"sha256":"{"b" * 64}"}},"size":2000,"requires-python":">=3.7, <4","core-metadata":{{"sha256":"{"c" * 64}"}},'
        '"upload-time":"2026-11-01T10:05:00Z",'
        '"_attestation":"../../wheels/foo-1.0%2Bx-1-cp311-cp311-linux_x86_64.whl.provenance.json"},'
        '{"filename":"foo-1.0.tar.gz","url":"https://files.example.org/a/foo-1.0.tar.gz?x=1&y=2",'
        f'"hashes":{{"sha256":"{"a" * 64}"}},"size":1000,"core-metadata":true,"upload-time":"2022-12-01T12:00:00.000120Z",'
        '"yanked":"broken: \\"<b>\\" & \'c\'\\nsee 1.1","provenance":"https://files.example.org/provenance"},'
        '{"filename":"foo-0.9.zip","url":"https://files.example.org/foo-0.9.zip","hashes":{},"size":10,"yanked":true}]}\n'
    )


def test_the_html_form_has_exactly_these_bytes() -> None:
    assert render.project_html(PAGE).decode() == (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="pypi:repository-version" content="1.4">\n'
        '<meta name="pypi:project-status" content="archived">\n'
        '<meta name="pypi:project-status-reason" content="use &lt;bar&gt;">\n'
        "<title>Links for foo</title>\n</head>\n<body>\n<h1>Links for foo</h1>\n"
        f'<a href="../../wheels/foo-1.0%2Bx-1-cp311-cp311-linux_x86_64.whl#sha256={"b" * 64}" '
        f'data-requires-python="&gt;=3.7, &lt;4" data-core-metadata="sha256={"c" * 64}" '
        f'data-dist-info-metadata="sha256={"c" * 64}" data-size="2000" data-upload-time="2026-11-01T10:05:00Z">'
        "foo-1.0+x-1-cp311-cp311-linux_x86_64.whl</a><br>\n"
        f'<a href="https://files.example.org/a/foo-1.0.tar.gz?x=1&amp;y=2#sha256={"a" * 64}" '
        'data-core-metadata="true" data-dist-info-metadata="true" '
        'data-yanked="broken: &quot;&lt;b&gt;&quot; &amp; &#x27;c&#x27;\nsee 1.1" '
        'data-provenance="https://files.example.org/provenance" data-size="1000" '
        'data-upload-time="2022-12-01T12:00:00.000120Z">foo-1.0.tar.gz</a><br>\n'
        '<a href="https://files.example.org/foo-0.9.zip" data-yanked="" data-size="10">foo-0.9.zip</a><br>\n'
        "</body>\n</html>\n"
    )


def test_an_active_project_says_nothing_of_its_status_in_json() -> None:
    page = IndexPage(project="foo", files=(), versions=())
    assert json.loads(render.project_json(page)) == {"meta": {"api-version": "1.4"}, "name": "foo", "versions": [], "files": []}


def test_the_root_index_is_sorted() -> None:
    assert render.root_json(["b", "a"]) == b'{"meta":{"api-version":"1.4"},"projects":[{"name":"a"},{"name":"b"}]}\n'
    links = [link.text for link in RepositoryPage.from_html(render.root_html(["b", "a"]), base_url=BASE).links]
    assert links == ["a", "b"]
    assert b'<a href="a/">a</a><br>\n<a href="b/">b</a><br>' in render.root_html(["b", "a"])


def _pip(content: bytes, content_type: str) -> list[tuple[object, ...]]:
    page = IndexContent(content, content_type, "utf-8", BASE, cache_link_parsing=False)
    return [
        (
            (link.filename, link.url_without_fragment, link.as_hashes()._allowed),
            (link.requires_python, link.yanked_reason, link.metadata_file_data.hashes if link.metadata_file_data else "none"),
        )
        for link in parse_links(page)
    ]


def test_pip_reads_the_same_from_both_forms() -> None:
    json_links = _pip(render.project_json(PAGE), "application/vnd.pypi.simple.v1+json")
    assert json_links == _pip(render.project_html(PAGE), "text/html")
    wheel = "foo-1.0+x-1-cp311-cp311-linux_x86_64.whl"
    url = "https://index.example.org/wheels/foo-1.0%2Bx-1-cp311-cp311-linux_x86_64.whl"
    archive = "https://files.example.org/a/foo-1.0.tar.gz?x=1&y=2"
    assert json_links == [
        ((wheel, url, {"sha256": ["b" * 64]}), (">=3.7, <4", None, {"sha256": "c" * 64})),
        (("foo-1.0.tar.gz", archive, {"sha256": ["a" * 64]}), (None, THEIRS.yanked_reason, None)),
        (("foo-0.9.zip", "https://files.example.org/foo-0.9.zip", {}), (None, "", "none")),
    ]


def _digests(file: IndexFile) -> dict[str, str]:
    return {"sha256": file.sha256} if file.sha256 else {}


def test_pypi_simple_reads_the_same_from_both_forms() -> None:
    from_json = pypi_simple.ProjectPage.from_json_data(json.loads(render.project_json(PAGE)), BASE)
    from_html = pypi_simple.ProjectPage.from_html("foo", render.project_html(PAGE), BASE)
    for page in (from_json, from_html):
        assert (page.project, page.repository_version, page.status, page.status_reason) == (
            "foo",
            "1.4",
            pypi_simple.ProjectStatus.ARCHIVED,
            "use <bar>",
        )
        assert [
            (p.filename, p.url, p.digests, p.requires_python, p.is_yanked, p.yanked_reason or "", p.has_metadata or False)
            for p in page.packages
        ] == [
            (f.filename, url, _digests(f), f.requires_python or None, f.yanked, f.yanked_reason, bool(f.core_metadata))
            for f, url in zip(PAGE.files, [BASE.replace("simple/foo/", OURS.url[6:]), THEIRS.url, OLD.url], strict=True)
        ]
    assert from_json.versions == ["0.9", "1.0"]
    assert [(p.size, p.upload_time) for p in from_json.packages] == [(f.size, f.upload_time) for f in PAGE.files]


HOSTILE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)


@given(reason=HOSTILE, python=HOSTILE, status=HOSTILE)
def test_hostile_text_comes_back_as_it_went_in(reason: str, python: str, status: str) -> None:
    """Whatever the text, the page has one link, and its attributes hold the text: nothing ends an attribute or adds a tag."""
    file = IndexFile(
        filename="x.zip", url="https://h/x.zip", sha256="", size=1, requires_python=python, yanked=True, yanked_reason=reason
    )
    page = IndexPage(project="foo", files=(file,), versions=(), status=status, status_reason=reason)
    parsed = RepositoryPage.from_html(render.project_html(page).decode())
    assert [(link.text, link.attrs["data-yanked"], link.attrs["data-requires-python"]) for link in parsed.links] == [
        ("x.zip", reason, python)
    ]
    assert parsed.pypi_meta["project-status"] == [status]
    data = json.loads(render.project_json(page))
    assert (data["files"][0]["yanked"], data["files"][0]["requires-python"]) == (reason, python)


def test_text_that_has_no_encoding_does_not_stop_the_page() -> None:
    file = IndexFile(filename="x.zip", url="https://h/x.zip", sha256="", size=1, yanked=True, yanked_reason="a\ud800\0b")
    page = IndexPage(project="foo", files=(file,), versions=())
    assert 'data-yanked="a?\ufffdb"'.encode() in render.project_html(page)
    assert json.loads(render.project_json(page))["files"][0]["yanked"] == "a\ud800\0b"


def test_rendering_twice_gives_the_same_bytes_and_the_fingerprint_is_stable() -> None:
    assert render.project_json(PAGE) == render.project_json(PAGE)
    assert render.fingerprint() == render.fingerprint()
    assert len(render.fingerprint()) == 64
