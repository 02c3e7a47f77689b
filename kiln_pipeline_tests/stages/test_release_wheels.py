"""Wheels onto a page of releases: each once, what belongs to it beside it, and one that cannot be released stops no other."""

import json
import random

from kiln_pipeline.adapters.github_releases import GitHubReleases
from kiln_pipeline.core import site_layout
from kiln_pipeline.stages.inventory import take_snapshot
from kiln_pipeline.stages.replicate import replicate
from kiln_pipeline.stages.targets import TargetReport
from kiln_pipeline_tests.audit_samples import Silent
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.github_server import TOKEN, GitHubServer, now
from kiln_pipeline_tests.stages.sites import grow, publish_projects


def site_of(*pythons: str) -> tuple[MemoryStore, MemoryStore]:
    site, state = MemoryStore(), MemoryStore()
    grow(site, state, pythons, failures=["cp312"])
    publish_projects(site, state, "wrapt")
    return site, state


def run(github: GitHubServer, site: MemoryStore, state: MemoryStore) -> TargetReport:
    page = GitHubReleases("owner/wheels", token=TOKEN, api=github.url, sleep=lambda _: None, clock=now)
    (report,) = replicate(take_snapshot(site, state), site=site, targets={"page": page}, state=state, progress=Silent())
    return report


def test_every_wheel_of_the_log_is_released_once() -> None:
    """A failed attempt is not; a second run asks nothing, and a new wheel is the only work of the third."""
    site, state = site_of("cp39", "cp310")
    with GitHubServer() as github:
        assert run(github, site, state).copied == 2
        for tag, files in github.visible().items():
            assert files == {
                name: site.get(key(tag))
                for name, key in (
                    (tag, site_layout.wheel),
                    (f"{tag}.metadata", site_layout.wheel_metadata),
                    (f"{tag}.provenance.json", site_layout.wheel_provenance),
                )
            }
            assert json.loads(files[f"{tag}.provenance.json"])["entry"]
        github.requests.clear()
        assert run(github, site, state) == TargetReport(name="page")
        assert github.requests == []
        grow(site, state, ["cp311"])
        assert run(github, site, state).copied == 1
        assert len(github.visible()) == 3


def test_a_lost_note_releases_nothing_twice() -> None:
    site, state = site_of("cp39", "cp310")
    with GitHubServer() as github:
        run(github, site, state)
        before = list(github.mutations)
        state.delete("targets/page.parquet")
        assert (run(github, site, state).copied, github.mutations) == (2, before)


def test_a_wheel_that_stands_there_with_other_bytes_stops_no_other() -> None:
    site, state = site_of("cp39", "cp310")
    with GitHubServer() as github:
        run(github, site, state)
        first = min(github.assets)
        github.contents[first], github.assets[first]["digest"] = b"another", f"sha256:{'0' * 64}"
        state.delete("targets/page.parquet")
        report = run(github, site, state)
        assert (report.copied, report.left) == (1, 1)
        assert "exists already with other bytes" in report.problem


def test_a_page_that_fails_again_and_again_ends_whole() -> None:
    site, state = site_of("cp38", "cp39", "cp310", "cp311")
    with GitHubServer(page=2) as github:
        github.chance = (random.Random(3), 0.35)
        while run(github, site, state).left:
            pass
        github.chance = None
        assert run(github, site, state) == TargetReport(name="page")
        assert sorted(github.visible()) == sorted(
            key.removeprefix("wheels/") for key in site.keys("wheels/") if key.endswith(".whl")
        )
        assert len(github.releases) == 4
