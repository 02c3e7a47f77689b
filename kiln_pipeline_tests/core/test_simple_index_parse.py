"""Upstream's pages as types: the captured ones whole, and every way in which one file or the whole page can be wrong."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from packaging.utils import parse_wheel_filename

from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
from kiln_pipeline.core.simple_index.filenames import parse_filename
from kiln_pipeline.core.simple_index.parse import parse_project_page
from kiln_pipeline.errors import UpstreamError
from kiln_pipeline_tests.loopback_upstream import captured_page

BASE = "https://index.example.org/simple/foo/"
SHA = "0123456789abcdef" * 4


def entry(filename: str = "foo-1.0.tar.gz", **changes: Any) -> dict[str, Any]:
    """Return a good file entry with some keys changed; None as a value leaves the key null."""
    plain = {"filename": filename, "url": f"https://files.example.org/{filename}", "hashes": {"sha256": SHA}, "size": 7}
    return plain | {key.replace("_", "-"): value for key, value in changes.items()}


def page(*files: object, **changes: Any) -> ProjectPage:
    """Parse a page of foo with these file entries."""
    top = {"meta": {"api-version": "1.1"}, "name": "foo", "versions": ["1.0"], "files": list(files)}
    body = json.dumps(top | {key.replace("_", "-"): value for key, value in changes.items()}).encode()
    return parse_project_page(body, project="foo", base_url=BASE)


def only(**changes: Any) -> DistributionFile:
    """Parse a page of one file and return that file."""
    parsed = page(entry(**changes))
    assert parsed.skipped == ()
    return parsed.files[0]


@pytest.mark.parametrize(
    ("project", "kinds", "serial"),
    [
        ("pyyaml", {FileKind.SDIST: 11, FileKind.WHEEL: 277, FileKind.OTHER: 10}, "31526105"),
        ("markupsafe", {FileKind.SDIST: 7, FileKind.WHEEL: 388}, "41753165"),
        ("wrapt", {FileKind.SDIST: 6, FileKind.WHEEL: 328}, "42946059"),
    ],
)
def test_captured_pages_are_taken_over_whole(project: str, kinds: dict[FileKind, int], serial: str) -> None:
    """Every file of the real pages gets its row, in page order, with the version that upstream lists."""
    raw = captured_page(project)
    parsed = parse_project_page(json.dumps(raw).encode(), project=project, base_url=BASE)
    found = {kind: sum(file.kind is kind for file in parsed.files) for kind in kinds}
    assert (found, parsed.serial, parsed.skipped, parsed.status) == (kinds, serial, (), "active")
    assert [(file.filename, file.url, file.sha256, file.size) for file in parsed.files] == [
        (file["filename"], file["url"], file["hashes"]["sha256"], file["size"]) for file in raw["files"]
    ]
    assert {file.version for file in parsed.files} == set(parsed.versions) == set(raw["versions"])
    wheels = [file for file in parsed.files if file.kind is FileKind.WHEEL]
    assert [file.version for file in wheels] == [str(parse_wheel_filename(file.filename)[1]) for file in wheels]


def test_a_file_with_every_key() -> None:
    """All of PEP 691, 700, 714 and 740 lands in its field."""
    everything = only(
        filename="foo-1.0-py3-none-any.whl",
        url="../../files/foo-1.0-py3-none-any.whl#sha256=abc",
        requires_python=" >=3.8,<4 ",
        upload_time="2022-12-01T10:11:12.345678Z",
        yanked="broken\n on  Mondays",
        core_metadata={"sha256": SHA.upper()},
        dist_info_metadata=False,
        provenance="https://index.example.org/integrity/foo",
    )
    assert everything == DistributionFile(
        filename="foo-1.0-py3-none-any.whl",
        url="https://index.example.org/files/foo-1.0-py3-none-any.whl",
        kind=FileKind.WHEEL,
        version="1.0",
        sha256=SHA,
        size=7,
        requires_python=">=3.8,<4",
        upload_time=datetime(2022, 12, 1, 10, 11, 12, 345678, UTC),
        yanked=True,
        yanked_reason="broken on Mondays",
        core_metadata=SHA,
        provenance="https://index.example.org/integrity/foo",
    )


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"yanked": True}, "yanked", True),
        ({"yanked": ""}, "yanked", False),
        ({"yanked": None}, "yanked", False),
        ({"yanked": "\x1b[2J\ud800\u202e"}, "yanked_reason", "\ufffd[2J\ufffd\ufffd"),
        ({"core_metadata": True}, "core_metadata", "true"),
        ({"core_metadata": False}, "core_metadata", ""),
        ({"dist_info_metadata": {"md5": "0"}}, "core_metadata", "true"),
        ({"dist_info_metadata": {"sha256": SHA}}, "core_metadata", SHA),
        ({"upload_time": None}, "upload_time", None),
        ({"upload_time": "2022-12-01T10:11:12Z"}, "upload_time", datetime(2022, 12, 1, 10, 11, 12, tzinfo=UTC)),
        ({"requires_python": None}, "requires_python", ""),
        ({"requires_python": "nonsense"}, "requires_python", "nonsense"),
        ({"provenance": None}, "provenance", ""),
        ({"size": 0}, "size", 0),
        ({"url": "foo.whl"}, "url", BASE + "foo.whl"),
        ({"url": "/f/x?y=1"}, "url", "https://index.example.org/f/x?y=1"),
    ],
)
def test_optional_keys(changes: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(only(**changes), field) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"filename": None}, "its filename is missing"),
        ({"filename": 7}, "its filename is no text"),
        ({"url": None}, "its url is missing"),
        ({"url": "ftp://files.example.org/x"}, "its url is not one of http or https"),
        ({"url": "file:///etc/passwd"}, "its url is not one of http or https"),
        ({"url": "javascript:alert(1)"}, "its url is not one of http or https"),
        ({"url": "https:///x"}, "its url is not one of http or https"),
        ({"url": "https://u:p@files.example.org/x"}, "its url carries a user name"),
        ({"url": "https://files.example.org/a b"}, "its url has characters that no URL has, or too many"),
        ({"url": "https://files.example.org/\r\nHost: x"}, "its url has characters that no URL has, or too many"),
        ({"url": 'https://files.example.org/"onload='}, "its url has characters that no URL has, or too many"),
        ({"url": "https://files.example.org/" + "a" * 5000}, "its url has characters that no URL has, or too many"),
        ({"url": "https://[::1"}, "Invalid IPv6 URL"),
        ({"hashes": None}, "its hashes are no JSON object"),
        ({"hashes": {}}, "its hashes have no sha256 of 64 hexadecimal digits"),
        ({"hashes": {"sha256": SHA[:-1]}}, "its hashes have no sha256 of 64 hexadecimal digits"),
        ({"hashes": {"sha256": SHA + "\n"}}, "its hashes have no sha256 of 64 hexadecimal digits"),
        ({"hashes": {"sha256": 7}}, "its hashes have no sha256 of 64 hexadecimal digits"),
        ({"size": None}, "its size is missing or no whole number (PEP 700)"),
        ({"size": True}, "its size is missing or no whole number (PEP 700)"),
        ({"size": 1e3}, "its size is missing or no whole number (PEP 700)"),
        ({"size": "7"}, "its size is missing or no whole number (PEP 700)"),
        ({"size": -1}, "its size is not between 0 and 68,719,476,736 bytes"),
        ({"size": 10**30}, "its size is not between 0 and 68,719,476,736 bytes"),
        ({"requires_python": [">=3"]}, "its requires-python is no text"),
        ({"requires_python": ">=3\n"}, ""),
        ({"requires_python": ">=3\n<4"}, "its requires-python has characters that no specifier has, or too many"),
        ({"upload_time": "yesterday"}, "its upload-time is no UTC time of the form 2026-01-31T12:00:00Z (PEP 700)"),
        ({"upload_time": "2022-13-01T10:11:12Z"}, "its upload-time is no UTC time of the form 2026-01-31T12:00:00Z (PEP 700)"),
        (
            {"upload_time": "2022-12-01T10:11:12+02:00"},
            "its upload-time is no UTC time of the form 2026-01-31T12:00:00Z (PEP 700)",
        ),
        ({"upload_time": 1669889472}, "its upload-time is no text"),
        ({"yanked": 1}, "its yanked is no text"),
        ({"core_metadata": "yes"}, "its core-metadata hashes are no JSON object"),
        ({"core_metadata": {"sha256": "short"}}, "its core-metadata hashes have no sha256 of 64 hexadecimal digits"),
        ({"provenance": "javascript:alert(1)"}, "its provenance is not one of http or https"),
        ({"provenance": {}}, "its provenance is no text"),
    ],
)
def test_one_bad_file_is_left_out_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    """The other files of the page stay, and nothing is guessed."""
    good = entry("foo-2.0.tar.gz")
    parsed = page(entry(**changes), good)
    name = changes.get("filename", "foo-1.0.tar.gz")
    expected = ((name if isinstance(name, str) else "files[0]", reason),) if reason else ()
    assert parsed.skipped == expected
    assert [file.filename for file in parsed.files][-1:] == ["foo-2.0.tar.gz"]
    assert len(parsed.files) == (1 if reason else 2)


def test_a_filename_that_is_there_twice_counts_once() -> None:
    """The first one stays: a second one with another hash must not replace it."""
    parsed = page(entry(), entry(hashes={"sha256": "f" * 64}))
    assert (parsed.files, parsed.skipped) == (
        (only(),),
        (("foo-1.0.tar.gz", "its filename is there twice; the first one counts"),),
    )


@pytest.mark.parametrize(
    ("filename", "project", "kind", "version"),
    [
        ("foo-1.0.tar.gz", "foo", FileKind.SDIST, "1.0"),
        ("Foo_Bar-1.0.zip", "foo-bar", FileKind.SDIST, "1.0"),
        ("foo-bar-1.0-1.tgz", "foo-bar", FileKind.SDIST, "1.0.post1"),
        ("foo-bar-01.00RC1.tar.bz2", "foo-bar", FileKind.SDIST, "1.0rc1"),
        ("ruamel.yaml-0.17.21.tar.gz", "ruamel-yaml", FileKind.SDIST, "0.17.21"),
        ("foo-2-3.0.tar.xz", "foo-2", FileKind.SDIST, "3.0"),
        ("foo-1!2.0+cu118.tar.gz", "foo", FileKind.SDIST, "1!2.0+cu118"),
        ("foo-1.0.linux-x86_64.tar.gz", "foo", FileKind.OTHER, "1.0"),
        ("foo-1.0.macosx-10.9-x86_64.tar.gz", "foo", FileKind.OTHER, "1.0"),
        ("foo-1.0.win32.zip", "foo", FileKind.OTHER, "1.0"),
        ("foo-1.0.tar.Z", "foo", FileKind.OTHER, "1.0"),
        ("foo_bar-1.0-py2.7.egg", "foo-bar", FileKind.OTHER, "1.0"),
        ("foo-1.0-py2.7-linux-x86_64.egg", "foo", FileKind.OTHER, "1.0"),
        ("PyYAML-3.10.win32-py2.5.exe", "pyyaml", FileKind.OTHER, "3.10"),
        ("foo-1.0.win-amd64-py2.7.msi", "foo", FileKind.OTHER, "1.0"),
        ("foo-1.0.win32.exe", "foo", FileKind.OTHER, "1.0"),
        ("Twisted-10.1.0.winxp32-py2.5.msi", "twisted", FileKind.OTHER, "10.1.0"),
        ("foo-1.0-1.noarch.rpm", "foo", FileKind.OTHER, "1.0"),
        ("foo-1.0-1.src.rpm", "foo", FileKind.OTHER, "1.0"),
        ("foo-1.0.dmg", "foo", FileKind.OTHER, "1.0"),
        ("Foo.Bar-1.0-py3-none-any.whl", "foo-bar", FileKind.WHEEL, "1.0"),
        ("foo-1.0-1-cp311-cp311-macosx_11_0_arm64.whl", "foo", FileKind.WHEEL, "1.0"),
        ("foo-1.0+local.1-py2.py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl", "foo", FileKind.WHEEL, "1.0+local.1"),
    ],
)
def test_filenames_old_and_new(filename: str, project: str, kind: FileKind, version: str) -> None:
    assert parse_filename(filename, project) == (kind, version)


@pytest.mark.parametrize(
    ("filename", "reason"),
    [
        ("../foo-1.0.tar.gz", "its filename has characters that no distribution's name has"),
        ("foo-1.0/../../x.tar.gz", "its filename has characters that no distribution's name has"),
        ("foo-1.0\\x.tar.gz", "its filename has characters that no distribution's name has"),
        ("C:foo-1.0.tar.gz", "its filename has characters that no distribution's name has"),
        ("foo-1.0.tar.gz\n", "its filename has characters that no distribution's name has"),
        ("foo-1.0\x00.tar.gz", "its filename has characters that no distribution's name has"),
        ("foo-1.0\u202egz.tar.gz", "its filename has characters that no distribution's name has"),
        (".foo-1.0.tar.gz", "its filename has characters that no distribution's name has"),
        ("f\u043eo-1.0.tar.gz", "its filename has characters that no distribution's name has"),  # a Cyrillic o
        ("\ud800foo-1.0.tar.gz", "its filename has characters that no distribution's name has"),
        ("", "its filename has characters that no distribution's name has"),
        ("foo-1.0-" + "a" * 250 + ".whl", "its filename has 262 characters, more than 255"),
        ("bar-1.0.tar.gz", "its filename is not one of project foo"),
        ("foobar-1.0.tar.gz", "its filename is not one of project foo"),
        ("foo1.0.tar.gz", "its filename is not one of project foo"),
        ("bar-1.0-py3-none-any.whl", "its filename is not one of project foo"),
        ("foo__-1.0-py3-none-any.whl", "its filename is not one of project foo"),
        ("foo-dev.tar.gz", "'dev' is no version (PEP 440)"),
        ("foo-bar-1.0.tar.gz", "'bar-1.0' is no version (PEP 440)"),
        ("foo-dev-py3-none-any.whl", "'dev' is no version (PEP 440)"),
        ("foo-1.0-none-any.whl", "its filename has 4 parts, and a wheel's has 5 or 6 (PEP 427)"),
        ("foo-1.0-b1-py3-none-any.whl", "its build tag does not begin with a digit (PEP 427)"),
        ("foo-1.0-py3.-none-any.whl", "its tags are no tags (PEP 425)"),
        ("foo-1.0-3-none-any.whl", "its tags are no tags (PEP 425)"),
        ("foo-1.0-" + "-".join([".".join("abcdefghijk")] * 3) + ".whl", "its filename spells more than 1024 tags"),
        ("foo-1.0.tar.gz.asc", "its filename is of no known kind of distribution"),
        ("foo-1.0", "its filename is of no known kind of distribution"),
    ],
)
def test_filenames_that_are_left_out(filename: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"its |version") as caught:
        parse_filename(filename, "foo")
    assert str(caught.value) == reason


def test_the_kelvin_sign_is_no_k() -> None:
    """Unicode lower-casing makes it one, and a name regex with IGNORECASE takes it for one."""
    parsed = parse_project_page(
        json.dumps({"meta": {"api-version": "1.1"}, "name": "kiln", "files": [entry("\u212ailn-1.0.tar.gz")]}).encode(),
        project="kiln",
        base_url=BASE,
    )
    assert parsed.files == ()
    assert parsed.skipped == (("\\u212ailn-1.0.tar.gz", "its filename has characters that no distribution's name has"),)


def test_versions_are_normalised_sorted_and_unique() -> None:
    """A version without files is one too (PEP 700); what is none is counted."""
    parsed = page(versions=["10.0", "2.0", "v2.0.0rc1", "02.0", "dev", 3, "1" * 5000])
    assert parsed.versions == ("2.0.0rc1", "2.0", "10.0")
    assert [name for name, _ in parsed.skipped] == ["versions[4]", "versions[5]", "versions[6]"]
    assert page(entry("foo-3.tar.gz"), versions=["3"]).versions == ("3",)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, ("active", "")),
        ({}, ("active", "")),
        ({"status": "archived"}, ("archived", "")),
        ({"status": "quarantined", "reason": "mal\x00ware"}, ("quarantined", "mal\ufffdware")),
        ({"status": "deprecated", "reason": None}, ("deprecated", "")),
    ],
)
def test_project_status(status: object, expected: tuple[str, str]) -> None:
    parsed = page(project_status=status)
    assert (parsed.status, parsed.status_reason) == expected


@pytest.mark.parametrize(
    ("serial", "expected"), [("123", "123"), (123, "123"), (None, ""), (-1, ""), ("x", ""), (10**40, ""), ([1], ""), (True, "")]
)
def test_the_serial_is_a_number_or_nothing(serial: object, expected: str) -> None:
    assert page(meta={"api-version": "1.4", "_last-serial": serial}).serial == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"meta": None}, "its page has no 'meta' object"),
        ({"meta": {}}, "its page states no API version"),
        ({"meta": {"api-version": 1.1}}, "its page states no API version"),
        ({"meta": {"api-version": "1.1\n"}}, "its page states no API version"),
        ({"meta": {"api-version": "2.0"}}, "its page has API version 2.0, and kiln reads 1.x"),
        ({"meta": {"api-version": "1.0"}}, "its page has API version 1.0, which states no sizes"),
        ({"name": "bar"}, "its page is another project's: bar"),
        ({"name": "f\u043eo"}, "its page is another project's: f\\u043eo"),
        ({"name": 7}, "its page is another project's: it has no name"),
        ({"files": None}, "its page's 'files' is no list"),
        ({"files": {}}, "its page's 'files' is no list"),
        ({"versions": "1.0"}, "its page's 'versions' is no list"),
        ({"project_status": "archived"}, "its page's 'project-status' is not as PEP 792 says"),
        ({"project_status": {"status": "<b>"}}, "its page's 'project-status' is not as PEP 792 says"),
        ({"project_status": {"status": "active", "reason": 1}}, "its page's 'project-status' is not as PEP 792 says"),
    ],
)
def test_a_page_that_is_wrong_as_a_whole_is_an_error(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        page(entry(), **changes)
    assert (caught.value.subject, caught.value.reason, bool(caught.value.hint)) == ("project foo", reason, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\n <!doctype html><html>", "upstream answered with HTML instead of JSON"),
        (b"", "its page is no valid JSON"),
        (b"\xff\xfe{", "its page is no valid JSON"),
        (b"\xef\xbb\xbf{}", "its page is no valid JSON"),
        (b"[" * 100_000, "its page is no valid JSON"),
        (b'{"files": [{"size": ' + b"9" * 5000 + b"}]}", "its page is no valid JSON"),
        (b'{"size": NaN}', "its page is no valid JSON: NaN is no JSON"),
        (b"[]", "its page is no JSON object"),
        (b" " * 1001, "its page has 1,001 bytes, more than 1,000"),
    ],
    ids=range(9),
)
def test_a_body_that_is_no_page_is_an_error(body: bytes, reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_project_page(body, project="foo", base_url=BASE, max_body=1000 if b"  " in body else 1_000_000)
    assert caught.value.reason.startswith(reason)


def test_relative_urls_never_carry_the_endpoints_credentials() -> None:
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "foo", "files": [entry(url="../x")]}).encode()
    parsed = parse_project_page(body, project="foo", base_url="https://user:secret@index.example.org/simple/foo/")
    assert [file.url for file in parsed.files] == ["https://index.example.org/simple/x"]


def test_a_local_page_may_name_local_files() -> None:
    """Only a page that itself is a file may: a page from the network reads nothing here."""
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "foo", "files": [entry(url="foo.tar.gz")]}).encode()
    parsed = parse_project_page(body, project="foo", base_url="file:///srv/simple/foo/index.json")
    assert [file.url for file in parsed.files] == ["file:///srv/simple/foo/foo.tar.gz"]
