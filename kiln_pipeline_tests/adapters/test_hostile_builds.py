"""Builds that mean harm: each ends with its name, nothing of it is left, and the host and the next build are as before."""

import os
import platform
import re
import sys
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline_tests.builds import plan_for_file
from kiln_pipeline_tests.hostile import SETUPS, HostileSetup, sdist_of

HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}-manylinux_{platform.machine()}"


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of all processes that run in, or run something of, a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = str((process / "cwd").readlink())
            except OSError:
                continue
            if str(folder) in line or where.startswith(str(folder)):
                found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="the zig builder is for Linux with glibc"
)
@pytest.mark.parametrize("case", SETUPS.values(), ids=SETUPS.keys())
def test_without_a_container(tmp_path: Path, tools_folder: Path, case: HostileSetup) -> None:
    """In the jail of the zig builder."""
    mark = tmp_path / "host.txt"
    mark.write_text("a key")
    sdist = sdist_of(tmp_path, case.code.replace("{mark!r}", repr(str(mark))).replace("{{", "{").replace("}}", "}"))
    plan = plan_for_file(sdist.name, sdist.read_bytes(), HERE, settings=BuildSettings(limits=case.limits))
    builder = ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT)
    work = tmp_path / "work"
    work.mkdir()
    result = builder.build(plan, sdist, work=work, log=tmp_path / "log")
    assert result.failure is not None
    log = (tmp_path / "log").read_text(errors="replace")
    assert (result.failure.failure_class, bool(re.search(case.proof, result.failure.proof))) == (case.failure, True), log[-4000:]
    assert mark.read_text() == "a key"
    assert "a key" not in log
    assert processes_in(tmp_path) == []
    assert len(log) < case.limits.log + 100_000
