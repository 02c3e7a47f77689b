"""The real pip, uv, Poetry and PDM install from a site of kiln's, through every kind of server (see `scenarios`)."""

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from packaging.markers import Marker

from kiln_pipeline_tests.installers import world
from kiln_pipeline_tests.installers.conftest import Runs, Server
from kiln_pipeline_tests.installers.programs import Addresses, Program, Uv
from kiln_pipeline_tests.installers.scenarios import (
    BY_MARKER,
    INSTALLED,
    LOCK,
    MARKERS_WITH_AND,
    OLD_LOCK,
    OLD_LOCK_BINARY,
    PLATFORMS,
    Scenario,
)

pytestmark = pytest.mark.slow

OURS = world.sha256(next(file.data for file in world.OURS if file.filename.startswith("speedy")))


@pytest.mark.parametrize("scenario", INSTALLED, ids=lambda scenario: scenario.title)
def test_what_is_installed(scenario: Scenario, program: Program, at: Addresses, runs: Runs) -> None:
    for each in INSTALLED:
        runs.begin(program, each.wish, at)
    done = runs.grant(program, scenario.wish, at)
    expected = scenario.instead if program.name in scenario.cannot else scenario.installs
    assert done.ok, done.output
    assert {name: done.installed.get(name) for name in expected} == expected, done.output


def test_a_lock_has_our_hash_and_is_held_to_it(program: Program, at: Addresses, runs: Runs) -> None:
    lock = runs.grant(program, LOCK.wish, at).lock
    assert lock.count(OURS) == 1
    again = program.install_lock(runs.folder(), LOCK.wish, at, lock)
    assert (again.ok, again.installed["speedy-thing"]) == (True, "1.0-1"), again.output
    altered = program.install_lock(runs.folder(), LOCK.wish, at, lock.replace(OURS, "0" * 64))
    assert (altered.ok, altered.installed.get("speedy-thing")) == (False, None), altered.output


@pytest.mark.parametrize("scenario", [OLD_LOCK, OLD_LOCK_BINARY], ids=lambda scenario: scenario.title)
def test_a_lock_from_before_upstreams_wheel(scenario: Scenario, program: Program, server: Server, runs: Runs) -> None:
    made = server.old_locks[program.name]
    assert made.ok, made.output
    done = program.install_lock(runs.folder(), scenario.wish, server.at, made.lock)
    if program.name in scenario.cannot:
        assert not done.ok
        assert world.BACKEND in done.output
    else:
        assert (done.ok, done.installed) == (True, scenario.installs), done.output


def test_a_platform_that_only_upstream_has(program: Program, at: Addresses, runs: Runs) -> None:
    done = runs.grant(program, PLATFORMS.wish, at)
    assert program.lists(runs.folder(), at, done.lock, world.ELSEWHERE)


def test_uv_without_a_lock_takes_upstreams_later_wheel(program: Program, at: Addresses, runs: Runs) -> None:
    if isinstance(program, Uv):
        done = program.install_unlocked(runs.folder(), "latecomer", at)
        assert (done.ok, done.installed) == (True, {"latecomer": "1.0"}), done.output


MACS = {"arm64": "site", "x86_64": "upstream"}
"""Which index the marker in README's snippets leads each kind of Mac to."""


def test_an_index_by_marker(program: Program, at: Addresses, runs: Runs) -> None:
    if program.name in BY_MARKER.cannot:
        done = program.install(runs.folder(), BY_MARKER.wish, at)
        assert (done.ok, done.installed.get("markupsafe")) == (True, BY_MARKER.instead["markupsafe"]), done.output
        return
    done = program.make_lock(runs.folder(), BY_MARKER.wish, at)
    assert done.ok, done.output
    indexes = {"site": f"{at.site}simple/".rstrip("/"), "upstream": f"{at.upstream}simple/".rstrip("/")}
    assert {machine: _sources(done.lock, machine) for machine in MACS} == {
        machine: [indexes[index]] for machine, index in MACS.items()
    }


def test_a_complement_with_and_would_drop_intel_macs(program: Program, at: Addresses, runs: Runs) -> None:
    """Which is why Poetry's snippet says `or` (poetry issue 7300)."""
    if program.name == "Poetry":
        done = program.make_lock(runs.folder(), MARKERS_WITH_AND, at)
        assert done.ok, done.output
        assert _sources(done.lock, "arm64") != []
        assert _sources(done.lock, "x86_64") == []


def _sources(lock: str, machine: str) -> list[str]:
    """Return the indexes that a lock of uv or Poetry takes markupsafe from on a Mac."""
    packages = tomllib.loads(lock)["package"]
    mac = {"sys_platform": "darwin", "platform_machine": machine}
    app = next((each for each in packages if each["name"] == "app"), None)
    rows: list[Mapping[str, Any]] = app["dependencies"] if app else packages
    return [
        (row["source"].get("registry") or row["source"]["url"]).rstrip("/")
        for row in rows
        if row["name"] == "markupsafe" and Marker(row.get("marker") or row.get("markers") or "python_version > '3'").evaluate(mac)
    ]
