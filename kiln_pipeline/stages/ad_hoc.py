"""Plan one build by hand, with the parameters that python.build's users know. It needs no recipe; it uses one that is there."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidSdistFilename, parse_sdist_filename
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.build_plan import BuildPlan, build_number
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage, Release
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, Platform, PythonTag, cibuildwheel_version
from kiln_pipeline.core.recipes import BuildSettings, Recipe, settings_for
from kiln_pipeline.errors import Problem, RecipeError, UpstreamError
from kiln_pipeline.ports import UpstreamIndex

_Report = Callable[[str, str], None]
"""How a parser reports a wrong parameter: (field, message)."""
_DOTTED = re.compile(r"(\d)\.(\d+)(t?)", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FRAGMENT = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)


def ad_hoc_plan(
    *,
    package_name: str,
    package_version: str,
    package_url: str,
    python_version: str,
    environment_variables: str,
    platform: str,
    recipes: Sequence[Recipe],
    upstream: UpstreamIndex,
    attempts: Sequence[Attempt],
) -> BuildPlan:
    """Return the plan of one ad-hoc build.

    Raises `RecipeError` with every parameter that is wrong, and `UpstreamError` when upstream has no such sdist.
    """
    problems: list[Problem] = []

    def wrong(field: str, message: str) -> None:
        problems.append(Problem(file="build_wheel", field=field, message=message))

    release = _release(package_name, package_version, wrong)
    identifier = _identifier(python_version, platform, wrong)
    environment = _environment(environment_variables, wrong)
    linked = _linked_sdist(package_url, release, wrong) if package_url and release else None
    if problems or release is None or identifier is None:
        raise RecipeError(problems)
    found = upstream.project_page(release.project)
    assert found is not None, "an unconditional request has an answer"
    recipe = next((recipe for recipe in recipes if recipe.project == release.project), None)
    # an sdist that upstream does not vouch for takes the recipe's settings, but is not built "by the recipe"
    by_recipe = recipe is not None and linked is None
    return BuildPlan(
        release=release,
        identifier=identifier,
        sdist=linked or _upstream_sdist(found.page, release),
        settings=settings_for(recipe, Version(release.version)) if recipe else BuildSettings(),
        floors=recipe.floors if recipe else Floors(),
        recipe_text=recipe.text if recipe and by_recipe else "",
        recipe_sha256=recipe.sha256 if recipe and by_recipe else "",
        environment=environment,
        build_number=build_number(release, identifier, attempts),
        expects_extension=any(
            file.kind is FileKind.WHEEL and file.version == release.version and not file.filename.endswith("-any.whl")
            for file in found.page.files
        ),
    )


def _release(name: str, version: str, wrong: _Report) -> Release | None:
    try:
        return Release.of(name, version)
    except InvalidVersion:
        wrong("package_version", f"{version!r} is no PEP 440 version; write for example 1.47.2")
    except ValueError as error:
        wrong("package_name", str(error))
    return None


def _identifier(python: str, platform: str, wrong: _Report) -> BuildIdentifier | None:
    dotted = _DOTTED.fullmatch(python)
    tag = f"cp{dotted[1]}{dotted[2]}{dotted[3]}" if dotted else python
    try:
        parsed = PythonTag.parse(tag)
    except ValueError:
        wrong("python_version", f"{python!r} is no Python version; write for example 3.11, 3.13t or cp311")
        return None
    if platform not in Platform.__members__.values():
        wrong("platform", f"{platform!r} is no platform of kiln's; use one of {', '.join(Platform)}")
        return None
    identifier = BuildIdentifier(python=parsed, platform=Platform(platform))
    if cibuildwheel_version(identifier) is None:
        wrong("python_version", f"no cibuildwheel builds {identifier}; choose another Python or platform")
        return None
    return identifier


def _environment(text: str, wrong: _Report) -> Mapping[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        wrong("environment_variables", f"{error}; write KEY=VALUE pairs, quoted as in a shell")
        return {}
    pairs = [word.partition("=") for word in words]
    for word, (key, equals, _) in zip(words, pairs, strict=True):
        if not equals or not _VARIABLE.fullmatch(key):
            wrong("environment_variables", f"{word!r} is not of the form KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _linked_sdist(url: str, release: Release, wrong: _Report) -> DistributionFile | None:
    parts = urlsplit(url)
    digest = _FRAGMENT.fullmatch(parts.fragment)
    filename = unquote(parts.path.rpartition("/")[2])
    if parts.scheme not in ("http", "https"):
        wrong("package_url", f"{url!r} is no http or https URL")
    elif digest is None:
        wrong("package_url", "a URL that upstream does not vouch for needs its hash: append #sha256= and 64 hex digits")
    else:
        try:
            name, version = parse_sdist_filename(filename)
        except InvalidSdistFilename:
            name, version = "", Version("0")
        if (str(name), str(version)) != (release.project, release.version):
            wrong("package_url", f"it must end in the sdist of {release}, such as {release.project}-{release.version}.tar.gz")
        else:
            plain = parts._replace(fragment="").geturl()
            return DistributionFile(
                filename=filename, url=plain, kind=FileKind.SDIST, version=release.version, sha256=digest[1], size=0
            )
    return None


def _upstream_sdist(page: ProjectPage, release: Release) -> DistributionFile:
    sdists = [file for file in page.files if file.kind is FileKind.SDIST and file.version == release.version]
    if not sdists:
        raise UpstreamError(subject=str(release), reason="upstream has no sdist of it", hint="give package_url with its #sha256=")
    return min(sdists, key=lambda file: (file.yanked, not file.filename.endswith(".tar.gz"), file.filename))
