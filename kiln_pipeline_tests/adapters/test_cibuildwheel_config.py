"""What cibuildwheel is told: its file parses, the recipe's options are in it unchanged, and kiln's are joined to them."""

import os
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kiln_pipeline.adapters.cibuildwheel_config import before_all, build_environment, config_text, engine_setting
from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.strategies import Strategy
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of

ENDPOINT = "https://files.example.org/simple/"
PACKAGES = {"apt": ("libyaml-dev",), "dnf": ("libyaml-devel",), "apk": ("yaml-dev",), "brew": ("libyaml",)}


def config_of(plan: BuildPlan, *, environment: Mapping[str, str]) -> str:
    flags = "-I/project/headers" if plan.strategy.old_c_api else ""
    return config_text(
        plan,
        version="4.3.3",
        environment=environment,
        constraints_in_container=True,
        repair_notes="/notes.py",
        load_check="/load.py",
        flags=flags,
    )


@pytest.mark.parametrize(
    "table",
    [
        {"repair-wheel-command": ""},
        {"linux": {"repair-wheel-command": []}},
        {"overrides": [{"select": "cp31*", "repair-wheel-command": ""}]},
    ],
)
def test_a_recipe_without_a_repair_step_gets_none(table: dict[str, object]) -> None:
    """cibuildwheel takes any command for the whole step: notes alone would leave no wheel."""
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(cibuildwheel=table))
    assert "/notes.py" not in config_of(plan, environment={})


def test_the_recipes_table_is_written_verbatim_and_kilns_own_comes_last() -> None:
    """Every kind of TOML value, quotes and line ends in it; kiln's override appends and prepends, and replaces nothing."""
    table = {
        "build-frontend": {"name": "build", "args": ["--no-isolation"]},
        "before-build": 'echo "x\ty" \\ \x7f é 🐍\nsecond line',
        "test-skip": ["*-musllinux*", "pp*"],
        "dependency-versions": "latest",
        "build-verbosity": 3,
        "manylinux-x86_64-image": "manylinux2014",
        "environment": {"CFLAGS": "-O3 $CFLAGS"},
        "linux": {"environment": {"A": "1"}},
        "overrides": [{"select": "cp31*", "test-command": "pytest"}],
        "enable": [],
        "skip-repair": True,
    }
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(cibuildwheel=table))
    text = config_of(plan, environment={"PYTHONHASHSEED": "0"})
    own = {
        "select": "*",
        "inherit": {"environment": "append", "before-all": "prepend", "before-build": "prepend"},
        "before-build": "python -V",
        "environment": "PYTHONHASHSEED=0",
    }
    notes = [
        {
            "select": "*",
            "inherit": {"repair-wheel-command": "prepend"},
            "repair-wheel-command": "python -I -S /notes.py before {wheel}",
        },
        {
            "select": "*",
            "inherit": {"repair-wheel-command": "append"},
            "repair-wheel-command": "python -I -S /notes.py after {dest_dir}",
        },
        {
            "select": "*",
            "inherit": {"repair-wheel-command": "append"},
            "repair-wheel-command": "python -I /load.py {dest_dir}",
        },
    ]
    expected = {**table, "overrides": [{"select": "cp31*", "test-command": "pytest"}, own, *notes]}
    assert tomllib.loads(text) == {"tool": {"cibuildwheel": expected}}


def test_a_header_for_old_c_api_comes_before_the_recipes_flags_and_its_wheel_must_load() -> None:
    """The flags that stand in the environment so far are kept; no exception at import is overlooked."""
    plan = replace(plan_of(MARKUPSAFE), strategy=Strategy(old_c_api=True))
    overrides = tomllib.loads(config_of(plan, environment={"A": "b"}))["tool"]["cibuildwheel"]["overrides"]
    flags = "-I/project/headers"
    assert overrides[0]["environment"] == f'A=b CFLAGS="{flags} $CFLAGS" CXXFLAGS="{flags} $CXXFLAGS"'
    assert overrides[-1]["repair-wheel-command"] == "python -I /load.py {dest_dir} strict"


def test_values_of_an_ad_hoc_run_reach_the_build_letter_by_letter() -> None:
    """cibuildwheel evaluates environments as bash does; what a person typed is not to be evaluated."""
    nasty = "a 'b' \"c\" $HOME `id` \\ $(id)"
    plan = plan_of(MARKUPSAFE, environment={"X": nasty})
    environment = build_environment(plan, endpoint=ENDPOINT, constraints_file="/c")
    table = tomllib.loads(config_of(plan, environment=environment))
    script = f"{table['tool']['cibuildwheel']['overrides'][0]['environment']} printenv X"
    answer = subprocess.run(["bash", "-c", script], env={"PATH": os.defpath}, capture_output=True, check=True, text=True)
    assert answer.stdout == f"{nasty}\n"


def test_kilns_environment() -> None:
    """The index, the date, the constraints for old and new installers; an ad-hoc run has the last word."""
    plan = plan_of(
        MARKUPSAFE, settings=BuildSettings(constraints=("Cython<3",)), environment={"CFLAGS": "-g", "PYTHONHASHSEED": "1"}
    )
    assert build_environment(plan, endpoint=ENDPOINT, constraints_file="/c.txt") == {
        "PIP_INDEX_URL": ENDPOINT,
        "UV_DEFAULT_INDEX": ENDPOINT,
        "PYTHONHASHSEED": "1",
        "SOURCE_DATE_EPOCH": "1621358302",
        "PIP_CONSTRAINT": "/c.txt",
        "PIP_BUILD_CONSTRAINT": "/c.txt",
        "UV_CONSTRAINT": "/c.txt",
        "UV_BUILD_CONSTRAINT": "/c.txt",
        "CFLAGS": "-g",
    }
    assert "PIP_CONSTRAINT" not in build_environment(plan_of(MARKUPSAFE), endpoint=ENDPOINT, constraints_file="/c.txt")


@pytest.mark.parametrize(
    ("program", "ran"),
    [
        ("dnf", "dnf install -y libyaml-devel"),
        ("yum", "yum install -y libyaml-devel"),
        ("apk", "apk add --no-cache yaml-dev"),
        ("apt-get", "apt-get update -q\napt-get install -y -q --no-install-recommends libyaml-dev"),
    ],
)
def test_system_packages_are_installed_by_the_images_own_manager(tmp_path: Path, program: str, ran: str) -> None:
    """The command is run by a real shell in which only one package manager is on PATH."""
    tool = tmp_path / program
    tool.write_text('#!/bin/sh\necho "${0##*/} $*"\n')
    tool.chmod(0o755)
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(system_packages=PACKAGES))
    (command,) = before_all(plan, constraints_in_container=True)
    answer = subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, capture_output=True, check=True, text=True)
    assert answer.stdout == f"{ran}\n"


def test_an_image_with_another_package_manager_fails_and_says_so(tmp_path: Path) -> None:
    """A recipe that names packages for Debian only, on an image that is not Debian."""
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(system_packages={"apt": ("libyaml-dev",)}))
    (command,) = before_all(plan, constraints_in_container=True)
    answer = subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, capture_output=True, check=False, text=True)
    assert (answer.returncode, answer.stderr) == (1, "kiln: this image has no package manager of apt\n")


def test_a_manager_with_an_empty_list_installs_nothing(tmp_path: Path) -> None:
    """What Alpine lacks the others have as they come: `dnf = []` says so, and is no missing manager."""
    packages = {"dnf": (), "apk": ("linux-headers",)}
    (command,) = before_all(plan_of(MARKUPSAFE, settings=BuildSettings(system_packages=packages)), constraints_in_container=True)
    (tmp_path / "dnf").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "dnf").chmod(0o755)
    subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(tmp_path)}, check=True)
    nothing = BuildSettings(system_packages={"dnf": (), "apk": ()})
    assert before_all(plan_of(MARKUPSAFE, settings=nothing), constraints_in_container=True) == []


def test_constraints_are_written_inside_the_container(tmp_path: Path) -> None:
    """Nothing of the host is mounted there. The real shell writes the real file."""
    constraints = ("Cython<3", 'numpy==1.26.* ; python_version < "3.12"')
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(constraints=constraints))
    (command,) = before_all(plan, constraints_in_container=True)
    command = command.replace("/tmp/kiln-constraints.txt", shlex.quote(str(tmp_path / "c.txt")))
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert (tmp_path / "c.txt").read_text().splitlines() == list(constraints)


def test_on_a_mac_brew_installs_and_nothing_is_written() -> None:
    """There the constraints file is the host's own."""
    plan = plan_of(MARKUPSAFE, "cp311-macosx_arm64", settings=BuildSettings(system_packages=PACKAGES, constraints=("Cython<3",)))
    assert before_all(plan, constraints_in_container=False) == ["HOMEBREW_NO_AUTO_UPDATE=1 brew install libyaml"]


@pytest.mark.parametrize(
    ("stated", "setting"),
    [
        ("", "podman; disable_host_mount: true; create_args: --label=a=1"),
        ("podman; disable_host_mount: false", "podman; disable_host_mount: true; create_args: --label=a=1"),
        (
            "podman; create_args: --memory=4g --cpus=2; disable-host-mount: no",
            "podman; create_args: --memory=4g --cpus=2; disable_host_mount: true; create_args: --label=a=1",
        ),
    ],
)
def test_the_host_is_never_mounted(stated: str, setting: str) -> None:
    """Whatever the host says; its other settings stay, and cibuildwheel joins the two lists of arguments."""
    assert setting == engine_setting(stated, "podman", create=["--label=a=1"])
