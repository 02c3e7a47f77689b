"""What the mirror should hold, project by project, as recipes and upstream's table say. Nothing is copied or looked up here."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from kiln_pipeline.core.distributions import DistributionFile
from kiln_pipeline.core.mirror.copies import Copy, PageMirror
from kiln_pipeline.core.mirror.filters import Filter, refused_by
from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.release_metadata import project_files, project_states
from kiln_pipeline.core.simple_index.model import QUARANTINED


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectPlan:
    """One copied project: the files that are wanted, in page order, and how many others each filter refuses."""

    project: str
    wanted: tuple[DistributionFile, ...] = ()
    refused: tuple[tuple[Filter, int], ...] = ()
    quarantined: bool = False


def plan_copies(recipes: Iterable[Recipe], files: pa.Table, projects: pa.Table, now: datetime) -> tuple[ProjectPlan, ...]:
    """Return the plan of each project that is copied and whose page has been read, sorted; a quarantined one wants nothing.

    `files` and `projects` are the tables of `core.release_metadata`.
    """
    copied = {recipe.project: recipe.mirror for recipe in recipes if recipe.mirror.mode is MirrorMode.COPY}
    states = project_states(projects) if copied else {}
    return tuple(
        ProjectPlan(project=project, quarantined=True)
        if states[project].status == QUARANTINED
        else _plan(project, project_files(files, project), mirror, now)
        for project, mirror in sorted(copied.items())
        if project in states
    )


def _plan(project: str, files: Sequence[DistributionFile], mirror: Mirror, now: datetime) -> ProjectPlan:
    verdicts = [(file, refused_by(file, mirror, now)) for file in files]
    refused = Counter(verdict for _, verdict in verdicts if verdict is not None)
    # the same bytes under two names are one copy
    wanted = {file.sha256: file for file, verdict in reversed(verdicts) if verdict is None}
    return ProjectPlan(project=project, wanted=tuple(reversed(wanted.values())), refused=tuple(sorted(refused.items())))


def page_mirrors(recipes: Iterable[Recipe], copies: Iterable[Copy]) -> dict[str, PageMirror]:
    """Return what the page of each copied project shows."""
    listed: dict[str, dict[str, Copy]] = {}
    for copy in copies:
        if copy.unlisted is None:
            listed.setdefault(copy.project, {})[copy.sha256] = copy
    return {
        recipe.project: PageMirror(copies=listed.get(recipe.project, {}), rest=recipe.mirror.rest)
        for recipe in recipes
        if recipe.mirror.mode is MirrorMode.COPY
    }


def keep_for(recipes: Iterable[Recipe], quarantined: Collection[str]) -> Mapping[str, timedelta]:
    """Return how long the unlisted copies of a project stay, where that is not the default: of a quarantined one not at all."""
    return {recipe.project: recipe.mirror.keep for recipe in recipes} | dict.fromkeys(quarantined, timedelta())
