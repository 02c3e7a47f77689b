"""Finding in a build's log why it failed. The signs to look for are data in `kiln_pipeline.core.failure_rules`."""

import re
from collections.abc import Sequence
from dataclasses import replace

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.failure_rules import RULES, Rule
from kiln_pipeline.core.failures import FailureClass

_NOISE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|^\d{4}-\d\d-\d\dT[\d:.]+Z (?:##\[\w+\])?|\r", re.MULTILINE)
_PROOF_LENGTH = 300
_SEALED_HINT = (
    "the build reached for the network, and has nothing but the index: patch in what it fetches, or let the recipe say"
    " network = true in [build]"
)


def classify(log: str, *, sealed: bool = False) -> Failure:
    """Return why a failed build failed, from everything its tools printed.

    Terminal colours and time stamps at line starts are disregarded. The proof is one line, at most 300 characters; when no
    rule matches, the class is ``unknown`` and the proof is the last line. A build that was `sealed` from the network had none
    that could fail: what looks like it is what the build may not do.
    """
    failure = _classified(log, RULES)
    if sealed and failure.failure_class == FailureClass.NETWORK and not failure.proof.startswith("kiln: index: "):
        return replace(failure, failure_class=FailureClass.FORBIDDEN, hint=_SEALED_HINT)
    return failure


def classify_package(log: str) -> Failure:
    """As `classify`, but by what the package and its tools said alone: what the host or the builder made of it is passed over."""
    return _classified(log, RULES[1:])


def _classified(log: str, rules: Sequence[Sequence[Rule]]) -> Failure:
    text = _NOISE.sub("", log)
    for tier in rules:
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
