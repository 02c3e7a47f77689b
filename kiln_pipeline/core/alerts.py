"""When people are told what is wrong: in groups, each at most once an interval, and once more when it is over.

Pure: `observe` takes in what is wrong, `digest` says what to send and what is remembered once that was delivered. A channel that
was down for a day then gets one message with that day's counts, and not a day's messages.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from kiln_pipeline.core.asking import LONGEST_WAIT, wait_after
from kiln_pipeline.core.retries import minute

PROOFS = 3
"""Proofs that one message shows of one group."""
SUBJECTS = 1000
"""Subjects of one group that wait to be told; what is beyond is not counted."""
_WIDTH = 300
_KEPT = timedelta(days=8)
"""What is over is remembered for longer than any interval, so that what comes and goes is not told each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One thing that is wrong. Those of one `group` are told together."""

    group: str
    """What a person acts on as one: ``builds fail: missing-header``."""
    subject: str
    """What tells it apart in its group: a run, a platform, a bundle."""
    proof: str
    """What shows it, in a line."""
    hint: str = ""
    """What to do."""
    happened: bool = False
    """It happened (a run failed) and is given once; False: it is so, and is given at each look for as long as it is."""
    patience: timedelta = timedelta()
    """How long it has to be so before it is told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What is remembered of one group. Times are ISO 8601, UTC."""

    since: str
    hint: str = ""
    told: str = ""
    """When it was told last; empty: never."""
    last: str = ""
    """When something of it happened last."""
    standing: dict[str, str] = field(default_factory=dict[str, str])
    """Subject -> since when it has been so."""
    known: tuple[str, ...] = ()
    """Standing subjects that were told."""
    fresh: dict[str, str] = field(default_factory=dict[str, str])
    """Subject -> proof of what is to be told next, the oldest first."""
    total: int = 0
    """Subjects told since it began."""
    open: bool = False
    """It was told, and its end was not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What one channel was told. ``str`` of it is a JSON text that `parse` reads after a restart."""

    groups: Mapping[str, Group] = field(default_factory=dict[str, Group])
    failures: int = 0
    """Deliveries in a row that failed."""
    until: str = ""
    """No delivery is tried before then."""

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read a memory; anything that this class did not write is an empty one, and things are told once too often."""
        try:
            values: dict[str, Any] = json.loads(text)
            stored: dict[str, dict[str, Any]] = values.pop("groups")
            groups: dict[str, Group] = {}
            for name, group in stored.items():
                known = tuple(group.pop("known"))
                groups[name] = Group(**group, known=known)
            times = [
                when for group in groups.values() for when in (group.since, group.told, group.last, *group.standing.values())
            ]
            if any(datetime.fromisoformat(when).tzinfo is None for when in (*times, values.get("until")) if when):
                return cls()
            return cls(groups=groups, **values)
        except (ValueError, TypeError, AttributeError, KeyError):
            return cls()

    def failed(self, now: datetime) -> Self:
        """Return what holds after a delivery that failed: tried again after 1, 2, 4, … minutes, hourly at last."""
        failures = self.failures + 1
        return replace(self, failures=failures, until=(now + wait_after(failures)).isoformat())

    def __str__(self) -> str:
        return json.dumps(asdict(self))  # in the order of things: what was new first is told first


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """A message, and what is remembered once it was delivered."""

    subject: str
    text: str
    after: Memory


def observe(memory: Memory, signals: Iterable[Signal], now: datetime) -> Memory:
    """Return the memory with what is wrong at `now` taken in. Tells nobody."""
    seen: dict[str, list[Signal]] = {}
    for signal in signals:
        seen.setdefault(signal.group, []).append(signal)
    names = sorted({*memory.groups, *seen})
    groups = {name: _observed(memory.groups.get(name), seen.get(name, ()), now) for name in names}
    live = {name: group for name, group in groups.items() if _busy(group) or _age(group.told, now) < _KEPT}
    return replace(memory, groups=live)


def _observed(before: Group | None, signals: Sequence[Signal], now: datetime) -> Group:
    group = before or Group(since=now.isoformat())
    if signals and not _busy(group):
        group = replace(group, since=now.isoformat(), total=0)
    standing = {each.subject: group.standing.get(each.subject, now.isoformat()) for each in signals if not each.happened}
    # what was to be told and is over by now is not told
    fresh = {name: proof for name, proof in group.fresh.items() if name in standing or name not in group.standing}
    for signal in signals:
        ripe = signal.happened or now - datetime.fromisoformat(standing[signal.subject]) >= signal.patience
        new = signal.subject not in fresh and (signal.happened or signal.subject not in group.known)
        if ripe and new and len(fresh) < SUBJECTS:
            fresh[signal.subject] = _line(signal.proof) if len(fresh) < PROOFS else ""
    return replace(
        group,
        hint=next((signal.hint for signal in signals if signal.hint), group.hint),
        last=now.isoformat() if any(signal.happened for signal in signals) else group.last,
        standing=standing,
        known=tuple(name for name in group.known if name in standing),
        fresh=fresh,
    )


def digest(memory: Memory, now: datetime, every: timedelta) -> Digest | None:
    """Return the message that is due at `now`, all groups in one; None: there is nothing to tell, or it is too early.

    A group is told at most once in `every`, with what is new in it. Its end is told once: when nothing of it stands any more
    and nothing of it has happened for `every`.
    """
    if memory.until and now < datetime.fromisoformat(memory.until) <= now + LONGEST_WAIT:
        return None
    groups, told, ended = dict[str, Group](), dict[str, str](), dict[str, str]()
    for name, group in memory.groups.items():
        rested = _age(group.told, now) >= every
        over = not group.fresh and not group.standing and _age(group.last, now) >= every
        if group.fresh and rested:
            told[name] = _paragraph(name, group)
            groups[name] = _after(group, now)
        elif over and group.open:
            ended[name] = f"resolved: {name} ({group.total} since {minute(datetime.fromisoformat(group.since))})"
            groups[name] = replace(group, open=False)
        else:
            groups[name] = group
    if not told and not ended:
        return None
    names = list(told) or [f"resolved: {name}" for name in ended]
    more = f", and {len(names) - 1} more" if len(names) > 1 else ""
    text = "\n\n".join([*told.values(), *ended.values()])
    return Digest(subject=f"kiln: {names[0]}{more}", text=text, after=Memory(groups=groups))


def _busy(group: Group) -> bool:
    return bool(group.open or group.fresh or group.standing)


def _after(group: Group, now: datetime) -> Group:
    known = (*group.known, *(name for name in group.fresh if name in group.standing))
    total = group.total + len(group.fresh)
    return replace(group, told=now.isoformat(), known=known, fresh={}, total=total, open=True)


def _paragraph(name: str, group: Group) -> str:
    new, total = len(group.fresh), group.total + len(group.fresh)
    count = f"{new} new" if total == new else f"{new} new, {total} since {minute(datetime.fromisoformat(group.since))}"
    shown = [f"- {subject}: {proof}" for subject, proof in list(group.fresh.items())[:PROOFS]]
    rest = [f"- and {new - PROOFS} more"] if new > PROOFS else []
    return "\n".join([f"{name} ({count})", *shown, *rest, *([f"What to do: {group.hint}"] if group.hint else [])])


def _age(when: str, now: datetime) -> timedelta:
    """Return how long ago that was; what never was, or lies ahead of a clock that was put back, is long ago."""
    age = now - datetime.fromisoformat(when) if when else timedelta.max
    return age if age >= timedelta() else timedelta.max


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
