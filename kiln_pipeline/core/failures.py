"""Why builds fail: the named failure classes, how a log is classified, and when a failure of each class may be tried again.

The signs to look for are data in `kiln_pipeline.core.failure_rules`. Nothing here runs or reads anything.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.failure_rules import RULES, FailureClass, Rule

__all__ = ["FailureClass", "classify", "retry_after"]

_NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|^\d{4}-\d\d-\d\dT[\d:.]+Z (?:##\[\w+\])?|\r", re.MULTILINE)
_PROOF_LENGTH = 300


def classify(log: str) -> Failure:
    """Return why a failed build failed, from everything its tools printed.

    Terminal colours and time stamps at line starts are disregarded. The proof is one line, at most 300 characters; when no
    rule matches, the class is ``unknown`` and the proof is the last line.
    """
    text = _NOISE.sub("", log)
    for tier in RULES:
        found = _earliest(tier, text)
        if found is not None:
            rule, match = found
            names = {name: value or "" for name, value in match.groupdict().items()}
            return Failure(failure_class=rule.failure_class, proof=_line_at(text, match.start()), hint=rule.hint.format(**names))
    last = text.rstrip()
    return Failure(
        failure_class=FailureClass.UNKNOWN,
        proof=_line_at(last, len(last)) or "the log is empty",
        hint="no rule knows this log: read its last lines, and add a rule to core/failure_rules.py",
    )


def _earliest(rules: Sequence[Rule], text: str) -> tuple[Rule, re.Match[str]] | None:
    found = [(rule, match) for rule in rules if (match := rule.pattern.search(text)) is not None]
    return min(found, key=lambda pair: pair[1].start(), default=None)


def _line_at(text: str, position: int) -> str:
    """Return the line around `position`, stripped and cut so that `position` is in it."""
    end = text.find("\n", position)
    start = max(text.rfind("\n", 0, position) + 1, position - _PROOF_LENGTH // 2)
    return text[start : end if end >= 0 else len(text)].strip()[:_PROOF_LENGTH]


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
            | FailureClass.TESTS_FAILED
            | FailureClass.BAD_SDIST
            | FailureClass.BAD_WHEEL
        ):
            return None
        case _:
            assert_never(kind)
