"""Projects, releases and the files of a release, parsed once into types. Nothing here knows platforms or recipes.

Names follow PEP 503, versions PEP 440, filenames the binary and source distribution specifications.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kiln_pipeline.errors import Problem, RecipeError

_NAME = re.compile(r"^([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])$", re.IGNORECASE | re.ASCII)


def project_name(name: str) -> str:
    """Return the normalised project name (PEP 503: lower case, runs of ``-_.`` become one ``-``).

    Raises `ValueError` when `name` is no valid project name at all (the core metadata specification's regex, ASCII only).
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no valid project name: use ASCII letters, digits, '-', '_' and '.'")
    return str(canonicalize_name(name))


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Release:
    """One version of one project. `project` is normalised (PEP 503), `version` is the normalised PEP 440 string."""

    project: str
    version: str

    @classmethod
    def of(cls, project: str, version: str) -> Self:
        """Normalise both parts. Raises `ValueError` for an invalid name and `InvalidVersion` for an invalid version."""
        return cls(project=project_name(project), version=str(Version(version)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``grpcio==1.47.2``, the partition key form. Raises `RecipeError` when it is not of that form."""
        project, separator, version = text.partition("==")
        try:
            if not separator:
                raise ValueError("it has no '=='")
            return cls.of(project.strip(), version.strip())
        except (ValueError, InvalidVersion) as error:
            message = f"{error}; write PROJECT==VERSION, for example grpcio==1.47.2"
            raise RecipeError([Problem(file=text, field="", message=message)]) from error

    def __str__(self) -> str:
        return f"{self.project}=={self.version}"


class FileKind(StrEnum):
    """What a file of a release is. `OTHER` (eggs, wininst, msi, rpm …) never covers anything and is never built from."""

    SDIST = "sdist"
    WHEEL = "wheel"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributionFile:
    """One file of a project page (simple API, PEP 691/700), as upstream or kiln itself lists it."""

    filename: str
    url: str
    kind: FileKind
    version: str
    """Normalised PEP 440 version, parsed from the filename."""
    sha256: str
    size: int
    """Bytes. Mandatory since API 1.1 (PEP 700), so 0 only for a file that no index lists: an ad-hoc build's own sdist."""
    requires_python: str = ""
    """A PEP 440 specifier set as upstream wrote it; empty when there is none."""
    upload_time: datetime | None = None
    """UTC, aware."""
    yanked: bool = False
    yanked_reason: str = ""
    core_metadata: str = ""
    """sha256 of the ``.metadata`` file, ``true`` when it exists without a stated hash, empty when there is none."""
    provenance: str = ""
    """URL of upstream's PEP 740 provenance, carried over as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectPage:
    """One upstream project page. `skipped` counts what was not taken over, each with its reason: nothing is lost silently."""

    project: str
    files: tuple[DistributionFile, ...]
    versions: tuple[str, ...] = ()
    status: str = "active"
    """PEP 792: active, archived, quarantined or deprecated."""
    status_reason: str = ""
    serial: str = ""
    """Upstream's `_last-serial` where it gives one, else empty."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(filename, reason) of each file that was left out."""
