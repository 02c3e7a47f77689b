"""The overlay: ours first, all of upstream's, withdrawn when upstream withdraws, refused when in doubt."""

from datetime import UTC, datetime

import pytest

from kiln_pipeline.core.attempts import Outcome
from kiln_pipeline.core.simple_index.model import IndexFile, IndexPage, overlay
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.core.simple_index.pages import SDIST, attempt, upstream_file

WHEEL = "foo-1.0-1-cp311-cp311-manylinux_2_17_x86_64.whl"


def test_our_wheel_comes_first_and_every_upstream_file_follows_in_its_own_order() -> None:
    upstream = [
        upstream_file("foo-2.0.tar.gz", url="https://files.example.org/foo-2.0.tar.gz#sha256=x", requires_python=">=3.8"),
        upstream_file("foo-1.0.tar.gz", yanked=True, yanked_reason="bad", core_metadata="true"),
        upstream_file("foo-1.0-py2-none-any.whl", provenance="https://files.example.org/p", core_metadata="d" * 64),
    ]
    wheel = attempt("foo-2.0+local-1-cp311-cp311-macosx_11_0_arm64.whl")
    page = overlay("foo", upstream=upstream, versions=["1.0", "2.0"], attempts=[wheel], status="archived", status_reason="old")
    uploaded = datetime(2022, 12, 1, 12, 0, 0, 123456, tzinfo=UTC)
    url = "../../wheels/foo-2.0%2Blocal-1-cp311-cp311-macosx_11_0_arm64.whl"
    expected = IndexPage(
        project="foo",
        files=(
            IndexFile(
                filename=wheel.wheel,
                url=url,
                sha256="b" * 64,
                size=2000,
                requires_python=">=3.7",
                upload_time=wheel.finished,
                yanked=True,
                yanked_reason="deleted upstream",
                core_metadata="c" * 64,
                attestation=f"{url}.provenance.json",
            ),
            IndexFile(
                filename="foo-2.0.tar.gz",
                url="https://files.example.org/foo-2.0.tar.gz",
                sha256=SDIST,
                size=1000,
                requires_python=">=3.8",
                upload_time=uploaded,
            ),
            IndexFile(
                filename="foo-1.0.tar.gz",
                url="https://files.example.org/foo-1.0.tar.gz",
                sha256=SDIST,
                size=1000,
                upload_time=uploaded,
                yanked=True,
                yanked_reason="bad",
                core_metadata="true",
            ),
            IndexFile(
                filename="foo-1.0-py2-none-any.whl",
                url="https://files.example.org/foo-1.0-py2-none-any.whl",
                sha256="a" * 64,
                size=1000,
                upload_time=uploaded,
                core_metadata="d" * 64,
                provenance="https://files.example.org/p",
            ),
        ),
        versions=("1.0", "2.0", "2.0+local"),
        status="archived",
        status_reason="old",
    )
    assert page == expected


def test_ours_are_sorted_by_version_descending_then_filename() -> None:
    """1.10 is newer than 1.9, whatever the order of the attempts; a release candidate is older than its release."""
    names = ["foo-1.10-1-b.whl", "foo-1.9-1-a.whl", "foo-1.10rc1-1-a.whl", "foo-1.10-1-a.whl"]
    attempts = [attempt(name, recipe_sha256="") for name in names]
    expected = ["foo-1.10-1-a.whl", "foo-1.10-1-b.whl", "foo-1.10rc1-1-a.whl", "foo-1.9-1-a.whl"]
    for ordered in (attempts, attempts[::-1]):
        page = overlay("foo", upstream=[], attempts=ordered)
        assert [file.filename for file in page.files] == expected
        assert page.versions == ("1.9", "1.10rc1", "1.10")


def test_failures_and_what_the_log_does_not_have_yet_are_not_listed() -> None:
    attempts = [attempt(WHEEL, index=-1), attempt("foo-1.0-1-cp312.whl", outcome=Outcome.FAILED)]
    assert overlay("foo", upstream=[], attempts=attempts) == IndexPage(project="foo", files=(), versions=())


@pytest.mark.parametrize(
    ("upstream", "superseded", "expected"),
    [
        ([upstream_file("foo-1.0.tar.gz")], set[str](), (False, "")),
        ([upstream_file("foo-1.0.tar.gz")], {WHEEL}, (True, "superseded by upstream")),
        ([upstream_file("foo-1.0.tar.gz", yanked=True, yanked_reason="broken")], {WHEEL}, (True, "broken")),
        ([upstream_file("foo-1.0.tar.gz", yanked=True)], set[str](), (True, "")),
        ([upstream_file("foo-1.0.tar.gz"), upstream_file("foo-1.0-x.whl", yanked=True)], set[str](), (False, "")),
        (
            [upstream_file("foo-1.0.tar.gz", sha256="9" * 64), upstream_file("foo-1.0-x.whl", yanked=True)],
            set[str](),
            (False, ""),
        ),
        ([upstream_file("foo-1.0-x.whl", yanked=True, yanked_reason="all")], set[str](), (True, "all")),
        ([upstream_file("foo-2.0.tar.gz")], set[str](), (True, "deleted upstream")),
        ([], set[str](), (True, "deleted upstream")),
    ],
)
def test_upstream_withdrawals_carry_over_to_what_was_built_from_them(
    upstream: list, superseded: set[str], expected: tuple[bool, str]
) -> None:
    page = overlay("foo", upstream=upstream, attempts=[attempt(WHEEL)], superseded=superseded)
    assert (page.files[0].yanked, page.files[0].yanked_reason) == expected


def test_a_build_of_an_address_outside_upstream_is_not_missing_there() -> None:
    page = overlay("foo", upstream=[], attempts=[attempt(WHEEL, recipe_sha256="")])
    assert not page.files[0].yanked


def test_a_quarantined_project_offers_nothing() -> None:
    """PEP 792: the index must not offer any distributions of a quarantined project; that it exists is still said."""
    page = overlay(
        "foo",
        upstream=[upstream_file("foo-1.0.tar.gz")],
        status="quarantined",
        status_reason="malware",
        attempts=[attempt(WHEEL)],
    )
    assert page == IndexPage(project="foo", files=(), versions=(), status="quarantined", status_reason="malware")


def test_a_filename_with_another_hash_is_refused() -> None:
    with pytest.raises(VerificationError, match="it stands for two files with different hashes") as caught:
        overlay("foo", upstream=[upstream_file(WHEEL)], attempts=[attempt(WHEEL)])
    assert caught.value.subject == WHEEL
    with pytest.raises(VerificationError, match="different hashes"):
        overlay("foo", upstream=[], attempts=[attempt(WHEEL), attempt(WHEEL, wheel_sha256="e" * 64, index=9)])


def test_the_same_bytes_built_twice_are_listed_once() -> None:
    """The first of them: its time of upload does not move when somebody rebuilds."""
    later = attempt(WHEEL, finished=datetime(2027, 1, 1, tzinfo=UTC), index=9)
    page = overlay("foo", upstream=[], attempts=[later, attempt(WHEEL)])
    assert [file.upload_time for file in page.files] == [datetime(2026, 11, 1, 10, 5, tzinfo=UTC)]
    same = overlay("foo", upstream=[upstream_file(WHEEL, sha256="b" * 64)], attempts=[attempt(WHEEL)])
    assert [file.url for file in same.files] == [f"https://files.example.org/{WHEEL}"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example/x", "../x", "", "ftp://x/y"])
def test_an_upstream_address_that_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(VerificationError, match="is no http or https URL"):
        overlay("foo", upstream=[upstream_file("foo-1.0.tar.gz", url=url)])


def test_a_provenance_that_is_no_web_address_is_dropped() -> None:
    page = overlay("foo", upstream=[upstream_file("foo-1.0.tar.gz", provenance="javascript:alert(1)")])
    assert page.files[0].provenance == ""


def test_a_filename_listed_twice_by_upstream_is_refused() -> None:
    with pytest.raises(VerificationError, match="lists a filename twice"):
        overlay("foo", upstream=[upstream_file("foo-1.0.tar.gz")] * 2)
