"""Dated views: byte for byte what was published that day, whatever comes after; cheap, whole at any moment, and signed."""

from contextlib import suppress
from datetime import date, timedelta

import pytest

from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.errors import KilnError, ObjectNotFound, RecipeError, StoreError, VerificationError
from kiln_pipeline.stages.audit_site import compare_views
from kiln_pipeline.stages.dated_views import KEY, ViewReport, list_views, remove_views, take_and_retain, take_view
from kiln_pipeline.stages.index_check import Drift, Finding, check_site
from kiln_pipeline.stages.inventory import take_snapshot
from kiln_pipeline.stages.page_writer import UNFINISHED
from kiln_pipeline.stages.replicate import replicate
from kiln_pipeline.stages.verify import project_files
from kiln_pipeline.stages.verify_views import as_of, check_view
from kiln_pipeline_tests.audit_samples import LOG, Silent
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.stages.sites import grow, publish_projects

DAY = date(2026, 11, 22)
LOG_KEY = str(VerifierKey.of(LOG))


class Site:
    """A published site, which grows."""

    def __init__(self) -> None:
        self.site, self.state = MemoryStore(), MemoryStore()
        grow(self.site, self.state, ["cp38", "cp39"])
        self.publish("bar", "foo", "wrapt")

    def publish(self, *projects: str, yanked: bool = False) -> None:
        publish_projects(self.site, self.state, *projects, yanked=yanked)

    def take(self, day: date = DAY, *, keep_days: int | None = None) -> ViewReport:
        more = {"site": self.site, "state": self.state, "signer": LOG, "progress": Silent()}
        return take_and_retain(day, today=max(day, DAY), keep_days=keep_days, **more)[0]

    def remove(self, *days: date) -> int:
        return remove_views(days, site=self.site, state=self.state, log_key=LOG.public_key, progress=Silent())

    def simple(self) -> dict[str, bytes]:
        return {key: self.site.get(key) for key in self.site.keys("simple/")}

    def seen(self, day: date) -> dict[str, bytes]:
        """What the view of a day shows at the addresses of the live index."""
        view = check_view(day, fetch=self.site.get, log_key=LOG.public_key)
        keys = [f"simple/{project}/{name}" for project in view.pages for name in ("index.html", "index.json", "attestation.json")]
        fetch = as_of(view, self.site.get)
        return {key: fetch(key) for key in [*keys, "simple/index.html", "simple/index.json"]}

    def findings(self) -> tuple[Finding, ...]:
        return check_site(self.site, self.state, progress=Silent())


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_view_stays_byte_for_byte_what_was_published(site: Site) -> None:
    before = site.simple()
    report = site.take()
    assert (report.taken, report.written) == (True, 3)
    grow(site.site, site.state, ["cp311"])
    site.publish("foo", "wrapt", "new", yanked=True)
    assert site.simple() != before
    assert site.seen(DAY) == before
    assert site.findings() == ()


def test_a_day_that_has_a_view_keeps_it(site: Site) -> None:
    site.take()
    before = site.seen(DAY)
    site.publish("foo")
    objects = dict(site.site.objects)
    assert site.take().taken is False
    assert site.site.objects == objects
    assert site.seen(DAY) == before


def test_a_view_costs_what_changed_since_the_one_before(site: Site) -> None:
    site.take()
    site.publish("bar", "foo", "wrapt", yanked=True)
    puts = len(site.site.puts)
    assert site.take(DAY + timedelta(1)).written == 1
    pages, views = site.site.puts[puts:], sorted({key.partition("/")[2] for key in site.site.puts[puts:]})
    assert len(pages) == 5
    assert views == ["attestation.json", "manifest.txt", "wrapt/attestation.json", "wrapt/index.html", "wrapt/index.json"]
    puts = len(site.site.puts)
    site.take(DAY + timedelta(2))
    assert site.site.puts[puts:] == ["simple@2026-11-24/attestation.json", "simple@2026-11-24/manifest.txt"]
    assert [view.day.day for view in list_views(site.site, site.state)] == [22, 23, 24]


def test_only_today_can_be_taken_and_time_does_not_run_backwards(site: Site) -> None:
    more = {"site": site.site, "state": site.state, "signer": LOG, "progress": Silent()}
    with pytest.raises(RecipeError, match="2026-11-23 has not come yet"):
        take_view(DAY + timedelta(1), today=DAY, **more)
    take_view(DAY, today=DAY, **more)
    with pytest.raises(RecipeError, match="the newest view is of 2026-11-22"):
        take_view(DAY - timedelta(1), today=DAY, **more)


def test_nothing_is_taken_of_what_is_not_wholly_published(site: Site) -> None:
    site.state.put(UNFINISHED, b'["foo"]')
    with pytest.raises(StoreError, match="a publish has not finished"):
        site.take()
    site.state.delete(UNFINISHED)
    site.site.put("simple/foo/index.html", b"altered")
    with pytest.raises(StoreError, match="it is not what was published"):
        site.take()
    with pytest.raises(StoreError, match="the site has no index"):
        take_view(DAY, today=DAY, site=MemoryStore(), state=MemoryStore(), signer=LOG, progress=Silent())


def test_a_view_goes_with_all_that_only_it_shows(site: Site) -> None:
    before = set(site.site.keys())
    site.take()
    site.publish("bar", "foo", "wrapt", yanked=True)
    site.take(DAY + timedelta(1))
    first = site.seen(DAY)
    site.remove(DAY + timedelta(1))
    assert site.seen(DAY) == first
    with pytest.raises(VerificationError, match="there is no such view"):
        site.seen(DAY + timedelta(1))
    assert site.findings() == ()
    site.remove(DAY)
    assert set(site.site.keys()) == before
    with pytest.raises(RecipeError, match="simple@2026-11-22: is no view"):
        site.remove(DAY)


def test_retention(site: Site) -> None:
    for days in (40, 39, 38, 1):
        site.take(DAY - timedelta(days))
    site.take(keep_days=30)
    assert [str(view.day) for view in list_views(site.site, site.state)] == ["2026-10-13", "2026-11-21", "2026-11-22"]


class Cut(KilnError):
    """The power went."""


class CutStore(MemoryStore):
    """Stops after `left` writes, deletions included; None: never."""

    left: int | None

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects, self.left = objects, None

    def put(self, key: str, data: bytes) -> None:
        self._count()
        super().put(key, data)

    def delete(self, key: str) -> None:
        self._count()
        super().delete(key)

    def _count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Cut


def whole(site: Site) -> dict[date, dict[str, bytes]]:
    """Every view that a reader finds, each of which must be whole."""
    days = [date.fromisoformat(key[7:17]) for key in site.site.keys("simple@") if key.endswith("/manifest.txt")]
    return {day: site.seen(day) for day in days}


@pytest.mark.parametrize("lost_state", [False, True], ids=["", "and the state is lost"])
@pytest.mark.parametrize("step", ["take", "remove"])
@pytest.mark.parametrize("cut", ["site", "state"])
def test_whatever_is_cut_off_is_whole_for_readers_and_finished_by_the_next_run(cut: str, step: str, lost_state: bool) -> None:
    """At every write of a second view, or of the removal of the first."""
    made, later, third = Site(), DAY + timedelta(1), DAY + timedelta(2)
    made.take()
    first = made.seen(DAY)
    made.publish("bar", "foo", "wrapt", yanked=True)
    second = made.simple()
    for left in range(100):
        site = Site.__new__(Site)
        stores = {"site": CutStore(dict(made.site.objects)), "state": CutStore(dict(made.state.objects))}
        site.site, site.state = stores.values()
        stores[cut].left = left
        finished = False
        with suppress(Cut):
            site.take(later) if step == "take" else site.remove(DAY)
            finished = True
        found = whole(site)
        assert found.get(DAY, first) == first
        assert found.get(later, second) == second
        assert step == "remove" or DAY in found
        stores[cut].left = None
        if lost_state:
            del site.state.objects[KEY]
        site.take(third)
        assert whole(site)[third] == second
        assert site.findings() == ()
        if finished:
            break
    assert left > (4 if cut == "site" else 1)


def test_a_lost_state_is_made_anew_from_signed_views_and_from_no_others(site: Site) -> None:
    site.take()
    state = site.state.objects.pop(KEY)
    site.take(DAY + timedelta(1))
    assert [view.day for view in list_views(site.site, site.state)] == [DAY, DAY + timedelta(1)]
    site.state.objects.pop(KEY)
    forged = site.site.get("simple@2026-11-22/manifest.txt").replace(b"foo", b"fox")
    site.site.put("simple@2026-11-22/manifest.txt", forged)
    with pytest.raises(VerificationError):
        site.take(DAY + timedelta(2))
    site.state.put(KEY, state[:-1])
    with pytest.raises(StoreError, match="it is no list of views"):
        site.take(DAY + timedelta(2))


def test_every_altered_or_missing_object_of_a_view_is_found(site: Site) -> None:
    site.take()
    assert list(compare_views(site.site, site.state, LOG_KEY, full=True)) == []
    for key in list(site.site.keys("simple@")):
        was = site.site.get(key)
        for change in (was[:-2] + bytes([was[-2] ^ 1]) + was[-1:], None):
            if change is None:
                site.site.delete(key)
            else:
                site.site.put(key, change)
            assert list(compare_views(site.site, site.state, LOG_KEY, full=True)), key
            if change is None:
                assert Finding(key=key, drift=Drift.MISSING) in site.findings()
            elif not key.startswith(f"simple@{DAY}/attestation") and key.count("/") > 1:
                assert Finding(key=key, drift=Drift.ALTERED) in site.findings()
        site.site.put(key, was)
    assert site.findings() == ()


def test_a_view_is_verified_like_the_live_pages(site: Site) -> None:
    site.take()
    site.publish("bar", "foo", "wrapt", yanked=True)
    view = check_view(DAY, fetch=site.site.get, log_key=LOG.public_key)
    files = project_files("wrapt", fetch=as_of(view, site.site.get), log_key=LOG_KEY)
    assert sum(file.ours for file in files) == 2
    with pytest.raises(ObjectNotFound):
        as_of(view, site.site.get)("simple/none/index.json")
    newer = site.site.get("simple/wrapt/attestation.json")
    site.site.put(view.place("simple/wrapt/attestation.json"), newer)
    with pytest.raises(VerificationError, match="it is not what the signed view states"):
        as_of(view, site.site.get)("simple/wrapt/attestation.json")


def test_replicas_have_the_views_and_lose_them(site: Site) -> None:
    target = MemoryStore()

    def copy() -> None:
        snapshot = take_snapshot(site.site, site.state)
        replicate(snapshot, site=site.site, targets={"copy": target}, state=site.state, progress=Silent())

    site.take()
    site.publish("bar", "foo", "wrapt", yanked=True)
    copy()
    assert {key: target.get(key) for key in target.keys("simple@")} == {
        key: site.site.get(key) for key in site.site.keys("simple@")
    }
    assert target.puts.index("simple@2026-11-22/manifest.txt") > max(
        target.puts.index(key) for key in target.keys("simple@") if not key.endswith("manifest.txt")
    )
    site.remove(DAY)
    copy()
    assert list(target.keys("simple@")) == []
