"""cibuildwheel as a `WheelBuilder`: one identifier per run, from the sdist, each version in an environment of its own.

What is written into its configuration stands in `cibuildwheel_config`. Containers never see the host's files, and none
outlives its build.
"""

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

from kiln_pipeline.adapters import load_check, repair_notes
from kiln_pipeline.adapters.build_tags import add_build_tag
from kiln_pipeline.adapters.cibuildwheel_config import (
    CHECK_IN_CONTAINER,
    CONSTRAINTS_IN_CONTAINER,
    NOTES_IN_CONTAINER,
    PROJECT_IN_CONTAINER,
    build_environment,
    config_text,
    engine_setting,
    put_before,
    wants_network,
)
from kiln_pipeline.adapters.cibuildwheel_image import stated_image, variable
from kiln_pipeline.adapters.cibuildwheel_log import materials_in
from kiln_pipeline.adapters.cibuildwheel_pins import own_pins, package_of, pins_of_test_step
from kiln_pipeline.adapters.compiler_cache import CacheUse, CompilerCache
from kiln_pipeline.adapters.container_engine import ContainerEngine
from kiln_pipeline.adapters.container_images import Image, pinned_image, resolve
from kiln_pipeline.adapters.container_limits import create_arguments, enforced_in, limit_command
from kiln_pipeline.adapters.container_programs import place
from kiln_pipeline.adapters.cython_sources import Regeneration, container_commands, plan_regeneration, regenerate
from kiln_pipeline.adapters.index_bounds import (
    INDEX,
    container_command,
    free_port,
    policy_of,
    serving,
    through_a_socket,
    without_proxy,
)
from kiln_pipeline.adapters.patches import PatchRefused, apply_patches, patch_refused
from kiln_pipeline.adapters.processes import Children, ProcessStopped, capture, passed_through, run_logged
from kiln_pipeline.adapters.sdist_archive import BadSdist, bad_sdist, claims_in, unpack_sdist
from kiln_pipeline.adapters.source_mends import compiler_flags, header_material, mend_source, mends_source
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.adapters.wheel_binaries import examine
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.limits import NAMES, NOT_ENFORCED, TOGETHER
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag, cibuildwheel_version
from kiln_pipeline.core.repair_log import unrepaired_wheel
from kiln_pipeline.core.replay import recorded_image, recorded_pins
from kiln_pipeline.errors import BuildError

HOST_SETTINGS = re.compile(
    r"CIBW_CONTAINER_ENGINE|CIBW_(?:MANYLINUX|MUSLLINUX)_\w+_IMAGE|CIBW_CACHE_PATH|CONTAINERS_CONF|CONTAINERS_STORAGE_CONF"
    r"|CONTAINER_HOST|DOCKER_HOST|DOCKER_CONFIG|DOCKER_CERT_PATH|DOCKER_TLS_VERIFY"
)
"""The settings of a host that reach cibuildwheel: which engine, which images, where they are kept. Options come from recipes."""


_Index = tuple[str, list[str], list[str]]


class CibuildwheelBuilder:
    """Builds what this host's container engine, or this Mac, can build."""

    name = "cibuildwheel"

    def __init__(self, tools_folder: Path, *, endpoint: str, environment: Mapping[str, str]) -> None:
        """`environment` is searched for `HOST_SETTINGS` only."""
        self._settings = {name: value for name, value in environment.items() if HOST_SETTINGS.fullmatch(name)}
        self._children = Children()
        self._tools = ToolEnvironments(tools_folder, endpoint=endpoint, host=os.environ, children=self._children)
        self._cache = CompilerCache(tools_folder / "compiler-cache", endpoint=endpoint)
        self._images: dict[str, Image] = {}
        self._endpoint = endpoint
        stated = self._settings.get("CIBW_CONTAINER_ENGINE", "")
        self._engine = ContainerEngine(stated, environment=self._host, running=tools_folder / "running")
        self._version = ""  # of cibuildwheel, in a replay; else the newest that builds the identifier

    def replaying(self, identifier: BuildIdentifier, materials: Sequence[Material], folder: Path) -> "CibuildwheelBuilder":
        """Return a builder with the recorded cibuildwheel and image; see `WheelBuilder.replaying`."""
        (pin,) = recorded_pins(materials, ["cibuildwheel"], subject=str(identifier))
        settings = dict(self._settings)
        if identifier.platform.family != "macosx":
            name, sha256 = recorded_image(materials, subject=str(identifier))
            settings[variable(identifier)] = pinned_image(self._engine.name, name, sha256, environment=self._host)
        replay = CibuildwheelBuilder(folder, endpoint=self._endpoint, environment=settings)
        replay._version = pin.partition("==")[2]
        replay._tools.recorded(pin.replace("==", "-"), (pin,))
        return replay

    @cached_property
    def _host(self) -> dict[str, str]:
        return {**passed_through(os.environ), **self._settings}

    def refuses(self, identifier: BuildIdentifier) -> str:
        """Return why this host cannot build `identifier`; the container engine is asked once and remembered."""
        if cibuildwheel_version(identifier) is None:
            return f"no known cibuildwheel builds {identifier}"
        if identifier.platform.family == "macosx":
            return "" if sys.platform == "darwin" else f"{identifier.platform} wheels can only be built on a Mac"
        if sys.platform != "linux":
            return f"{identifier.platform} wheels are built on Linux hosts"
        if not self._engine.name:
            return "no container engine answers on this host: install podman or docker, and see that `podman info` works"
        machine = identifier.platform.machine
        if machine != platform.machine() and not Path("/proc/sys/fs/binfmt_misc", f"qemu-{machine}").exists():
            return (
                f"this host is {platform.machine()} and cannot run {machine} containers: register qemu-{machine} with binfmt_misc"
            )
        return ""

    def _cannot_run(self, identifier: BuildIdentifier) -> bool:
        """Return whether this Mac builds for an architecture that it cannot run: arm64 on Intel, x86_64 where Rosetta is not."""
        if identifier.platform.family != "macosx" or identifier.platform.machine == platform.machine():
            return False
        return identifier.platform.machine == "arm64" or not self._has_rosetta

    @cached_property
    def _has_rosetta(self) -> bool:
        return capture(["/usr/bin/arch", "-x86_64", "/usr/bin/true"], environment=self._host) is not None

    def pythons(self) -> tuple[PythonTag, ...] | None:
        """None: the images, or cibuildwheel on macOS, bring the interpreters."""
        return None

    def cancel(self) -> None:
        """End every build under way; see `WheelBuilder.cancel`."""
        self._children.cancel()

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        """Build one wheel; see `WheelBuilder.build`."""
        version = self._version or cibuildwheel_version(plan.identifier)
        refusal = self.refuses(plan.identifier)
        if refusal or version is None:
            raise BuildError(subject=str(plan.identifier), reason=refusal)
        work = work.absolute()
        log.touch()
        try:
            source = self._unpack(plan, sdist, work)
            claims = claims_in(source)
            apply_patches(source, plan.settings.patches, mtime=plan.source_date_epoch, log=log)
            mend_source(source, plan, log=log)
        except BadSdist as error:
            return BuildResult(builder=self.name, failure=bad_sdist(error))
        except PatchRefused as error:
            return BuildResult(builder=self.name, failure=patch_refused(error))
        python = self._tools.python(f"cibuildwheel-{version}", (f"cibuildwheel=={version}",))
        image, cache = self._image(plan, python), CacheUse()
        if plan.caches and image is not None:
            cache = self._compiler_cache(plan, image, log)
        regeneration = plan_regeneration(source, plan.identifier.python, old_c_api=plan.strategy.old_c_api)
        options = ("--only", str(plan.identifier), "--output-dir", "{work}/out", "--config-file", "{work}/cibuildwheel.toml")
        touched = plan.strategy.regenerate or plan.settings.patches or mends_source(plan)
        packed = sdist.name.endswith(".tar.gz") and not touched  # anything else is handed over unpacked
        package, folder = (str(sdist.absolute()), work) if packed else (".", source)
        command = [python, "-m", "cibuildwheel", *(word.replace("{work}", str(work)) for word in options), package]
        with self._index(plan, regeneration, python, log) as (index, first, create):
            environment = self._write_configuration(plan, version, work, source, index, first, cache)
            ready = self._regenerated_on_host(plan, regeneration, source, log)
            failure = self._run(command, plan, log, folder, image, (*create, *cache.volumes)) if ready else classify(_read(log))
        text = _read(log)
        wheels = sorted((work / "out").glob("*.whl"))
        if failure is None and len(wheels) != 1:
            reason = f"cibuildwheel left {len(wheels)} wheels, not one"
            failure = Failure(failure_class=FailureClass.BAD_WHEEL, proof=reason, hint="read the end of the log")
        wheel = None
        if failure is None:
            wheel = add_build_tag(wheels[0], plan.build_number, source_date_epoch=plan.source_date_epoch, log=log)
            failure = examine(wheel, plan, tools=self._tools, log=log)
        folders = {str(work): "{work}", index: INDEX}
        return BuildResult(
            builder=self.name,
            wheel=None if failure else wheel,
            failure=failure,
            materials=(
                Material(name=f"cibuildwheel=={version}", kind="tool"),
                *header_material(plan),
                *cache.materials,
                *([image.material] if image is not None else []),
                *materials_in(text),
            ),
            command=("cibuildwheel", *options, sdist.name),
            environment={name: _with_names(value, folders) for name, value in environment.items()},
            generated=tuple(regeneration.commands),
            unrepaired=unrepaired_wheel(text),
            claims=claims,
            enforced=self._enforced(plan, text),
        )

    def _enforced(self, plan: BuildPlan, log: str) -> Mapping[str, str]:
        if plan.identifier.platform.family == "macosx":
            return dict.fromkeys(NAMES, NOT_ENFORCED) | {"time": TOGETHER, "log": TOGETHER}
        network = "the index alone (no network but one socket)" if self._is_sealed(plan) else "open"
        return {**enforced_in(log, plan.settings.limits), "network": network}

    def _is_sealed(self, plan: BuildPlan) -> bool:
        """Return whether a build's container has no network: not where the recipe needs one, nor with another host's engine."""
        stated = plan.settings.network
        elsewhere = not self._settings.keys().isdisjoint({"CONTAINER_HOST", "DOCKER_HOST"})
        if stated is False and elsewhere:
            reason = "the recipe says network = false, and a container engine on another host cannot be given the index alone"
            raise BuildError(subject=str(plan.release), reason=reason, hint="build it on a host whose engine is its own")
        return not elsewhere and not (wants_network(plan) if stated is None else stated)

    def _unpack(self, plan: BuildPlan, sdist: Path, work: Path) -> Path:
        """Unpack the sdist, if only to know before cibuildwheel does that it is safe and of the right release."""
        (work / "source").mkdir()
        return unpack_sdist(sdist, work / "source", plan.release)

    @contextmanager
    def _index(self, plan: BuildPlan, regeneration: Regeneration, python: Path, log: Path) -> Iterator[_Index]:
        """Put the plan's strategy into force: yield the index that the build sees, what its container runs first, its network."""
        if plan.identifier.platform.family == "macosx":  # cibuildwheel installs its own pinned tools through the same index
            policy = policy_of(plan.strategy, upstream=self._endpoint, also=own_pins(python))
            with serving(policy, log=log, environment=self._host) as index:
                yield index.url, [], []
            return
        port, regenerates = free_port(), plan.strategy.regenerate
        # the test step installs cibuildwheel's virtualenv in the container, through the same index
        also = (*pins_of_test_step(python), *(regeneration.cythons if regenerates else ()))
        policy = policy_of(plan.strategy, upstream=self._endpoint, also=also)
        commands = container_commands(regeneration) if regenerates else []
        url, limits = f"http://127.0.0.1:{port}/simple/", limit_command(plan.settings.limits)
        if not self._is_sealed(plan):
            yield url, [limits, container_command(policy, port), *commands], []
            return
        with through_a_socket(policy, port, log=log, environment=self._host) as (volume, door):
            yield url, [limits, door, *commands], ["--network=none", volume]

    def _regenerated_on_host(self, plan: BuildPlan, regeneration: Regeneration, source: Path, log: Path) -> bool:
        """On a Mac, generate anew before the build what the strategy wants so; False when that failed."""
        if plan.identifier.platform.family != "macosx" or not plan.strategy.regenerate:
            return True
        try:
            return regenerate(
                regeneration,
                source,
                tools=self._tools,
                environment=self._host,
                log=log,
                timeout=plan.settings.limits.time,
                children=self._children,
            )
        except ProcessStopped:
            return False

    def _image(self, plan: BuildPlan, python: Path) -> Image | None:
        """Return the image that the build runs in, by digest; None on a Mac. The engine is asked once for each reference."""
        if plan.identifier.platform.family == "macosx":
            return None
        reference = stated_image(plan, self._settings, package_of(python) / "resources")
        if reference not in self._images:
            self._images[reference] = resolve(reference, plan.identifier, engine=self._engine.name, environment=self._host)
        return self._images[reference]

    def _compiler_cache(self, plan: BuildPlan, image: Image, log: Path) -> CacheUse:
        try:
            return self._cache.use(plan, image, engine=self._engine.name, environment=self._host)
        except BuildError as error:  # a build without it is only slower
            with log.open("a", encoding="utf-8") as lines:
                lines.write(f"kiln: no compiler cache: {error}\n")
            return CacheUse()

    def _write_configuration(
        self, plan: BuildPlan, version: str, work: Path, source: Path, index: str, first: list[str], cache: CacheUse
    ) -> dict[str, str]:
        in_container = plan.identifier.platform.family != "macosx"
        constraints = work / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in plan.constraints))
        path = CONSTRAINTS_IN_CONTAINER if in_container else str(constraints)
        notes = Path(repair_notes.__file__)
        environment = {**cache.environment, **build_environment(plan, endpoint=index, constraints_file=path)}
        flags = compiler_flags(plan, PROJECT_IN_CONTAINER if in_container else str(source))
        check = Path(load_check.__file__)
        programs = [place(notes, NOTES_IN_CONTAINER), place(check, CHECK_IN_CONTAINER)]
        text = config_text(
            plan,
            version=version,
            environment=environment,
            constraints_in_container=in_container,
            first=[*first, *programs] if in_container else first,
            repair_notes=NOTES_IN_CONTAINER if in_container else str(notes),
            path=cache.path,
            untested=self._cannot_run(plan.identifier),
            flags=flags,
            load_check=CHECK_IN_CONTAINER if in_container else str(check),
        )
        (work / "cibuildwheel.toml").write_text(text, encoding="utf-8")
        return {**environment, **put_before(path=cache.path, flags=flags)}

    def _run(
        self, command: list[str | Path], plan: BuildPlan, log: Path, folder: Path, image: Image | None, create: Sequence[str]
    ) -> Failure | None:
        """Run cibuildwheel; None when it succeeded. Its container is removed on every way out."""
        environment = {**without_proxy(self._host), "PATH": f"{Path(command[0]).parent}:{self._host.get('PATH', os.defpath)}"}
        environment["SOURCE_DATE_EPOCH"] = str(plan.source_date_epoch)
        environment["NO_COLOR"] = "1"
        limits, sealed = plan.settings.limits, "--network=none" in create
        with nullcontext([]) if image is None else self._engine.labelled() as labels:
            if labels:
                create = [
                    *(f"--label={label}" for label in labels),
                    *create_arguments(limits, controllers=self._engine.controllers),
                    *create,
                ]
                stated = self._settings.get("CIBW_CONTAINER_ENGINE", "")
                environment["CIBW_CONTAINER_ENGINE"] = engine_setting(stated, self._engine.name, create=create)
            if image is not None:
                environment[variable(plan.identifier)] = image.pinned
            try:
                status = run_logged(
                    command,
                    cwd=folder,
                    environment=environment,
                    log=log,
                    timeout=limits.time,
                    max_log=limits.log,
                    children=self._children,
                )
            except ProcessStopped:
                return classify(_read(log), sealed=sealed)
        return classify(_read(log), sealed=sealed) if status else None


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _with_names(text: str, names: Mapping[str, str]) -> str:
    for folder, name in names.items():
        text = text.replace(folder, name)
    return text
