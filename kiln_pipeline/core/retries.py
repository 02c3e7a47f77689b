"""What the attempts at one missing wheel mean for the next one: published, waiting, or free to be tried. No log is read here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kiln_pipeline.core.attempts import Attempt, Outcome

if TYPE_CHECKING:
    from kiln_pipeline.core.toolchains import Toolchains

UNTIL = "the recipe, the sdist or the toolchain changes"
"""What a failure that no time mends waits for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where one release × build identifier stands after its attempts."""

    wheel: str = ""
    """Filename of the latest wheel of ours; empty when every attempt failed."""
    waits: str = ""
    """Why it is not tried again now, in a sentence; empty when it may be, or when there is a wheel."""
    failed: int = 0
    """Failures in a row with the recipe and the sdist of now; 0 when there is a wheel."""
    next_try: datetime | None = None
    """When it may be tried again, UTC; None with `waits` set: not until `UNTIL`; None without: now."""


def standing(
    attempts: Sequence[Attempt], *, recipe_sha256: str, sdist_sha256: str, now: datetime, toolchains: "Toolchains"
) -> Standing:
    """Judge all attempts at one release × build identifier, in any order.

    Only failures with the recipe and the sdist of now count: a changed one frees the target at once. Each failure class has
    its own retry rule (`core.failures.retry_after`); one that waits for a change is free, too, when the toolchain of its last
    attempt is not the one of now (`core.toolchains`).
    """
    # failures' types live beside the build plan, which begins with a missing wheel, which is judged here
    from kiln_pipeline.core.failures import retry_after

    history = sorted(attempts, key=lambda attempt: (attempt.finished, attempt.index))
    built = [attempt for attempt in history if attempt.outcome is Outcome.SUCCEEDED]
    if built:
        return Standing(wheel=built[-1].wheel)
    same = [a for a in history if (a.recipe_sha256, a.sdist_sha256) == (recipe_sha256, sdist_sha256)]
    if not same:
        return Standing()
    last, failed = same[-1], f"failed {len(same)}× ({same[-1].failure})"
    wait = retry_after(last.failure, len(same))
    if wait is None:
        if toolchains.change_since(last):
            return Standing(failed=len(same))
        return Standing(failed=len(same), waits=f"{failed}, not tried again until {UNTIL}")
    due = last.finished + wait
    if now < due:
        return Standing(failed=len(same), waits=f"{failed}, next try {minute(due)}", next_try=due)
    return Standing(failed=len(same))


def minute(time: datetime) -> str:
    """Return a time for people, in UTC: ``2026-11-22 20:47 UTC``."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
