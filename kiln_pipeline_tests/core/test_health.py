"""What a maintainer is told of: a jump of the gaps, a fall of the success rate; and what is a day like any other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.health import Jump, Success, jumps, success
from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.core.site_status.history import HISTORY_SCHEMA

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MACS, LINUX = Platform.MACOSX_ARM64, Platform.MANYLINUX_X86_64
ATTEMPT = Attempt(
    release=Release.of("markupsafe", "2.0.1"),
    identifier=BuildIdentifier.parse("cp311-manylinux_x86_64"),
    outcome=Outcome.SUCCEEDED,
    started=NOW,
    finished=NOW,
    host="box",
    builder="zig",
    sdist_sha256="0" * 64,
    recipe_sha256="1" * 64,
)


def history(*rows: tuple[float, str, int]) -> pa.Table:
    """Rows of (hours ago, platform, missing)."""
    none = dict.fromkeys(("failed", "waiting", "published", "covered"), 0)
    values = [{"at": NOW - timedelta(hours=ago), "platform": name, "missing": missing, **none} for ago, name, missing in rows]
    return pa.Table.from_pylist(values, HISTORY_SCHEMA)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], []),
        ([(1, MACS, 5000)], []),  # new, and not a jump
        ([(48, MACS, 100), (1, MACS, 150)], []),
        ([(48, MACS, 100), (1, MACS, 151)], [Jump(platform=MACS, before=100, now=151)]),
        ([(48, MACS, 2), (1, MACS, 22)], []),  # a few new releases
        ([(48, MACS, 0), (1, MACS, 21)], [Jump(platform=MACS, before=0, now=21)]),
        ([(90, MACS, 900), (48, MACS, 100), (30, LINUX, 5), (2, MACS, 400), (1, MACS, 101)], []),  # it came back
        ([(90, LINUX, 10), (26, LINUX, 40)], []),  # was known yesterday already
    ],
)
def test_gaps_that_jump_within_a_day(rows: list[tuple[float, str, int]], found: list[Jump]) -> None:
    assert jumps(history(*rows), NOW) == found


def attempts(hours_ago: float, succeeded: int, failed: int) -> list[Attempt]:
    ended = replace(ATTEMPT, finished=NOW - timedelta(hours=hours_ago))
    return [ended] * succeeded + [replace(ended, outcome=Outcome.FAILED)] * failed


@pytest.mark.parametrize(
    ("lately", "before", "found", "fell"),
    [
        ((10, 0), (9, 0), None, False),
        ((9, 0), (10, 0), None, False),
        ((8, 2), (10, 0), Success(lately=0.8, before=1.0), False),
        ((15, 5), (10, 0), Success(lately=0.75, before=1.0), True),
        ((0, 10), (3, 7), Success(lately=0.0, before=0.3), True),
        ((10, 0), (0, 10), Success(lately=1.0, before=0.0), False),
    ],
)
def test_a_success_rate_that_falls(lately: tuple[int, int], before: tuple[int, int], found: Success | None, fell: bool) -> None:
    """The last day against the 30 days before; what is older than that counts no more."""
    made = [*attempts(1, *lately), *attempts(24 * 8, *before), *attempts(24 * 40, 50, 0)]
    result = success(made, NOW)
    assert (result, bool(result and result.fell)) == (found, fell)
