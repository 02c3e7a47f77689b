"""Lock-check: for each release that a lock pins and each target, where its wheel would come from. Asks; writes nothing."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import ProjectPage, Release
from kiln_pipeline.core.lockfiles.model import LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.outlook import LockLine, Outlook, outlook
from kiln_pipeline.core.platforms import BuildIdentifier, Floors
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.requires_python import admits
from kiln_pipeline.errors import Problem, ProjectNotFound, RecipeError
from kiln_pipeline.ports import Progress, UpstreamIndex

_COMPILES = (Outlook.FILLABLE, Outlook.UNFILLABLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class LockReport:
    """The outlook of a whole lock."""

    lock: LockFile
    targets: tuple[BuildIdentifier, ...]
    lines: tuple[LockLine, ...]
    """By target as asked for, then by release."""
    elsewhere: tuple[LockedPackage, ...]
    """Packages that come from no package index (git, URL, path) and that some target needs; kiln has no say in them."""

    @property
    def compiles(self) -> tuple[LockLine, ...]:
        """What would be compiled on a target (or fail), our index included."""
        return tuple(line for line in self.lines if line.outlook in _COMPILES)

    @property
    def from_us(self) -> tuple[LockLine, ...]:
        """What our index spares the user."""
        return tuple(line for line in self.lines if line.outlook is Outlook.PUBLISHED)

    @property
    def clean(self) -> bool:
        """Whether nothing would compile. A requirement that pins no version could be anything: with one, that cannot be said."""
        return not self.compiles and not self.lock.unpinned


def check(
    lock: LockFile,
    targets: Sequence[BuildIdentifier],
    *,
    upstream: UpstreamIndex,
    ours: UpstreamIndex | None = None,
    recipes: Sequence[Recipe] = (),
    attempts: Sequence[Attempt] = (),
    floors: Floors | None = None,
    now: datetime,
    progress: Progress,
    workers: int = 8,
) -> LockReport:
    """Return the outlook of every release that `lock` pins for `targets`.

    What our index has is read from `ours` where that is given, else from `attempts`. `floors` are the targets' systems; without
    them a recipe's floors hold, and the default ones. Raises `RecipeError` for a target that the
    lock is not for, and `UpstreamError` when an index does not answer: half an answer would be none.
    """
    asked = tuple(dict.fromkeys(targets))
    _check_pythons(lock, asked)
    needed = {identifier: lock.needed(identifier) for identifier in asked}
    releases = {identifier: _releases(packages) for identifier, packages in needed.items()}
    projects = sorted({release.project for found in releases.values() for release in found})
    progress.step(f"asking upstream for the {len(projects):,} projects of {lock.file}")
    pages = _pages(projects, upstream, workers)
    known = tuple(attempt for attempt in attempts if not attempt.wheel) if ours else tuple(attempts)
    mine: dict[str, ProjectPage | None] = {}
    recipe_of = {recipe.project: recipe for recipe in recipes}

    def lines() -> tuple[LockLine, ...]:
        return tuple(
            outlook(
                pages[release.project],
                release,
                identifier,
                recipe=recipe_of.get(release.project),
                attempts=[attempt for attempt in known if attempt.release.project == release.project],
                ours=mine.get(release.project),
                floors=floors,
                now=now,
            )
            for identifier in asked
            for release in releases[identifier]
        )

    found = lines()
    lacking = sorted({line.release.project for line in found if line.outlook in _COMPILES})
    if ours is not None and lacking:
        progress.step(f"asking our index for {len(lacking):,} of them")
        mine = _pages(lacking, ours, workers)
        found = lines()
    local = {package for packages in needed.values() for package in packages if package.source not in ("", ".")}
    return LockReport(lock=lock, targets=asked, lines=found, elsewhere=tuple(sorted(local, key=lambda p: (p.project, p.source))))


def _check_pythons(lock: LockFile, targets: Iterable[BuildIdentifier]) -> None:
    problems = [
        Problem(
            file=lock.file,
            field="",
            message=f"is for Python {lock.requires_python}, which leaves {target} out; choose another target",
        )
        for target in targets
        if not admits(lock.requires_python, target.python.major, target.python.minor)
    ]
    if problems:
        raise RecipeError(problems)


def _releases(packages: Iterable[LockedPackage]) -> tuple[Release, ...]:
    return tuple(sorted({Release(project=p.project, version=p.version) for p in packages if p.version and not p.source}))


def _pages(projects: Sequence[str], index: UpstreamIndex, workers: int) -> dict[str, ProjectPage | None]:
    """Return each project's page; None for one that the index does not have."""

    def ask(project: str) -> ProjectPage | None:
        try:
            fetched = index.project_page(project)
        except ProjectNotFound:
            return None
        assert fetched is not None, "a request without a validator is always answered"
        return fetched.page

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="upstream") as executor:
        return dict(zip(projects, executor.map(ask, projects), strict=True))
