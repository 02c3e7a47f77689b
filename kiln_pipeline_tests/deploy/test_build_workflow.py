"""build.yml promises the same bytes to everybody who runs it: its own build step, run in two checkouts of two people."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "build.yml"
INPUTS = {
    "package_name": "MarkupSafe",
    "package_version": "2.0.1",
    "package_url": "",
    "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
    "environment_variables": "CFLAGS='-O2 -g0' LC_ALL=C",
    "platform": "manylinux_x86_64",
}


def build_step() -> dict[str, Any]:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["build"]["steps"]
    return next(step for step in steps if step.get("name") == "Build")


def test_the_inputs_are_those_that_users_know() -> None:
    """The original's, and the platform."""
    asked = yaml.safe_load(WORKFLOW.read_text())[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads "on" as true
    assert list(asked) == list(INPUTS)


@pytest.mark.slow
@pytest.mark.skipif(
    (sys.platform, platform.libc_ver()[0], platform.machine()) != ("linux", "glibc", "x86_64"),
    reason="the zig builder is for Linux with glibc",
)
def test_two_people_get_the_same_bytes(tmp_path: Path) -> None:
    """In folders of other names, with homes, keys and tools of their own; what they typed reaches the shell as values only."""
    step = build_step()
    values = {name: _filled(text) for name, text in step["env"].items()}
    wheels = set()
    for name in ("one/kiln", "another one/kiln"):
        checkout = tmp_path / name
        (checkout / ".venv" / "bin").mkdir(parents=True)
        (checkout / ".venv" / "bin" / "kiln").symlink_to(Path(sys.executable).parent / "kiln")
        shutil.copytree(ROOT / "recipes", checkout / "recipes")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CIBW_", "KILN_"))},
            **values,
            "KILN_BUILDER": "zig",
            "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]  # as `shell: bash` is run there
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        (wheel,) = (checkout / "dist").glob("*.whl")
        wheels.add((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
        assert wheel.name in (checkout / "summary.md").read_text()
    assert len(wheels) == 1


def _filled(text: str) -> str:
    for name, value in INPUTS.items():
        text = text.replace(f"${{{{ inputs.{name} }}}}", value)
    assert "${{" not in text
    return text
