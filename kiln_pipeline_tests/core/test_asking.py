"""What sensors remember: asked again when it failed, each time later; a cursor that is broken counts as none."""

from datetime import UTC, datetime, timedelta

import pytest

from kiln_pipeline.core.asking import LONGEST_WAIT, Asked, Watch, wait_after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_waits_double_and_end_at_an_hour() -> None:
    assert [wait_after(failures).total_seconds() / 60 for failures in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]


def test_the_same_work_waits_longer_each_time_and_other_work_does_not() -> None:
    once = Asked().again("a" * 64, NOW)
    assert once.waits_until("a" * 64, NOW) == NOW + timedelta(minutes=1)
    assert once.waits_until("a" * 64, NOW + timedelta(minutes=1)) is None
    assert once.waits_until("b" * 64, NOW) is None
    twice = once.again("a" * 64, NOW + timedelta(minutes=1))
    assert (twice.times, twice.waits_until("a" * 64, NOW + timedelta(minutes=1))) == (2, NOW + timedelta(minutes=3))
    assert twice.again("b" * 64, NOW).times == 1


def test_work_that_comes_back_has_a_new_key() -> None:
    """A yank that was taken back: the same digest as a week ago, and Dagster would drop a run key that it has seen."""
    first = Asked().again("a" * 64, NOW)
    later = first.again("b" * 64, NOW + timedelta(days=1)).again("a" * 64, NOW + timedelta(days=7))
    assert first.key != later.key


def test_a_clock_that_was_put_back_makes_nothing_wait() -> None:
    assert Asked().again("a", NOW).waits_until("a", NOW - timedelta(days=1)) is None
    assert Watch().failed(NOW).waits_until(NOW - 2 * LONGEST_WAIT) is None


def test_looks_at_an_upstream_that_is_down_come_later_each_time() -> None:
    watch = Watch().failed(NOW)
    assert watch.waits_until(NOW) == NOW + timedelta(minutes=1)
    assert watch.failed(NOW).waits_until(NOW) == NOW + timedelta(minutes=2)
    assert Watch.parse(str(watch)) == watch


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        "",
        "{",
        "[]",
        "7",
        '"text"',
        '{"what": 7}',
        '{"what": "a", "times": "x"}',
        '{"when": "never"}',
        '{"when": "2026-11-22T12:00:00"}',
        '{"nobody": "knows"}',
    ],
)
def test_a_cursor_of_nobody_is_nothing_asked(cursor: str | None) -> None:
    assert Asked.parse(cursor) == Asked()


@pytest.mark.parametrize("cursor", [None, "", "{", "[]", "7", '{"after": 1}', '{"until": "2026-11-22"}', '{"asked": 7, "x": 1}'])
def test_a_watch_of_nobody_begins_anew(cursor: str | None) -> None:
    assert Watch.parse(cursor) == Watch()


def test_what_was_asked_survives_a_restart() -> None:
    asked = Asked().again("a" * 64, NOW)
    assert Asked.parse(str(asked)) == asked
    watch = Watch(after="numpy", asked=asked)
    assert Watch.parse(str(watch)) == watch
