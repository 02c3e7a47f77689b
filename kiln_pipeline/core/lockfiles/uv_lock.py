"""``uv.lock``: a graph. A package is needed where a path of true markers leads to it from the workspace's own projects."""

from kiln_pipeline.core.lockfiles.model import Edge, Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.tables import LockTable

_VERSION = 1
_LOCAL = ("virtual", "editable", "directory")
_DIRECT = ("git", "url", "path", *_LOCAL)


def parse_uv_lock(text: str, *, file: str) -> LockFile:
    """Read a ``uv.lock`` of version 1, any revision. Raises `RecipeError`."""
    lock = LockTable.parse(text, file=file)
    if lock.data.get("version") != _VERSION:
        raise lock.error("version", f"is {lock.data.get('version')!r}, and this kiln reads version {_VERSION}")
    tables = lock.tables("package")
    numbers = _Numbers(tables)
    members = set(lock.table("manifest").texts("members"))
    packages: list[LockedPackage] = []
    roots: list[Edge] = []
    for number, table in enumerate(tables):
        source = table.table("source")
        local = next((source.text(kind) for kind in _LOCAL if kind in source), None)
        own = local == "." or (local is not None and table.name() in members)
        edges = [*_edges(table, "dependencies", numbers, ""), *_grouped(table, "optional-dependencies", numbers)]
        if own:
            groups = table.table("dev-dependencies")
            edges += [edge for group in groups.data for edge in _edges(groups, group, numbers, "")]
            extras = tuple(table.table("optional-dependencies").data)
            roots.append(Edge(to=number, extras=extras))
        packages.append(
            LockedPackage(project=table.name(), version=table.version(), source=_source(source, own), edges=tuple(edges))
        )
    roots += _manifest_roots(lock.table("manifest"), numbers)
    everything = tuple(Edge(to=number) for number in range(len(packages)))
    return LockFile(
        file=file,
        installer=Installer.UV,
        packages=tuple(packages),
        roots=tuple(roots) or everything,
        requires_python=lock.text("requires-python", ""),
    )


class _Numbers:
    """Finds the package that an edge means: by name, and where there are several by version and source."""

    def __init__(self, tables: tuple[LockTable, ...]) -> None:
        self._of: dict[str, list[tuple[int, LockTable]]] = {}
        for number, table in enumerate(tables):
            self._of.setdefault(table.name(), []).append((number, table))

    def of(self, edge: LockTable) -> list[int]:
        candidates = self._of.get(edge.name())
        if not candidates:
            raise edge.error("name", f"{edge.name()!r} is no package of this lock")
        return [
            number
            for number, table in candidates
            if ("version" not in edge or edge.version() == table.version())
            and ("source" not in edge or edge.data["source"] == table.data.get("source"))
        ]


def _edges(table: LockTable, key: str, numbers: _Numbers, for_extra: str) -> list[Edge]:
    return [
        Edge(to=number, marker=edge.marker("marker"), extras=edge.texts("extra"), for_extra=for_extra)
        for edge in table.tables(key)
        for number in numbers.of(edge)
    ]


def _grouped(table: LockTable, key: str, numbers: _Numbers) -> list[Edge]:
    groups = table.table(key)
    return [edge for extra in groups.data for edge in _edges(groups, extra, numbers, extra)]


def _manifest_roots(manifest: LockTable, numbers: _Numbers) -> list[Edge]:
    """Return what a lock without a project of its own (a script's) begins with."""
    groups = manifest.table("dependency-groups")
    wanted = [*manifest.tables("requirements"), *(entry for group in groups.data for entry in groups.tables(group))]
    return [
        Edge(to=number, marker=entry.marker("marker"), extras=entry.texts("extras"))
        for entry in wanted
        for number in numbers.of(LockTable({"name": entry.text("name")}, file=entry.file, path=entry.path))
    ]


def _source(source: LockTable, own: bool) -> str:
    """Return where a package comes from; the workspace's own projects are ``.``, whatever their path."""
    if own:
        return "."
    kind = next((kind for kind in _DIRECT if kind in source), None)
    if kind is None:
        registry = source.text("registry")
        return "" if "://" in registry else registry
    return f"git+{source.text(kind)}" if kind == "git" else source.text(kind)
