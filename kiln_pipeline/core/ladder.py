"""The ladder of one attempt: which strategies a plan has, when a failure is worth another rung, and whose failure is the verdict.

Pure. The strategies themselves are `core.strategies`, walking up is `stages.build`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kiln_pipeline.core.build_needs import needs_of
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure
from kiln_pipeline.core.failure_log import classify_package
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.strategies import Rung, Strategy, strategies_for, what_differs

MENDABLE = frozenset(
    {
        FailureClass.COMPILER_ERROR,
        FailureClass.REMOVED_C_API,
        FailureClass.SETUP_EXCEPTION,
        FailureClass.BUILD_REQUIREMENT,
        FailureClass.BAD_WHEEL,  # an old setuptools that does not read pyproject.toml names everything UNKNOWN 0.0.0
        FailureClass.TESTS_FAILED,  # the tests' own requirements are of the date too
        FailureClass.UNKNOWN,
    }
)
"""What other build requirements, or C generated anew, can mend."""
PASSING = frozenset(
    {FailureClass.NETWORK, FailureClass.ENGINE, FailureClass.TIMEOUT, FailureClass.OUT_OF_MEMORY, FailureClass.OUT_OF_DISK}
)
"""What says more of the host's day than of the package."""

_OF_THE_C = frozenset({FailureClass.REMOVED_C_API, FailureClass.COMPILER_ERROR})
_WRITE_NO_C = frozenset(
    {"setuptools", "wheel", "packaging", "pip", "build", "tomli", "pyproject-hooks", "importlib-metadata", "zipp"}
)
_MENDS = 3
"""How often a build is given what its log asks for: each time brings it to the next obstacle, or does not."""

_REQUIREMENT_FAILED = re.compile(r"Failed (?:to build|building wheel for) '?(?P<name>[A-Za-z0-9][\w.-]*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class RungOutcome:
    """What became of one rung."""

    rung: str
    failure_class: str = ""
    """Empty: this rung made the wheel."""
    proof: str = ""


def ladder_of(plan: BuildPlan) -> tuple[Strategy, ...]:
    """Return the strategies for a plan, in order; a plan whose strategy replays recorded files has that one only."""
    if plan.strategy.only:
        return (plan.strategy,)
    settings = plan.settings
    uploaded = plan.sdist.upload_time
    return strategies_for(settings.time_travel, settings.ladder, python=plan.identifier.python, uploaded=uploaded)


def next_strategy(
    ladder: Sequence[Strategy],
    tried: Sequence[Strategy],
    causes: Sequence[str],
    *,
    failure: Failure,
    log: str,
    result: BuildResult,
    project: str,
) -> Strategy | None:
    """Return what is tried after the last of `tried`, which ended in `failure`, or None.

    `ladder` is the plan's (`ladder_of`), `causes` are the failure classes of the strategies tried (`cause_of`), `log` and
    `result` the last one's. What a log asks for is given at once, where the ladder has the mended rung, and kept for every rung
    above but the plain one. A rung that can change nothing is passed over.
    """
    last = tried[-1]
    if failure.failure_class in PASSING:
        return None
    mended = _mended(ladder, tried, log)
    if mended is not None:
        return mended
    if last.rung is not Rung.LATEST and not is_mendable(failure, log=log, project=project):
        return None
    seen = {what_differs(strategy) for strategy in tried}
    above = [strategy for strategy in ladder[_place(ladder, tried) + 1 :] if strategy.rung is not Rung.MENDED]
    able = (_keeping(strategy, tried) for strategy in above if _applies(strategy, causes, result))
    return next((strategy for strategy in able if what_differs(strategy) not in seen), None)


def cause_of(failure: Failure, log: str) -> str:
    """Return the failure class that says what to mend: of a lost extension, that of the log's first error, which was hidden."""
    return classify_package(log).failure_class if failure.failure_class == FailureClass.LOST_EXTENSION else failure.failure_class


def _place(ladder: Sequence[Strategy], tried: Sequence[Strategy]) -> int:
    """Return the place in the ladder that was reached; a mended strategy stands where the one before it stood."""
    rungs = [strategy.rung for strategy in ladder]
    return max(rungs.index(strategy.rung) for strategy in tried if strategy.rung is not Rung.MENDED or len(tried) == 1)


def _mended(ladder: Sequence[Strategy], tried: Sequence[Strategy], log: str) -> Strategy | None:
    """Return the last strategy with what its log asks for beside what it had; None when that is nothing, or enough was given."""
    last, given = tried[-1], sum(strategy.rung is Rung.MENDED for strategy in tried)
    if last.rung is Rung.LATEST or given == _MENDS or all(strategy.rung is not Rung.MENDED for strategy in ladder):
        return None
    needs = needs_of(log).beyond(adds=last.adds, constraints=last.constraints)
    if not needs:
        return None
    adds, constraints = (*last.adds, *needs.adds), (*last.constraints, *needs.constraints)
    return replace(last, rung=Rung.MENDED, adds=adds, constraints=constraints)


def _keeping(strategy: Strategy, tried: Sequence[Strategy]) -> Strategy:
    """Return a strategy with what the tried ones were given; a plain build is given nothing."""
    given = next((one for one in reversed(tried) if one.rung is Rung.MENDED), None)
    if given is None or strategy.rung is Rung.LATEST:
        return strategy
    more = tuple(line for line in given.constraints if line not in strategy.constraints)
    if strategy.rung is Rung.NEWER_SETUPTOOLS:
        more = tuple(line for line in more if not line.startswith("setuptools<"))
    return replace(strategy, adds=given.adds, constraints=(*strategy.constraints, *more))


def is_mendable(failure: Failure, *, log: str, project: str) -> bool:
    """Return whether another rung can mend this.

    A lost extension is judged by the log's first error, since the build hid it. A build requirement that had to be compiled
    and failed is mended by another version of it, whatever it lacked.
    """
    failure_class = failure.failure_class
    if failure_class in PASSING:
        return False
    if failure_class == FailureClass.LOST_EXTENSION:
        cause = classify_package(log).failure_class
        return cause in MENDABLE and cause != FailureClass.UNKNOWN
    if failure_class in MENDABLE:
        return True
    wheel = project.replace("-", "_")
    return any(re.sub(r"[-_.]+", "_", m["name"]).lower() != wheel for m in _REQUIREMENT_FAILED.finditer(log))


def _applies(strategy: Strategy, causes: Sequence[str], result: BuildResult) -> bool:
    """Return whether a strategy can end otherwise than the tried ones, by why they failed and what the last one installed."""
    installed = {material.name.partition("==")[0] for material in result.materials if material.kind == "build-requirement"}
    match strategy.rung:
        case Rung.REGENERATED:
            return bool(result.generated)
        case Rung.NEWER_SETUPTOOLS:
            if causes[-1] == FailureClass.REMOVED_C_API:  # of no setuptools' making
                return False
            return causes[-1] == FailureClass.BUILD_REQUIREMENT or not installed.isdisjoint(strategy.newer)
        case Rung.LATEST:  # C that is in the sdist is the same with everybody's tools
            return causes[-1] != FailureClass.REMOVED_C_API or not installed or bool(installed - _WRITE_NO_C)
        case Rung.OLD_C_API_REGENERATED:
            return bool(result.generated) and any(cause in _OF_THE_C for cause in causes)
        case Rung.OLD_C_API:
            return any(cause in _OF_THE_C for cause in causes)
        case _:
            return True


def verdict(failures: Sequence[Failure]) -> int:
    """Return the index of the failure that the attempt is recorded with, of those of its rungs in order.

    The last when it will pass by itself (network, engine, time, memory, disk), since the rungs after it were never tried. Else
    the first, whose build requirements fit the release best, unless these could not be had at all.
    """
    if failures[-1].failure_class in PASSING:
        return len(failures) - 1
    able = (number for number, failure in enumerate(failures) if failure.failure_class != FailureClass.BUILD_REQUIREMENT)
    return next(able, 0)
