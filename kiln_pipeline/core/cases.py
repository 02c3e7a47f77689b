"""The cases to judge: every wanted release × target of a table, and all that a verdict on it rests on. Nothing is judged here."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.coverage import NONE, Ints, ReleaseFacts, TargetSet, release_facts
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.tags import Target

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NEVER = np.iinfo(np.int64).min // 2
"""The upload time, in microseconds since 1970, of a file without one: older than anything."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """All that a verdict rests on: facts, recipes, the time, and the rows to judge as parallel arrays."""

    files: pa.Table
    facts: ReleaseFacts
    recipes: tuple[Recipe, ...]
    targets: tuple[Target, ...]
    versions: tuple[Version | None, ...]
    """Parsed `facts.versions`."""
    release: Ints
    target: Ints
    recipe: Ints
    now: datetime
    statuses: Mapping[str, tuple[str, str]]
    """project -> (PEP 792 status, reason)"""

    @property
    def now_us(self) -> int:
        """The time given, in microseconds since 1970."""
        return (self.now - _EPOCH) // _MICROSECOND

    def gather(self, column: str, rows: Ints) -> pa.Array:
        """Return a column of the files at `rows`; empty (or null, for times) where a row is `NONE`."""
        taken = self.files.column(column).take(pa.array(rows, mask=rows == NONE)).combine_chunks()
        if pa.types.is_string(taken.type):
            return pc.fill_null(taken, "")
        return pc.fill_null(taken, 0) if pa.types.is_integer(taken.type) else taken

    def sdist_column(self, column: str) -> pa.Array:
        """Return for each row a column of its release's sdist."""
        return self.gather(column, self.facts.sdist[self.release])

    def sdist(self, row: int) -> dict[str, Any]:
        """Return every column of a row's sdist; nothing without one."""
        at = int(self.facts.sdist[self.release[row]])
        return {} if at == NONE else self.files.slice(at, 1).to_pylist()[0]

    def uploaded(self) -> Ints:
        """Return for each row when its sdist was uploaded, in microseconds since 1970."""
        return pc.fill_null(pc.cast(self.sdist_column("upload_time"), pa.int64()), _NEVER).to_numpy(zero_copy_only=False)

    def ready(self) -> Ints:
        """Return for each row when the recipe's minimal age is reached, in microseconds since 1970."""
        ages = np.array([recipe.min_age // _MICROSECOND for recipe in self.recipes], dtype=np.int64)
        return self.uploaded() + ages[self.recipe]


def case_of(files: pa.Table, recipes: tuple[Recipe, ...], *, now: datetime, projects: pa.Table | None) -> Case:
    """Return the facts of `files` and the rows that `recipes` (sorted by project) want, sorted."""
    targets = sorted(
        {target for recipe in recipes for target in _targets(recipe)},
        key=lambda target: (target.identifier.platform, target.identifier.python, astuple(target.floors)),
    )
    facts = release_facts(files, TargetSet(targets))
    versions = tuple(_version(text) for text in facts.versions)
    release, target, recipe = _wanted(facts, recipes, targets, versions)
    return Case(
        files=files,
        facts=facts,
        recipes=recipes,
        targets=tuple(targets),
        versions=versions,
        release=release,
        target=target,
        recipe=recipe,
        now=now,
        statuses=_statuses(files, projects),
    )


def _wanted(
    facts: ReleaseFacts, recipes: Sequence[Recipe], targets: Sequence[Target], versions: Sequence[Version | None]
) -> tuple[Ints, Ints, Ints]:
    """Lay out the rows, sorted: the release, target and recipe of every wanted release × target."""
    number = {target: index for index, target in enumerate(targets)}
    by_project: defaultdict[str, list[int]] = defaultdict(list)
    for release, project in enumerate(facts.project):
        by_project[facts.projects[int(project)]].append(release)
    nothing = np.zeros(0, dtype=np.int64)
    blocks: list[tuple[Ints, Ints, Ints]] = [(nothing, nothing, nothing)]
    for index, recipe in enumerate(recipes):
        of_release = {release: versions[facts.version[release]] for release in by_project[recipe.project]}
        wanted = sorted((v, r) for r, v in of_release.items() if v is not None and recipe.wants(v))
        own = np.array(sorted(number[target] for target in set(_targets(recipe))), dtype=np.int64)
        releases = np.array([release for _, release in wanted], dtype=np.int64)
        size = len(own) * len(releases)
        blocks.append((np.repeat(releases, len(own)), np.tile(own, len(releases)), np.full(size, index, dtype=np.int64)))
    release, target, recipe_of = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    return release, target, recipe_of


def _targets(recipe: Recipe) -> list[Target]:
    return [
        Target(identifier=BuildIdentifier(python=python, platform=platform), floors=recipe.floors)
        for platform in recipe.platforms
        for python in recipe.pythons
    ]


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _statuses(files: pa.Table, projects: pa.Table | None) -> dict[str, tuple[str, str]]:
    """Return project -> (PEP 792 status, reason)."""
    columns = ["project", "project_status", "project_status_reason"]
    rows = files.select(columns).group_by(columns).aggregate([]).to_pylist()
    statuses = {row["project"]: (row["project_status"], row["project_status_reason"]) for row in rows}
    if projects is not None:
        columns = ["project", "status", "status_reason"]
        statuses |= {row["project"]: (row["status"], row["status_reason"]) for row in projects.select(columns).to_pylist()}
    return statuses
