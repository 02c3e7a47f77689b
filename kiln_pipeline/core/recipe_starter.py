"""The text of a first recipe: what upstream's releases lack, and the way from there to a wheel. Writes no file."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.distributions import FileKind, ProjectPage
from kiln_pipeline.core.missing_wheels import detect
from kiln_pipeline.core.recipe_toml import parse_recipes
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.verdicts import Rule

LINES = 6
"""Of how many lines of releases (2.9, 2.8, …) that lack something a starter tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseGaps:
    """What the newest release of one line lacks among the default targets."""

    version: Version
    uploaded: datetime | None
    missing: Mapping[str, tuple[str, ...]]
    """Python -> platforms that can be built and are not covered, both in the order of the defaults; only Pythons with some."""


def release_gaps(page: ProjectPage, wanted: Recipe, *, now: datetime) -> tuple[ReleaseGaps, ...]:
    """Return what the newest release of each line that has an sdist lacks, the newest first, for the targets of `wanted`.

    Where its versions are not all (``>=0``), every release among them is told of instead.
    """
    sdists = {Version(file.version): file for file in page.files if file.kind is FileKind.SDIST and not file.yanked}
    if wanted.versions != (SpecifierSet(">=0"),):
        chosen = sorted(filter(wanted.wants, sdists), reverse=True)
    else:
        final = [version for version in sdists if not version.is_prerelease] or list(sdists)
        newest = {(version.epoch, version.major, version.minor): version for version in sorted(final)}
        chosen = sorted(newest.values(), reverse=True)
    asked = replace(
        wanted,
        versions=tuple(SpecifierSet(f"=={version}") for version in chosen),
        prereleases=True,
        min_age=timedelta(0),
    )
    rows = detect(release_metadata.page_table(page), [asked], (), now=now).to_pylist()
    missing = {(Version(row["version"]), row["identifier"]) for row in rows if row["rule"] == Rule.MISSING}
    result: list[ReleaseGaps] = []
    for version in chosen:
        by_python = {
            str(python): tuple(str(on) for on in wanted.platforms if (version, f"{python}-{on}") in missing)
            for python in wanted.pythons
        }
        lacks = {python: platforms for python, platforms in by_python.items() if platforms}
        result.append(ReleaseGaps(version=version, uploaded=sdists[version].upload_time, missing=lacks))
    return tuple(result)


def defaults_recipe(defaults: str, project: str, version: str = "") -> Recipe:
    """Return a recipe for that version (empty: all) with nothing but the defaults. Raises `RecipeError` when these are wrong."""
    versions = f"=={version}" if version else ">=0"
    (recipe,) = parse_recipes(defaults, {project: f'project = "{project}"\nreason = "-"\nversions = "{versions}"\n'})
    return recipe


def starter(project: str, gaps: Sequence[ReleaseGaps], wanted: Recipe) -> str:
    """Return a recipe for the newest release that lacks wheels; without gaps, one that wants nothing until it is edited."""
    first = next((gap for gap in gaps if gap.missing), None)
    values = {
        "project": project,
        "release": f"{project}=={first.version if first else 'VERSION'}",
        "python": list(first.missing)[-1] if first else "cp312",
        "told": _told(gaps, wanted),
        "reason": f"{project} {first.version if first else ''}".rstrip() + " has no wheels for some targets: say who needs them",
        "versions": f'"=={first.version}"' if first else '"==0"   # nothing yet: write the releases that you want',
        "prereleases": "prereleases = true\n" if first and first.version.is_prerelease else "",
        "targets": _targets(first, wanted),
    }
    return _STARTER.format(**values)


def _told(gaps: Sequence[ReleaseGaps], wanted: Recipe) -> str:
    lacking = [gap for gap in gaps if gap.missing][:LINES]
    if not lacking:
        return ""
    width = max(len(str(gap.version)) for gap in lacking)
    lines = ["# What upstream lacks for the default targets, in the newest release of each line:"]
    for gap in lacking:
        day = f"{gap.uploaded:%Y-%m-%d}" if gap.uploaded else "          "
        lines.append(f"#   {gap.version!s:{width}}  {day}  {_summary(gap.missing, wanted)}")
    return "\n".join((*lines, "", ""))


def _summary(missing: Mapping[str, tuple[str, ...]], wanted: Recipe) -> str:
    by_platforms: dict[tuple[str, ...], list[str]] = {}
    for python, platforms in missing.items():
        by_platforms.setdefault(platforms, []).append(python)
    parts = [
        f"{' '.join(pythons)} on {'every platform' if len(platforms) == len(wanted.platforms) else ', '.join(platforms)}"
        for platforms, pythons in by_platforms.items()
    ]
    return "; ".join(parts)


def _targets(first: ReleaseGaps | None, wanted: Recipe) -> str:
    """Return the ``[targets]`` table: only what differs from the defaults is no comment."""
    pythons = list(first.missing) if first else []
    lacking = {platform for platforms in first.missing.values() for platform in platforms} if first else set[str]()
    platforms = [str(platform) for platform in wanted.platforms if platform in lacking]
    active = [
        f"{key} = {json.dumps(some)}"
        for key, some, every in (("pythons", pythons, len(wanted.pythons)), ("platforms", platforms, len(wanted.platforms)))
        if some and len(some) < every
    ]
    if active:
        return "\n".join(("[targets]", *active))
    return '# [targets]\n# pythons = ["cp312", "cp313"]          # lists replace the lists of ../defaults.toml'


_STARTER = """\
# From here to a wheel:
# 1. `kiln run {release} --python {python}` builds it. When that fails, its last line names the failure and what helps:
#      missing-header, missing-library, missing-tool     [system-packages]
#      build-requirement, setup-exception                [build] constraints
#      removed-c-api, compiler-error                     a patch, as upstream's next release has it; or leave that Python out
#      lost-extension                                    what setup.py does without in silence: mostly a header
# 2. Write down extensions and a test-command, so that no wheel is published that does not work; and notes.
# 3. `kiln recipes check`. Remove what you do not need.

{told}project = "{project}"
reason = "{reason}"
versions = {versions}
{prereleases}# notes = ["1.0 cp312-manylinux_x86_64: built, test passed"]   # what you have built where

{targets}
# glibc = "2.17"                         # for systems older than AlmaLinux 8

# [build]
# extensions = ["package._speedups"]     # the modules in upstream's wheels that end in .so; without them a wheel is refused
# constraints = ["Cython<3"]             # bounds on build requirements (PEP 508)
# patches = []                           # files in patches/ here: unified diffs, a/ and b/ before the paths

# [system-packages]                      # headers and libraries, by the package manager that is there; [] where none is needed
# dnf = ["libyaml-devel"]                # manylinux: AlmaLinux 8 with EPEL
# apt = ["libyaml-dev"]
# apk = ["yaml-dev"]                     # musllinux: Alpine
# brew = ["libyaml"]                     # macOS

# [cibuildwheel]                         # cibuildwheel's own options
# test-command = 'python -c "import package._speedups"'   # something that only the compiled code can do

# [[overrides]]                          # for some versions only
# versions = "<2"
# [overrides.build]
# constraints = ["setuptools<66"]
"""
