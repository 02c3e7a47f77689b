"""``pdm.lock``: a flat list. With the strategy ``inherit_metadata``, PDM's default since 2.11, packages have their markers."""

from kiln_pipeline.core.lockfiles.model import Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.tables import LockTable


def parse_pdm_lock(text: str, *, file: str) -> LockFile:
    """Read a ``pdm.lock`` of lock version 4. Raises `RecipeError`."""
    lock = LockTable.parse(text, file=file)
    metadata = lock.table("metadata")
    if metadata.text("lock_version").partition(".")[0] != "4":
        raise metadata.error("lock_version", f"is {metadata.text('lock_version')}, and this kiln reads 4.x")
    note = "locked without `inherit_metadata`: there are no markers, every package counts, for every target"
    packages: dict[tuple[str, str, str], list[str]] = {}
    for table in lock.tables("package"):  # one entry more for each set of extras that is asked for
        key = table.name(), table.version(), _source(table)
        packages.setdefault(key, []).append(table.marker("marker"))
    return LockFile(
        file=file,
        installer=Installer.PDM,
        packages=tuple(
            LockedPackage(project=project, version=version, source=source, markers=() if "" in markers else tuple(markers))
            for (project, version, source), markers in packages.items()
        ),
        notes=() if "inherit_metadata" in metadata.texts("strategy") else (note,),
    )


def _source(package: LockTable) -> str:
    if "git" in package:
        return f"git+{package.text('git')}@{package.text('revision', package.text('ref', ''))}".rstrip("@")
    return next((package.text(kind) for kind in ("url", "path") if kind in package), "")
