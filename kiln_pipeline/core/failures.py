"""The named failure classes, and when a failure of each may be tried again. How a log is classified stands in `failure_log`."""

from datetime import timedelta
from enum import StrEnum
from typing import assert_never


class FailureClass(StrEnum):
    """The last word of every failed log. The names are public: they stand in provenance, on pages and in filters."""

    MISSING_HEADER = "missing-header"
    MISSING_LIBRARY = "missing-library"
    MISSING_TOOL = "missing-tool"
    LINK_ERROR = "link-error"
    COMPILER_ERROR = "compiler-error"
    REMOVED_C_API = "removed-c-api"
    PYTHON2_SYNTAX = "python2-syntax"
    SETUP_EXCEPTION = "setup-exception"
    BUILD_REQUIREMENT = "build-requirement"
    REPAIR_FAILED = "repair-failed"
    NO_SUCH_IDENTIFIER = "no-such-identifier"
    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_DISK = "out-of-disk"
    TIMEOUT = "timeout"
    OVER_LIMIT = "over-limit"
    FORBIDDEN = "forbidden"
    NETWORK = "network"
    ENGINE = "engine"
    LOST_EXTENSION = "lost-extension"
    TESTS_FAILED = "tests-failed"
    BAD_SDIST = "bad-sdist"
    BAD_WHEEL = "bad-wheel"
    BAD_BINARY = "bad-binary"
    PATCH_REFUSED = "patch-refused"
    NO_INTERPRETER = "no-interpreter"
    UNKNOWN = "unknown"


def retry_after(failure_class: str, count: int) -> timedelta | None:
    """Return how long to wait after the last failure before trying again, `count` (at least 1) being the failures so far.

    None: the same input gives the same failure; not until the recipe, the sdist or the toolchain changes. A class that
    this version does not know is treated as ``unknown``.
    """
    kind = FailureClass(failure_class) if failure_class in set(FailureClass) else FailureClass.UNKNOWN
    doubled = 2 ** min(max(count, 1) - 1, 12)
    match kind:
        case FailureClass.NETWORK:
            return min(timedelta(minutes=5) * doubled, timedelta(hours=12))
        case FailureClass.ENGINE | FailureClass.OUT_OF_DISK:
            return min(timedelta(minutes=10) * doubled, timedelta(hours=6))
        case FailureClass.TIMEOUT | FailureClass.OUT_OF_MEMORY | FailureClass.NO_INTERPRETER:
            return timedelta(days=1)
        case FailureClass.UNKNOWN:
            return min(timedelta(days=1) * doubled, timedelta(days=30))
        case (
            FailureClass.MISSING_HEADER
            | FailureClass.MISSING_LIBRARY
            | FailureClass.MISSING_TOOL
            | FailureClass.LINK_ERROR
            | FailureClass.COMPILER_ERROR
            | FailureClass.REMOVED_C_API
            | FailureClass.PYTHON2_SYNTAX
            | FailureClass.SETUP_EXCEPTION
            | FailureClass.BUILD_REQUIREMENT
            | FailureClass.REPAIR_FAILED
            | FailureClass.NO_SUCH_IDENTIFIER
            | FailureClass.LOST_EXTENSION
            | FailureClass.OVER_LIMIT
            | FailureClass.FORBIDDEN
            | FailureClass.TESTS_FAILED
            | FailureClass.BAD_SDIST
            | FailureClass.BAD_WHEEL
            | FailureClass.BAD_BINARY
            | FailureClass.PATCH_REFUSED
        ):
            return None
        case _:
            assert_never(kind)
