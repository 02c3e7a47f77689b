"""``pylock.toml`` (PEP 751), read by packaging's own parser."""

from packaging.pylock import Package, Pylock, PylockUnsupportedVersionError, PylockValidationError

from kiln_pipeline.core.lockfiles.model import Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.tables import LockTable
from kiln_pipeline.errors import Problem, RecipeError

_INSTALLERS = {"uv": Installer.UV, "pdm": Installer.PDM, "poetry": Installer.POETRY}
"""``created-by`` -> who will install from it; anyone else is taken for pip."""


def parse_pylock(text: str, *, file: str) -> LockFile:
    """Read a ``pylock.toml`` or ``pylock.<name>.toml``. Raises `RecipeError`."""
    table = LockTable.parse(text, file=file)
    try:
        lock = Pylock.from_dict(table.data)
    except PylockUnsupportedVersionError as error:
        raise RecipeError([Problem(file=file, field="lock-version", message=str(error))]) from None
    except PylockValidationError as error:
        raise RecipeError([Problem(file=file, field=error.context or "", message=error.message)]) from None
    packages = tuple(_package(package) for package in lock.packages)
    return LockFile(
        file=file,
        installer=_INSTALLERS.get(lock.created_by.lower(), Installer.PIP),
        packages=tuple(package for package in packages if package.version or package.source),
        requires_python=str(lock.requires_python or ""),
        unpinned=tuple(package.project for package in packages if not package.version and not package.source),
    )


def _package(package: Package) -> LockedPackage:
    return LockedPackage(
        project=str(package.name),
        version=str(package.version) if package.version else "",
        source=_source(package),
        markers=(str(package.marker),) if package.marker else (),
    )


def _source(package: Package) -> str:
    if package.vcs:
        return f"{package.vcs.type}+{package.vcs.url or package.vcs.path or ''}@{package.vcs.commit_id}"
    if package.directory:
        return package.directory.path
    if package.archive:
        return package.archive.url or package.archive.path or "an archive"
    return ""
