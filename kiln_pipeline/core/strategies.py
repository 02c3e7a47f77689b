"""Time travel: as of which date a release's build requirements resolve, and the ways of building that are tried in order.

Pure values and rules. What a failure means for the ladder stands in `core.ladder`; adapters put a `Strategy` into force.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from packaging.version import Version

from kiln_pipeline.core.platforms import PythonTag


class Rung(StrEnum):
    """A way of building. The names are public: they stand in recipes, statements and logs."""

    AS_OF = "as-of"
    """Build requirements as they were on the release's date."""
    MENDED = "as-of-mended"
    """The same, with what the failed log asks for: a build requirement that the sdist does not name, an older setuptools."""
    REGENERATED = "as-of-regenerated"
    """The same, and C that an old Cython generated is generated anew where its .pyx is in the sdist."""
    NEWER_SETUPTOOLS = "as-of-newer-setuptools"
    """The same (with the C generated anew where there is any), but setuptools and wheel of today."""
    LATEST = "latest"
    """Everything of today, the sdist as it is: what a plain build does."""
    OLD_C_API_REGENERATED = "as-of-old-c-api-regenerated"
    """The next one, after C that an old Cython generated is generated anew by the last of the line that it was written for."""
    OLD_C_API = "as-of-old-c-api"
    """As of the release's date, compiled with a header of kiln's that gives C API of older Pythons its old meaning."""


LADDER_VERSION = 3
"""Raised with every change of the rungs or of their rules: then failures that waited for a change are tried again."""

OLD_C_API = frozenset({Rung.OLD_C_API, Rung.OLD_C_API_REGENERATED})

DEFAULT_LADDER = (
    Rung.AS_OF,
    Rung.MENDED,
    Rung.REGENERATED,
    Rung.NEWER_SETUPTOOLS,
    Rung.LATEST,
    Rung.OLD_C_API_REGENERATED,
    Rung.OLD_C_API,
)

_FIRST_RELEASES = MappingProxyType(
    {
        "cp36": "2016-12-23",
        "cp37": "2018-06-27",
        "cp38": "2019-10-14",
        "cp39": "2020-10-05",
        "cp310": "2021-10-04",
        "cp311": "2022-10-24",
        "cp312": "2023-10-02",
        "cp313": "2024-10-07",
        "cp314": "2025-10-07",
        "cp315": "2026-10-01",
        "pp37": "2021-04-08",  # PyPy 7.3.4: of each of PyPy's lines the first release that was no beta
        "pp38": "2022-02-20",  # 7.3.8
        "pp39": "2022-03-30",  # 7.3.9
        "pp310": "2023-06-16",  # 7.3.12
        "pp311": "2025-02-26",  # 7.3.19
    }
)
"""The day of each line's first final release."""

MARGIN = timedelta(days=90)
"""How long after a Python's first release its tools are taken. The first that know a new Python can come weeks later: for 3.9
numpy 1.19.3 24 days and cffi 1.14.4 50 days, for 3.12 Cython 0.29.37 78 days, for 3.8 setuptools 42 (the first that leaves
fetching to pip) 40 days. More is no better: every later release may have dropped what an old sdist needs."""

CYTHON_3 = datetime(2023, 7, 17, tzinfo=UTC)
"""When Cython 3.0 came, which refuses or reads otherwise much that was written for 0.29."""

_LATEST_FIT = "3.1.6"
_FITTING_CYTHON = ((3, 12, "0.29.37"), (3, 13, "3.0.12"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """One way of building, decided in full: what adapters put into force."""

    rung: Rung = Rung.LATEST
    cutoff: datetime | None = None
    """Nothing uploaded later is installed for the build; None: no bound."""
    newer: tuple[str, ...] = ()
    """Normalised names of projects that the cut-off does not bind."""
    constraints: tuple[str, ...] = ()
    """PEP 508 bounds that belong to the date; a recipe's own for the same project replace them."""
    regenerate: bool = False
    """Whether C sources that an old Cython generated are generated anew."""
    adds: tuple[str, ...] = ()
    """Build requirements beside those that the sdist names."""
    old_c_api: bool = False
    """Whether C is compiled with kiln's header for C API that is gone."""
    only: tuple[str, ...] = ()
    """A replay: the sha256 of the only files that may be installed for the build, sorted; empty: no such bound."""

    def __str__(self) -> str:
        until = f", build requirements until {self.cutoff:%Y-%m-%d %H:%M:%S} UTC" if self.cutoff else ""
        adds = f", with {', '.join(self.adds)} added" if self.adds else ""
        bounds = f", with {', '.join(self.constraints)}" if self.constraints else ""
        only = f", replaying {len(self.only)} recorded files" if self.only else ""
        return f"{self.rung}{until}{adds}{bounds}{only}"


def first_release(python: PythonTag) -> datetime | None:
    """Return when the first final release of that line came (UTC midnight), or None for one that this version does not know."""
    day = _FIRST_RELEASES.get(f"{python.implementation}{python.major}{python.minor}")
    return datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None


def cutoff_of(time_travel: str, *, python: PythonTag, uploaded: datetime | None) -> datetime | None:
    """Return the moment that build requirements resolve as of; None: no bound.

    `time_travel` is ``as-of`` (the sdist's upload, but at least `MARGIN` after the Python's first release), ``latest``, or a day
    that is taken as it is, to its end in UTC. A release or Python of unknown date has no bound.
    """
    if time_travel == "latest":
        return None
    if time_travel != "as-of":
        return datetime.fromisoformat(time_travel).replace(tzinfo=UTC) + timedelta(days=1)
    first = first_release(python)
    if uploaded is None or first is None:
        return None
    return max(uploaded, first + MARGIN)


def strategies_for(
    time_travel: str, ladder: tuple[Rung, ...], *, python: PythonTag, uploaded: datetime | None
) -> tuple[Strategy, ...]:
    """Return the strategies of a ladder in order, none twice. An empty `ladder` is the default one.

    With ``latest`` the default ladder is a single plain build: time travel is off.
    """
    rungs = ladder or ((Rung.LATEST,) if time_travel == "latest" else DEFAULT_LADDER)
    cutoff = cutoff_of(time_travel, python=python, uploaded=uploaded)
    constraints = _of_the_date(python, uploaded, cutoff)
    old_constraints = _of_the_date(python, uploaded, cutoff, old_c_api=True)
    found: dict[tuple[object, ...], Strategy] = {}
    for rung in rungs:
        strategy = _strategy(rung, cutoff, old_constraints if rung in OLD_C_API else constraints)
        found.setdefault(what_differs(strategy), strategy)
    return tuple(found.values())


def what_differs(strategy: Strategy) -> tuple[object, ...]:
    """Return what two strategies must differ in to be worth trying both; a mended one differs by what it is given only."""
    newer = strategy.newer if strategy.cutoff else ()
    key = (strategy.cutoff, newer, strategy.constraints, strategy.regenerate, strategy.adds, strategy.old_c_api)
    return (*key, strategy.rung is Rung.MENDED and not strategy.adds)


def _strategy(rung: Rung, cutoff: datetime | None, constraints: tuple[str, ...]) -> Strategy:
    match rung:
        case Rung.AS_OF | Rung.MENDED:
            return Strategy(rung=rung, cutoff=cutoff, constraints=constraints)
        case Rung.REGENERATED:
            return Strategy(rung=rung, cutoff=cutoff, constraints=constraints, regenerate=True)
        case Rung.NEWER_SETUPTOOLS:
            newer = ("setuptools", "wheel")
            return Strategy(rung=rung, cutoff=cutoff, newer=newer, constraints=constraints, regenerate=True)
        case Rung.LATEST:
            return Strategy(rung=rung)
        case Rung.OLD_C_API_REGENERATED:
            return Strategy(rung=rung, cutoff=cutoff, constraints=constraints, regenerate=True, old_c_api=True)
        case Rung.OLD_C_API:
            return Strategy(rung=rung, cutoff=cutoff, constraints=constraints, old_c_api=True)
        case _:
            assert_never(rung)


def _of_the_date(
    python: PythonTag, uploaded: datetime | None, cutoff: datetime | None, *, old_c_api: bool = False
) -> tuple[str, ...]:
    """Keep a release from before Cython 3 on 0.29 where its Python dates it past Cython 3, if 0.29 can serve that Python."""
    if uploaded is None or cutoff is None or not uploaded < CYTHON_3 < cutoff:
        return ()
    return ("cython<3",) if fitting_cython(python, old_c_api=old_c_api) < "3" else ()


def fitting_cython(python: PythonTag, *, old_c_api: bool = False) -> str:
    """Return the Cython whose C compiles on `python`, the oldest line that does: old .pyx files were written for it.

    With kiln's header for old C API the last 0.29 serves every Python with a GIL, and reads what Cython 3 refuses.
    """
    if python.free_threaded:
        return _LATEST_FIT
    if old_c_api:
        return _FITTING_CYTHON[0][2]
    pair = (python.major, python.minor)
    return next((cython for major, minor, cython in _FITTING_CYTHON if pair <= (major, minor)), _LATEST_FIT)


def cython_for(python: PythonTag, generated_by: str, *, old_c_api: bool = False) -> str:
    """Return the Cython that generates anew what `generated_by` (a version) generated; empty: it is new enough as it is.

    What Cython 3 once generated is never read by 0.29.
    """
    fitting = fitting_cython(python, old_c_api=old_c_api)
    old = Version(generated_by)
    if old >= Version("3.0a1") and Version(fitting) < Version("3"):
        fitting = _FITTING_CYTHON[1][2]
    return fitting if old < Version(fitting) else ""
