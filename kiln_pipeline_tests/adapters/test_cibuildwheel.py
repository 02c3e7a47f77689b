"""The cibuildwheel builder: what it refuses, what it reads from a log, and real builds in a container."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.cibuildwheel_log import materials_in
from kiln_pipeline.adapters.cibuildwheel_pins import pins_of_test_step
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Material
from kiln_pipeline.core.ladder import ladder_of
from kiln_pipeline.core.limits import EACH, TOGETHER, Limits
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.strategies import Rung
from kiln_pipeline.core.wheel_checks import check_wheel
from kiln_pipeline.core.wheel_contents import read_wheel
from kiln_pipeline.errors import BuildError
from kiln_pipeline_tests.builds import FASTRLOCK, MARKUPSAFE, PYYAML, SDISTS, plan_of

YAML = BuildSettings(
    constraints=("Cython<3",),
    extensions=("yaml._yaml",),
    system_packages={"apt": ("libyaml-dev",), "dnf": ("libyaml-devel",), "apk": ("yaml-dev",)},
)


def builder(tools: Path, environment: Mapping[str, str]) -> CibuildwheelBuilder:
    return CibuildwheelBuilder(tools, endpoint=PYPI_SIMPLE_ENDPOINT, environment=environment)


def build(tmp_path: Path, name: str, plan: BuildPlan, made: CibuildwheelBuilder) -> BuildResult:
    work = tmp_path / name
    work.mkdir()
    return made.build(plan, SDISTS / plan.sdist.filename, work=work, log=tmp_path / f"{name}.log")


def containers(environment: Mapping[str, str], log: Path) -> list[str]:
    """Return the containers that the build with this log has left; other builds may run on the same host."""
    label = re.search(r"--label=(kiln\.build=\w+)", log.read_text())
    assert label is not None
    engine = environment.get("CIBW_CONTAINER_ENGINE", "podman").split(";")[0]
    command = [engine, "ps", "--all", "--quiet", "--filter", f"label={label[1]}"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True, text=True).stdout.split()


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        ("cp27-manylinux_x86_64", "no known cibuildwheel builds cp27-manylinux_x86_64"),
        ("cp37-macosx_arm64", "no known cibuildwheel builds cp37-macosx_arm64"),
        ("cp311-manylinux_x86_64", "no container engine answers on this host"),
    ],
)
def test_what_cannot_be_built_here_is_refused_with_the_reason(tmp_path: Path, identifier: str, reason: str) -> None:
    """Asked before anything is planned."""
    made = builder(tmp_path, {"CIBW_CONTAINER_ENGINE": "no-such-engine"})
    assert reason in made.refuses(BuildIdentifier.parse(identifier))


@pytest.mark.skipif(sys.platform != "linux", reason="a Mac can build for Macs")
def test_a_linux_host_refuses_macs_wheels(tmp_path: Path) -> None:
    """They can only be built on a Mac."""
    refusal = builder(tmp_path, {}).refuses(BuildIdentifier.parse("cp311-macosx_arm64"))
    assert refusal == "macosx_arm64 wheels can only be built on a Mac"


def test_only_engine_settings_of_the_host_are_taken(tmp_path: Path) -> None:
    """Build options come from recipes, where provenance shows them; credentials come from nowhere."""
    given = {"CIBW_BEFORE_ALL": "curl evil", "CIBW_ENVIRONMENT": "A=1", "AWS_SECRET_ACCESS_KEY": "x", "DOCKER_HOST": "unix:///x"}
    assert builder(tmp_path, given)._settings == {"DOCKER_HOST": "unix:///x"}


@pytest.mark.parametrize(
    ("settings", "engine", "sealed"),
    [
        (BuildSettings(), {}, True),
        (BuildSettings(network=True), {}, False),
        (BuildSettings(system_packages={"dnf": (), "brew": ("libyaml",)}), {}, True),
        (BuildSettings(system_packages={"dnf": ("libyaml-devel",)}), {}, False),
        (BuildSettings(system_packages={"dnf": ("libyaml-devel",)}, network=False), {}, True),
        (BuildSettings(cibuildwheel={"before-all": "curl …"}), {}, False),
        (BuildSettings(cibuildwheel={"linux": {"before-build": "pip install numpy"}}), {}, False),
        (BuildSettings(cibuildwheel={"overrides": [{"select": "*", "before-test": "x"}]}), {}, False),
        (BuildSettings(cibuildwheel={"test-command": "pytest"}), {}, True),
        (BuildSettings(), {"DOCKER_HOST": "tcp://elsewhere"}, False),
    ],
)
def test_a_container_has_no_network_unless_the_recipe_needs_one(
    tmp_path: Path, settings: BuildSettings, engine: dict[str, str], sealed: bool
) -> None:
    """The index comes through a socket of this host, which an engine elsewhere cannot be given."""
    assert builder(tmp_path, engine)._is_sealed(plan_of(MARKUPSAFE, settings=settings)) is sealed


def test_a_promise_that_an_engine_cannot_keep_is_refused(tmp_path: Path) -> None:
    """network = false is never silently open."""
    with pytest.raises(BuildError, match="cannot be given the index alone"):
        builder(tmp_path, {"DOCKER_HOST": "tcp://elsewhere"})._is_sealed(
            plan_of(MARKUPSAFE, settings=BuildSettings(network=False))
        )


def test_requirements_are_read_from_the_log_of_both_frontends() -> None:
    """pip's own words, and those of `build`, coloured and broken at 80 columns; only between the two steps."""
    log = (
        "Successfully installed virtualenv-20.0\nPython 3.11.7\nBuilding wheel...\n"
        "\x1b[2m< Successfully installed Cython-0.29.37 packaging-26.3 setuptools-84.2.1\n  wheel-0.48.0\x1b[0m\n* Getting\n"
        "* Installed build dependency versions:\n  - Cython==0.29.37\n  - ruamel.yaml==0.1\n* Building wheel...\n"
        "Repairing wheel...\nSuccessfully installed pytest-8.0\n"
    )
    names = ("cython==0.29.37", "packaging==26.3", "ruamel-yaml==0.1", "setuptools==84.2.1", "wheel==0.48.0")
    assert materials_in(log) == (
        Material(name="cpython==3.11.7", kind="interpreter"),
        *(Material(name=name, kind="build-requirement", uri=f"pkg:pypi/{name.replace('==', '@')}") for name in names),
    )


@pytest.mark.slow
def test_a_real_build_twice_is_the_same_to_the_byte(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """MarkupSafe 2.0.1 for CPython 3.11, with everything that went into it on record; no container is left."""
    made = builder(tools_folder, container_environment)
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(extensions=("markupsafe._speedups",)))
    first, second = build(tmp_path, "first", plan, made), build(tmp_path, "second", plan, made)
    assert first.wheel is not None, (tmp_path / "first.log").read_text()
    assert second.wheel is not None
    assert first.wheel.read_bytes() == second.wheel.read_bytes()
    facts = read_wheel(first.wheel.name, first.wheel.read_bytes())
    check_wheel(facts, plan)
    assert (facts.build, facts.extensions) == ("1", ("markupsafe._speedups",))
    kinds = [material.kind for material in first.materials]
    assert (kinds, first.materials) == (["tool", "cache", "image", "interpreter", "build-requirement"], second.materials)
    assert [len(material.sha256) for material in first.materials[1:3]] == [64, 64]
    assert [first.enforced[name] for name in ("file_size", "cpu_time", "time", "log")] == [EACH, EACH, TOGETHER, TOGETHER]
    assert first.enforced["memory"] in (EACH, TOGETHER)  # without control groups: of each process
    assert containers(container_environment, tmp_path / "first.log") == []


@pytest.mark.slow
@pytest.mark.parametrize("python", ["cp37", "cp38"])
def test_old_pythons_get_the_cibuildwheel_that_builds_them(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str], python: str
) -> None:
    """Constraints and an ad-hoc variable reach the build with 2.23 and 3.4 too; the requirement is on record."""
    settings = BuildSettings(constraints=("setuptools<60",))
    plan = plan_of(
        MARKUPSAFE, f"{python}-manylinux_x86_64", settings=settings, environment={"KILN_TEST": "$HOME 'x'"}, build_number=2
    )
    result = build(tmp_path, "build", plan, builder(tools_folder, container_environment))
    assert result.wheel is not None, (tmp_path / "build.log").read_text()
    facts = read_wheel(result.wheel.name, result.wheel.read_bytes())
    check_wheel(facts, plan)
    pins = [material.name for material in result.materials if material.name.startswith("setuptools==")]
    assert (facts.build, [pin.split(".")[0] for pin in pins]) == ("2", ["setuptools==59"])


@pytest.mark.slow
def test_system_packages_and_constraints_make_pyyaml_whole(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """PyYAML 5.4.1 with libyaml from the image's package manager and 2021's Cython; auditwheel brings libyaml along."""
    plan = plan_of(PYYAML, settings=YAML)
    result = build(tmp_path, "build", plan, builder(tools_folder, container_environment))
    assert result.wheel is not None, (tmp_path / "build.log").read_text()
    facts = read_wheel(result.wheel.name, result.wheel.read_bytes())
    check_wheel(facts, plan)
    assert facts.extensions == ("yaml._yaml",)
    assert result.unrepaired is not None
    assert result.unrepaired.name.endswith("-cp311-cp311-linux_x86_64.whl")
    with zipfile.ZipFile(result.wheel) as archive:
        (sbom,) = (json.loads(archive.read(name)) for name in archive.namelist() if name.endswith("/sboms/kiln.cdx.json"))
    (yaml,) = (component for component in sbom["components"] if component["name"] == "libyaml-0")
    assert re.match(r"pkg:(deb|rpm)/[a-z]+/libyaml[-0-9]*@0\.[\w.+-]+\?arch=(amd64|x86_64)", yaml["purl"])
    assert yaml["version"].startswith("0.")


@pytest.mark.slow
def test_a_build_that_takes_too_long_leaves_no_container(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """A command that hangs in the container, where killing cibuildwheel alone would not reach it."""
    settings = BuildSettings(cibuildwheel={"before-all": "sleep 600"}, limits=Limits(time=8))
    made = builder(tools_folder, container_environment)
    result = build(tmp_path, "build", plan_of(MARKUPSAFE, settings=settings), made)
    assert result.failure is not None
    assert result.failure.failure_class == "timeout"
    assert containers(container_environment, tmp_path / "build.log") == []


@pytest.mark.slow
def test_a_setup_that_raises_is_a_classified_failure(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """The attempt fails, kiln does not; the materials are on record all the same."""
    settings = BuildSettings(cibuildwheel={"before-build": ["echo 'raise RuntimeError(\"no luck today\")' > {project}/setup.py"]})
    result = build(tmp_path, "build", plan_of(MARKUPSAFE, settings=settings), builder(tools_folder, container_environment))
    assert result.failure is not None
    assert (result.failure.failure_class, result.failure.proof) == ("setup-exception", "RuntimeError: no luck today")
    assert result.materials[0] == Material(name="cibuildwheel==4.3.3", kind="tool")


@pytest.mark.slow
def test_a_wheel_that_lost_its_extension_is_a_lost_extension(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """PyYAML without libyaml: its setup.py falls back to pure Python, and auditwheel finds nothing to repair."""
    plan = plan_of(PYYAML, settings=BuildSettings(constraints=("Cython<3",)))
    result = build(tmp_path, "build", plan, builder(tools_folder, container_environment))
    assert result.failure is not None
    assert result.failure.failure_class == "lost-extension"


@pytest.mark.slow
def test_a_zip_is_built_too_and_an_unsafe_one_is_not(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """cibuildwheel takes tar.gz only; old releases have zip files."""
    made = builder(tools_folder, container_environment)
    sdist = tmp_path / "MarkupSafe-2.0.1.zip"
    with tarfile.open(SDISTS / MARKUPSAFE) as tar, zipfile.ZipFile(sdist, "w") as archive:
        for member in tar:
            if member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                archive.writestr(member.name, content.read())
    plan = plan_of(MARKUPSAFE)
    (tmp_path / "zip").mkdir()
    result = made.build(plan, sdist, work=tmp_path / "zip", log=tmp_path / "zip.log")
    assert result.wheel is not None, (tmp_path / "zip.log").read_text()
    check_wheel(read_wheel(result.wheel.name, result.wheel.read_bytes()), plan)
    with zipfile.ZipFile(sdist, "a") as archive:
        archive.writestr("../evil.py", b"")
    (tmp_path / "unsafe").mkdir()
    result = made.build(plan, sdist, work=tmp_path / "unsafe", log=tmp_path / "unsafe.log")
    assert result.failure is not None
    assert result.failure.failure_class == "bad-sdist"


@pytest.mark.slow
def test_time_travel_in_a_container(tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]) -> None:
    """fastrlock 0.5 on 3.11: its stale C fails, generated anew it builds; every file is on record, and the replay is equal."""
    made = builder(tools_folder, container_environment)
    plan = plan_of(FASTRLOCK, settings=BuildSettings(extensions=("fastrlock.rlock",)))
    ladder = {strategy.rung: strategy for strategy in ladder_of(plan)}
    as_of, regenerated = ladder[Rung.AS_OF], ladder[Rung.REGENERATED]
    stale = build(tmp_path, "stale", replace(plan, strategy=as_of), made)
    assert stale.failure is not None
    assert (stale.failure.failure_class, stale.generated) == ("removed-c-api", ("fastrlock/rlock.c",))
    first = build(tmp_path, "first", replace(plan, strategy=regenerated), made)
    assert first.wheel is not None, (tmp_path / "first.log").read_text()
    check_wheel(read_wheel(first.wheel.name, first.wheel.read_bytes()), plan)
    pins = {material.name: (material.kind, len(material.sha256)) for material in first.materials[4:]}
    assert pins == {
        "setuptools==66.1.1": ("build-requirement", 64),
        "wheel==0.38.4": ("build-requirement", 64),
        "cython==0.29.37": ("tool", 64),
    }
    assert first.environment["PIP_INDEX_URL"] == "{index}"
    only = tuple(sorted(material.sha256 for material in first.materials[4:]))
    again = build(tmp_path, "again", replace(plan, strategy=replace(regenerated, only=only)), made)
    assert again.wheel is not None, (tmp_path / "again.log").read_text()
    assert (again.wheel.read_bytes(), again.materials) == (first.wheel.read_bytes(), first.materials)
    assert containers(container_environment, tmp_path / "first.log") == []


@pytest.mark.slow
def test_an_arm64_wheel_under_emulation(tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]) -> None:
    """The same plan on a host that runs the containers of another machine: natively on arm64, else by qemu and binfmt."""
    made, plan = builder(tools_folder, container_environment), plan_of(MARKUPSAFE, "cp311-manylinux_aarch64")
    refusal = made.refuses(plan.identifier)
    if refusal:
        pytest.skip(refusal)
    engine, image = made._engine.name, container_environment.get("CIBW_MANYLINUX_AARCH64_IMAGE", "")
    known = subprocess.run(
        [engine, "image", "inspect", image], check=False, capture_output=True, env={**os.environ, **container_environment}
    )
    if image.startswith("localhost/") and known.returncode != 0:
        pytest.skip(f"there is no image {image}")
    result = build(tmp_path, "build", plan, made)
    assert result.wheel is not None, (tmp_path / "build.log").read_text()
    facts = read_wheel(result.wheel.name, result.wheel.read_bytes())
    check_wheel(facts, plan)
    assert facts.extensions == ("markupsafe._speedups",)
    assert all(tag.endswith("_aarch64") for tag in facts.tags)
    assert [m.sha256 != "" for m in result.materials if m.kind in ("image", "cache")] == [True, True]
    assert containers(container_environment, tmp_path / "build.log") == []


@pytest.mark.slow
def test_time_travel_with_the_oldest_cibuildwheel_and_uv(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """The date binds the pip of a 3.7 image, and uv, without a setting of theirs."""
    made = builder(tools_folder, container_environment)
    pins: list[list[str]] = []
    for name, identifier, options in (
        ("old", "cp37-manylinux_x86_64", {}),
        ("uv", "cp311-manylinux_x86_64", {"build-frontend": "build[uv]"}),
    ):
        plan = plan_of(MARKUPSAFE, identifier, settings=BuildSettings(cibuildwheel=options))
        result = build(tmp_path, name, replace(plan, strategy=ladder_of(plan)[0]), made)
        assert result.wheel is not None, (tmp_path / f"{name}.log").read_text()
        pins.append([f"{m.name} {m.kind}" for m in result.materials if m.sha256 and m.kind != "image"])
    assert [pin for pin in pins[0] if "setuptools" in pin] == ["setuptools==56.2.0 build-requirement"]
    assert [pin for pin in pins[1] if "setuptools" in pin] == ["setuptools==66.1.1 build-requirement"]


def test_the_test_steps_own_tools_are_there_in_any_year(tmp_path: Path) -> None:
    """cibuildwheel tests a wheel in its own pinned virtualenv, which a date of 2021 must not hide; no other tool is."""
    resources = tmp_path / "lib" / "python3.11" / "site-packages" / "cibuildwheel" / "resources"
    resources.mkdir(parents=True)
    (resources / "constraints.txt").write_text("build==1.6.1\nvirtualenv==21.14.12\n    # via\nwheel==0.48.0\nfilelock==4.2.4\n")
    assert pins_of_test_step(tmp_path / "bin" / "python") == ("filelock==4.2.4", "virtualenv==21.14.12")
