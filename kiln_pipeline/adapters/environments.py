"""Reads what is installed in a Python environment: every ``.dist-info``, without running any of its code."""

import csv
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from pathlib import Path

from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.installed_wheel import Installed
from kiln_pipeline.errors import Problem, RecipeError, VerificationError

_SITES = ("lib/python*/site-packages", "lib64/python*/site-packages", "Lib/site-packages")


def installed_distributions(folder: Path) -> tuple[Installed, ...]:
    """Return the distributions in a virtual environment, or in a folder of ``pip install --target``, sorted by name.

    Raises `RecipeError` when the folder is neither, and `VerificationError` when a ``.dist-info`` cannot be read.
    """
    sites = {site.resolve(): None for pattern in _SITES for site in sorted(folder.glob(pattern))}
    infos = [(info, folder) for site in sites for info in site.glob("*.dist-info")]
    infos += [(info, folder) for info in folder.glob("*.dist-info")]
    if not infos:
        message = "is neither a virtual environment nor a folder of installed packages: it has no .dist-info"
        raise RecipeError([Problem(file=str(folder), field="", message=message)])
    found = [_installed(info, prefix) for info, prefix in infos]
    return tuple(sorted(found, key=lambda each: (each.project, each.version)))


def _installed(info: Path, prefix: Path) -> Installed:
    name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
    try:
        headers = BytesParser().parsebytes(_read(info / "WHEEL") or b"", headersonly=True)
        tags = frozenset[Tag]().union(*(parse_tag(tag) for tag in headers.get_all("Tag", [])))
        rows = csv.reader((_read(info / "RECORD") or b"").decode("utf-8").splitlines())
        recorded = tuple(row[0] for row in rows if row)
        release = (str(canonicalize_name(name)), str(Version(version)))
    except (OSError, ValueError, InvalidVersion, csv.Error) as error:
        raise VerificationError(subject=str(info), reason=f"it cannot be read: {error}") from None
    reader = _reader(info.parent, prefix, release[0])
    return Installed(
        project=release[0], version=release[1], build=headers.get("Build", ""), tags=tags, recorded=recorded, read=reader
    )


def _reader(site: Path, prefix: Path, project: str) -> Callable[[str, str], bytes | None]:
    def places(scheme: str) -> Iterator[Path]:
        if scheme == "lib":
            yield site
        elif scheme == "scripts":
            yield from (prefix / "bin", prefix / "Scripts")
        elif scheme == "headers":
            names = (project, project.replace("-", "_"))
            yield from (prefix / "include" / "site" / site.parent.name / name for name in names)
            yield from (prefix / "Include" / name for name in names)
        else:
            yield prefix

    def read(scheme: str, path: str) -> bytes | None:
        try:
            return next((data for place in places(scheme) if (data := _read(place / path)) is not None), None)
        except OSError as error:
            raise VerificationError(subject=path, reason=error.strerror or str(error)) from None

    return read


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
