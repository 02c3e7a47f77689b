"""Index check: every kind of drift is found, pages are mended to the byte, and nothing else is touched."""

import hashlib
from dataclasses import replace

import pytest

from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.stages.index_check import Drift, Finding, check_site, check_target, mend_pages, mend_target
from kiln_pipeline.stages.inventory import take_snapshot
from kiln_pipeline.stages.page_writer import UNFINISHED
from kiln_pipeline.stages.replicate import replicate
from kiln_pipeline_tests.audit_samples import Silent
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.s3_server import S3Server
from kiln_pipeline_tests.stages.sites import grow, publish_projects


def made_site() -> tuple[MemoryStore, MemoryStore]:
    site, state = MemoryStore(), MemoryStore()
    grow(site, state, ["cp38", "cp39"], failures=["cp310"])
    publish_projects(site, state, "bar", "foo", "wrapt")
    return site, state


def check(site: MemoryStore, state: MemoryStore) -> tuple[Finding, ...]:
    return check_site(site, state, progress=Silent())


def test_a_site_as_it_was_left_has_no_drift() -> None:
    """Also after it has grown: the partial tile of the earlier checkpoint is still owned."""
    site, state = made_site()
    assert check(site, state) == ()
    grow(site, state, ["cp311"])
    publish_projects(site, state, "foo", "wrapt")
    assert set(site.keys("audit/tile/0/")) == {"audit/tile/0/000.p/3", "audit/tile/0/000.p/4"}
    assert check(site, state) == ()


def test_every_object_that_is_lost_is_found() -> None:
    site, state = made_site()
    for key in [key for key in site.keys() if not key.startswith("audit/tile/") and key != "audit/checkpoint"]:
        if key in ("audit/log.vkey", "audit/README"):
            continue  # the one is what all else is verified with; the other is whatever is there
        lost = site.objects.pop(key)
        assert check(site, state) == (Finding(key=key, drift=Drift.MISSING),)
        site.objects[key] = lost


def test_every_object_with_a_noted_hash_that_is_altered_is_found() -> None:
    site, state = made_site()
    for key, sha256 in take_snapshot(site, state).objects.items():
        if not sha256 or key.startswith("audit/checkpoint") or key in ("audit/log.vkey", "audit/README"):
            continue
        was = site.objects[key]
        site.objects[key] = was[:-1] + bytes([was[-1] ^ 1])
        assert check(site, state) == (Finding(key=key, drift=Drift.ALTERED),)
        site.objects[key] = was


def test_what_nobody_owns_is_found() -> None:
    site, state = made_site()
    strays = ["audit/logs/stray.log.gz", "audit/tile/1/000.p/3", "simple/gone/index.html", "stray", "wheels/stray.whl"]
    for key in strays:
        site.objects[key] = b""
    assert check(site, state) == tuple(Finding(key=key, drift=Drift.UNOWNED) for key in strays)


def test_pages_are_mended_to_the_byte_and_nothing_else_is_touched() -> None:
    site, state = made_site()
    before = dict(site.objects)
    wheel = next(site.keys("wheels/"))
    del site.objects["simple/bar/index.json"]
    site.objects["simple/wrapt/index.html"] = b"altered"
    site.objects["simple/index.html"] = b"altered"
    site.objects["simple/stranger/index.html"] = b"unowned"
    site.objects["simple/foo/stray.txt"] = b"unowned, and no page"
    site.objects[wheel] = b"altered"
    findings = check(site, state)
    assert [finding.key for finding in findings if not finding.is_page] == ["simple/foo/stray.txt", wheel]
    assert mend_pages(findings, state) == ("bar", "stranger", "wrapt")
    site.puts.clear()
    publish_projects(site, state, "bar", "foo", "wrapt")
    assert {key.split("/")[1] for key in site.puts} == {"bar", "wrapt", "index.html", "index.json"}
    assert site.objects == before | {wheel: b"altered", "simple/foo/stray.txt": b"unowned, and no page"}
    assert not state.exists(UNFINISHED)


def test_an_index_without_drift_is_not_mended() -> None:
    site, state = made_site()
    state.puts.clear()
    assert mend_pages(check(site, state), state) == ()
    assert state.puts == []


def test_a_replica_is_checked_against_its_own_note_and_mended_by_the_next_copy() -> None:
    site, state = made_site()
    target, own = MemoryStore(), MemoryStore()

    def copy() -> str:
        snapshot = take_snapshot(site, state)
        (report,) = replicate(snapshot, site=site, targets={"mirror": target}, state=own, progress=Silent())
        return report.problem

    copy()
    assert check_target("mirror", target, own, progress=Silent()) == ()
    tile, wheel = "audit/tile/0/000.p/3", next(target.keys("wheels/"))
    del target.objects[wheel]
    target.objects["simple/foo/index.json"] = b"altered"
    target.objects[tile] = b"altered"
    target.objects["stray"] = b""
    findings = check_target("mirror", target, own, progress=Silent())
    assert {finding.key: finding.drift for finding in findings} == {
        wheel: Drift.MISSING,
        "simple/foo/index.json": Drift.ALTERED,
        tile: Drift.ALTERED,
        "stray": Drift.UNOWNED,
    }
    assert mend_target("mirror", target, findings, own) == 3
    assert copy() == f"{tile}: exists already with other bytes (published files are never overwritten)"
    del target.objects[tile]
    assert copy() == ""
    assert target.objects == site.objects | {"stray": b""}
    assert hashlib.sha256(target.get(wheel)).digest() == hashlib.sha256(site.get(wheel)).digest()


@pytest.mark.slow
def test_a_site_in_a_bucket_is_the_same_site(s3_server: S3Server) -> None:
    """Recorded, published, grown, mended and checked in buckets: byte for byte what it is in memory."""
    location = s3_server.new_bucket("site/")
    site, state = S3Store(location), S3Store(replace(location, prefix="state/"))
    memory_site, memory_state = MemoryStore(), MemoryStore()
    for each_site, each_state in ((site, state), (memory_site, memory_state)):
        grow(each_site, each_state, ["cp38", "cp39"], failures=["cp310"])
        publish_projects(each_site, each_state, "bar", "foo", "wrapt")
        grow(each_site, each_state, ["cp311"])
        publish_projects(each_site, each_state, "foo", "wrapt", yanked=True)
    assert {key: site.get(key) for key in site.keys()} == memory_site.objects
    site.put("simple/foo/index.html", b"altered")
    (finding,) = check_site(site, state, progress=Silent())
    assert finding == Finding(key="simple/foo/index.html", drift=Drift.ALTERED)
    mend_pages([finding], state)
    publish_projects(site, state, "foo", "wrapt", yanked=True)
    assert check_site(site, state, progress=Silent()) == ()
