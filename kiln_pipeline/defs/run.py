"""`kiln run`: materialise the assets of the definitions, in this process, one Dagster run after the other.

The same assets that the UI, the schedules and the sensors run; no side path. What a person reads is `cli`'s affair.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa
from packaging.version import Version

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.missing_wheels import MissingWheel, in_order, missing_for
from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.defs.partitions import partition_key
from kiln_pipeline.errors import BuildError, KilnError, Problem, RecipeError
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.record import REFUSED
from kiln_pipeline.workspace import Workspace

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(KilnError):
    """A Dagster run of ours ended in failure; the reason is that of the step that failed first."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `kiln run` was asked for: the named releases (all wanted ones of a project: version ""), and Pythons."""

    projects: Mapping[str, frozenset[str]]
    """Project -> versions; an empty set means every wanted version."""
    pythons: frozenset[str]
    """Python tags; empty means every wanted one."""

    def wants(self, release: Release) -> bool:
        versions = self.projects.get(release.project)
        return versions is not None and (not versions or release.version in versions)

    def admits(self, release: Release, identifier: BuildIdentifier) -> bool:
        return self.wants(release) and (not self.pythons or str(identifier.python) in self.pythons)


def wanted(names: Sequence[str], recipes: Sequence[Recipe], *, pythons: Collection[str]) -> Wanted:
    """Return what the command line means; without names, the releases that recipes mark as their demo.

    Raises `RecipeError` naming every name that no recipe covers.
    """
    known = {recipe.project: recipe for recipe in recipes}
    if not names:
        demo = {recipe.project: frozenset(recipe.demo) for recipe in recipes if recipe.demo}
        return Wanted(projects=demo, pythons=frozenset(pythons))
    projects: dict[str, frozenset[str]] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            release = Release.parse(name if "==" in name else f"{name}==0")
        except RecipeError as error:
            problems.extend(error.problems)
            continue
        version = {release.version} if "==" in name else set[str]()
        recipe = known.get(release.project)
        if recipe is None:
            hint = f"no recipe covers it: `kiln recipes new {release.project}` writes a starter"
            problems.append(Problem(file=name, field="", message=hint))
        elif version and not recipe.wants(Version(release.version)):
            versions = " or ".join(map(str, recipe.versions))
            hint = f"its recipe wants only versions {versions}: extend `versions` in recipes/{release.project}/recipe.toml"
            problems.append(Problem(file=name, field="", message=hint))
        before = projects.get(release.project)
        projects[release.project] = (
            frozenset() if not version or before == frozenset() else frozenset(version) | (before or frozenset())
        )
    if problems:
        raise RecipeError(problems)
    return Wanted(projects=projects, pythons=frozenset(pythons))


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What one partition is to build, and what of it this host cannot build, each with the reason."""

    release: Release
    platform: Platform
    buildable: tuple[MissingWheel, ...]
    refused: tuple[tuple[MissingWheel, str], ...]


class Pipeline:
    """The definitions over one workspace, and Dagster's instance under it."""

    def __init__(self, workspace: Workspace, definitions: dg.Definitions) -> None:
        self.workspace = workspace
        self.instance = dg.DagsterInstance.get()
        self._job = definitions.resolve_implicit_global_asset_job_def()

    def take_in_what_waits(self) -> None:
        """Publish bundles that an earlier run, here or elsewhere, has left in the inbox, so that they are not built again."""
        keys = self.workspace.inbox.keys()
        if any(key.endswith(ATTESTATION) and not key.startswith(REFUSED) for key in keys):
            self.publish()

    def refresh(self, projects: Collection[str]) -> None:
        """Materialise `release_metadata` for these projects, and `missing_wheels`."""
        self._materialise(["release_metadata", "missing_wheels"], {"release_metadata": {"projects": sorted(projects)}})

    def todo(self, asked: Wanted, *, limit: int) -> list[Todo]:
        """Return what to build on this host's platform, in the order of rank, at most `limit` wheels (0: no limit)."""
        table = detect.load_missing(self.workspace.state)
        platform = self.workspace.platform()
        todo: list[Todo] = []
        left = limit or table.num_rows
        for release in _releases_by_rank(table, platform):
            buildable: list[MissingWheel] = []
            refused: list[tuple[MissingWheel, str]] = []
            for item in missing_for(table, release, platform):
                if not asked.admits(release, item.identifier):
                    continue
                try:
                    self.workspace.builders_for(item.identifier)
                    buildable.append(item)
                except BuildError as error:
                    refused.append((item, error.reason))
            chosen, left = tuple(buildable[:left]), max(0, left - len(buildable))
            if chosen or refused:
                todo.append(Todo(release=release, platform=platform, buildable=chosen, refused=tuple(refused)))
        return todo

    def build(self, item: Todo, *, jobs: int = 0) -> None:
        """Materialise one partition of `wheels`, `jobs` builds at once (0: what the host has room for).

        A failed build is recorded by `publish` and is no error here.
        """
        pythons = [str(missing.identifier.python) for missing in item.buildable]
        key = partition_key(item.release, item.platform)
        self._materialise(
            ["wheels"], {"wheels": {"pythons": pythons, "jobs": jobs}}, partition=key, failed_attempts_are_results=True
        )

    def publish(self) -> tuple[Attempt, ...]:
        """Materialise what the publisher makes: log, simple index, pages for people; return all attempts on record."""
        self._materialise(["audit_log", "simple_index", "package_pages"], {})
        return self.workspace.attempts()

    def _materialise(
        self,
        assets: list[str],
        config: Mapping[str, Any],
        *,
        partition: str | None = None,
        failed_attempts_are_results: bool = False,
    ) -> None:
        result = self._job.execute_in_process(
            asset_selection=[dg.AssetKey(name) for name in assets],
            instance=self.instance,
            partition_key=partition,
            run_config={**QUIET, "ops": {name: {"config": value} for name, value in config.items()}},
            raise_on_error=False,
            tags={"kiln/by": "kiln run"},
        )
        if result.success:
            return
        failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        if failed_attempts_are_results and failed and all(_is_attempt(data) for data in failed):
            return
        raise RunFailed(_reason(failed[0]) if failed else f"Dagster run {result.run_id} of {', '.join(assets)} failed")


def _releases_by_rank(table: pa.Table, platform: Platform) -> list[Release]:
    rows = in_order(table, platform).select(["project", "version"]).to_pylist()
    return list(dict.fromkeys(Release(project=row["project"], version=row["version"]) for row in rows))


def _is_attempt(data: Any) -> bool:
    metadata = data.user_failure_data.metadata if data.user_failure_data else {}
    return "attempts" in metadata


def _reason(data: Any) -> str:
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    return str(data.error.to_string() if data.error else "a step failed without a reason")
