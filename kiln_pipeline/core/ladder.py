"""The ladder of one attempt: which strategies a plan has, when a failure is worth another rung, and whose failure is the verdict.

Pure. The strategies themselves are `core.strategies`, walking up is `stages.build`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure
from kiln_pipeline.core.failure_log import classify_package
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.strategies import Rung, Strategy, strategies_for

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


def next_strategy(rest: Sequence[Strategy], *, failure: Failure, log: str, result: BuildResult, project: str) -> Strategy | None:
    """Return the first of the strategies left that can mend `failure`, or None.

    `log` is the failed rung's, `result` what its builder handed back. Generating C anew is of no use without such C, and a
    newer setuptools where no setuptools was installed.
    """
    if not is_mendable(failure, log=log, project=project):
        return None
    return next((strategy for strategy in rest if _applies(strategy, failure, result)), None)


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


def _applies(strategy: Strategy, failure: Failure, result: BuildResult) -> bool:
    match strategy.rung:
        case Rung.REGENERATED:
            return bool(result.generated)
        case Rung.NEWER_SETUPTOOLS:
            installed = {
                material.name.partition("==")[0] for material in result.materials if material.kind == "build-requirement"
            }
            return failure.failure_class == FailureClass.BUILD_REQUIREMENT or not installed.isdisjoint(strategy.newer)
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
