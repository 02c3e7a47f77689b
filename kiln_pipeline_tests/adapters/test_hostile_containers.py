"""Builds that mean harm, in containers: each ends with its name, nothing of it is left, and the next build is as ever."""

import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult
from kiln_pipeline.core.limits import Limits
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline_tests.adapters.test_cibuildwheel import containers
from kiln_pipeline_tests.adapters.test_hostile_builds import HERE, processes_in
from kiln_pipeline_tests.builds import MARKUPSAFE, SDISTS, plan_for_file, plan_of
from kiln_pipeline_tests.hostile import ARCHIVES, IN_ONE_CONTAINER, archive_of, sdist_of

TARGET = "cp311-manylinux_x86_64"
PLAIN = BuildSettings(time_travel="latest")
FLOOD = """
import os
for _ in range(5):
    if os.fork() == 0:
        break
while True:
    os.write(1, b'x' * 65535 + b'\\n')
"""
KILLED = """
import os, sys
from pathlib import Path
from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.core.limits import Limits
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline_tests.builds import MARKUPSAFE, SDISTS, plan_of
tools, endpoint, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
settings = BuildSettings(cibuildwheel={"before-all": "echo here it is; sleep 3598"}, limits=Limits(time=300))
(folder / "work").mkdir()
builder = CibuildwheelBuilder(tools, endpoint=endpoint, environment=os.environ)
builder.build(plan_of(MARKUPSAFE, settings=settings), SDISTS / MARKUPSAFE, work=folder / "work", log=folder / "log")
"""


def sleeping(seconds: int) -> list[str]:
    """Return the processes of this host, containers' included, that sleep for so long."""
    lines: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if re.search(rf"sleep[ (]{seconds}\b", line)]


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def build(plan: BuildPlan, sdist: Path, made: CibuildwheelBuilder, folder: Path) -> tuple[BuildResult, str]:
    folder.mkdir()
    result = made.build(plan, sdist, work=folder, log=folder.with_suffix(".log"))
    return result, folder.with_suffix(".log").read_text(errors="replace")


@pytest.mark.slow
def test_a_setup_that_tries_everything(tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]) -> None:
    """Reads keys, writes outside, eats memory, fills the disk, leaves a daemon, deletes its folder: all in one run."""
    mark = tmp_path / "host.txt"
    mark.write_text("a key")
    sdist = sdist_of(tmp_path, IN_ONE_CONTAINER.replace("{mark!r}", repr(str(mark))))
    limits = Limits(time=240, memory=1024**3, file_size=256 * 1024**2)
    plan = plan_for_file(sdist.name, sdist.read_bytes(), TARGET, settings=BuildSettings(limits=limits))
    made = CibuildwheelBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)
    result, log = build(plan, sdist, made, tmp_path / "build")
    assert result.failure is not None
    tried = dict(re.findall(r"tried: (\w+) (-?\d+ .*)", log))
    assert {name: not told.startswith("0 ") for name, told in tried.items()} == dict.fromkeys(
        ("keys", "outside", "network", "names", "memory", "file"), True
    ), log[-5000:]
    assert ("Network is unreachable" in tried["network"], result.enforced["network"]) == (
        True, "the index alone (no network but one socket)",
    )  # fmt: skip
    assert ("MemoryError" in tried["memory"], "File too large" in tried["file"]) == (True, True)
    assert (mark.read_text(), "a key" in log) == ("a key", False)
    assert (result.failure.failure_class, containers(container_environment, tmp_path / "build.log")) == ("over-limit", [])
    assert (sleeping(3597), processes_in(tmp_path)) == ([], [])


@pytest.mark.slow
def test_ten_gigabytes_of_log_and_forks_without_end(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """Six processes that print for ever: the log's bound ends all of them, and the next build does not notice."""
    sdist = sdist_of(tmp_path, FLOOD)
    settings = BuildSettings(limits=Limits(time=240, log=4 * 1024**2))
    plan = plan_for_file(sdist.name, sdist.read_bytes(), TARGET, settings=settings)
    made = CibuildwheelBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)
    result, log = build(plan, sdist, made, tmp_path / "build")
    assert result.failure is not None
    assert (result.failure.failure_class, result.failure.proof) == ("over-limit", "kiln: stopped after 4194304 bytes of log")
    assert len(log) < settings.limits.log + 100_000
    assert (containers(container_environment, tmp_path / "build.log"), processes_in(tmp_path)) == ([], [])
    result, log = build(plan_of(MARKUPSAFE, settings=PLAIN), SDISTS / MARKUPSAFE, made, tmp_path / "next")
    assert result.wheel is not None, log[-4000:]


@pytest.mark.slow
def test_a_killed_kiln_leaves_nothing_once_the_next_one_starts(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """SIGKILL, which no program can answer, in the middle of a build."""
    environment = {**os.environ, **container_environment}
    command = [sys.executable, "-c", KILLED, tools_folder, PYPI_SIMPLE_ENDPOINT, tmp_path]
    log = tmp_path / "log"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        assert until(lambda: log.exists() and re.search(r"^ *here it is$", log.read_text(), re.MULTILINE) is not None, 120)
        child.send_signal(signal.SIGKILL)
    assert (len(containers(container_environment, log)), bool(sleeping(3598))) == (1, True)
    CibuildwheelBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)._engine.remove_leftovers()
    assert containers(container_environment, log) == []
    assert until(lambda: (sleeping(3598), processes_in(tmp_path)) == ([], []), 30), processes_in(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["cibuildwheel", "zig"])
def test_no_hostile_archive_gets_as_far_as_a_build(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str], builder: str
) -> None:
    """Neither builder runs anything of it, and nothing of it is outside of the build's folder."""
    if builder == "zig" and (sys.platform != "linux" or platform.libc_ver()[0] != "glibc"):
        pytest.skip("the zig builder is for Linux with glibc")
    made: CibuildwheelBuilder | ZigBuilder = ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT)
    if builder == "cibuildwheel":
        made = CibuildwheelBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)
    wrong: dict[str, str] = {}
    for number, (name, (members, proof)) in enumerate(ARCHIVES.items()):
        folder = tmp_path / str(number)
        (folder / "a" / "b" / "work").mkdir(parents=True)
        sdist = archive_of(folder, members())
        plan = plan_for_file(sdist.name, sdist.read_bytes(), HERE if builder == "zig" else TARGET)
        result = made.build(plan, sdist, work=folder / "a" / "b" / "work", log=folder / "log")
        said = f"{result.failure.failure_class}: {result.failure.proof}" if result.failure else str(result.wheel)
        if not re.match(f"bad-sdist: .*(?:{proof})", said) or "kiln: $" in (folder / "log").read_text():
            wrong[name] = said
        left = {path.name for path in folder.iterdir()} | {path.name for path in (folder / "a" / "b").iterdir()}
        assert left == {"demo-1.0.tar.gz", "a", "log", "work"}, name
    assert (wrong, Path("/evil").exists()) == ({}, False)
