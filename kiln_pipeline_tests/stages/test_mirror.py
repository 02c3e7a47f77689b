"""The mirror over real HTTP against an upstream with faults: what is copied, named on pages, kept, dropped and removed.

Files are first on the site and then on the page, whatever breaks and whenever it is killed.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.mirror.plan import page_mirrors
from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode, Rest
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.errors import StoreError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.dated_views import remove_views, take_view
from kiln_pipeline.stages.index_check import check_site
from kiln_pipeline.stages.inventory import take_snapshot
from kiln_pipeline.stages.mirror import COPIES, load_copies, prune, sync, verify_copies
from kiln_pipeline.stages.mirror_copy import Bandwidth, Limits
from kiln_pipeline.stages.mirror_report import MirrorReport, load_report
from kiln_pipeline.stages.publish import publish
from kiln_pipeline.stages.replicate import replicate
from kiln_pipeline.workspace import Silent
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, make_wheel
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream
from kiln_pipeline_tests.s3_server import S3Server
from kiln_pipeline_tests.workspaces import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SIGNER = MemorySigner("index.example.org")


def wheel(project: str, version: str) -> tuple[str, bytes]:
    name, data = make_wheel(project, version, "py3-none-any", extension=None)
    return name, data + random.Random(name).randbytes(300_000)


def metadata(name: str) -> bytes:
    project, version = name.split("-")[:2]
    return f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode()


def page(*names: str, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    rows = [
        {
            "filename": name,
            "url": f"https://files.example.org/{name}",
            "hashes": {"sha256": hashlib.sha256(files[name]).hexdigest()},
            "size": len(files[name]),
            "core-metadata": {"sha256": hashlib.sha256(metadata(name)).hexdigest()},
            "upload-time": "2026-01-01T00:00:00Z",
            **changes,
        }
        for name in names
    ]
    versions = [name.split("-")[1] for name in names]
    return {"meta": {"api-version": "1.4"}, "name": names[0].split("-")[0], "versions": versions, "files": rows}


class Line:
    """One site with its mirror, hour by hour."""

    def __init__(self, folder: Path, site: ObjectStore, *projects: str, state: ObjectStore | None = None) -> None:
        self.files = dict(wheel(project, version) for project in projects for version in ("1.0", "2.0"))
        self.pages = {
            project: page(*(name for name in self.files if name.startswith(f"{project}-")), files=self.files)
            for project in projects
        }
        served = {**self.files, **{f"{name}.metadata": metadata(name) for name in self.files}}
        self.server = LoopbackUpstream(self.pages, served)
        self.upstream = SimpleApiUpstream(self.server.url, retries=0, backoff=0.0, timeout=2.0)
        self.site, self.state, self.work, self.now = site, state or MemoryStore(), folder / "work", NOW
        self.recipes = [recipe(project) for project in projects]

    def hour(self, **options: Any) -> MirrorReport:
        """One hour of the mirror's line: refresh, prune, sync, publish."""
        self.now += HOUR
        tables = self.refresh()
        prune(self.recipes, tables.projects, site=self.site, state=self.state, now=self.now, progress=Silent())
        report = self.sync(tables, **options)
        self.publish(tables)
        return report

    def refresh(self) -> detect.RefreshReport:
        return detect.refresh(
            [recipe.project for recipe in self.recipes],
            upstream=self.upstream,
            state=self.state,
            now=self.now,
            progress=Silent(),
        )

    def sync(self, tables: detect.RefreshReport, **options: Any) -> MirrorReport:
        return sync(
            self.recipes,
            tables.table,
            tables.projects,
            upstream=self.upstream,
            site=self.site,
            state=self.state,
            work=self.work,
            now=self.now,
            progress=Silent(),
            **options,
        )

    def publish(self, tables: detect.RefreshReport) -> None:
        publish(
            projects=[recipe.project for recipe in self.recipes],
            metadata=partial(detect.load_files_of, self.state),
            project_table=tables.projects,
            attempts=(),
            superseded=(),
            site=self.site,
            state=self.state,
            signer=SIGNER,
            progress=Silent(),
            mirrors=page_mirrors(self.recipes, load_copies(self.state, self.site)),
        )

    def listed(self, project: str) -> dict[str, Any]:
        rows = json.loads(self.site.get(f"simple/{project}/index.json"))["files"]
        return {row["filename"]: row for row in rows}

    def check(self) -> None:
        """Every page names only copies that are there, with these bytes, and their core metadata."""
        for key in [*self.site.keys("simple/"), *self.site.keys("simple@")]:
            text = self.site.get(key).decode()
            for found in re.findall(r'"\.\./\.\./(mirror/[^"#]+)', text):
                sha256 = found.split("/")[2]
                assert hashlib.sha256(self.site.get(unquote(found))).hexdigest() == sha256
                assert self.site.exists(f"{unquote(found)}.metadata")


def recipe(project: str, **changes: Any) -> Recipe:
    return Recipe(
        project=project,
        reason="",
        versions=(),
        pythons=(PythonTag.parse("cp312"),),
        platforms=(Platform.MANYLINUX_X86_64,),
        mirror=Mirror(mode=MirrorMode.COPY, **changes),
    )


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path, MemoryStore(), "bar", "foo")
    with made.server:
        yield made


def mirrored(line: Line) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in line.site.keys("mirror/"))


@pytest.mark.parametrize("kind", ["directory", pytest.param("s3", marks=pytest.mark.slow)])
def test_a_copied_project_is_whole_on_our_site(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The page names our addresses, with hashes, sizes and core metadata of upstream's; a second hour asks for no file."""
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        site: ObjectStore = S3Store(server.new_bucket("site/"), multipart_from=200_000, part_size=5 << 20)
    else:
        site = DirectoryStore(tmp_path / "site")
    line = Line(tmp_path, site, "bar", "foo")
    with line.server:
        report = line.hour()
        assert (report.total("copied"), report.total("left"), report.failed) == (4, 0, ())
        assert report.total("copied_bytes") == sum(map(len, line.files.values()))
        line.check()
        files = line.listed("foo")
        sha256 = hashlib.sha256(line.files["foo-2.0-py3-none-any.whl"]).hexdigest()
        assert files["foo-2.0-py3-none-any.whl"] == {
            "filename": "foo-2.0-py3-none-any.whl",
            "url": f"../../mirror/{sha256[:2]}/{sha256}/foo-2.0-py3-none-any.whl",
            "hashes": {"sha256": sha256},
            "size": len(line.files["foo-2.0-py3-none-any.whl"]),
            "core-metadata": {"sha256": hashlib.sha256(metadata("foo-2.0-py3-none-any.whl")).hexdigest()},
            "upload-time": "2026-01-01T00:00:00Z",
        }
        asked = list(line.server.requests)
        again = line.hour()
        assert (again.total("copied"), again.total("wanted")) == (0, 4)
        assert line.server.requests[: len(asked)] == asked
        assert sorted(line.server.requests[len(asked) :]) == ["/simple/bar/", "/simple/foo/"]  # asked side by side
    assert check_site(line.site, line.state, progress=Silent()) == ()
    assert list(line.work.iterdir()) == []


def test_what_a_filter_refuses_is_linked_or_hidden(line: Line) -> None:
    """A page hides nothing, unless its recipe says so for those who cannot reach upstream."""
    line.recipes = [recipe("foo", max_size=1), recipe("bar", max_size=1, rest=Rest.HIDE)]
    report = line.hour()
    assert [(row.project, row.refused, row.wanted) for row in report.projects] == [
        ("bar", (("max-size", 2),), 0),
        ("foo", (("max-size", 2),), 0),
    ]
    assert [row["url"] for row in line.listed("foo").values()] == [
        f"{line.server.origin}/files/{name}" for name in line.listed("foo")
    ]
    assert line.listed("bar") == {}
    assert mirrored(line) == []


@pytest.mark.parametrize("fault", [404, 500, "cut", "wrong-bytes", "slow", "malformed"])
def test_a_bad_file_stops_no_other(line: Line, fault: Any) -> None:
    """It stays a link, is reported with since when, and is copied the next hour when it is well again."""
    bad = "foo-1.0-py3-none-any.whl"
    line.server.fault(bad, fault, seconds=3)
    first = line.hour()
    again = line.hour()
    (failed,) = again.failed
    assert failed.project == "foo"
    assert [name for name, _ in failed.failed] == [bad]
    assert failed.failing_since == first.finished
    assert load_report(line.state) == again
    assert (first.total("copied"), again.total("copied"), again.total("left")) == (3, 0, 1)
    assert line.listed("foo")[bad]["url"] == f"{line.server.origin}/files/{bad}"
    line.check()
    line.server.mend(bad)
    well = line.hour()
    assert (well.total("copied"), well.failed) == (1, ())
    assert line.listed("foo")[bad]["url"].startswith("../../mirror/")


def test_a_missing_core_metadata_file_makes_no_copy(line: Line) -> None:
    """A copy beside which installers would look for it in vain would break them."""
    bad = "foo-1.0-py3-none-any.whl"
    del line.server.files[f"{bad}.metadata"]
    report = line.hour()
    assert [row.project for row in report.failed] == ["foo"]
    assert bad not in mirrored(line)


def test_a_project_that_keeps_failing_costs_no_more_than_some_files(tmp_path: Path) -> None:
    line = Line(tmp_path, MemoryStore(), "bad", "good")
    many = dict(wheel("bad", f"{number}.0") for number in range(10, 40))
    line.files |= many
    with line.server:
        line.server.set_page("bad", page(*many, files=line.files))  # none of them is served
        report = line.hour(limits=Limits(workers=4))
    assert report.total("copied") == 2
    (bad,) = report.failed
    assert len(bad.failed) <= 5
    assert bad.left == 30


def test_a_killed_run_goes_on_in_the_middle_of_a_file(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while bytes come in: what was copied is noted, and of a part only the rest is asked for."""
    heard = 0

    def meter(received: int, total: int) -> None:
        nonlocal heard
        heard += received
        if heard > 700_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        line.hour(meter=meter, limits=Limits(workers=1))
    noted = len(load_copies(line.state, line.site))
    assert 0 < noted < 4
    asked = len(line.server.requests)
    report = line.hour()
    assert report.total("copied") == 4 - noted
    resumed = [headers["Range"] for headers in line.server.headers[asked:] if "Range" in headers]
    assert len(resumed) == 1
    line.check()


def test_a_run_out_of_time_leaves_the_rest_for_the_next(line: Line) -> None:
    left = iter([True] * 5)
    report = line.hour(limits=Limits(workers=1, keep_going=lambda: next(left, False)))
    assert 0 < report.total("left") <= 4
    assert (report.failed, report.problem) == ((), "")
    line.check()
    assert line.hour().total("left") == 0


def test_a_store_that_fails_ends_the_run_and_not_the_mirror(tmp_path: Path) -> None:
    """A full disk is told once; pages of before stay right, and the next run goes on."""
    site = MemoryStore(fail_after=3)
    line = Line(tmp_path, site, "foo")
    with line.server:
        tables = line.refresh()
        report = line.sync(tables, limits=Limits(workers=1))
        assert "no space left" in report.problem
        site.fail_after = None
        assert line.hour().problem == ""
        line.check()
        assert len(line.listed("foo")) == 2


class Crash(BaseException):
    """The process is gone."""


class CrashingStore(MemoryStore):
    """A store whose process dies at the given change, before or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.after = 10**9, False

    def _crash(self, change: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise Crash
        if self.left == 0 and not self.after:
            raise Crash
        result = change()
        if self.left == 0:
            raise Crash
        return result

    def put(self, key: str, data: bytes) -> None:
        self._crash(lambda: super(CrashingStore, self).put(key, data))

    def delete(self, key: str) -> None:
        self._crash(lambda: super(CrashingStore, self).delete(key))


@pytest.mark.parametrize("seed", range(40))
def test_no_crash_makes_a_page_lie(tmp_path: Path, seed: int) -> None:
    """Upstream adds, yanks and deletes, recipes change their minds, and every run may die at any write, on site or state."""
    dice = random.Random(seed)
    site, state = CrashingStore(), CrashingStore()
    line = Line(tmp_path, site, "foo", state=state)
    names = list(line.files)
    with line.server:
        for _ in range(12):
            line.now += dice.choice([HOUR, 40 * DAY])
            shown = [name for name in names if dice.random() < 0.7]
            if shown:
                line.server.set_page("foo", page(*shown, files=line.files, yanked=dice.random() < 0.3))
            line.recipes = [recipe("foo", max_size=dice.choice([0, 0, 1]), rest=dice.choice(list(Rest)))]
            for store in (site, state):
                store.left, store.after = dice.choice([3, 6, 12, 10**9]), dice.random() < 0.5
            with suppress(Crash):
                line.hour(limits=Limits(workers=2))
            site.left = state.left = 10**9
            line.check()
        line.server.set_page("foo", page(*names, files=line.files))
        line.recipes = [recipe("foo")]
        line.hour()
        line.check()
        assert all(row["url"].startswith("../../mirror/") for row in line.listed("foo").values())
        assert {finding.key for finding in check_site(site, state, progress=Silent())} == set()


def test_yanks_carry_over_and_yanked_files_stay_for_locks(line: Line) -> None:
    line.hour()
    names = list(line.pages["foo"]["files"])
    line.server.set_page("foo", {**line.pages["foo"], "files": [{**names[0], "yanked": "broken"}, names[1]]})
    line.hour()
    row = line.listed("foo")[names[0]["filename"]]
    assert (row["yanked"], row["url"].startswith("../../mirror/")) == ("broken", True)


def test_what_upstream_deletes_leaves_the_page_at_once_and_the_site_later(line: Line) -> None:
    """Locks that name the address work for as long as the recipe keeps it."""
    gone, kept = "foo-1.0-py3-none-any.whl", "foo-2.0-py3-none-any.whl"
    line.recipes = [recipe("foo", keep=2 * DAY)]
    line.hour()
    line.server.set_page("foo", page(kept, files=line.files))
    assert line.hour().unlisted == 1
    assert (list(line.listed("foo")), gone in mirrored(line)) == ([kept], True)
    line.now += DAY
    line.hour()
    assert gone in mirrored(line)
    line.now += DAY
    line.hour()
    assert mirrored(line) == [kept, f"{kept}.metadata"]
    assert [copy.filename for copy in load_copies(line.state, line.site)] == [kept]


def test_what_comes_back_is_listed_again_without_a_download(line: Line) -> None:
    line.hour()
    line.recipes = [recipe("foo", max_size=1), recipe("bar")]
    assert line.hour().unlisted == 2
    asked = list(line.server.requests)
    line.recipes = [recipe("foo"), recipe("bar")]
    report = line.hour()
    assert (report.total("copied"), report.unlisted) == (0, 0)
    assert [path for path in line.server.requests[len(asked) :] if path.startswith("/files/")] == []
    assert all(row["url"].startswith("../../mirror/") for row in line.listed("foo").values())


def test_a_quarantined_project_offers_nothing_and_its_copies_go_at_once(line: Line) -> None:
    line.hour()
    line.server.set_page("foo", {**line.pages["foo"], "project-status": {"status": "quarantined", "reason": "malware"}})
    line.hour()
    assert line.listed("foo") == {}
    line.hour()
    assert [name for name in mirrored(line) if name.startswith("foo")] == []
    line.server.set_page("foo", line.pages["foo"])
    assert line.hour().total("copied") == 2


def test_a_copy_that_a_page_still_names_is_not_removed(line: Line) -> None:
    """The page could not be published for a month: until it is, its files stay."""
    line.hour()
    line.recipes = [replace(recipe("foo"), mirror=Mirror()), recipe("bar")]
    tables = line.refresh()
    line.sync(tables)
    line.now += 60 * DAY
    removed = prune(line.recipes, tables.projects, site=line.site, state=line.state, now=line.now, progress=Silent())
    assert removed == ()
    line.check()
    line.publish(tables)
    removed = prune(line.recipes, tables.projects, site=line.site, state=line.state, now=line.now, progress=Silent())
    assert [copy.project for copy in removed] == ["foo", "foo"]
    line.check()


def test_a_copy_that_a_dated_view_names_is_kept_for_frozen_builds(line: Line) -> None:
    """Until the view is removed; then it goes like any other."""
    line.hour()
    day = line.now.date()
    take_view(day, today=day, site=line.site, state=line.state, signer=SIGNER, progress=Silent())
    line.recipes = [replace(recipe("foo"), mirror=Mirror()), recipe("bar")]
    line.hour()
    line.now += 60 * DAY
    line.hour()
    assert len([copy for copy in load_copies(line.state, line.site) if copy.project == "foo"]) == 2
    line.check()
    remove_views([day], site=line.site, state=line.state, log_key=SIGNER.public_key, progress=Silent())
    line.hour()
    assert {copy.project for copy in load_copies(line.state, line.site)} == {"bar"}


def test_a_project_whose_page_was_never_read_keeps_its_copies(line: Line) -> None:
    """Tables that were lost say nothing about what is wanted."""
    line.hour()
    for key in (detect.METADATA, detect.PROJECTS):
        line.state.delete(key)
    line.server.fault("foo", 500)
    tables = line.refresh()
    line.sync(tables, only=["bar"])
    assert all(copy.unlisted is None for copy in load_copies(line.state, line.site))


def test_a_lost_table_costs_no_second_download(line: Line) -> None:
    """What lies under its own hash is taken over."""
    line.hour()
    line.state.delete(COPIES)
    asked = len(line.server.requests)
    assert line.hour().total("copied") == 4
    again = [path for path in line.server.requests[asked:] if path.startswith("/files/")]
    assert all(path.endswith(".metadata") for path in again)


def test_copies_at_another_place_are_not_named_here(line: Line) -> None:
    line.hour()
    line.site = MemoryStore()
    assert load_copies(line.state, line.site) == ()


def test_a_dry_run_writes_nothing(line: Line) -> None:
    tables = line.refresh()
    line.state.puts.clear()
    report = line.sync(tables, dry_run=True)
    assert (report.total("left"), report.total("copied")) == (4, 0)
    assert line.state.puts == []
    assert list(line.site.keys()) == []


def test_verify_finds_and_heals_what_is_altered_or_gone(line: Line) -> None:
    line.hour()
    first, second = (copy.key for copy in load_copies(line.state, line.site) if copy.project == "foo")
    line.site.objects[first] += b"!"
    line.site.delete(f"{second}.metadata")
    found = verify_copies(site=line.site, state=line.state, progress=Silent())
    assert sorted(found) == sorted([(first, "altered"), (f"{second}.metadata", "missing")])
    assert line.hour().total("copied") == 2
    line.check()
    assert verify_copies(site=line.site, state=line.state, progress=Silent()) == ()


def test_other_places_get_the_copies_too(line: Line) -> None:
    """Before the pages that name them, and they go after them."""
    line.hour()
    target = MemoryStore()
    snapshot = take_snapshot(line.site, line.state)
    (report,) = replicate(snapshot, site=line.site, targets={"t": target}, state=line.state, progress=Silent())
    assert (report.problem, report.left) == ("", 0)
    assert set(line.site.keys("mirror/")) <= set(target.keys())
    first_page = min(target.puts.index(key) for key in target.puts if key.startswith("simple/"))
    assert max(target.puts.index(key) for key in target.puts if key.startswith("mirror/")) < first_page


def test_bandwidth_is_bounded_over_all_threads() -> None:
    """Two hundred kilobytes at a megabyte a second take a fifth of a second, whoever receives them."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    bound = Bandwidth(1_000_000)
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bound, [10_000] * 20))
    assert time.monotonic() - begun >= 0.19


def test_a_report_that_is_none_is_told(line: Line) -> None:
    line.state.put("mirror_report.json", b'{"projects": 3}')
    with pytest.raises(StoreError, match="no report that this kiln wrote"):
        load_report(line.state)
