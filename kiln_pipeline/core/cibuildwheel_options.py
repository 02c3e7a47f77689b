"""cibuildwheel's option names and value types, and which of them a recipe may set. Tables by hand, compared with
cibuildwheel's own schema in the tests. How options reach cibuildwheel is the builder's business.
"""

import re
from dataclasses import dataclass
from typing import cast

from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.toml_tables import TableReader, kind_of

_TEXT, _TEXTS, _TABLE = ("string",), ("string", "list"), ("string", "table")

OPTIONS: dict[str, tuple[str, ...]] = {
    "audit-command": _TEXTS,
    "audit-requires": _TEXTS,
    "before-all": _TEXTS,
    "before-build": _TEXTS,
    "before-test": _TEXTS,
    "build-frontend": _TABLE,
    "build-verbosity": ("integer",),
    "config-settings": _TABLE,
    "dependency-versions": _TABLE,
    "environment": ("table",),  # cibuildwheel takes a string too; a table can be merged with the defaults' and an ad-hoc run's
    "inherit": _TABLE,
    "repair-wheel-command": _TEXTS,
    "test-command": _TEXTS,
    "test-environment": _TABLE,
    "test-extras": _TEXTS,
    "test-groups": _TEXTS,
    "test-requires": _TEXTS,
    "test-runtime": _TABLE,
    "test-skip": _TEXTS,
    "test-sources": _TEXTS,
    **{f"{on.family}-{on.machine}-image": _TEXT for on in Platform if on.family.endswith("linux")},
    **{f"{on.family}-pypy_{on.machine}-image": _TEXT for on in Platform if on.family == "manylinux"},
}
"""Option -> the TOML types of its value. Lists hold strings; tables hold strings or lists of strings."""

SINCE = {
    "audit-command": 4,
    "audit-requires": 4,
    "inherit": 4,
    "test-environment": 3,
    "test-runtime": 3,
    "test-sources": 3,
}
"""Options that the older ones of our cibuildwheels do not know: the first major version that does."""

TOP_ONLY = ("dependency-versions", "test-skip")
"""Options that no platform's sub-table and no override may hold."""

_NO_SUCH_PLATFORM = "kiln builds no such platform; leave it out"
_FAMILY_TABLES = {"macosx": "macos", "manylinux": "linux", "musllinux": "linux", "win": "windows"}
PLATFORM_TABLES = tuple(sorted({_FAMILY_TABLES[platform.family] for platform in Platform}))
"""Sub-tables with the same options for one operating system only."""

REFUSED = {
    "archs": "kiln builds the architecture of the build identifier; use [targets] platforms",
    "build": "kiln builds one identifier at a time; use [targets] pythons and platforms",
    "config-file": "kiln writes the configuration itself, from this table",
    "container-engine": "kiln takes the build host's engine, and never mounts the host's folders; leave it out",
    "enable": "kiln asks for each identifier by name, which enables it; use [targets] pythons",
    "environment-pass": "a build never sees the host's variables; write the value into environment",
    "free-threaded-support": "kiln asks for each identifier by name; use [targets] pythons, for example cp314t",
    "only": "kiln builds one identifier at a time; use [targets] pythons and platforms",
    "output-dir": "kiln collects the wheels itself; leave it out",
    "package-dir": "kiln builds the sdist whose sha256 upstream states; leave it out",
    "platform": "kiln builds on a host of the platform; use [targets] platforms",
    "skip": "kiln builds one identifier at a time; use [targets] pythons and platforms",
    "pyodide-version": _NO_SUCH_PLATFORM,
    "xbuild-files": _NO_SUCH_PLATFORM,
    "xbuild-tools": _NO_SUCH_PLATFORM,
    **{
        option: _NO_SUCH_PLATFORM
        for machine in ("armv7l", "i686", "ppc64le", "pypy_i686", "riscv64", "s390x")
        for option in (f"manylinux-{machine}-image", f"musllinux-{machine}-image")
        if option not in OPTIONS
    },
    **{name: _NO_SUCH_PLATFORM for name in ("android", "ios", "pyodide", "windows") if name not in PLATFORM_TABLES},
}
"""Options of cibuildwheel that a recipe may not set: why, and what to write instead."""

_FROM_UPSTREAM = "a build takes everything from the upstream index; leave it out"
_CONSTRAINTS = "kiln sets it; use [build] constraints"
REFUSED_ENVIRONMENT = {
    "MACOSX_DEPLOYMENT_TARGET": "kiln sets it; use [targets] macos-arm64 and macos-x86_64",
    "PYTHONHASHSEED": "kiln sets it, so that builds can be repeated; leave it out",
    "SOURCE_DATE_EPOCH": "kiln sets it to the sdist's date, so that builds can be repeated; leave it out",
    **dict.fromkeys(("PIP_BUILD_CONSTRAINT", "PIP_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_CONSTRAINT"), _CONSTRAINTS),
    **dict.fromkeys(("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"), _FROM_UPSTREAM),
}
"""Environment variables that are kiln's to set: why, and what to write instead."""

_IMAGE_ALIAS = re.compile(r"(many|musl)linux[a-z0-9_]*", re.ASCII)
_PINNED_IMAGE = re.compile(r"\S+@sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class OldestTool:
    """The oldest cibuildwheel that the targets need, and a build identifier that needs it."""

    version: str
    identifier: str


def read_options(reader: TableReader, oldest: OldestTool | None) -> dict[str, object]:
    """Check a ``[cibuildwheel]`` table and return it verbatim; everything wrong in it is reported to the reader."""
    _read_level(reader, oldest)
    for name in PLATFORM_TABLES:
        _read_below(reader.table(name), oldest)
    for override in reader.tables("overrides"):
        if override.raw("select", "string", "list") is None:
            override.require("select", 'write the build identifiers it is for, for example "cp312-*"')
        _read_below(override, oldest, always=("inherit",))  # every cibuildwheel of ours knows it here
    reader.finish()
    return dict(reader.data)


def _read_below(reader: TableReader, oldest: OldestTool | None, *, always: tuple[str, ...] = ()) -> None:
    for name in TOP_ONLY:
        if name in reader:
            reader.refuse(name, "it holds for all builds; write it at the top of [cibuildwheel]")
    _read_level(reader, oldest, always=always)
    reader.finish()


def _read_level(reader: TableReader, oldest: OldestTool | None, *, always: tuple[str, ...] = ()) -> None:
    for name, reason in REFUSED.items():
        if name in reader:
            reader.refuse(name, reason)
    for name, kinds in OPTIONS.items():
        value = reader.raw(name, *kinds)
        if value is None:
            continue
        _check_inside(reader, name, value)
        since = 0 if name in always else SINCE.get(name, 0)
        if oldest and since > int(oldest.version.split(".")[0]):
            needs = f"cibuildwheel {oldest.version}, which builds {oldest.identifier}, does not know it"
            reader.report(name, f"{needs}; leave it out, or leave that Python out of [targets]")
        if name.endswith("-image") and not (_IMAGE_ALIAS.fullmatch(str(value)) or _PINNED_IMAGE.fullmatch(str(value))):
            reader.report(name, "is no pinned image; write one of cibuildwheel's short names (manylinux_2_28) or NAME@sha256:…")
    environment = reader.data.get("environment")
    for variable in cast(dict[str, object], environment) if isinstance(environment, dict) else ():
        if variable in REFUSED_ENVIRONMENT:
            reader.report("environment", f"sets {variable}: {REFUSED_ENVIRONMENT[variable]}")


def _check_inside(reader: TableReader, name: str, value: object) -> None:
    if isinstance(value, list) and not _is_texts(cast(object, value)):
        reader.report(name, "has an entry that is no string; write a list of strings")
    for key, entry in cast(dict[str, object], value).items() if isinstance(value, dict) else ():
        if not (isinstance(entry, str) or (name != "environment" and _is_texts(entry))):
            reader.report(name, f"{key} is of type {kind_of(entry)}; write a string")


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in cast(list[object], value))
