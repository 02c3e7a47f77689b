"""The hosts table: every host that matters, once, with what is known of it, and each platform's queue."""

from datetime import UTC, date, datetime, timedelta

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.hosts_table import HOSTS, BuildRun, Heartbeat, hosts_table, queues_table, unserved
from kiln_pipeline.core.platforms import BuildIdentifier, Platform

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MAC, LINUX = Platform.MACOSX_ARM64, Platform.MANYLINUX_X86_64


def host(name: str, *platforms: Platform, revoked: date | None = None) -> Host:
    return Host(
        name=name, platforms=platforms, public_key=name.encode().ljust(32), revoked=revoked, reason="sold" if revoked else ""
    )


ENROLLED = {each.name: each for each in (host("mac", MAC), host("linux", LINUX), host("old", MAC, revoked=date(2026, 1, 1)))}


def attempt(name: str, *, minutes_ago: float, seconds: float = 60, made: bool = True) -> Attempt:
    finished = NOW - timedelta(minutes=minutes_ago)
    return Attempt(
        release=Release(project="foo", version="1.0"),
        identifier=BuildIdentifier.parse("cp311-manylinux_x86_64"),
        outcome=Outcome.SUCCEEDED if made else Outcome.FAILED,
        started=finished - timedelta(seconds=seconds),
        finished=finished,
        host=name,
        builder="zig",
        sdist_sha256="0" * 64,
        recipe_sha256="",
    )


def test_a_row_says_all_that_is_known_of_a_host():
    attempts = [
        attempt("linux", minutes_ago=50, seconds=10),
        attempt("linux", minutes_ago=40, seconds=30),
        attempt("linux", minutes_ago=30, made=False),
        attempt("gone", minutes_ago=900),
    ]
    runs = [BuildRun(platform=LINUX, queued=NOW, host="linux", running=True), BuildRun(platform=MAC, queued=NOW)]
    table = hosts_table(
        enrolled=ENROLLED,
        heartbeats=[Heartbeat(host="linux", platforms=(LINUX,))],
        runs=runs,
        attempts=attempts,
        before=HOSTS.empty_table(),
        now=NOW,
    )
    shown = {row.pop("host"): row for row in table.drop_columns(["as_of"]).to_pylist()}
    nothing = {"last_heartbeat": None, "running": 0, "done": 0, "failed": 0, "median_seconds": None}
    assert shown == {
        "gone": nothing
        | {"state": "silent", "platforms": [], "last_heartbeat": NOW - timedelta(minutes=900), "done": 1, "median_seconds": 60.0},
        "linux": {
            "state": "live",
            "platforms": [LINUX],
            "last_heartbeat": NOW,
            "running": 1,
            "done": 2,
            "failed": 1,
            "median_seconds": 20.0,
        },
        "mac": nothing | {"state": "silent", "platforms": [MAC]},
        "old": nothing | {"state": "revoked", "platforms": [MAC]},
    }


def look(*names: str, before=None, at: datetime = NOW):
    return hosts_table(
        enrolled=ENROLLED,
        heartbeats=[Heartbeat(host=name, platforms=ENROLLED[name].platforms) for name in names],
        runs=(),
        attempts=(),
        before=HOSTS.empty_table() if before is None else before,
        now=at,
    )


def states(table) -> dict[str, str]:
    return {row["host"]: row["state"] for row in table.to_pylist()}


def test_one_lost_answer_makes_no_host_silent_and_five_minutes_do():
    table = look("mac")
    for minutes, state in ((1, "live"), (5, "live"), (6, "silent")):
        table = look(before=table, at=NOW + timedelta(minutes=minutes))
        assert states(table)["mac"] == state
    assert table.to_pylist()[1]["last_heartbeat"] == NOW
    assert states(look("mac", before=table, at=NOW + timedelta(minutes=7)))["mac"] == "live"


def test_a_clock_that_is_ahead_makes_no_heartbeat_of_the_future():
    table = hosts_table(
        enrolled=ENROLLED, heartbeats=(), runs=(), attempts=[attempt("mac", minutes_ago=-60)], before=HOSTS.empty_table(), now=NOW
    )
    assert table.to_pylist()[1]["last_heartbeat"] == NOW


def test_a_revoked_host_that_still_answers_serves_nothing():
    queues = queues_table(look("old"), [BuildRun(platform=MAC, queued=NOW)], now=NOW)
    assert [row["platform"] for row in unserved(queues)] == [MAC]


def test_a_queue_tells_who_serves_it_and_how_long_the_oldest_has_waited():
    runs = [
        BuildRun(platform=MAC, queued=NOW - timedelta(minutes=3)),
        BuildRun(platform=MAC, queued=NOW - timedelta(minutes=10)),
        BuildRun(platform=LINUX, queued=NOW - timedelta(minutes=10), host="linux", running=True),
    ]
    queues = queues_table(look("linux"), runs, now=NOW)
    assert [tuple(row.values())[:5] for row in queues.to_pylist()] == [
        (MAC, [], 2, 0, 600.0),
        (LINUX, ["linux"], 0, 1, None),
    ]
    assert [row["platform"] for row in unserved(queues)] == [MAC]
    assert unserved(queues_table(look("linux", "mac"), runs, now=NOW)) == ()


def test_a_platform_without_work_is_no_reason_to_warn():
    assert unserved(queues_table(look(), (), now=NOW)) == ()
