"""The rules of missing wheels: their names, their order, and the sentence that each says to a person. No rule is applied here.

`core.missing_wheels` finds the first rule that applies to each row; this module turns it into words.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from kiln_pipeline.core.cases import Case
from kiln_pipeline.core.coverage import Ints
from kiln_pipeline.core.retries import Standing, minute


class Verdict(StrEnum):
    """What is to be done about a wanted target: build it, or nothing."""

    MISSING = "missing"
    COVERED = "covered"
    PUBLISHED = "published"
    EXCLUDED = "excluded"


class Rule(StrEnum):
    """Why, in the order of trying: the first that applies decides."""

    NO_SUCH_RELEASE = "no-such-release"
    """Upstream lists no file of it. Such releases have no row; `core.explain` names the rule."""
    QUARANTINED = "quarantined"
    """PEP 792: upstream quarantined the project. Archived and deprecated projects are built for like active ones."""
    SUPERSEDED = "superseded"
    """We published one, and upstream has caught up since."""
    COVERED = "covered"
    YANKED = "yanked"
    """Every sdist of the release is yanked."""
    PUBLISHED = "published"
    PRE_RELEASE = "pre-release"
    NO_CIBUILDWHEEL = "no-cibuildwheel"
    NO_SDIST = "no-sdist"
    REQUIRES_PYTHON = "requires-python"
    NOT_WANTED = "not-wanted"
    """The project's recipe does not ask for it. Such targets have no row; `core.explain` names the rule."""
    TOO_NEW = "too-new"
    FAILED = "failed"
    MISSING = "missing"

    @property
    def verdict(self) -> Verdict:
        """The one verdict that the rule gives."""
        match self:
            case Rule.SUPERSEDED | Rule.COVERED:
                return Verdict.COVERED
            case Rule.PUBLISHED:
                return Verdict.PUBLISHED
            case Rule.MISSING:
                return Verdict.MISSING
            case _:
                return Verdict.EXCLUDED


RULES = tuple(Rule)


def reasons(case: Case, rules: Ints, wheels: Sequence[str], standings: Mapping[int, Standing]) -> list[str]:
    """Return the sentence of each row; `wheels` names the covering or published wheel where there is one."""
    said = np.full(len(rules), "", dtype=object)
    for number in np.unique(rules).tolist():
        rule, rows = RULES[int(number)], np.flatnonzero(rules == number)
        match rule:
            case Rule.COVERED:
                said[rows] = [f"covered by {wheels[row]}" for row in rows.tolist()]
            case Rule.SUPERSEDED:
                said[rows] = [f"superseded by upstream's {wheels[row]}" for row in rows.tolist()]
            case Rule.PUBLISHED:
                said[rows] = [f"published as {wheels[row]}" for row in rows.tolist()]
            case Rule.FAILED:
                said[rows] = [standings[row].waits for row in rows.tolist()]
            case Rule.NO_CIBUILDWHEEL:
                said[rows] = _each(rows, case.target, partial(_of_target, case))
            case _:
                said[rows] = _each(rows, case.release, partial(_of_release, case, rule))
    return said.tolist()


def _each(rows: Ints, keys: Ints, say: Callable[[int], str]) -> npt.NDArray[np.object_]:
    """Say a sentence once for each distinct key among `rows`, given one row that has it."""
    _, first, inverse = np.unique(keys[rows], return_index=True, return_inverse=True)
    return np.array([say(row) for row in rows[first].tolist()], dtype=object)[inverse]


def _of_target(case: Case, row: int) -> str:
    return f"no cibuildwheel can build {case.targets[int(case.target[row])].identifier}"


def _of_release(case: Case, rule: Rule, row: int) -> str:
    """Return the sentence of a rule that speaks of the release as a whole."""
    recipe, sdist = case.recipes[int(case.recipe[row])], case.sdist(row)
    match rule:
        case Rule.QUARANTINED:
            return _because("upstream has quarantined the project", case.statuses[recipe.project][1])
        case Rule.YANKED:
            return _because("upstream has yanked the release", sdist["yanked_reason"])
        case Rule.PRE_RELEASE:
            return "a pre-release, and the recipe does not ask for those"
        case Rule.NO_SDIST:
            return "the release has no sdist to build from"
        case Rule.REQUIRES_PYTHON:
            return f"its sdist requires Python {sdist['requires_python']}"
        case Rule.TOO_NEW:
            ready = minute(sdist["upload_time"] + recipe.min_age)
            return f"uploaded {minute(sdist['upload_time'])}, upstream's own wheels are waited for until {ready}"
        case _:
            return f"no wheel upstream, to be built from {sdist['filename']}"


def _because(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what
