"""Hostile pages: a corpus with its verdicts, and whatever hypothesis can think of. No crash, no row that upstream did not state.

The corpus is data/hostile: pages of a project foo, each with one good file, foo-9.tar.gz. verdicts.json says what comes of them.
"""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.distributions import FileKind, ProjectPage
from kiln_pipeline.core.simple_index.filenames import parse_filename
from kiln_pipeline.core.simple_index.parse import MAX_BODY, MAX_FILE_SIZE, parse_project_page
from kiln_pipeline.errors import UpstreamError
from kiln_pipeline_tests.loopback_upstream import captured_page

HOSTILE = Path(__file__).parent.parent / "data" / "hostile"
VERDICTS: dict[str, dict[str, Any]] = json.loads((HOSTILE / "verdicts.json").read_text())
BASE = "https://index.example.org/simple/markupsafe/"


def test_every_page_of_the_corpus_has_a_verdict() -> None:
    assert sorted(path.name for path in HOSTILE.iterdir() if path.name != "verdicts.json") == sorted(VERDICTS)


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_the_corpus(name: str) -> None:
    """A page is refused with its reason, or each of its files is taken over or left out with a reason."""
    verdict = VERDICTS[name]
    parsed = parse_or_refuse((HOSTILE / name).read_bytes(), "foo")
    if isinstance(parsed, UpstreamError):
        assert {"error": parsed.reason.partition(": ")[0]} == {"error": verdict["error"].partition(": ")[0]}
        return
    assert {"files": [file.filename for file in parsed.files], "skipped": [list(pair) for pair in parsed.skipped]} == verdict
    assert "foo-9.tar.gz" in verdict["files"], "one good file is on every page"
    check_sound(parsed)


def test_a_page_of_100_mb_is_not_even_decoded() -> None:
    with pytest.raises(UpstreamError, match="its page has 100,000,001 bytes, more than 100,000,000"):
        parse_project_page(b"{" * (MAX_BODY + 1), project="foo", base_url=BASE)


def parse_or_refuse(body: bytes, project: str = "markupsafe") -> ProjectPage | UpstreamError:
    """Return the page, or the one error that there may be."""
    try:
        return parse_project_page(body, project=project, base_url=f"https://index.example.org/simple/{project}/")
    except UpstreamError as error:
        return error


def check_sound(page: ProjectPage) -> None:
    """Assert what every row promises, whatever the page was; and that the tables can hold it and give it back."""
    for file in page.files:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+!~-]{0,254}", file.filename)
        assert (file.kind, file.version) == parse_filename(file.filename, page.project)
        assert file.version == str(Version(file.version))
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert type(file.size) is int
        assert 0 <= file.size <= MAX_FILE_SIZE
        assert re.match(r"https?://[^/@]+/", file.url)
        assert file.upload_time is None or file.upload_time.utcoffset() is not None
        assert re.fullmatch(r"|true|[0-9a-f]{64}", file.core_metadata)
    texts = [text for file in page.files for text in (file.filename, file.url, file.requires_python, file.yanked_reason)]
    for text in (*texts, page.status, page.status_reason, page.serial, *(part for pair in page.skipped for part in pair)):
        assert text.isprintable()
    assert len({file.filename for file in page.files}) == len(page.files)
    table = release_metadata.page_table(page)
    assert release_metadata.project_files(table, page.project) == page.files


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("filename", "url", "hashes", "size", "requires-python", "upload-time", "yanked", "core-metadata", "provenance")
REAL = captured_page("markupsafe")
TEXTS = st.text(max_size=30) | st.sampled_from([file["filename"] for file in REAL["files"]]).flatmap(
    lambda name: st.integers(0, len(name)).flatmap(
        lambda at: st.characters().map(lambda character: name[:at] + character + name[at:])
    )
)
HASHES = st.dictionaries(
    st.sampled_from(["sha256", "md5"]), st.text("0123456789abcdefABCDEFg\n", min_size=60, max_size=66) | JSON
)


@st.composite
def entries(draw: st.DrawFn) -> object:
    """A real file entry, some of whose keys have become something else, or are gone."""
    entry = dict(draw(st.sampled_from(REAL["files"])))
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=3)):
        entry[key] = draw(JSON | TEXTS | HASHES | st.integers(-2, 1 << 70))
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=1)):
        entry.pop(key, None)
    return draw(st.sampled_from([entry, entry, entry, entry, None, [entry], "entry", 7]))


def encoded(value: object) -> bytes:
    return json.dumps(value, allow_nan=True).encode()


@given(st.lists(entries(), max_size=6))
@settings(max_examples=80, deadline=None)
def test_every_file_is_taken_over_as_stated_or_left_out_with_a_reason(files: list[Any]) -> None:
    """Nothing is lost: rows and reasons are as many as entries. Nothing is invented: each row says what its entry says."""
    page = parse_or_refuse(encoded({**REAL, "versions": [], "files": files}))
    if isinstance(page, UpstreamError):
        assert re.search("NaN|Infinity", page.reason), page.reason
        return
    check_sound(page)
    assert len(page.files) + len(page.skipped) == len(files)
    stated = [entry for entry in files if isinstance(entry, dict)]
    for file in page.files:
        entry = next(entry for entry in stated if entry.get("filename") == file.filename and takes(entry))
        assert file.url == urljoin(BASE, entry["url"]).partition("#")[0]
        assert (file.sha256, file.size) == (entry["hashes"]["sha256"].lower(), entry["size"])
        assert file.yanked == bool(entry.get("yanked"))
        assert file.requires_python == (entry.get("requires-python") or "").strip()


def takes(entry: dict[str, Any]) -> bool:
    """Return whether an entry alone makes a row."""
    page = parse_project_page(encoded({**REAL, "versions": [], "files": [entry]}), project="markupsafe", base_url=BASE)
    return bool(page.files)


@given(st.binary(max_size=200) | JSON.map(encoded))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_a_page_or_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamError, match=r"^project markupsafe: "):
        parse_project_page(body, project="markupsafe", base_url=BASE)


@given(st.dictionaries(st.sampled_from(["meta", "name", "versions", "files", "project-status", "x"]), JSON))
@settings(max_examples=80, deadline=None)
def test_any_top_level_is_a_page_or_an_upstream_error(changes: dict[str, object]) -> None:
    small = {**REAL, "files": REAL["files"][:2]}
    page = parse_or_refuse(encoded({**small, **changes}))
    if isinstance(page, UpstreamError):
        assert page.hint
    else:
        check_sound(page)


NAMES = st.sampled_from(
    ["markupsafe", "MarkupSafe", "Markup.Safe", "markup_safe", "markup__safe", "_markupsafe", "markup-safe", ""]
)
VERSIONS = st.sampled_from(
    ["1.0", "01.0", "1.0rc1", "1.0.dev3", "1!2", "1.0+abi.1", "1.0_1", "1.0-1", "dev", "", "1.0.linux-x86_64"]
)
PARTS = st.lists(
    st.sampled_from(["py3", "cp311", "none", "any", "abi3", "", "3", "macosx_11_0_arm64", "a b"]), min_size=1, max_size=3
)
TAGS = st.lists(PARTS.map(".".join), min_size=2, max_size=4).map("-".join)
BUILDS = st.sampled_from(["", "-1", "-1a", "-a1", "-"])


@given(NAMES, VERSIONS, BUILDS, TAGS)
@settings(max_examples=200, deadline=None)
def test_wheels_are_taken_as_packaging_takes_them(name: str, version: str, build: str, tags: str) -> None:
    """Both take a filename for a wheel of the same version, or both do not; names with strange characters apart."""
    filename = f"{name}-{version}{build}-{tags}.whl"
    for project in ("markupsafe", "markup-safe"):
        try:
            theirs = parse_wheel_filename(filename)
            expected = str(theirs[1]) if theirs[0] == project and " " not in filename else None
        except InvalidWheelFilename:
            expected = None
        try:
            ours = parse_filename(filename, project)
        except ValueError:
            ours = None
        assert ours == (None if expected is None else (FileKind.WHEEL, expected)), project


@given(NAMES, VERSIONS, st.sampled_from([".tar.gz", ".zip"]))
@settings(max_examples=80, deadline=None)
def test_sdists_that_packaging_takes_are_taken(name: str, version: str, suffix: str) -> None:
    """What packaging reads as an sdist of the project has the same version here (old names that it misreads apart)."""
    filename = f"{name}-{version}{suffix}"
    try:
        project, theirs = parse_sdist_filename(filename)
    except InvalidSdistFilename:
        return
    if project in ("markupsafe", "markup-safe"):
        assert parse_filename(filename, project) == (FileKind.SDIST, str(theirs))
