"""Grouping: what is told when, and what is never told twice. No clock but the one given."""

from datetime import UTC, datetime, timedelta

import pytest

from kiln_pipeline.core.alerts import PROOFS, SUBJECTS, Memory, Signal, digest, observe

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def failed(number: int, group: str = "builds fail: missing-header") -> Signal:
    return Signal(group=group, subject=f"run {number}", proof=f"yaml.h: {number}", hint="install it", happened=True)


def standing(subject: str = "macosx_arm64", patience: timedelta = timedelta()) -> Signal:
    return Signal(group="no live host", subject=subject, proof="3 runs wait", patience=patience)


class Channel:
    """What one channel hears, look by look."""

    def __init__(self) -> None:
        self.memory, self.now = Memory(), NOW

    def hears(self, *signals: Signal, minutes: int = 0) -> str | None:
        self.now += timedelta(minutes=minutes)
        self.memory = observe(Memory.parse(str(self.memory)), signals, self.now)  # a restart at every look
        message = digest(self.memory, self.now, HOUR)
        self.memory = message.after if message else self.memory
        return message.text if message else None


def test_a_group_is_told_with_its_first_proofs_and_its_count() -> None:
    assert Channel().hears(*(failed(number) for number in range(5))) == (
        "builds fail: missing-header (5 new)\n- run 0: yaml.h: 0\n- run 1: yaml.h: 1\n- run 2: yaml.h: 2\n- and 2 more\n"
        "What to do: install it"
    )


def test_a_thousand_failures_in_an_hour_are_two_messages_and_one_end() -> None:
    channel = Channel()
    said = [channel.hears(*(failed(20 * minute + n) for n in range(20)), minutes=1) for minute in range(60)]
    told = [text for text in said if text]
    assert len(told) == 1
    text = channel.hears(minutes=1)
    assert text is not None
    assert text.startswith(f"builds fail: missing-header ({SUBJECTS} new, {SUBJECTS + 20} since 2026-11-22 12:01 UTC)")
    quiet = [channel.hears(minutes=10) for _ in range(20)]
    (end,) = [text for text in quiet if text]
    assert end.startswith("resolved: builds fail: missing-header (")
    assert channel.hears(minutes=60 * 24 * 8) is None
    assert channel.memory.groups == {}


def test_several_groups_are_one_message() -> None:
    text = Channel().hears(failed(1), failed(2, "publish fails"), standing())
    assert text is not None
    assert [part.split(" (")[0] for part in text.split("\n\n")] == [
        "builds fail: missing-header",
        "no live host",
        "publish fails",
    ]


def test_what_stands_is_told_once_and_its_end_once() -> None:
    channel = Channel()
    assert channel.hears(standing()) == "no live host (1 new)\n- macosx_arm64: 3 runs wait"
    assert [channel.hears(standing(), minutes=60) for _ in range(24)] == [None] * 24
    assert channel.hears(standing(), standing("manylinux_x86_64")) == (
        "no live host (1 new, 2 since 2026-11-22 12:00 UTC)\n- manylinux_x86_64: 3 runs wait"
    )
    assert channel.hears(minutes=1) == "resolved: no live host (2 since 2026-11-22 12:00 UTC)"
    assert [channel.hears(minutes=60) for _ in range(3)] == [None] * 3


def test_what_comes_and_goes_each_minute_is_two_messages_an_hour() -> None:
    channel = Channel()
    said = [channel.hears(*([standing()] if minute % 2 == 0 else []), minutes=1) for minute in range(120)]
    assert len([text for text in said if text]) == 4


def test_what_is_over_before_its_time_is_not_told() -> None:
    channel, patience = Channel(), timedelta(minutes=10)
    assert [channel.hears(standing(patience=patience), minutes=1) for _ in range(10)] == [None] * 10
    assert channel.hears(minutes=1) is None
    assert [channel.hears(standing(patience=patience), minutes=1) for _ in range(10)] == [None] * 10
    assert channel.hears(standing(patience=patience), minutes=1) is not None


def test_a_delivery_that_failed_is_tried_again_later_with_all_that_came_meanwhile() -> None:
    memory = observe(Memory(), [failed(1)], NOW)
    assert digest(memory, NOW, HOUR) is not None
    memory = memory.failed(NOW)
    assert digest(memory, NOW + timedelta(seconds=59), HOUR) is None
    memory = observe(memory, [failed(2)], NOW + timedelta(minutes=1))
    message = digest(memory, NOW + timedelta(minutes=1), HOUR)
    assert message is not None
    assert message.text.startswith("builds fail: missing-header (2 new)")
    assert (message.after.failures, message.after.until) == (0, "")


def test_a_clock_that_was_put_back_silences_nobody() -> None:
    channel = Channel()
    assert channel.hears(failed(1))
    assert channel.hears(failed(2), minutes=-600)
    assert digest(observe(Memory().failed(NOW), [failed(3)], NOW), NOW - timedelta(days=1), HOUR) is not None


def test_what_was_first_is_told_first_after_a_restart_too() -> None:
    """Only the first have their proofs in the memory, and names that are ids come in any order."""
    memory = observe(Memory(), [failed(number) for number in (9, 3, 7, 1)], NOW)
    message = digest(Memory.parse(str(memory)), NOW, HOUR)
    assert message is not None
    assert "\n- run 9: yaml.h: 9\n- run 3: yaml.h: 3\n- run 7: yaml.h: 7\n- and 1 more\n" in message.text


def test_a_memory_is_bounded() -> None:
    memory = observe(Memory(), (failed(number) for number in range(5 * SUBJECTS)), NOW)
    (group,) = memory.groups.values()
    assert len(group.fresh) == SUBJECTS
    assert sum(bool(proof) for proof in group.fresh.values()) == PROOFS
    long = Signal(group="g", subject="s", proof="x\n\0" * 9999, happened=True)
    assert len(observe(Memory(), [long], NOW).groups["g"].fresh["s"]) == 300


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"groups": 7}', '{"groups": {"a": {}}}', '{"groups": {"a": {"since": "x", "known": []}}}']
)
def test_a_memory_of_nobody_is_an_empty_one(text: str) -> None:
    assert Memory.parse(text) == Memory()
