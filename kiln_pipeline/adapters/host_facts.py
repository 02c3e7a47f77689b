"""What a build host is like: its own tools and disk, and what it can reach. Looks only; what a fact means is `core.host_checks`'.

The one thing that it leaves anywhere is a small object ``doctor/<host>`` in the inbox, which no publisher takes for a bundle.
"""

import json
import platform
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pypi_simple
import requests

from kiln_pipeline.adapters.container_engine import engine_that_answers
from kiln_pipeline.adapters.keys import load_or_create
from kiln_pipeline.adapters.processes import capture
from kiln_pipeline.core.host_checks import DatabaseFacts, InboxFacts, KeyFacts, LinuxFacts, MacFacts
from kiln_pipeline.errors import KilnError
from kiln_pipeline.ports import ObjectStore

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_SECONDS = 10.0
_READ, _WRITTEN = ("runs", "event_logs", "alembic_version"), ("event_logs", "run_tags", "asset_keys")
"""Tables of Dagster's storage that tell whether a run can be executed here: deploy/control-plane/kiln_host.sql has them all."""


def linux_facts(environment: Mapping[str, str], *, zig: bool) -> LinuxFacts:
    """Return what there is for Linux wheels; `environment` is what a builder's tools are given."""
    emulated = (
        frozenset(path.name.removeprefix("qemu-") for path in _BINFMT.glob("qemu-*")) if _BINFMT.is_dir() else frozenset[str]()
    )
    return LinuxFacts(
        system=platform.system(), machine=platform.machine(), engine=_engine_and_version(environment), zig=zig, emulated=emulated
    )


def has_image(reference: str, environment: Mapping[str, str]) -> bool:
    """Return whether the engine has an image here."""
    engine = _engine(environment)
    return bool(engine) and capture([engine, "image", "inspect", reference], environment=environment) is not None


def _engine(environment: Mapping[str, str]) -> str:
    return engine_that_answers(environment.get("CIBW_CONTAINER_ENGINE", ""), environment)


def _engine_and_version(environment: Mapping[str, str]) -> str:
    engine = _engine(environment)
    return (capture([engine, "--version"], environment=environment) or engine).strip() if engine else ""


def mac_facts(ask: Callable[[list[str]], str | None]) -> MacFacts:
    """Return what a Mac's tools answer; `ask` runs one and returns what it prints, or None."""
    folder = ask(["/usr/bin/xcrun", "--sdk", "macosx", "--show-sdk-path"])
    brew = ask(["brew", "--version"])
    return MacFacts(
        system=platform.system(),
        machine=platform.machine(),
        developer_folder=ask(["/usr/bin/xcode-select", "-p"]),
        sdk=ask(["/usr/bin/xcrun", "--sdk", "macosx", "--show-sdk-version"]),
        oldest_target=oldest_target(Path(folder.strip()) / "SDKSettings.json") if folder else None,
        brew=brew.splitlines()[0] if brew else None,
        rosetta=ask(["/usr/bin/arch", "-x86_64", "/usr/bin/true"]) is not None,
    )


def oldest_target(settings: Path) -> str | None:
    """Return the oldest macOS that an SDK builds for, from its settings; None when they do not say."""
    try:
        return str(json.loads(settings.read_text(encoding="utf-8"))["SupportedTargets"]["macosx"]["MinimumDeploymentTarget"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where `path` is or would be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def default_upstream() -> str:
    """Return the upstream index of a host that names none."""
    return pypi_simple.PYPI_SIMPLE_ENDPOINT


def upstream_facts(url: str) -> tuple[str, float | None]:
    """Return why the upstream index cannot be reached (empty: it can), and how far our clock is ahead of its own, in seconds."""
    try:
        answer = requests.head(url, timeout=_SECONDS, allow_redirects=True)
    except requests.RequestException as error:
        return type(error).__name__, None
    offset = None
    with suppress(KeyError, ValueError, TypeError):
        offset = (datetime.now(UTC) - parsedate_to_datetime(answer.headers["Date"])).total_seconds()
    return (f"it answers {answer.status_code}" if answer.status_code >= 500 else ""), offset


def broker_refusal(url: str) -> str:
    """Return why the broker cannot be used; empty when it can, or when none is named."""
    if not url:
        return ""
    try:
        from kiln_pipeline.adapters.broker import Broker
    except ImportError:
        return "Redis' client is not installed: pip install -c constraints.txt '.[hosts]'"
    try:
        Broker(url).live()
    except KilnError as error:
        return str(error).partition("\n")[0]
    return ""


def database_facts(url: str) -> DatabaseFacts:
    """Ask Dagster's storage who we are there, and what we may do."""
    if not url:
        return DatabaseFacts(where="")
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(url, connect_args={"connect_timeout": int(_SECONDS)})
        with engine.connect() as connection:

            def may(table: str, right: str) -> bool:
                found = connection.execute(text("select to_regclass(:table) is not null"), {"table": table}).scalar()
                asked = {"table": table, "right": right}
                return bool(found) and bool(
                    connection.execute(text("select has_table_privilege(:table, :right)"), asked).scalar()
                )

            lacking = [f"read {table}" for table in _READ if not may(table, "SELECT")]
            lacking += [f"write {table}" for table in _WRITTEN if not may(table, "INSERT")]
            excess = ["remove runs"] if may("runs", "DELETE") else []
            excess += ["remove events"] if may("event_logs", "DELETE") else []
            if connection.execute(text("select has_schema_privilege(current_schema(), 'CREATE')")).scalar():
                excess.append("make tables")
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        return DatabaseFacts(where=url, refusal=str(getattr(error, "orig", None) or error).strip().partition("\n")[0])
    return DatabaseFacts(where=url, lacking=tuple(lacking), excess=tuple(excess))


def inbox_facts(store: ObjectStore, host: str) -> InboxFacts:
    """Try what this host may do in the inbox: write, and then what it should not be able to do."""
    key, where = f"doctor/{host}", str(store)
    try:
        store.put(key, b"kiln host doctor was here\n")
    except KilnError as error:
        return InboxFacts(where=where, refusal=str(error))
    tries: dict[str, Callable[[], object]] = {
        "list": lambda: list(store.keys("doctor/")),
        "read": lambda: store.get(key),
        "delete": lambda: store.delete(key),
    }
    may: list[str] = []
    for name, attempt in tries.items():
        with suppress(KilnError):
            attempt()
            may.append(name)
    return InboxFacts(where=where, may=tuple(may))


def key_facts(path: Path, name: str) -> KeyFacts:
    """Return what there is of the host's key; makes none."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return KeyFacts(path=str(path), mode=None)
    if mode & 0o077:
        return KeyFacts(path=str(path), mode=mode)
    return KeyFacts(path=str(path), mode=mode, public_key=load_or_create(path, name).public_key)
