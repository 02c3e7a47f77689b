"""The zig builder: what it refuses, and real builds with interpreters of this host."""

import _thread
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters import zig
from kiln_pipeline.adapters.interpreters import Interpreter
from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult
from kiln_pipeline.core.limits import Limits
from kiln_pipeline.core.platforms import BuildIdentifier, PythonTag
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.wheel_checks import check_wheel
from kiln_pipeline.core.wheel_contents import read_wheel
from kiln_pipeline.errors import BuildError, VerificationError
from kiln_pipeline_tests.adapters.test_sdist_archive import tar_of
from kiln_pipeline_tests.builds import MARKUPSAFE, PYYAML, SDISTS, plan_for_file, plan_of

MACHINE = platform.machine()
HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}-manylinux_{MACHINE}"
CP399 = Interpreter(
    tag=PythonTag(implementation="cp", major=3, minor=99),
    version="3.99.0",
    path=Path("/usr/bin/python3.99"),
    prefix=Path("/usr"),
    has_headers=False,
)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or MACHINE not in zig.MACHINES,
    reason="the zig builder is for Linux with glibc",
)


def builder(tools: Path) -> ZigBuilder:
    return ZigBuilder(tools, endpoint=PYPI_SIMPLE_ENDPOINT)


def build(folder: Path, plan: BuildPlan, made: ZigBuilder, sdist: Path | None = None) -> BuildResult:
    (folder / "work").mkdir(parents=True)
    return made.build(plan, sdist or SDISTS / plan.sdist.filename, work=folder / "work", log=folder / "log")


def sdist_of(tmp_path: Path, setup: str, **files: bytes) -> Path:
    """Return an sdist ``demo-1.0.tar.gz`` with that setup.py."""
    members = {"PKG-INFO": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n", "setup.py": setup.encode(), **files}
    return tar_of(tmp_path / "demo-1.0.tar.gz", {f"demo-1.0/{name}": content for name, content in members.items()})


def test_what_cannot_be_built_here_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems, other machines, Pythons that are not here or have no headers."""
    monkeypatch.setattr(zig, "find_interpreters", lambda: (CP399,))
    made = builder(tmp_path)
    reasons = {
        f"cp311-manylinux_{MACHINE}": "no cp311 interpreter on this host; install it or use a container engine",
        f"cp399-manylinux_{MACHINE}": (
            "/usr/bin/python3.99 has no Python.h; install its headers (python3.99-dev) or use a container engine"
        ),
        "cp311-macosx_arm64": (
            f"without a container engine this host builds manylinux_{MACHINE} only; install podman or docker for the others"
        ),
    }
    assert reasons == {name: made.refuses(BuildIdentifier.parse(name)) for name in reasons}
    assert made.pythons() == ()
    with pytest.raises(BuildError, match="no cp311 interpreter"):
        build(tmp_path / "build", plan_of(MARKUPSAFE, f"cp311-manylinux_{MACHINE}"), made)


def test_the_running_python_is_one_of_those_it_builds_for(tmp_path: Path) -> None:
    """The embedded default works where kiln itself runs, if the headers are there."""
    pythons = builder(tmp_path).pythons()
    assert pythons is not None
    assert BuildIdentifier.parse(HERE).python in pythons


@pytest.mark.slow
def test_a_real_build_twice_in_different_folders_is_the_same_to_the_byte(tmp_path: Path, tools_folder: Path) -> None:
    """MarkupSafe 2.0.1 for glibc 2.17; it installs and its extension imports; every requirement is on record with its hash."""
    plan = plan_of(MARKUPSAFE, HERE, settings=BuildSettings(extensions=("markupsafe._speedups",)))
    first = build(tmp_path / "first", plan, builder(tools_folder))
    second = build(tmp_path / "another folder", plan, builder(tools_folder))
    assert first.wheel is not None, (tmp_path / "first" / "log").read_text()
    assert second.wheel is not None, (tmp_path / "another folder" / "log").read_text()
    assert first.wheel.read_bytes() == second.wheel.read_bytes()
    facts = read_wheel(first.wheel.name, first.wheel.read_bytes())
    check_wheel(facts, plan)
    python = HERE.partition("-")[0]
    assert (facts.build, facts.tags) == (
        "1",
        (f"{python}-{python}-manylinux2014_{MACHINE}", f"{python}-{python}-manylinux_2_17_{MACHINE}"),
    )
    assert (first.materials, first.environment) == (second.materials, second.environment)
    requirements = [material for material in first.materials if material.kind == "build-requirement"]
    assert [(item.name.partition("==")[0], len(item.sha256)) for item in requirements] == [("setuptools", 64)]
    with zipfile.ZipFile(first.wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import markupsafe._speedups as m; print(m.escape('<'), m.__file__)"
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True).stdout
    assert answer.startswith(f"&lt; {tmp_path / 'site'}")


@pytest.mark.slow
def test_every_python_of_this_host_builds(tmp_path: Path, tools_folder: Path) -> None:
    """From the oldest supported one to those without distutils."""
    made = builder(tools_folder)
    built = {}
    for tag in made.pythons() or ():
        plan = plan_of(MARKUPSAFE, f"{tag}-manylinux_{MACHINE}")
        result = build(tmp_path / str(tag), plan, made)
        assert result.wheel is not None, (tmp_path / str(tag) / "log").read_text()
        facts = read_wheel(result.wheel.name, result.wheel.read_bytes())
        check_wheel(facts, plan)
        built[str(tag)] = facts.extensions
    assert set(built.values()) == {("markupsafe._speedups",)}


@pytest.mark.slow
def test_pyyaml_without_libyaml_loses_its_extension_and_is_refused(tmp_path: Path, tools_folder: Path) -> None:
    """Its setup.py falls back to pure Python and ends with exit status 0."""
    packages = {"apt": ("libyaml-dev",), "dnf": ("libyaml-devel",)}
    plan = plan_of(PYYAML, HERE, settings=BuildSettings(constraints=("Cython<3",), system_packages=packages))
    result = build(tmp_path / "build", plan, builder(tools_folder))
    assert result.wheel is not None, (tmp_path / "build" / "log").read_text()
    with pytest.raises(VerificationError, match="lost extension: the wheel has no extension module at all"):
        check_wheel(read_wheel(result.wheel.name, result.wheel.read_bytes()), plan)
    pins = [material.name for material in result.materials if material.name.startswith("cython==")]
    assert pins[0].startswith("cython==0.29.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setup", "failure_class", "proof"),
    [
        ("raise RuntimeError('no luck today')", "setup-exception", "RuntimeError: no luck today"),
        ("print 'hello'", "python2-syntax", "print 'hello'"),
        (
            "from setuptools import Extension, setup; setup(name='demo', version='1.0', ext_modules=[Extension('d', ['d.c'])])",
            "missing-header",
            "d.c:1:10: fatal error: 'no_such.h' file not found",
        ),
        (
            "from setuptools import Extension, setup\n"
            "setup(name='demo', version='1.0', ext_modules=[Extension('d', ['e.c'], libraries=['nosuch'])])",
            "missing-library",
            'error: unable to find dynamic system library "nosuch"',
        ),
    ],
)
def test_packages_that_fail_have_their_class(
    tmp_path: Path, tools_folder: Path, setup: str, failure_class: str, proof: str
) -> None:
    """Failures are results, not exceptions."""
    sdist = sdist_of(tmp_path, setup, **{"d.c": b"#include <no_such.h>\n", "e.c": b"int PyInit_d(void) { return 0; }\n"})
    result = build(tmp_path / "build", plan_for_file(sdist.name, sdist.read_bytes(), HERE), builder(tools_folder), sdist)
    assert result.failure is not None
    assert (failure_class, proof) == (result.failure.failure_class, result.failure.proof[: len(proof)])


@pytest.mark.slow
def test_an_sdist_of_another_release_or_with_an_unsafe_path_is_not_built(tmp_path: Path, tools_folder: Path) -> None:
    """Nothing of it is run."""
    sdist = tar_of(tmp_path / "demo-1.0.tar.gz", {"demo-1.0/setup.py": b"", "../evil.py": b""})
    result = build(tmp_path / "build", plan_for_file(sdist.name, sdist.read_bytes(), HERE), builder(tools_folder), sdist)
    assert result.failure is not None
    assert result.failure.failure_class == "bad-sdist"


SLEEPER = "import os, subprocess, sys, time; subprocess.Popen(['sleep', '987654']); time.sleep(600)"


def sleepers(folder: Path) -> list[str]:
    """Return the processes that work in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(str(folder)) and (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_build_that_takes_too_long_is_a_timeout(tmp_path: Path, tools_folder: Path) -> None:
    """With all its children gone."""
    made = builder(tools_folder)
    made._tools.python("zig-0.17.1", zig.TOOLS)  # making the tools is not what is timed
    sdist = sdist_of(tmp_path, SLEEPER)
    plan = plan_for_file(sdist.name, sdist.read_bytes(), HERE, settings=BuildSettings(limits=Limits(time=20)))
    result = build(tmp_path / "build", plan, made, sdist)
    assert result.failure is not None
    assert (result.failure.failure_class, sleepers(tmp_path)) == ("timeout", [])


@pytest.mark.slow
def test_ctrl_c_ends_the_build_and_all_its_children(tmp_path: Path, tools_folder: Path) -> None:
    """KeyboardInterrupt goes through the PEP 517 library unchanged."""
    sdist = sdist_of(tmp_path, SLEEPER)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not any(b"987654" in _command(name) for name in sleepers(tmp_path)):
            time.sleep(0.1)
        _thread.interrupt_main(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "build", plan_for_file(sdist.name, sdist.read_bytes(), HERE), builder(tools_folder), sdist)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, previous)
    assert sleepers(tmp_path) == []


def _command(process: str) -> bytes:
    try:
        return Path("/proc", process, "cmdline").read_bytes()
    except OSError:
        return b""
