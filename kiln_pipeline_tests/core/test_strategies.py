"""As of which date a build's requirements resolve, and which ways of building are tried."""

from datetime import UTC, datetime, timedelta

import pytest

from kiln_pipeline.core.platforms import PythonTag, all_identifiers
from kiln_pipeline.core.strategies import (
    DEFAULT_LADDER,
    MARGIN,
    Rung,
    Strategy,
    cutoff_of,
    cython_for,
    first_release,
    strategies_for,
)

OLD = datetime(2017, 3, 7, 12, 30, tzinfo=UTC)
NEW = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("python", "uploaded", "cutoff"),
    [
        ("cp36", datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("cp39", OLD, datetime(2020, 10, 5, tzinfo=UTC) + MARGIN),
        ("cp311", OLD, datetime(2022, 10, 24, tzinfo=UTC) + MARGIN),
        ("cp311", datetime(2023, 1, 1, tzinfo=UTC), datetime(2022, 10, 24, tzinfo=UTC) + MARGIN),
        ("cp313t", OLD, datetime(2024, 10, 7, tzinfo=UTC) + MARGIN),
        ("pp310", OLD, datetime(2023, 6, 16, tzinfo=UTC) + MARGIN),
        ("cp311", NEW, NEW),
        ("cp311", None, None),
        ("cp399", OLD, None),
    ],
)
def test_as_of_is_the_upload_but_never_before_the_python_knows_its_tools(
    python: str, uploaded: datetime | None, cutoff: datetime | None
) -> None:
    """A release or a Python of unknown date has no bound."""
    assert cutoff_of("as-of", python=PythonTag.parse(python), uploaded=uploaded) == cutoff


def test_a_stated_day_is_taken_to_its_end_whatever_the_python() -> None:
    """What a person pins is not second-guessed."""
    assert cutoff_of("2023-06-01", python=PythonTag.parse("cp313"), uploaded=OLD) == datetime(2023, 6, 2, tzinfo=UTC)


def test_every_cpython_that_can_be_built_has_a_first_release() -> None:
    """A Python that is missing in the table would silently go without time travel."""
    pythons = {identifier.python for identifier in all_identifiers() if identifier.python.implementation == "cp"}
    assert [str(python) for python in sorted(pythons) if first_release(python) is None] == []
    first = [first_release(PythonTag.parse(f"cp3{minor}")) for minor in range(6, 16)]
    assert first == sorted(day for day in first if day)


def test_the_default_ladder_in_full() -> None:
    """From the date to today; on 3.12, whose date is past Cython 3, an older release stays on 0.29."""
    cutoff, constraints = datetime(2023, 10, 2, tzinfo=UTC) + MARGIN, ("cython<3",)
    assert strategies_for("as-of", (), python=PythonTag.parse("cp312"), uploaded=OLD) == (
        Strategy(rung=Rung.AS_OF, cutoff=cutoff, constraints=constraints),
        Strategy(rung=Rung.MENDED, cutoff=cutoff, constraints=constraints),
        Strategy(rung=Rung.REGENERATED, cutoff=cutoff, constraints=constraints, regenerate=True),
        Strategy(
            rung=Rung.NEWER_SETUPTOOLS, cutoff=cutoff, constraints=constraints, newer=("setuptools", "wheel"), regenerate=True
        ),
        Strategy(rung=Rung.LATEST),
        Strategy(rung=Rung.OLD_C_API_REGENERATED, cutoff=cutoff, constraints=constraints, regenerate=True, old_c_api=True),
        Strategy(rung=Rung.OLD_C_API, cutoff=cutoff, constraints=constraints, old_c_api=True),
    )


def test_with_the_header_an_older_release_stays_on_0_29_on_3_13_too() -> None:
    """Cython 0.29 generates what no 3.13 compiles; with the header for old C API it does, and reads what Cython 3 refuses."""
    found = strategies_for("as-of", (), python=PythonTag.parse("cp313"), uploaded=OLD)
    assert [strategy.rung for strategy in found if strategy.constraints] == [Rung.OLD_C_API_REGENERATED, Rung.OLD_C_API]


@pytest.mark.parametrize(
    ("time_travel", "ladder", "uploaded", "rungs"),
    [
        ("as-of", (), OLD, DEFAULT_LADDER),
        ("latest", (), OLD, (Rung.LATEST,)),
        ("2023-06-01", (), OLD, DEFAULT_LADDER),
        ("as-of", (Rung.LATEST, Rung.AS_OF), OLD, (Rung.LATEST, Rung.AS_OF)),
        (
            "as-of",
            (),
            None,
            (Rung.AS_OF, Rung.MENDED, Rung.REGENERATED, Rung.OLD_C_API_REGENERATED, Rung.OLD_C_API),
        ),
        ("latest", (Rung.AS_OF, Rung.LATEST), OLD, (Rung.AS_OF,)),
    ],
)
def test_no_strategy_is_tried_twice(
    time_travel: str, ladder: tuple[Rung, ...], uploaded: datetime | None, rungs: tuple[Rung, ...]
) -> None:
    """Without a date the rungs that differ by date alone are one."""
    found = strategies_for(time_travel, ladder, python=PythonTag.parse("cp311"), uploaded=uploaded)
    assert tuple(strategy.rung for strategy in found) == rungs


@pytest.mark.parametrize(("python", "bounded"), [("cp311", False), ("cp312", True), ("cp313", False), ("cp313t", False)])
def test_cython_is_bounded_only_where_the_date_moved_past_3_and_0_29_still_serves(python: str, bounded: bool) -> None:
    """3.11's date is before Cython 3, and 0.29 knows no 3.13."""
    first = strategies_for("as-of", (), python=PythonTag.parse(python), uploaded=OLD)[0]
    assert bool(first.constraints) == bounded
    after = strategies_for("as-of", (), python=PythonTag.parse(python), uploaded=datetime(2023, 7, 17, tzinfo=UTC))[0]
    assert after.constraints == ()


@pytest.mark.parametrize(
    ("python", "old", "cython"),
    [
        ("cp39", "0.29.21", "0.29.37"),
        ("cp311", "0.17.4", "0.29.37"),
        ("cp311", "0.29.37", ""),
        ("cp311", "3.0.0a11", "3.0.12"),
        ("cp311", "3.0.12", ""),
        ("cp313", "0.29.36", "3.0.12"),
        ("cp313t", "3.0.12", "3.1.6"),
        ("cp314", "3.2.1", ""),
    ],
)
def test_the_cython_that_fits(python: str, old: str, cython: str) -> None:
    """The oldest line that serves the Python, never an older one than the sources were generated by."""
    assert cython_for(PythonTag.parse(python), old) == cython


def test_with_the_header_the_last_0_29_serves_every_python_with_a_gil() -> None:
    """It reads what Cython 3 refuses."""
    found = [cython_for(PythonTag.parse(python), "0.29.21", old_c_api=True) for python in ("cp311", "cp313", "cp313t")]
    assert found == ["0.29.37", "0.29.37", "3.1.6"]
    assert cython_for(PythonTag.parse("cp313"), "3.0.0", old_c_api=True) == "3.0.12"


def test_a_strategy_in_words() -> None:
    """It stands at the head of its part of the log."""
    strategy = Strategy(rung=Rung.AS_OF, cutoff=OLD + timedelta(seconds=5), only=("a" * 64,))
    assert str(strategy) == "as-of, build requirements until 2017-03-07 12:30:05 UTC, replaying 1 recorded files"
    mended = Strategy(rung=Rung.MENDED, adds=("numpy",), constraints=("setuptools<58",))
    assert str(mended) == "as-of-mended, with numpy added, with setuptools<58"
