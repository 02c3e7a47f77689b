"""cibuildwheel as a `WheelBuilder`: one identifier per run, from the sdist, each version in an environment of its own.

What is written into its configuration stands in `cibuildwheel_config`. Containers never see the host's files, and none
outlives its build.
"""

import os
import platform
import re
import secrets
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from packaging.utils import canonicalize_name

from kiln_pipeline.adapters.build_tags import add_build_tag
from kiln_pipeline.adapters.cibuildwheel_config import CONSTRAINTS_IN_CONTAINER, build_environment, config_text, engine_setting
from kiln_pipeline.adapters.processes import ProcessTimedOut, capture, passed_through, run_logged
from kiln_pipeline.adapters.sdist_archive import BadSdist, bad_sdist, unpack_sdist
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag, cibuildwheel_version
from kiln_pipeline.errors import BuildError

HOST_SETTINGS = re.compile(
    r"CIBW_CONTAINER_ENGINE|CIBW_(?:MANYLINUX|MUSLLINUX)_\w+_IMAGE|CIBW_CACHE_PATH|CONTAINERS_CONF|CONTAINERS_STORAGE_CONF"
    r"|CONTAINER_HOST|DOCKER_HOST|DOCKER_CONFIG|DOCKER_CERT_PATH|DOCKER_TLS_VERIFY"
)
"""The settings of a host that reach cibuildwheel: which engine, which images, where they are kept. Options come from recipes."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_IMAGE = re.compile(r"^Starting container image (\S+?)\.\.\.", re.MULTILINE)
_PYTHON = re.compile(r"^Python (\d+\.\d+\.\d+\S*)", re.MULTILINE)
_STEP = re.compile(r"^(?:\S* )?Building wheel\.\.\.(.*?)(?:^(?:\S* )?Repairing wheel\.\.\.|\Z)", re.MULTILINE | re.DOTALL)
_INSTALLED = re.compile(r"Successfully installed ((?:[\w.-]+-\d\S*\s+)+)")  # pip; `build` breaks its lines at 80 columns
_FROZEN = re.compile(r"^\* Installed build dependency versions:\n((?:  - \S+\n)+)", re.MULTILINE)  # build 1.4 and later


class CibuildwheelBuilder:
    """Builds what this host's container engine, or this Mac, can build."""

    name = "cibuildwheel"

    def __init__(self, tools_folder: Path, *, endpoint: str, environment: Mapping[str, str], timeout: float = 7200) -> None:
        """`environment` is searched for `HOST_SETTINGS` only; `timeout` is the seconds that one build may take."""
        self._settings = {name: value for name, value in environment.items() if HOST_SETTINGS.fullmatch(name)}
        self._tools = ToolEnvironments(tools_folder, endpoint=endpoint, host=os.environ)
        self._endpoint, self._timeout = endpoint, timeout

    @cached_property
    def _host(self) -> dict[str, str]:
        return {**passed_through(os.environ), **self._settings}

    @cached_property
    def _engine(self) -> str:
        """The container engine that answers, or an empty string."""
        stated = self._settings.get("CIBW_CONTAINER_ENGINE", "").split(";")[0].strip()
        candidates = (stated,) if stated else ("docker", "podman")
        return next((name for name in candidates if capture([name, "info"], environment=self._host) is not None), "")

    def refuses(self, identifier: BuildIdentifier) -> str:
        """Return why this host cannot build `identifier`; the container engine is asked once and remembered."""
        if cibuildwheel_version(identifier) is None:
            return f"no known cibuildwheel builds {identifier}"
        if identifier.platform.family == "macosx":
            return "" if sys.platform == "darwin" else f"{identifier.platform} wheels can only be built on a Mac"
        if sys.platform != "linux":
            return f"{identifier.platform} wheels are built on Linux hosts"
        if not self._engine:
            return "no container engine answers on this host: install podman or docker, and see that `podman info` works"
        machine = identifier.platform.machine
        if machine != platform.machine() and not Path("/proc/sys/fs/binfmt_misc", f"qemu-{machine}").exists():
            return (
                f"this host is {platform.machine()} and cannot run {machine} containers: register qemu-{machine} with binfmt_misc"
            )
        return ""

    def pythons(self) -> tuple[PythonTag, ...] | None:
        """None: the images, or cibuildwheel on macOS, bring the interpreters."""
        return None

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        """Build one wheel; see `WheelBuilder.build`."""
        version = cibuildwheel_version(plan.identifier)
        refusal = self.refuses(plan.identifier)
        if refusal or version is None:
            raise BuildError(subject=str(plan.identifier), reason=refusal)
        work = work.absolute()
        log.touch()
        try:
            source = self._unpack(plan, sdist, work)
        except BadSdist as error:
            return BuildResult(builder=self.name, failure=bad_sdist(error))
        python = self._tools.python(f"cibuildwheel-{version}", (f"cibuildwheel=={version}",))
        environment = self._write_configuration(plan, version, work)
        options = ("--only", str(plan.identifier), "--output-dir", "{work}/out", "--config-file", "{work}/cibuildwheel.toml")
        takes = sdist.name.endswith(".tar.gz")  # other archives are handed over unpacked
        package, folder = (str(sdist.absolute()), work) if takes else (".", source)
        command = [python, "-m", "cibuildwheel", *(word.replace("{work}", str(work)) for word in options), package]
        failure = self._run(command, plan, log, folder)
        text = log.read_text(encoding="utf-8", errors="replace")
        wheels = sorted((work / "out").glob("*.whl"))
        if failure is None and len(wheels) != 1:
            reason = f"cibuildwheel left {len(wheels)} wheels, not one"
            failure = Failure(failure_class=FailureClass.BAD_WHEEL, proof=reason, hint="read the end of the log")
        wheel = None
        if failure is None:
            wheel = add_build_tag(wheels[0], plan.build_number, source_date_epoch=plan.source_date_epoch, log=log)
        return BuildResult(
            builder=self.name,
            wheel=wheel,
            failure=failure,
            materials=(Material(name=f"cibuildwheel=={version}", kind="tool"), *self._image(text), *materials_in(text)),
            command=("cibuildwheel", *options, sdist.name),
            environment={name: value.replace(str(work), "{work}") for name, value in environment.items()},
        )

    def _unpack(self, plan: BuildPlan, sdist: Path, work: Path) -> Path:
        """Unpack the sdist, if only to know before cibuildwheel does that it is safe and of the right release."""
        (work / "source").mkdir()
        return unpack_sdist(sdist, work / "source", plan.release)

    def _write_configuration(self, plan: BuildPlan, version: str, work: Path) -> dict[str, str]:
        in_container = plan.identifier.platform.family != "macosx"
        constraints = work / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in plan.settings.constraints))
        path = CONSTRAINTS_IN_CONTAINER if in_container else str(constraints)
        environment = build_environment(plan, endpoint=self._endpoint, constraints_file=path)
        text = config_text(plan, version=version, environment=environment, constraints_in_container=in_container)
        (work / "cibuildwheel.toml").write_text(text, encoding="utf-8")
        return environment

    def _run(self, command: list[str | Path], plan: BuildPlan, log: Path, folder: Path) -> Failure | None:
        """Run cibuildwheel; None when it succeeded. Its container is removed on every way out."""
        label = f"kiln.build={secrets.token_hex(8)}"
        environment = {**self._host, "PATH": f"{Path(command[0]).parent}:{self._host.get('PATH', os.defpath)}"}
        environment["SOURCE_DATE_EPOCH"] = str(plan.source_date_epoch)
        environment["NO_COLOR"] = "1"
        if plan.identifier.platform.family != "macosx":
            stated = self._settings.get("CIBW_CONTAINER_ENGINE", "")
            environment["CIBW_CONTAINER_ENGINE"] = engine_setting(stated, self._engine, label=label)
        try:
            status = run_logged(command, cwd=folder, environment=environment, log=log, timeout=self._timeout)
        except ProcessTimedOut:
            return classify(log.read_text(encoding="utf-8", errors="replace"))
        finally:
            self._remove_containers(label)
        return classify(log.read_text(encoding="utf-8", errors="replace")) if status else None

    def _remove_containers(self, label: str) -> None:
        if self._engine:
            listed = capture([self._engine, "ps", "--all", "--quiet", "--filter", f"label={label}"], environment=self._host)
            if listed and listed.split():
                capture([self._engine, "rm", "--force", *listed.split()], environment=self._host)

    def _image(self, log: str) -> tuple[Material, ...]:
        match = _IMAGE.search(log)
        if match is None:
            return ()
        reference, _, digest = match[1].partition("@sha256:")
        if not digest:
            answer = capture(
                [self._engine, "image", "inspect", "--format", "{{.Digest}} {{.Id}}", reference], environment=self._host
            )
            digest = next(iter((answer or "").replace("sha256:", "").replace("<no value>", "").split()), "")
        return (Material(name=reference, kind="image", uri=f"oci://{reference}", sha256=digest),)


def materials_in(log: str) -> tuple[Material, ...]:
    """Return the interpreter and the build requirements that cibuildwheel's log names, sorted by name within their kind."""
    log = _COLOUR.sub("", log)
    python = [Material(name=f"cpython=={match[1]}", kind="interpreter") for match in _PYTHON.finditer(log)][:1]
    step = _STEP.search(log)
    text = step[1] if step else ""
    installed = {word.rpartition("-")[::2] for match in _INSTALLED.finditer(text) for word in match[1].split()}
    frozen = {line.strip("- ").partition("==")[::2] for match in _FROZEN.finditer(text) for line in match[1].splitlines()}
    pins = sorted({f"{canonicalize_name(name)}=={version}" for name, version in installed | frozen})
    return (*python, *(Material(name=pin, kind="build-requirement") for pin in pins))
