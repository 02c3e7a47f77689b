"""Closure: which projects an index must have so that one project installs from it alone, on the targets that are asked about.

Requires-Dist is followed from core metadata files (PEP 658), extras and markers as each target has them: of every requirement
the newest release that satisfies it and has a file for the target. That is no resolution: where two requirements leave each
other less room, a resolver takes an older release of the same projects. What builds an sdist is not followed.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release, project_name
from kiln_pipeline.core.lockfiles.target_markers import environment
from kiln_pipeline.core.mirror.closure import Closure, Needed
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.recipes import admits
from kiln_pipeline.core.requires_dist import requirements
from kiln_pipeline.core.shortcomings import shortcoming
from kiln_pipeline.core.tags import Target
from kiln_pipeline.errors import ProjectNotFound, UpstreamError
from kiln_pipeline.ports import Progress, UpstreamIndex

MOST = 1000
"""Projects; a closure with more is cut off there, and says so."""


@dataclass(frozen=True, slots=True, order=True)
class _Node:
    """A requirement on one target: followed once, so that cycles end."""

    project: str
    specifier: str
    extras: tuple[str, ...]
    target: BuildIdentifier


@dataclass(slots=True)
class _Found:
    specifiers: set[str] = field(default_factory=set[str])
    releases: set[str] = field(default_factory=set[str])
    by: set[str] = field(default_factory=set[str])
    problems: set[str] = field(default_factory=set[str])


def closure(
    project: str,
    *,
    versions: tuple[SpecifierSet, ...],
    extras: Sequence[str],
    targets: Sequence[BuildIdentifier],
    upstream: UpstreamIndex,
    progress: Progress,
    workers: int = 8,
    most: int = MOST,
) -> Closure:
    """Follow the requirements of `project`: of every release that `versions` admit, or of the newest one when there are none.

    Raises `ProjectNotFound` for `project` itself, and `UpstreamError` when upstream gives no answer: half of one would be none.
    """
    walk = _Walk(upstream, workers)
    first = [_Node(project, str(version), tuple(sorted(extras)), target) for target in targets for version in versions or ("",)]
    walk.load([project])
    if walk.pages[project] is None:
        raise ProjectNotFound(subject=f"project {project}", reason="upstream has no such project (404)")
    level = [(node, "") for node in first]
    seen: set[_Node] = set()
    cut_off = False
    while level:
        walk.load(sorted({node.project for node, _ in level}))
        progress.step(f"closure of {project}: {len(walk.found)} projects known, {len(level)} requirements to follow")
        every = bool(versions) and not seen
        level = walk.follow(level, seen, every=every)
        new = {node.project for node, _ in level} - walk.pages.keys()
        if len(walk.pages) + len(new) > most:
            cut_off = True
            level = [item for item in level if item[0].project in walk.pages]
    needed = (
        Needed(
            project=name,
            specifiers=tuple(sorted(found.specifiers)),
            releases=tuple(sorted(found.releases, key=Version)),
            by=tuple(sorted(found.by)),
            problems=tuple(sorted(found.problems)),
        )
        for name, found in sorted(walk.found.items())
    )
    return Closure(targets=tuple(targets), needed=tuple(needed), cut_off=cut_off)


class _Walk:
    """What upstream has said so far: each page and each core metadata file is asked for once."""

    def __init__(self, upstream: UpstreamIndex, workers: int) -> None:
        self.pages: dict[str, ProjectPage | None] = {}
        self.found: dict[str, _Found] = {}
        self._requirements: dict[str, tuple[Requirement, ...] | UpstreamError] = {}
        self._upstream, self._workers = upstream, workers

    def load(self, projects: Iterable[str]) -> None:
        """Fetch the pages that are not known yet."""
        new = [project for project in projects if project not in self.pages]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="upstream") as pool:
            self.pages |= dict(zip(new, pool.map(self._page, new), strict=True))

    def _page(self, project: str) -> ProjectPage | None:
        try:
            fetched = self._upstream.project_page(project)
        except ProjectNotFound:
            return None
        assert fetched is not None, "a request without a validator is always answered"
        return fetched.page

    def follow(self, level: Sequence[tuple[_Node, str]], seen: set[_Node], *, every: bool) -> list[tuple[_Node, str]]:
        """Return the requirements of the releases that these requirements choose; `every` admitted one, or the newest."""
        chosen: list[tuple[_Node, str, DistributionFile]] = []
        for node, by in level:
            found = self.found.setdefault(node.project, _Found())
            found.specifiers.add(node.specifier)
            found.by |= {by} if by else set()
            if node in seen:
                continue
            seen.add(node)
            releases = self._releases(node, every=every)
            if not releases:
                found.problems.add(f"no release that satisfies {node.specifier or 'any version'} has a file for {node.target}")
            for version, file in releases.items():
                found.releases.add(version)
                if file is None:
                    found.problems.add(f"{version}: upstream has no core metadata file, so what it requires is not known")
                else:
                    chosen.append((node, version, file))
        self._read([file for _, _, file in chosen])
        following: dict[_Node, str] = {}
        for node, version, file in chosen:
            answer = self._requirements[file.sha256]
            if isinstance(answer, UpstreamError):
                self.found[node.project].problems.add(f"{version}: {answer}")
                continue
            by = str(Release(project=node.project, version=version))
            following |= {_node(asked, node.target): by for asked in answer if _holds(asked, node)}
        return list(following.items())

    def _releases(self, node: _Node, *, every: bool) -> dict[str, DistributionFile | None]:
        """Return version -> the file whose core metadata speaks for it, None when none has one."""
        page = self.pages[node.project]
        target, wanted = Target(identifier=node.target), SpecifierSet(node.specifier)
        files: dict[str, list[DistributionFile]] = {}
        for file in page.files if page is not None else ():
            if not shortcoming(file, target):
                files.setdefault(file.version, []).append(file)
        admitted = [Version(text) for text in files if admits((wanted,), Version(text))]
        finals = [version for version in admitted if not version.is_prerelease] or admitted
        newest = finals if every else sorted(finals)[-1:]
        return {str(version): _speaking(files[str(version)]) for version in newest}

    def _read(self, files: Sequence[DistributionFile]) -> None:
        new = list({file.sha256: file for file in files if file.sha256 not in self._requirements}.values())
        with ThreadPoolExecutor(self._workers, thread_name_prefix="upstream") as pool:
            answers = pool.map(self._metadata, new)
            self._requirements |= {file.sha256: answer for file, answer in zip(new, answers, strict=True)}

    def _metadata(self, file: DistributionFile) -> tuple[Requirement, ...] | UpstreamError:
        try:
            return requirements(self._upstream.core_metadata(file))
        except UpstreamError as error:
            return error


def _speaking(files: Sequence[DistributionFile]) -> DistributionFile | None:
    return next((file for file in files if file.kind is FileKind.WHEEL and file.core_metadata), None)


def _holds(requirement: Requirement, node: _Node) -> bool:
    """Return whether a requirement holds for some patch release of the target's Python, with the extras that are asked for."""
    if requirement.marker is None:
        return True
    variables = [environment(node.target, patch=patch) for patch in (0, 99)]
    return any(requirement.marker.evaluate({**known, "extra": extra}) for known in variables for extra in ("", *node.extras))


def _node(requirement: Requirement, target: BuildIdentifier) -> _Node:
    extras = tuple(sorted(requirement.extras))
    return _Node(project_name(requirement.name), str(requirement.specifier), extras, target)
