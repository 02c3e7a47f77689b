"""Where the wheel of a pinned release would come from on a target, and what could be done where there is none.

`core.explain` judges; this module asks it the way an installer with a lock would, which takes yanked files too (PEP 592).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import FileKind, ProjectPage, Release
from kiln_pipeline.core.explain import Explanation, as_listed, explain
from kiln_pipeline.core.platforms import BuildIdentifier, Floors
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.verdicts import Rule, Verdict


class Outlook(StrEnum):
    """What an installer would do on the target."""

    COVERED = "covered"
    """It takes upstream's wheel."""
    PUBLISHED = "published"
    """It takes our index's wheel, where it asks our index."""
    FILLABLE = "fillable"
    """It compiles; a recipe could fill the gap, or does so soon."""
    UNFILLABLE = "unfillable"
    """It compiles, or fails; no recipe can help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockLine:
    """One pinned release on one target."""

    release: Release
    identifier: BuildIdentifier
    outlook: Outlook
    rule: str
    """`core.verdicts.Rule`, or ``no-such-project``."""
    reason: str
    wheel: str = ""
    """The wheel that covers it, upstream's or ours."""
    sha256: str = ""
    """Of our wheel, where we know it."""
    extension: bool = False
    """Whether other wheels of the release say that it holds an extension module: a compiler is needed for it."""
    step: str = ""
    """What to do next about a fillable gap."""


def outlook(
    page: ProjectPage | None,
    release: Release,
    identifier: BuildIdentifier,
    *,
    recipe: Recipe | None,
    attempts: Sequence[Attempt],
    ours: ProjectPage | None = None,
    floors: Floors | None = None,
    now: datetime,
) -> LockLine:
    """Return the outlook of one release on one target.

    `page` is upstream's, None when upstream has no such project; `ours` is our index's page of it, where there is one. `floors`
    are the systems that the targets run on, where those are known to be others than the recipe's or the default floors.
    """
    if page is None:
        reason = "upstream has no such project: another index's, or a spelling error"
        line = LockLine(release=release, identifier=identifier, outlook=Outlook.UNFILLABLE, rule="no-such-project", reason=reason)
        return _from_ours(line, ours, floors, now) or line
    release = as_listed(page, release)
    page = replace(page, files=tuple(file for file in page.files if file.version == release.version))
    answer = explain(page, release, identifier, recipe=recipe, attempts=attempts, floors=floors, now=now)
    if answer.verdict is not Verdict.COVERED and any(file.yanked for file in page.files):
        pinned = explain(_unyanked(page), release, identifier, recipe=recipe, floors=floors, now=now)
        answer = pinned if pinned.verdict is Verdict.COVERED else answer
    if answer.rule is Rule.PRE_RELEASE:  # that is a recipe's wish: what stands in the way beside it?
        without = explain(page, release, identifier, attempts=attempts, floors=floors, now=now)
        answer = answer if without.verdict is Verdict.MISSING else without
    line = _line(page, answer, attempts, recipe)
    taken = line.outlook in (Outlook.COVERED, Outlook.PUBLISHED)
    return line if taken else _from_ours(line, ours, floors, now) or line


def _line(page: ProjectPage, answer: Explanation, attempts: Sequence[Attempt], recipe: Recipe | None) -> LockLine:
    looks = _OUTLOOKS.get(answer.rule, Outlook.UNFILLABLE)
    ours = next((attempt.wheel_sha256 for attempt in attempts if attempt.wheel and attempt.wheel == answer.covered_by), "")
    return LockLine(
        release=answer.release,
        identifier=answer.identifier,
        outlook=looks,
        rule=answer.rule.value,
        reason=answer.reason + (_near_miss(answer) if looks in (Outlook.FILLABLE, Outlook.UNFILLABLE) else ""),
        wheel=answer.covered_by,
        sha256=ours if looks is Outlook.PUBLISHED else "",
        extension=any(file.kind is FileKind.WHEEL and not file.filename.endswith("-any.whl") for file in page.files),
        step=_step(answer, recipe) if looks is Outlook.FILLABLE else "",
    )


def _near_miss(answer: Explanation) -> str:
    """Say which wheel would do on a newer system: the user may well have one."""
    near = [(c.file.filename, c.lacks) for c in answer.considered if c.lacks.startswith("needs ")]
    return f"; {near[0][0]} {near[0][1]}" if near else ""


_OUTLOOKS = {
    Rule.COVERED: Outlook.COVERED,
    Rule.SUPERSEDED: Outlook.COVERED,
    Rule.PUBLISHED: Outlook.PUBLISHED,
    Rule.MISSING: Outlook.FILLABLE,
    Rule.NOT_WANTED: Outlook.FILLABLE,
    Rule.PRE_RELEASE: Outlook.FILLABLE,
    Rule.TOO_NEW: Outlook.FILLABLE,
    Rule.FAILED: Outlook.FILLABLE,
}


def _step(answer: Explanation, recipe: Recipe | None) -> str:
    if recipe is None:
        return f"kiln recipes new {answer.release.project}"
    match answer.rule:
        case Rule.NOT_WANTED:
            return f"extend recipes/{recipe.project}/recipe.toml"
        case Rule.PRE_RELEASE:
            return f"prereleases = true in recipes/{recipe.project}/recipe.toml"
        case Rule.FAILED:
            return "see the attempt's log; a changed recipe is tried at once"
        case Rule.TOO_NEW:
            return "wait"
        case _:
            return "in the queue"


def _from_ours(line: LockLine, ours: ProjectPage | None, floors: Floors | None, now: datetime) -> LockLine | None:
    """Return the line as our index's page changes it; None when that has no wheel for the target either."""
    if ours is None:
        return None
    release = as_listed(ours, line.release)
    mine = replace(ours, files=tuple(file for file in ours.files if file.version == release.version))
    answer = explain(_unyanked(mine), release, line.identifier, floors=floors, now=now)
    if answer.verdict is not Verdict.COVERED:
        return None
    sha256 = next(file.sha256 for file in mine.files if file.filename == answer.covered_by)
    reason = f"our index has {answer.covered_by}"
    return replace(
        line,
        outlook=Outlook.PUBLISHED,
        rule=Rule.PUBLISHED.value,
        reason=reason,
        wheel=answer.covered_by,
        sha256=sha256,
        step="",
    )


def _unyanked(page: ProjectPage) -> ProjectPage:
    """A lock pins a release: installers take its files, yanked or not."""
    return replace(page, files=tuple(replace(file, yanked=False, yanked_reason="") for file in page.files))
