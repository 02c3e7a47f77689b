"""The configuration that leads an installer to our index for some releases, in each installer's own words."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.model import Installer
from kiln_pipeline.core.platforms import Platform


def installer_config(
    installer: Installer,
    index_url: str,
    releases: Sequence[Release],
    platforms: Sequence[Platform],
    *,
    hashes: Mapping[Release, Sequence[str]] | None = None,
) -> str:
    """Return a snippet that takes `releases` from the index at `index_url` on `platforms`.

    `hashes` are the sha256 of our wheels, for lock files of pip. The text begins with a comment that says where it belongs.
    """
    pinned = sorted(set(releases))
    match installer:
        case Installer.PIP:
            return _pip(index_url, pinned, hashes or {})
        case Installer.UV:
            return _uv(index_url, pinned)
        case Installer.POETRY:
            return _poetry(index_url, pinned, sorted(set(platforms)))
        case Installer.PDM:
            return _pdm(index_url, pinned)
    assert_never(installer)


def _pip(index_url: str, releases: Sequence[Release], hashes: Mapping[Release, Sequence[str]]) -> str:
    lines = [
        "# requirements.txt: this line first; where the file has hashes, ours beside upstream's",
        f"--extra-index-url {index_url}",
    ]
    for release in releases:
        known = sorted(set(hashes.get(release, ())))
        lines.append(" \\\n".join([str(release), *(f"    --hash=sha256:{sha256}" for sha256 in known)]))
    return "\n".join(lines) + "\n"


def _uv(index_url: str, releases: Sequence[Release]) -> str:
    sources = "".join(f'{release.project} = {{ index = "kiln" }}\n' for release in releases)
    return (
        "# pyproject.toml, then `uv lock`; what only others depend on needs a line in constraint-dependencies too\n"
        f'[[tool.uv.index]]\nname = "kiln"\nurl = "{index_url}"\nexplicit = true\n\n[tool.uv.sources]\n{sources}'
    )


def _poetry(index_url: str, releases: Sequence[Release], platforms: Sequence[Platform]) -> str:
    here = " or ".join(_conjunction(platform, len(platforms) > 1) for platform in platforms)
    elsewhere = " and ".join(_complement(platform, len(platforms) > 1) for platform in platforms)
    dependencies = "".join(
        f"{release.project} = [\n"
        f'  {{ version = "{release.version}", source = "kiln", markers = "{here}" }},\n'
        f'  {{ version = "{release.version}", markers = "{elsewhere}" }},\n'
        "]\n"
        for release in releases
    )
    return (
        "# pyproject.toml, then `poetry lock`; the complement of a marker with `and` is one with `or`\n"
        f'[[tool.poetry.source]]\nname = "kiln"\nurl = "{index_url}"\npriority = "explicit"\n\n'
        f"[tool.poetry.dependencies]\n{dependencies}"
    )


def _pdm(index_url: str, releases: Sequence[Release]) -> str:
    packages = ", ".join(f'"{project}"' for project in sorted({release.project for release in releases}))
    return (
        "# pyproject.toml, then `pdm lock`\n"
        f'[[tool.pdm.source]]\nname = "kiln"\nurl = "{index_url}"\ninclude_packages = [{packages}]\n\n'
        "[tool.pdm.resolution]\nrespect-source-order = true\n"
    )


def _conditions(platform: Platform) -> tuple[tuple[str, str], tuple[str, str]]:
    system = "darwin" if platform.family == "macosx" else "linux"
    return ("sys_platform", system), ("platform_machine", platform.machine)


def _conjunction(platform: Platform, bracketed: bool) -> str:
    text = " and ".join(f"{variable} == '{value}'" for variable, value in _conditions(platform))
    return f"({text})" if bracketed else text


def _complement(platform: Platform, bracketed: bool) -> str:
    text = " or ".join(f"{variable} != '{value}'" for variable, value in _conditions(platform))
    return f"({text})" if bracketed else text
