"""Failures grouped for a person: by class and by what was missing, with how many missing wheels wait on it and until when."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.missing_parts import part_of
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.retries import UNTIL, Standing, minute, standing
from kiln_pipeline.core.toolchains import Toolchains
from kiln_pipeline.core.verdicts import Rule

Target = tuple[Release, BuildIdentifier]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The inputs that a wanted wheel would be built from now."""

    recipe_sha256: str
    sdist_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureGroup:
    """The wheels that fail for one reason."""

    failure_class: str
    part: str
    """What is missing or in the way (`core.missing_parts`); empty when the logs do not say."""
    wheels: tuple[Target, ...]
    """Release × build identifier, sorted."""
    example: Attempt
    """The newest of the failures."""
    due: int
    """How many of the wheels may be tried again now."""
    next_try: datetime | None
    """When the first of the others may be, UTC; None when time alone frees none of them."""

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects concerned, sorted."""
        return tuple(sorted({release.project for release, _ in self.wheels}))

    @property
    def sentence(self) -> str:
        """The group in a sentence: ``142 missing wheels want libxml2 headers``."""
        many = len(self.wheels) != 1
        return f"{len(self.wheels)} missing wheel{'s' if many else ''} {_verb(self.failure_class, self.part, many=many)}"

    @property
    def retry(self) -> str:
        """When they are tried again, in words."""
        parts = [f"{self.due} may be tried now"] if self.due else []
        waiting = len(self.wheels) - self.due
        if waiting and self.next_try is not None:
            parts.append(f"next try {minute(self.next_try)}")
        elif waiting:
            parts.append(f"not until {UNTIL}")
        return "; ".join(parts)


def wanted_wheels(missing: pa.Table, recipes: Iterable[Recipe]) -> dict[Target, Wanted]:
    """Return what a `missing_wheels` table says is missing, failed or not, with what it would be built from by these recipes."""
    hashes = {recipe.project: recipe.sha256 for recipe in recipes}
    rules = pc.is_in(missing.column("rule"), value_set=pa.array([Rule.MISSING, Rule.FAILED], pa.string()))
    rows = missing.filter(rules).select(["project", "version", "identifier", "sdist_sha256"]).to_pylist()
    return {
        (Release(project=row["project"], version=row["version"]), BuildIdentifier.parse(row["identifier"])): Wanted(
            recipe_sha256=hashes[row["project"]], sdist_sha256=row["sdist_sha256"]
        )
        for row in rows
        if row["project"] in hashes
    }


def group_failures(attempts: Sequence[Attempt], wanted: Mapping[Target, Wanted], *, now: datetime) -> tuple[FailureGroup, ...]:
    """Group the wanted wheels whose last attempt failed, the largest group first.

    `wanted` are the wheels that are missing still, with what they would be built from: wheels that upstream has by now, or that
    no recipe asks for any more, are not counted. The retry state is that of `core.retries`, as of `now`.
    """
    toolchains = Toolchains.of(attempts)
    history: defaultdict[Target, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if (attempt.release, attempt.identifier) in wanted:
            history[attempt.release, attempt.identifier].append(attempt)
    groups: defaultdict[tuple[str, str], list[tuple[Target, Attempt, Standing]]] = defaultdict(list)
    for target, tried in history.items():
        if any(attempt.outcome is Outcome.SUCCEEDED for attempt in tried):
            continue
        inputs = wanted[target]
        last = max(tried, key=lambda attempt: (attempt.finished, attempt.index))
        state = standing(
            tried, recipe_sha256=inputs.recipe_sha256, sdist_sha256=inputs.sdist_sha256, now=now, toolchains=toolchains
        )
        groups[last.failure, part_of(last.failure, last.proof)].append((target, last, state))
    found = [_group(failure_class, part, rows) for (failure_class, part), rows in groups.items()]
    return tuple(sorted(found, key=lambda group: (-len(group.wheels), group.failure_class, group.part)))


def of_classes(groups: Iterable[FailureGroup], classes: Collection[str]) -> tuple[FailureGroup, ...]:
    """Return the groups of some classes; of all when `classes` is empty."""
    return tuple(group for group in groups if not classes or group.failure_class in classes)


def _group(failure_class: str, part: str, rows: Sequence[tuple[Target, Attempt, Standing]]) -> FailureGroup:
    times = [state.next_try for _, _, state in rows if state.next_try is not None]
    return FailureGroup(
        failure_class=failure_class,
        part=part,
        wheels=tuple(sorted((target for target, _, _ in rows), key=lambda target: (str(target[0]), target[1]))),
        example=max((last for _, last, _ in rows), key=lambda attempt: (attempt.finished, attempt.index)),
        due=sum(not state.waits for _, _, state in rows),
        next_try=min(times, default=None),
    )


def _verb(failure_class: str, part: str, *, many: bool) -> str:
    want, are, have, meet = ("want", "are", "have", "meet") if many else ("wants", "is", "has", "meets")
    match failure_class:
        case FailureClass.MISSING_HEADER:
            return f"{want} {'the header ' + part if part.endswith(('.h', '.hpp', '.hh')) else part + ' headers'}"
        case FailureClass.MISSING_LIBRARY:
            return f"{want} the library {part}" if part else f"{want} a library"
        case FailureClass.MISSING_TOOL:
            return f"{want} the program {part}" if part else f"{want} a program"
        case FailureClass.REMOVED_C_API:
            return f"{are} written for a C API that is gone" + (f": {part}" if part else "")
        case FailureClass.BUILD_REQUIREMENT:
            return f"{have} no build requirement {part} that fits" if part else f"{have} no fitting build requirements"
        case FailureClass.SETUP_EXCEPTION:
            return f"{meet} an exception of setup.py" + (f": {part}" if part else "")
        case _:
            return f"{meet} {failure_class}" + (f": {part}" if part else "")
