"""Why one release has, misses or cannot have a wheel for one target: the verdict, and every upstream file with what it lacks.

The same engine as the table of missing wheels decides, asked about one row. Any upstream project can be asked about, with a
recipe or without.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release
from kiln_pipeline.core.missing_wheels import detect
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, cibuildwheel_version
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.shortcomings import shortcoming
from kiln_pipeline.core.tags import Target
from kiln_pipeline.core.verdicts import Rule, Verdict

_UNWANTED_BEFORE = (Rule.MISSING, Rule.FAILED, Rule.TOO_NEW)
"""The rules that come after ``not-wanted``."""
_SERVES = {FileKind.WHEEL: "covers it", FileKind.SDIST: "it can be built from"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Considered:
    """One upstream file of the release."""

    file: DistributionFile
    lacks: str
    """Empty for a wheel that covers the target, and for an sdist that it can be built from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The whole answer. `reason` is the sentence that the table of missing wheels has."""

    release: Release
    identifier: BuildIdentifier
    verdict: Verdict
    rule: Rule
    reason: str
    covered_by: str
    cibuildwheel: str
    """The version that would build it; empty when none can."""
    considered: tuple[Considered, ...]
    """Every file of the release, in page order."""

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON has it; keys are stable."""
        return {
            "release": str(self.release),
            "identifier": str(self.identifier),
            "verdict": self.verdict.value,
            "rule": self.rule.value,
            "reason": self.reason,
            "covered_by": self.covered_by,
            "cibuildwheel": self.cibuildwheel,
            "files": [{"filename": c.file.filename, "kind": c.file.kind.value, "lacks": c.lacks} for c in self.considered],
        }

    def __str__(self) -> str:
        width = max((len(c.file.filename) for c in self.considered), default=0)
        files = [f"  {c.file.filename:{width}}  {c.lacks or _SERVES[c.file.kind]}" for c in self.considered]
        rule = f" ({self.rule})" if self.rule.value != self.verdict.value else ""
        return "\n".join([f"{self.release} {self.identifier}: {self.verdict}{rule}", f"  {self.reason}", "", *files]).rstrip()


def explain(
    page: ProjectPage,
    release: Release,
    identifier: BuildIdentifier,
    *,
    recipe: Recipe | None = None,
    attempts: Sequence[Attempt] = (),
    floors: Floors | None = None,
    now: datetime,
) -> Explanation:
    """Explain one release × build identifier of the project on `page`.

    Without a recipe the default floors hold, pre-releases count and no minimal age does. With one, its floors, age and hash hold,
    and what it does not ask for is ``not-wanted`` where it would otherwise be missing. `floors`, where given, replace its floors.
    """
    asked = recipe or Recipe(
        project=release.project, reason="", versions=(), pythons=(), platforms=(), prereleases=True, min_age=timedelta(0)
    )
    asked = asked if floors is None else replace(asked, floors=floors)
    only = replace(
        asked,
        versions=(SpecifierSet(f"=={release.version}"),),
        pythons=(identifier.python,),
        platforms=(identifier.platform,),
    )
    rows: list[dict[str, Any]] = detect(release_metadata.page_table(page), [only], attempts, now=now).to_pylist()
    row = next((row for row in rows if row["version"] == release.version), None) or _without_files(page, release)
    rule, reason = Rule(row["rule"]), str(row["reason"])
    if recipe is not None and rule in _UNWANTED_BEFORE and (unwanted := _unwanted(recipe, release, identifier)):
        rule, reason = Rule.NOT_WANTED, unwanted
    target = Target(identifier=identifier, floors=asked.floors)
    return Explanation(
        release=release,
        identifier=identifier,
        verdict=rule.verdict,
        rule=rule,
        reason=reason,
        covered_by=row["covered_by"],
        cibuildwheel=cibuildwheel_version(identifier) or "",
        considered=tuple(
            Considered(file=file, lacks=shortcoming(file, target)) for file in page.files if file.version == release.version
        ),
    )


def as_listed(page: ProjectPage, release: Release) -> Release:
    """Return the release as `page` writes its version: 1.0 is 1.0.0 too (PEP 440). An unlisted one stays as it is."""
    wanted = Version(release.version)
    written = (file.version for file in page.files if Version(file.version) == wanted)
    return replace(release, version=next(written, release.version))


def _without_files(page: ProjectPage, release: Release) -> dict[str, Any]:
    """A quarantined project's page lists no file (PEP 792); any other release without files does not exist."""
    if page.status == "quarantined":
        reason = "upstream has quarantined the project" + (f": {page.status_reason}" if page.status_reason else "")
        return {"rule": Rule.QUARANTINED, "reason": reason, "covered_by": ""}
    return {"rule": Rule.NO_SUCH_RELEASE, "reason": f"upstream lists no file of {release}", "covered_by": ""}


def _unwanted(recipe: Recipe, release: Release, identifier: BuildIdentifier) -> str:
    what = [
        *([] if recipe.wants(Version(release.version)) else [f"version {release.version}"]),
        *([] if identifier.python in recipe.pythons else [str(identifier.python)]),
        *([] if identifier.platform in recipe.platforms else [identifier.platform.value]),
    ]
    return f"the recipe does not ask for {' or '.join(what)}" if what else ""
