"""When counts say that something broke: gaps that jump, and a success rate that falls. Pure; tells nobody."""

# pyarrow ships no annotations: what comes out of it is known to the tests, not to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.site_status.history import series

DAY = timedelta(days=1)
MONTH = timedelta(days=30)
LEAST_JUMP = 20
"""Wheels: new releases of a few projects bring as many in a day."""
JUMP = 0.5
"""The share by which a platform's missing wheels grow in a day when a recipe, a rule or upstream went wrong."""
FEWEST_ATTEMPTS = 10
"""A share of fewer says nothing."""
FALL = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Jump:
    """The missing wheels of one platform a day ago and now."""

    platform: Platform
    before: int
    now: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """Shares of attempts that succeeded, from 0 to 1: of the last day, and of the 30 days before it."""

    lately: float
    before: float

    @property
    def fell(self) -> bool:
        """Whether the last day was worse by `FALL` or more."""
        return self.before - self.lately >= FALL


def jumps(history: pa.Table, now: datetime) -> list[Jump]:
    """Return the platforms whose missing wheels grew by `JUMP` and by more than `LEAST_JUMP` within a day.

    `history` is `core.site_status.history`'s table. A platform that was not counted a day ago is new, and has not jumped.
    """
    found: list[Jump] = []
    for platform, points in series(history, "missing").items():
        earlier = [number for at, number in points if at <= now - DAY]
        if earlier and points[-1][1] > earlier[-1] + max(LEAST_JUMP, JUMP * earlier[-1]):
            found.append(Jump(platform=platform, before=earlier[-1], now=points[-1][1]))
    return found


def success(attempts: Iterable[Attempt], now: datetime) -> Success | None:
    """Return how the last day compares with the 30 days before it; None where either has fewer than `FEWEST_ATTEMPTS`."""
    lately: list[Attempt] = []
    before: list[Attempt] = []
    for attempt in attempts:
        if now - DAY < attempt.finished <= now:
            lately.append(attempt)
        elif now - DAY - MONTH < attempt.finished <= now - DAY:
            before.append(attempt)
    if min(len(lately), len(before)) < FEWEST_ATTEMPTS:
        return None
    return Success(lately=_share(lately), before=_share(before))


def _share(attempts: Sequence[Attempt]) -> float:
    return sum(attempt.outcome is Outcome.SUCCEEDED for attempt in attempts) / len(attempts)
