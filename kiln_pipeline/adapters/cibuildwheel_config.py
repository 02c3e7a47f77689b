"""What cibuildwheel is told: its configuration file and its engine setting, as text. Runs nothing and reads nothing.

The recipe's options stand in the file verbatim. Kiln's own come in one last override with cibuildwheel's ``inherit`` rules, so
that they are joined to the recipe's and do not replace them. Verified with cibuildwheel 2.23.3, 3.4.1 and 4.3.3.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import cast

from kiln_pipeline.core.build_plan import BuildPlan

CONSTRAINTS_IN_CONTAINER = "/tmp/kiln-constraints.txt"  # noqa: S108 (a path in a container that nobody shares)
NOTES_IN_CONTAINER = "/tmp/kiln-repair-notes.py"  # noqa: S108 (likewise)
CHECK_IN_CONTAINER = "/tmp/kiln-load-check.py"  # noqa: S108 (likewise)
PROJECT_IN_CONTAINER = "/project"
"""Where cibuildwheel copies the project."""

_INSTALL = {
    "dnf": "dnf install -y {packages}",
    "yum": "yum install -y {packages}",
    "apk": "apk add --no-cache {packages}",
    "apt": "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {packages}",
}
_PROGRAM = {"apt": "apt-get"}


def build_environment(plan: BuildPlan, *, endpoint: str, constraints_file: str) -> dict[str, str]:
    """Return the variables that kiln sets for a build, those of an ad-hoc run above its own; `endpoint` is its simple index.

    ``PIP_BUILD_CONSTRAINT`` is what pip 25.3 and later read for build requirements, ``PIP_CONSTRAINT`` what older ones do.
    """
    names = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT")
    constraints = dict.fromkeys(names, constraints_file) if plan.constraints else {}
    return {
        "PIP_INDEX_URL": endpoint,
        "UV_DEFAULT_INDEX": endpoint,
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(plan.source_date_epoch),
        **_deployment_target(plan),
        **constraints,
        **plan.environment,
    }


def config_text(
    plan: BuildPlan,
    *,
    version: str,
    environment: Mapping[str, str],
    constraints_in_container: bool,
    first: Sequence[str] = (),
    path: str = "",
    untested: bool = False,
    repair_notes: str,
    load_check: str,
    flags: str = "",
) -> str:
    """Return the TOML file for ``--config-file``: the recipe's table, and overrides for every build with kiln's additions.

    `first` are shell commands that run before all others, `path` a folder that comes first in ``PATH``, `flags` a compiler's,
    before those that the recipe sets; with flags, every module must load. `repair_notes` and `load_check` are the paths of those
    programs (`adapters.repair_notes`, `adapters.load_check`) where the build runs: they are called around the repair step, unless
    the recipe has none. `untested` leaves the recipe's tests and the loading out, where the host cannot run what it builds. The
    verbosity is the lowest at which the frontend of cibuildwheel `version` names the build requirements that it installs.
    """
    options: dict[str, object] = {"build-verbosity": 1 if version.startswith("2.") else 2, **plan.settings.cibuildwheel}
    if untested:
        options["test-skip"] = [*_words(options.get("test-skip", ())), str(plan.identifier)]
    assigned = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    override: dict[str, object] = {
        "select": "*",
        "inherit": {"environment": "append", "before-all": "prepend", "before-build": "prepend"},
        "before-build": "python -V",
        "environment": " ".join(
            [*assigned, *(f'{name}="{value}"' for name, value in put_before(path=path, flags=flags).items())]
        ),
    }
    commands = [*first, *before_all(plan, constraints_in_container=constraints_in_container)]
    if commands:
        override["before-all"] = commands
    noting = (
        []
        if _repairs_nothing(options)
        else [*_noted_repair(repair_notes), *([] if untested else [_loaded(load_check, strict=bool(flags))])]
    )
    overrides = [*cast(Sequence[object], options.pop("overrides", ())), override, *noting]
    return f"[tool.cibuildwheel]\n{_assignments(options)}overrides = {_value(overrides)}\n"


def _deployment_target(plan: BuildPlan) -> dict[str, str]:
    """Return the macOS that a wheel for Macs is made for: the recipe's floor, below which it would be no wheel for the target."""
    if plan.identifier.platform.family != "macosx":
        return {}
    major, minor = plan.floors.macosx_arm64 if plan.identifier.platform.machine == "arm64" else plan.floors.macosx_x86_64
    return {"MACOSX_DEPLOYMENT_TARGET": f"{major}.{minor}"}


def _words(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else list(cast(Sequence[str], value))


def put_before(*, path: str, flags: str) -> dict[str, str]:
    """Return the variables that put a folder before ``PATH`` and a compiler's flags before the recipe's, in shell syntax."""
    variables = {"PATH": f"{path}:$PATH"} if path else {}
    return variables | ({name: f"{flags} ${name}" for name in ("CFLAGS", "CXXFLAGS")} if flags else {})


def _noted_repair(program: str) -> list[dict[str, object]]:
    """Return the overrides that put kiln's notes before and after the repair command, whichever that is."""
    notes = (("prepend", "before {wheel}"), ("append", "after {dest_dir}"))
    return [
        {
            "select": "*",
            "inherit": {"repair-wheel-command": place},
            "repair-wheel-command": f"python -I -S {shlex.quote(program)} {words}",
        }
        for place, words in notes
    ]


def _loaded(program: str, *, strict: bool) -> dict[str, object]:
    """Return the override that loads the repaired wheel's modules, as the last part of the repair."""
    words = f"python -I {shlex.quote(program)} {{dest_dir}}{' strict' if strict else ''}"
    return {"select": "*", "inherit": {"repair-wheel-command": "append"}, "repair-wheel-command": words}


def _repairs_nothing(options: Mapping[str, object]) -> bool:
    """Return whether the recipe switches the repair step off somewhere: joined to nothing, a note would be the step."""
    tables = [options, *(options.get(name, {}) for name in ("linux", "macos"))]
    tables += cast(Sequence[object], options.get("overrides", ()))
    stated = [cast(Mapping[str, object], table).get("repair-wheel-command") for table in tables]
    return any(command is not None and not command for command in stated)


def before_all(plan: BuildPlan, *, constraints_in_container: bool) -> list[str]:
    """Return the shell commands that run first: the constraints file (nothing of the host is mounted), the system packages."""
    commands: list[str] = []
    if constraints_in_container and plan.constraints:
        lines = " ".join(shlex.quote(line) for line in plan.constraints)
        commands.append(f"printf '%s\\n' {lines} > {CONSTRAINTS_IN_CONTAINER}")
    if plan.identifier.platform.family == "macosx":
        packages = plan.settings.system_packages.get("brew", ())
        return [*commands, f"HOMEBREW_NO_AUTO_UPDATE=1 brew install {shlex.join(packages)}"] if packages else commands
    managers = {name: names for name, names in plan.settings.system_packages.items() if name != "brew"}
    if "dnf" in managers:
        managers.setdefault("yum", managers["dnf"])
    if any(managers.values()):
        commands.append(_install_command(managers))
    return commands


def _install_command(managers: Mapping[str, Sequence[str]]) -> str:
    branches = [
        f"if command -v {_PROGRAM.get(name, name)} >/dev/null; then "
        + (f"{command.format(packages=shlex.join(managers[name]))};" if managers[name] else "true;")
        for name, command in _INSTALL.items()
        if name in managers
    ]
    known = ", ".join(sorted(managers))
    return " el".join(branches) + f" else echo 'kiln: this image has no package manager of {known}' >&2; exit 1; fi"


def wants_network(plan: BuildPlan) -> bool:
    """Return whether a recipe that does not say so needs more than the index: system packages, or commands before the build."""
    options = plan.settings.cibuildwheel
    tables = [options, *(options.get(name, {}) for name in ("linux",)), *cast(Sequence[object], options.get("overrides", ()))]
    commands = any(str(key).startswith("before-") for table in tables for key in cast(Mapping[str, object], table))
    return commands or any(names for manager, names in plan.settings.system_packages.items() if manager != "brew")


def engine_setting(stated: str, engine: str, *, create: Sequence[str]) -> str:
    """Return ``CIBW_CONTAINER_ENGINE``: the host's setting, never with the host mounted, and with kiln's arguments for `create`.

    `stated` is the host's own setting (``podman; create_args: --memory=4g``) or empty; `engine` is its program.
    """
    parts = [part.strip() for part in stated.split(";")[1:]]
    kept = [part for part in parts if part and not part.replace("-", "_").startswith("disable_host_mount")]
    return "; ".join([engine, *kept, "disable_host_mount: true", f"create_args: {shlex.join(create)}"])


def _assignments(table: Mapping[str, object]) -> str:
    return "".join(f"{json.dumps(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: object) -> str:
    """Render one TOML value. JSON strings are TOML basic strings, except that TOML wants DEL escaped."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Mapping):
        items = cast(Mapping[str, object], value).items()
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in items) + "}"
    return "[" + ", ".join(_value(item) for item in cast(Sequence[object], value)) + "]"
