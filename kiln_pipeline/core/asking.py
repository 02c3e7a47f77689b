"""What a sensor remembers of what it has asked for, so that it asks again when that failed, and never in a flood.

It is Dagster's cursor, a small JSON text. One that is missing or half written counts as none: then it is asked once too often,
and whoever is asked does nothing twice.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=1)


def wait_after(failures: int, *, first: timedelta = FIRST_WAIT, longest: timedelta = LONGEST_WAIT) -> timedelta:
    """Return how long to wait after so many failures in a row (1 or more): `first`, doubling, `longest` at most."""
    return min(longest, first * 2 ** min(failures - 1, 16))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What was asked for last, when, and how often in a row."""

    what: str = ""
    """A digest of the work; empty: nothing yet."""
    key: str = ""
    """The run key it was asked for with."""
    when: str = ""
    """ISO 8601, UTC."""
    times: int = 0

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """Read a cursor; anything that this class did not write is nothing asked."""
        try:
            values: dict[str, Any] = json.loads(cursor or "{}")
            asked = cls(**values)
            fits = all(isinstance(value, int if name == "times" else str) for name, value in values.items())
            return asked if fits and _aware(asked.when) else cls()
        except (ValueError, TypeError):
            return cls()

    def again(self, what: str, now: datetime) -> Self:
        """Return what is remembered once `what` has been asked for at `now`: its key is used for no other request, ever.

        The time is in the key since work can be the same as before after having been other: a yank that was taken back.
        """
        times = self.times + 1 if self.what == what else 1
        return replace(self, what=what, key=f"{now:%Y%m%dT%H%M%S.%fZ}|{what[:16]}", when=now.isoformat(), times=times)

    def waits_until(self, what: str, now: datetime) -> datetime | None:
        """Return until when the same work is not asked for again; None: it may be now.

        A clock that was put back does not make anything wait longer than it would have.
        """
        if self.what != what or not self.when:
            return None
        asked = datetime.fromisoformat(self.when)
        due = asked + wait_after(self.times)
        return due if asked <= now < due else None

    def __str__(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Where the looks at upstream stand: a look has seconds, upstream may have thousands of projects, and be down for days."""

    after: str = ""
    """The last project that was looked at; empty: begin anew."""
    failures: int = 0
    """Looks in a row that upstream did not answer."""
    until: str = ""
    """No look before then; ISO 8601, UTC."""
    asked: Asked = Asked()

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """Read a cursor; anything that this class did not write begins anew."""
        try:
            values: dict[str, Any] = json.loads(cursor or "{}")
            asked = Asked.parse(json.dumps(values.pop("asked", {})))
            fits = all(isinstance(value, int if name == "failures" else str) for name, value in values.items())
            watch = cls(**values, asked=asked)
            return watch if fits and _aware(watch.until) else cls()
        except (ValueError, TypeError, AttributeError):
            return cls()

    def failed(self, now: datetime) -> Self:
        """Return what holds after a look that upstream did not answer: the next one comes later each time."""
        failures = self.failures + 1
        return replace(self, failures=failures, until=(now + wait_after(failures)).isoformat())

    def waits_until(self, now: datetime) -> datetime | None:
        """Return until when there is no look; None: it may be now, also when the clock was put back by more than any wait."""
        if not self.until:
            return None
        until = datetime.fromisoformat(self.until)
        return until if now < until <= now + LONGEST_WAIT else None

    def __str__(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def _aware(when: str) -> bool:
    """Return whether it is no time at all, or one that can be compared. Raises `ValueError` for other text."""
    return not when or datetime.fromisoformat(when).tzinfo is not None
