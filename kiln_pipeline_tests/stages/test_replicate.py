"""Replication: every target ends as a copy of the site, no crash and no fault ever shows a reader a target that lies."""

import threading
from functools import cache
from pathlib import Path

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.tiles import TileReader
from kiln_pipeline.core.provenance.wheel_bundle import parse_bundle
from kiln_pipeline.errors import StoreError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.inventory import take_snapshot
from kiln_pipeline.stages.replicate import TargetReport, replicate, state_key
from kiln_pipeline.stages.verify import verify_offline
from kiln_pipeline_tests.audit_samples import LOG, Silent
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.s3_server import S3Server
from kiln_pipeline_tests.stages.sites import grow, publish_projects
from kiln_pipeline_tests.stages.test_publish import check_promises


@cache
def made_sites() -> tuple[tuple[dict[str, bytes], dict[str, bytes]], ...]:
    """Objects of (site, state) before and after a wheel more, pages with new bytes, a project gone and a project new."""
    site, state = MemoryStore(), MemoryStore()
    grow(site, state, ["cp38", "cp39"], failures=["cp310"])
    publish_projects(site, state, "bar", "foo", "wrapt")
    first = (dict(site.objects), dict(state.objects))
    grow(site, state, ["cp311"])
    publish_projects(site, state, "foo", "new", "wrapt", yanked=True)
    return first, (dict(site.objects), dict(state.objects))


def first_site() -> tuple[MemoryStore, MemoryStore]:
    site, state = MemoryStore(), MemoryStore()
    site.objects, state.objects = (dict(objects) for objects in made_sites()[0])
    return site, state


def second_site(site: MemoryStore, state: MemoryStore) -> None:
    site.objects, state.objects = (dict(objects) for objects in made_sites()[1])


def whole(store: ObjectStore, site: ObjectStore, state: ObjectStore) -> bool:
    """Whether a target has just what the site has; of partial tiles, those that earlier checkpoints needed may differ."""
    wanted = take_snapshot(site, state).objects
    kept = [{key: each.get(key) for key in each.keys() if key in wanted or ".p/" not in key} for each in (store, site)]
    return kept[0] == kept[1] and kept[0].keys() == wanted.keys()


def run(site: MemoryStore, state: ObjectStore, own: ObjectStore, **targets: ObjectStore) -> dict[str, TargetReport]:
    """Replicate with the site's `state`; the targets' notes go into `own`."""
    reports = replicate(take_snapshot(site, state), site=site, targets=targets, state=own, progress=Silent(), parallel=1)
    return {report.name: report for report in reports}


def check_log(target: MemoryStore) -> None:
    """What the target's checkpoint promises is there, and every provenance file on it verifies to the end."""
    if not target.exists("audit/checkpoint"):
        assert not [key for key in target.keys("wheels/") if key.endswith(".provenance.json")]
        return
    key = VerifierKey.of(LOG)
    checkpoint = open_checkpoint(target.get("audit/checkpoint"), key)
    reader = TileReader(checkpoint.size, checkpoint.root, target.get)
    assert len(list(reader.entries(0, checkpoint.size))) == checkpoint.size
    for name in (key.removesuffix(".provenance.json") for key in target.keys("wheels/") if key.endswith(".provenance.json")):
        assert (
            proven_size(target.get(name), name.removeprefix("wheels/"), target.get(f"{name}.provenance.json")) <= checkpoint.size
        )


@cache
def proven_size(wheel: bytes, name: str, provenance: bytes) -> int:
    """Verify a wheel with its provenance file and return the size of the log that the file proves it to be in."""
    key = VerifierKey.of(LOG)
    verify_offline(wheel, name, provenance, log_key=str(key))
    return open_checkpoint(parse_bundle(provenance, name).checkpoint, key).size


class WatchedStore(MemoryStore):
    """A store in which every reader's promise is checked after every single change."""

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self.check()

    def delete(self, key: str) -> None:
        super().delete(key)
        self.check()

    def check(self) -> None:
        check_promises(self)
        check_log(self)


def test_a_first_copy_is_the_site_and_a_second_one_does_nothing() -> None:
    site, state = first_site()
    target, own = WatchedStore(), MemoryStore()
    report = run(site, state, own, mirror=target)["mirror"]
    assert whole(target, site, state)
    sizes = sum(map(len, site.objects.values()))
    assert report == TargetReport(name="mirror", copied=len(site.objects), copied_bytes=sizes)
    target.puts.clear()
    own.puts.clear()
    assert run(site, state, own, mirror=target) == {"mirror": TargetReport(name="mirror")}
    assert target.puts == own.puts == []


def test_only_what_changed_is_copied_and_what_went_is_removed() -> None:
    site, state = first_site()
    target, own = WatchedStore(), MemoryStore()
    run(site, state, own, mirror=target)
    target.puts.clear()
    before = dict(site.objects)
    second_site(site, state)
    report = run(site, state, own, mirror=target)["mirror"]
    assert whole(target, site, state)
    changed = {key for key, data in site.objects.items() if before.get(key) != data}
    assert set(target.puts) == changed
    assert (report.copied, report.removed) == (len(changed), len(before.keys() - site.objects.keys()))


@pytest.mark.parametrize("where", ["target", "notes"])
def test_a_copy_cut_off_anywhere_is_finished_by_the_next(where: str) -> None:
    """A full disk at every single write, of a first copy and of a second one that also removes."""
    crashes = 0
    for limit in range(200):
        site, state = first_site()
        target, own = WatchedStore(), MemoryStore()
        failing = target if where == "target" else own
        failing.fail_after = limit
        first = run(site, state, own, mirror=target)["mirror"]
        failing.fail_after = max(limit, len(failing.puts)) + 1
        second_site(site, state)
        second = run(site, state, own, mirror=target)["mirror"]
        failing.fail_after = None
        last = run(site, state, own, mirror=target)["mirror"]
        assert whole(target, site, state)
        assert (last.problem, last.left) == ("", 0)
        crashes += bool(first.problem)
        if not first.problem and not second.problem:
            break
        assert "no space left" in first.problem + second.problem
    assert crashes == {"target": len(made_sites()[0][0]), "notes": 2}[where]


class DyingStore(WatchedStore):
    """A store whose process is killed at the n-th change."""

    changes_left = 10**6

    def put(self, key: str, data: bytes) -> None:
        self.count()
        super().put(key, data)

    def delete(self, key: str) -> None:
        self.count()
        super().delete(key)

    def count(self) -> None:
        if not self.changes_left:
            raise KeyboardInterrupt
        self.changes_left -= 1


def test_a_copy_that_was_killed_and_whose_change_was_called_off_ends_as_the_site() -> None:
    """The notes alone would call half-written pages unchanged."""
    for limit in range(0, 40, 1):
        site, state = first_site()
        target, own = DyingStore(), MemoryStore()
        run(site, state, own, mirror=target)
        publish_projects(site, state, "foo", "new", "wrapt", yanked=True)
        target.changes_left = limit
        killed = False
        try:
            run(site, state, own, mirror=target)
        except KeyboardInterrupt:
            killed = True
        target.changes_left = 10**6
        publish_projects(site, state, "bar", "foo", "wrapt")
        run(site, state, own, mirror=target)
        assert whole(target, site, state)
        if not killed:
            assert limit > 8
            return
    pytest.fail("it was killed each time")


def test_one_failing_target_holds_up_none_and_catches_up() -> None:
    site, state = first_site()
    broken, good, own = WatchedStore(fail_after=4), WatchedStore(), MemoryStore()
    reports = run(site, state, own, broken=broken, good=good)
    assert "no space left" in reports["broken"].problem
    assert reports["broken"].left == len(site.objects) - 4
    assert whole(good, site, state)
    broken.fail_after = None
    good.puts.clear()
    second_site(site, state)
    assert {name: report.problem for name, report in run(site, state, own, broken=broken, good=good).items()} == {
        "broken": "",
        "good": "",
    }
    assert whole(broken, site, state)
    assert whole(good, site, state)


class SlowStore(MemoryStore):
    """Writes nothing before the other target is complete."""

    def __init__(self, other_is_complete: threading.Event) -> None:
        super().__init__()
        self.other_is_complete = other_is_complete

    def put(self, key: str, data: bytes) -> None:
        assert self.other_is_complete.wait(20), "the fast target waited for the slow one"
        super().put(key, data)


class FastStore(MemoryStore):
    """Says when it is complete."""

    def __init__(self, complete: threading.Event) -> None:
        super().__init__()
        self.complete = complete

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        if key == "simple/index.json":
            self.complete.set()


def test_a_slow_target_holds_up_no_other() -> None:
    site, state = first_site()
    complete = threading.Event()
    slow, fast = SlowStore(complete), FastStore(complete)
    run(site, state, MemoryStore(), a_slow=slow, fast=fast)
    assert whole(slow, site, state)
    assert whole(fast, site, state)


def test_time_that_is_up_leaves_a_target_whole_for_the_next_run() -> None:
    site, state = first_site()
    for turns in range(40):
        target, own = WatchedStore(), MemoryStore()
        left = iter(range(turns))
        (report,) = replicate(
            take_snapshot(site, state),
            site=site,
            targets={"mirror": target},
            state=own,
            progress=Silent(),
            keep_going=lambda left=left: next(left, None) is not None,
            parallel=1,
        )
        assert report.problem == ""
        assert report.left == len(site.objects) - len(target.objects)
        run(site, state, own, mirror=target)
        assert whole(target, site, state)
        if not report.left:
            return
    pytest.fail("it never came to an end")


def test_a_page_that_changes_while_it_is_copied_is_taken_by_the_next_run() -> None:
    """The snapshot is of before a publish, the bytes of after it: the target keeps its old, whole state."""
    site, state = first_site()
    target, own = WatchedStore(), MemoryStore()
    run(site, state, own, mirror=target)
    grow(site, state, ["cp311"])
    publish_projects(site, state, "bar", "foo", "wrapt", yanked=True)
    snapshot = take_snapshot(site, state)
    publish_projects(site, state, "bar", "foo", "wrapt")
    (report,) = replicate(snapshot, site=site, targets={"mirror": target}, state=own, progress=Silent(), parallel=1)
    assert "the site has other bytes than it noted" in report.problem
    assert run(site, state, own, mirror=target)["mirror"].problem == ""
    assert whole(target, site, state)


def test_a_published_file_is_never_overwritten() -> None:
    site, state = first_site()
    wheel = next(key for key in site.objects if key.endswith(".whl"))
    target = MemoryStore()
    target.objects[wheel] = b"theirs"
    report = run(site, state, MemoryStore(), mirror=target)["mirror"]
    assert report.problem == f"{wheel}: exists already with other bytes (published files are never overwritten)"
    assert target.objects[wheel] == b"theirs"
    assert not target.exists("simple/index.html")


def test_a_site_without_index_empties_no_target() -> None:
    """A wrong KILN_SITE, or a lost state, must not be copied."""
    site, state = first_site()
    target, own = WatchedStore(), MemoryStore()
    run(site, state, own, mirror=target)
    report = run(MemoryStore(), MemoryStore(), own, mirror=target)["mirror"]
    assert "the site has no index" in report.problem
    assert whole(target, site, state)


def test_an_older_log_is_not_put_over_a_newer_one() -> None:
    site, state = first_site()
    old_site, old_state = MemoryStore(), MemoryStore()
    old_site.objects, old_state.objects = dict(site.objects), dict(state.objects)
    second_site(site, state)
    target, own = WatchedStore(), MemoryStore()
    run(site, state, own, mirror=target)
    report = run(old_site, old_state, own, mirror=target)["mirror"]
    assert "its audit log has 4 entries, and the site's 3 do not continue it" in report.problem
    assert whole(target, site, state)


def test_a_target_that_moved_is_copied_anew(tmp_path: Path) -> None:
    site, state = first_site()
    own = MemoryStore()
    for place in ("one", "two"):
        target = DirectoryStore(tmp_path / place)
        run(site, state, own, mirror=target)
        assert whole(target, site, state)


def test_a_damaged_note_is_told_with_what_to_do() -> None:
    site, state = first_site()
    own = MemoryStore()
    own.objects[state_key("mirror")] = b"damaged"
    report = run(site, state, own, mirror=MemoryStore())["mirror"]
    assert "delete it: everything is then compared and copied anew" in report.problem


@pytest.mark.slow
def test_a_bucket_and_a_folder_become_the_same_copy(s3_server: S3Server, tmp_path: Path) -> None:
    site, state = first_site()
    own = MemoryStore()
    targets: dict[str, ObjectStore] = {"bucket": S3Store(s3_server.new_bucket("site/")), "folder": DirectoryStore(tmp_path)}
    for change in (lambda: None, lambda: second_site(site, state)):
        change()
        snapshot = take_snapshot(site, state)
        reports = replicate(snapshot, site=site, targets=targets, state=own, progress=Silent())
        assert [report.problem for report in reports] == ["", ""]
        for target in targets.values():
            assert whole(target, site, state)
    with pytest.raises(StoreError):
        targets["bucket"].put_if_absent(next(key for key in site.objects if key.endswith(".whl")), b"other")
