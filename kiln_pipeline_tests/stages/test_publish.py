"""Publishing: what is written when, in which order, and that no crash and no bad project leaves a page that lies."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import DistributionFile, ProjectPage
from kiln_pipeline.core.provenance.dsse import key_id, open_envelope
from kiln_pipeline.core.provenance.page_statement import PageStatement, read_page_statement
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.core.simple_index import manifest
from kiln_pipeline.errors import StoreError
from kiln_pipeline.stages.publish import PublishReport, publish
from kiln_pipeline_tests.core.simple_index.pages import attempt, upstream_file
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore

SIGNER = MemorySigner("index.example.org")
WHEEL = "foo-1.0-1-cp311-cp311-manylinux_2_17_x86_64.whl"


class Steps:
    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)


def page(project: str, *files: DistributionFile, **changes: Any) -> ProjectPage:
    return ProjectPage(project=project, files=files, versions=tuple(file.version for file in files), **changes)


PAGES = {
    "bar": page("bar", upstream_file("bar-2.0.tar.gz"), upstream_file("bar-1.0-py3-none-any.whl")),
    "foo": page("foo", upstream_file("foo-1.0.tar.gz")),
    "nothing": page("nothing"),
}


def site_with_wheels(attempts: Iterable[Attempt], **options: Any) -> MemoryStore:
    site = MemoryStore(**options)
    for each in attempts:
        for key in (site_layout.wheel, site_layout.wheel_metadata, site_layout.wheel_provenance):
            site.objects[key(each.wheel)] = b"content"
    return site


def run(
    site: MemoryStore,
    state: MemoryStore,
    pages: dict[str, ProjectPage] = PAGES,
    attempts: Sequence[Attempt] = (),
    *,
    tracked: Iterable[str] | None = None,
    superseded: set[str] = frozenset(),
    signer: MemorySigner = SIGNER,
) -> PublishReport:
    return publish(
        projects=list(pages if tracked is None else tracked),
        metadata=lambda _: replace_projects(empty(), pages),
        project_table=replace_states(empty_projects(), {name: ProjectState.of(page) for name, page in pages.items()}),
        attempts=attempts,
        superseded=superseded,
        site=site,
        state=state,
        signer=signer,
        progress=Steps(),
    )


def check_promises(site: MemoryStore) -> None:
    """The root names only pages that are there, and every page only wheels that are there."""
    if site.exists("simple/index.json"):
        for project in json.loads(site.get("simple/index.json"))["projects"]:
            assert site.exists(f"simple/{project['name']}/index.json")
            assert site.exists(f"simple/{project['name']}/index.html")
    if site.exists("simple/index.html"):
        for project in re.findall(r'href="([^"]+)/"', site.get("simple/index.html").decode()):
            assert site.exists(f"simple/{project}/index.html")
    for key in site.keys("simple/"):
        for url in re.findall(r'"\.\./\.\./(wheels/[^"#]+)', site.get(key).decode()):
            assert site.exists(unquote(url))
            assert site.exists(unquote(url) + ("" if url.endswith(".json") else ".metadata"))


class WatchedStore(MemoryStore):
    """A store in which every reader's promise is checked after every single change."""

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        check_promises(self)

    def delete(self, key: str) -> None:
        super().delete(key)
        check_promises(self)


def test_a_first_publish_writes_pages_then_the_root() -> None:
    site, state = site_with_wheels([attempt(WHEEL)]), MemoryStore()
    report = run(site, state, attempts=[attempt(WHEEL)])
    assert report == PublishReport(written=("bar", "foo", "nothing"), root_written=True)
    names = [f"simple/{project}/{name}" for project in PAGES for name in ("index.html", "index.json", "attestation.json")]
    assert site.puts == [*names, "simple/index.html", "simple/index.json"]
    files = json.loads(site.get("simple/foo/index.json"))["files"]
    assert [file["url"] for file in files] == [f"../../wheels/{WHEEL}", "https://files.example.org/foo-1.0.tar.gz"]
    assert list(state.keys()) == [manifest.KEY]
    check_promises(site)


def test_the_pages_of_a_project_are_signed_together() -> None:
    site = MemoryStore()
    run(site, MemoryStore())
    keyid = key_id(SIGNER.public_key)
    payload = open_envelope(site.get("simple/bar/attestation.json"), keys={keyid: SIGNER.public_key}, required=[keyid])
    pages = {name: hashlib.sha256(site.get(f"simple/bar/{name}")).hexdigest() for name in ("index.html", "index.json")}
    assert read_page_statement(payload) == PageStatement(project="bar", pages=pages)


def test_an_unchanged_publish_writes_nothing() -> None:
    site, state = site_with_wheels([attempt(WHEEL)]), MemoryStore()
    run(site, state, attempts=[attempt(WHEEL)])
    site.puts.clear()
    state.puts.clear()
    assert run(site, state, attempts=[attempt(WHEEL)]) == PublishReport(unchanged=3)
    assert site.puts == state.puts == []


def test_only_what_changed_is_written() -> None:
    """One new upstream file in one of three projects: its pages, and not the root, which names the same projects."""
    site, state = MemoryStore(), MemoryStore()
    run(site, state)
    site.puts.clear()
    pages = PAGES | {"bar": page("bar", *PAGES["bar"].files, upstream_file("bar-3.0.tar.gz"))}
    assert run(site, state, pages) == PublishReport(written=("bar",), unchanged=2)
    assert site.puts == [f"simple/bar/{name}" for name in ("index.html", "index.json", "attestation.json")]


CHANGES: dict[str, dict[str, Any]] = {
    "filename": {"filename": "foo-1.0.zip"},
    "url": {"url": "https://elsewhere.example.org/foo-1.0.tar.gz"},
    "sha256": {"sha256": "f" * 64},
    "size": {"size": 1001},
    "requires_python": {"requires_python": ">=3"},
    "upload_time": {"upload_time": None},
    "yanked": {"yanked": True},
    "yanked_reason": {"yanked": True, "yanked_reason": "bad"},
    "core_metadata": {"core_metadata": "true"},
    "provenance": {"provenance": "https://files.example.org/p"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_of_an_upstream_file_reaches_the_page(change: dict[str, Any]) -> None:
    site, state = MemoryStore(), MemoryStore()
    run(site, state)
    changed = PAGES | {"foo": page("foo", replace(upstream_file("foo-1.0.tar.gz"), **change))}
    assert run(site, state, changed).written == ("foo",)
    fresh = MemoryStore()
    run(fresh, MemoryStore(), changed)
    assert site.objects == fresh.objects
    assert run(site, state).written == ("foo",)


def test_text_that_moves_from_one_field_to_the_next_is_a_change() -> None:
    """The digest of the inputs holds the lengths of the fields, not only their text one after the other."""
    site, state = MemoryStore(), MemoryStore()
    run(site, state, {"foo": page("foo", upstream_file("foo-1.0.tar.gz", yanked=True, yanked_reason="ab", core_metadata="c"))})
    moved = {"foo": page("foo", upstream_file("foo-1.0.tar.gz", yanked=True, yanked_reason="a", core_metadata="bc"))}
    assert run(site, state, moved).written == ("foo",)


@pytest.mark.parametrize(
    "changes",
    [
        {"pages": PAGES | {"foo": page("foo", upstream_file("foo-1.0.tar.gz"), status="archived")}},
        {"pages": PAGES | {"foo": page("foo", upstream_file("foo-1.0.tar.gz"), status_reason="x")}},
        {"superseded": {WHEEL}},
        {"attempts": [attempt(WHEEL, wheel_size=3)]},
        {"attempts": []},
    ],
)
def test_every_other_change_reaches_the_page(changes: dict[str, Any]) -> None:
    site, state = site_with_wheels([attempt(WHEEL)]), MemoryStore()
    run(site, state, attempts=[attempt(WHEEL)])
    assert run(site, state, **{"attempts": [attempt(WHEEL)], **changes}).written == ("foo",)


def test_another_signing_key_signs_every_project_anew() -> None:
    """The pages are the same bytes and are not written again; their attestations are."""
    site, state = MemoryStore(), MemoryStore()
    run(site, state)
    site.puts.clear()
    run(site, state, signer=MemorySigner("other"))
    assert site.puts == [f"simple/{project}/attestation.json" for project in PAGES]


def test_a_project_that_is_tracked_no_longer_leaves_the_root_first() -> None:
    site, state = WatchedStore(), MemoryStore()
    run(site, state)
    report = run(site, state, tracked=["foo", "nothing"])
    assert report == PublishReport(removed=("bar",), unchanged=2, root_written=True)
    assert list(site.keys("simple/bar")) == []
    assert b"bar" not in site.get("simple/index.json")
    assert run(site, state).written == ("bar",)


@pytest.mark.parametrize("absent", [f"wheels/{WHEEL}", f"wheels/{WHEEL}.metadata", f"wheels/{WHEEL}.provenance.json"])
def test_a_wheel_that_is_not_in_the_site_is_not_named(absent: str) -> None:
    """The project keeps its old pages, the others are published, and the report says what is missing."""
    site, state = WatchedStore(), MemoryStore()
    run(site, state)
    old = site.get("simple/foo/index.json")
    site.objects |= site_with_wheels([attempt(WHEEL)]).objects
    content = site.objects.pop(absent)
    pages = PAGES | {"bar": page("bar")}
    report = run(site, state, pages, [attempt(WHEEL)])
    reason = f"{absent} is not in the site yet: run `kiln record`, or see why it did not write it"
    assert report == PublishReport(written=("bar",), unchanged=1, problems=(("foo", reason),))
    assert site.get("simple/foo/index.json") == old
    state.puts.clear()
    assert run(site, state, pages, [attempt(WHEEL)]).problems == (("foo", reason),)
    assert state.puts == []
    site.objects[absent] = content
    assert run(site, state, pages, [attempt(WHEEL)]) == PublishReport(written=("foo",), unchanged=2)


def test_a_new_project_with_a_problem_is_not_in_the_root() -> None:
    site = WatchedStore()
    report = run(site, MemoryStore(), attempts=[attempt(WHEEL)])
    assert [project for project, _ in report.problems] == ["foo"]
    assert json.loads(site.get("simple/index.json"))["projects"] == [{"name": "bar"}, {"name": "nothing"}]


def test_a_filename_with_two_hashes_stops_its_project_only() -> None:
    pages = PAGES | {"foo": page("foo", upstream_file(WHEEL))}
    site = site_with_wheels([attempt(WHEEL)])
    report = run(site, MemoryStore(), pages, [attempt(WHEEL)])
    assert report.written == ("bar", "nothing")
    assert report.problems == (
        (
            "foo",
            f"{WHEEL}: it stands for two files with different hashes "
            "(a published filename never changes its bytes: rebuild ours under another build tag)",
        ),
    )


def test_a_project_whose_upstream_page_was_never_read_has_no_page() -> None:
    """A page with ours alone would hide from installers all that upstream has."""
    site = site_with_wheels([attempt(WHEEL)])
    report = run(site, MemoryStore(), attempts=[attempt(WHEEL)], pages={}, tracked=["foo"])
    assert report.problems == (("foo", "upstream's page has never been read"),)
    assert list(site.keys("simple/foo")) == []


SECOND = PAGES | {"foo": page("foo", upstream_file("foo-1.0.tar.gz", yanked=True)), "new": page("new")}
del SECOND["bar"]


@pytest.mark.parametrize("where", ["site", "state"])
def test_a_publish_cut_off_anywhere_is_finished_by_the_next(where: str) -> None:
    """A full disk at every single write of either store; the next publish ends in the bytes of one that was never cut off."""
    wanted, wanted_state = site_with_wheels([attempt(WHEEL)]), MemoryStore()
    run(wanted, wanted_state, SECOND, [attempt(WHEEL)])
    crashes = 0
    for limit in range(20):
        site, state = WatchedStore(), MemoryStore()
        site.objects |= site_with_wheels([attempt(WHEEL)]).objects
        run(site, state)
        failing = site if where == "site" else state
        failing.fail_after = len(failing.puts) + limit
        try:
            run(site, state, SECOND, [attempt(WHEEL)])
        except StoreError:
            crashes += 1
        check_promises(site)
        failing.fail_after = None
        run(site, state, SECOND, [attempt(WHEEL)])
        assert site.objects == wanted.objects
        assert state.objects == wanted_state.objects
    assert crashes == {"site": 8, "state": 2}[where]


def test_a_publish_cut_off_and_then_called_off_leaves_what_was_before() -> None:
    """Upstream takes its change back before the next publish: the manifest alone would call the half-written pages unchanged."""
    for limit in range(9):
        site, state = WatchedStore(), MemoryStore()
        site.objects |= site_with_wheels([attempt(WHEEL)]).objects
        run(site, state)
        before = dict(site.objects)
        site.fail_after = len(site.puts) + limit
        if limit < 8:
            with pytest.raises(StoreError):
                run(site, state, SECOND, [attempt(WHEEL)])
        else:
            run(site, state, SECOND, [attempt(WHEEL)])
        site.fail_after = None
        run(site, state)
        assert site.objects == before


class DyingStore(MemoryStore):
    """A store whose process is killed at the n-th deletion."""

    deletions_left = 99

    def delete(self, key: str) -> None:
        if not self.deletions_left:
            raise KeyboardInterrupt
        self.deletions_left -= 1
        super().delete(key)


@pytest.mark.parametrize("deletions", range(3))
def test_a_removal_cut_off_and_then_called_off_writes_the_pages_again(deletions: int) -> None:
    site, state = DyingStore(), MemoryStore()
    run(site, state)
    before = dict(site.objects)
    site.deletions_left = deletions
    with pytest.raises(KeyboardInterrupt):
        run(site, state, tracked=["foo", "nothing"])
    site.deletions_left = 99
    run(site, state)
    assert site.objects == before


def test_a_lost_state_is_made_anew_and_leftover_pages_go() -> None:
    site, state = MemoryStore(), MemoryStore()
    run(site, state)
    wanted, wanted_state = MemoryStore(), MemoryStore()
    run(wanted, wanted_state, tracked=["foo"])
    fresh = MemoryStore()
    assert run(site, fresh, tracked=["foo"]) == PublishReport(written=("foo",), removed=("bar", "nothing"), root_written=True)
    assert site.objects == wanted.objects
    assert fresh.objects == wanted_state.objects


def test_a_damaged_manifest_is_told_with_what_to_do() -> None:
    state = MemoryStore()
    run(MemoryStore(), state)
    state.objects[manifest.KEY] = state.objects[manifest.KEY][:-20]
    with pytest.raises(StoreError, match="delete it: the next publish then writes every page anew"):
        run(MemoryStore(), state)


def test_the_manifest_tells_every_object_and_its_hash() -> None:
    site, state = MemoryStore(), MemoryStore()
    run(site, state)
    expected = manifest.expected_objects(manifest.read_manifest(state.get(manifest.KEY)))
    assert expected == {key: hashlib.sha256(data).hexdigest() for key, data in site.objects.items()}


def test_no_project_at_all_is_an_empty_index() -> None:
    site = MemoryStore()
    assert run(site, MemoryStore(), {}) == PublishReport(root_written=True)
    assert json.loads(site.get("simple/index.json"))["projects"] == []
