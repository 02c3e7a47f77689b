"""``poetry.lock``: a flat list. Since lock version 2.1 (Poetry 2) each package has its markers; before, none has."""

from typing import cast

from kiln_pipeline.core.lockfiles.model import Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.tables import LockTable

_MARKERS_SINCE = (2, 1)


def parse_poetry_lock(text: str, *, file: str) -> LockFile:
    """Read a ``poetry.lock`` of lock version 1 or 2. Raises `RecipeError`."""
    lock = LockTable.parse(text, file=file)
    metadata = lock.table("metadata")
    version = metadata.parsed("lock-version", lambda text: tuple(int(part) for part in text.split(".")))
    if version[0] not in (1, 2):
        raise metadata.error("lock-version", f"is {metadata.text('lock-version')}, and this kiln reads 1.x and 2.x")
    note = "a lock of Poetry 1 has no markers: every package counts, for every target; `poetry lock` with Poetry 2 writes them"
    return LockFile(
        file=file,
        installer=Installer.POETRY,
        packages=tuple(
            LockedPackage(project=t.name(), version=t.version(), source=_source(t.table("source")), markers=_markers(t))
            for t in lock.tables("package")
        ),
        requires_python=metadata.text("python-versions", ""),
        notes=() if version >= _MARKERS_SINCE else (note,),
    )


def _markers(package: LockTable) -> tuple[str, ...]:
    """Return one marker, or one for each group where groups differ; a group without one needs the package everywhere."""
    if not isinstance(package.data.get("markers"), dict):
        marker = package.marker("markers")
        return (marker,) if marker else ()
    by_group = package.table("markers")
    if set(package.texts("groups")) - set(by_group.data):
        return ()
    return tuple(by_group.marker(group) for group in sorted(cast(dict[str, object], by_group.data)))


def _source(source: LockTable) -> str:
    match source.text("type", "legacy"):
        case "legacy":
            return ""
        case "git":
            return f"git+{source.text('url')}@{source.text('resolved_reference', source.text('reference', ''))}".rstrip("@")
        case _:
            return source.text("url")
