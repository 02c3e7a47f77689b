"""What kiln writes, as the three cibuildwheels themselves read it: their own parsers, in their own Pythons, every platform.

A Mac is what no test here has; but cibuildwheel decides all that follows before it runs the first command there.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.cibuildwheel_config import build_environment, config_text, engine_setting
from kiln_pipeline.adapters.cibuildwheel_image import stated_image
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, cibuildwheel_version
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of

SAYS = Path(__file__).with_name("cibuildwheel_says.py")
DATA = Path(__file__).parent.parent / "data"
SETTINGS = BuildSettings(
    constraints=("Cython<3",),
    system_packages={"dnf": ("libyaml-devel",), "apk": ("yaml-dev",), "brew": ("libyaml", "openssl@3")},
    cibuildwheel={
        "environment": {"CFLAGS": "-O1 $CFLAGS"},
        "before-all": "echo recipe",
        "test-command": "python -c 'import markupsafe'",
        "test-skip": "pp*",
        "macos": {"environment": {"A": "mac"}},
        "overrides": [{"select": "*-macosx_{arm64,x86_64}", "environment": {"B": "1"}, "inherit": {"environment": "append"}}],
    },
)
pytestmark = pytest.mark.slow


@pytest.fixture
def says(tools_folder: Path, tmp_path: Path) -> Any:
    """Ask one version; the configuration is written for it as the builder does."""
    tools = ToolEnvironments(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, host=os.environ)

    def ask(version: str, *words: str, **environment: str) -> Any:
        python = tools.python(f"cibuildwheel-{version}", (f"cibuildwheel=={version}",))
        answer = subprocess.run(
            [python, SAYS, *words],
            env={"PATH": os.defpath, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout.splitlines()[-1])

    return ask


def asked(says: Any, tmp_path: Path, identifier: str, *, untested: bool = False, **host: str) -> dict[str, Any]:
    """Return what the cibuildwheel for `identifier` decides for a plan with `SETTINGS`."""
    version = cibuildwheel_version(BuildIdentifier.parse(identifier))
    assert version is not None
    floors = Floors(macosx_x86_64=(10, 15), macosx_arm64=(12, 0))
    plan = plan_of(MARKUPSAFE, identifier, settings=SETTINGS, floors=floors)
    in_container = "linux" in identifier
    environment = build_environment(plan, endpoint="http://127.0.0.1:1/simple/", constraints_file="/c.txt")
    text = config_text(
        plan, version=version, environment=environment, constraints_in_container=in_container, untested=untested,
        repair_notes="/notes.py", load_check="/check.py", path="/opt/first" if in_container else "",
    )  # fmt: skip
    (tmp_path / "cibuildwheel.toml").write_text(text)
    (tmp_path / "package").mkdir(exist_ok=True)
    (tmp_path / "package" / "setup.py").touch()
    answer: dict[str, Any] = says(version, identifier, str(tmp_path / "cibuildwheel.toml"), "package", **host)
    return answer


@pytest.mark.parametrize(
    ("identifier", "target"),
    [
        ("cp37-macosx_x86_64", "10.15"),  # cibuildwheel 2.23
        ("cp38-macosx_arm64", "12.0"),  # 3.4
        ("cp313t-macosx_arm64", "12.0"),
        ("cp311-macosx_x86_64", "10.15"),  # 4.3
        ("cp312-macosx_arm64", "12.0"),
    ],
)
def test_a_mac_builds_this_one_identifier_for_the_floor(says: Any, tmp_path: Path, identifier: str, target: str) -> None:
    """From a Mac of either kind: deployment target, brew, recipe's words, index and constraints, all as written."""
    said = asked(says, tmp_path, identifier)
    assert said["identifiers"] == [identifier]
    assert said["environment"] == {
        "PATH": "/bin",
        "A": "mac",
        "B": "1",
        "MACOSX_DEPLOYMENT_TARGET": target,
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple/",
        "UV_DEFAULT_INDEX": "http://127.0.0.1:1/simple/",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "1621358302",
        **dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"), "/c.txt"),
    }
    assert said["before_all"] == "HOMEBREW_NO_AUTO_UPDATE=1 brew install libyaml openssl@3 && echo recipe"
    assert said["before_build"] == "python -V"
    assert (said["tested"], said["test_command"]) == (True, "python -c 'import markupsafe'")


@pytest.mark.parametrize("identifier", ["cp38-macosx_arm64", "cp312-macosx_arm64", "cp312-macosx_x86_64"])
def test_what_a_mac_cannot_run_is_built_and_not_tested(says: Any, tmp_path: Path, identifier: str) -> None:
    """An arm64 wheel on Intel, an Intel wheel without Rosetta: the recipe's own test-skip holds beside kiln's."""
    said = asked(says, tmp_path, identifier, untested=True)
    assert (said["identifiers"], said["tested"]) == ([identifier], False)


@pytest.mark.parametrize(
    "identifier",
    [
        "cp37-manylinux_x86_64", "cp38-musllinux_aarch64", "pp310-manylinux_x86_64", "cp311-manylinux_aarch64",
        "cp312-musllinux_x86_64", "cp314t-musllinux_aarch64",
    ],
)  # fmt: skip
def test_linux_gets_image_engine_and_path_as_kiln_reckons_them(
    says: Any, tmp_path: Path, tools_folder: Path, identifier: str
) -> None:
    """The image is the one that kiln finds in the version's own list; the host is not mounted, the cache comes first."""
    version = cibuildwheel_version(BuildIdentifier.parse(identifier))
    create = ["--label=kiln.build=1", "--volume=kiln-objects-1:/var/cache/kiln-ccache"]
    said = asked(says, tmp_path, identifier, CIBW_CONTAINER_ENGINE=engine_setting("", "podman", create=create))
    assert said["identifiers"] == [identifier]
    assert said["engine"] == ["podman", create, True]
    assert said["environment"]["PATH"] == "/opt/first:/bin"
    assert said["before_all"].endswith("exit 1; fi && echo recipe")
    (package,) = (tools_folder / f"cibuildwheel-{version}").glob("lib/python*/site-packages/cibuildwheel")
    plan = plan_of(MARKUPSAFE, identifier, settings=SETTINGS)
    assert said["image"] == stated_image(plan, {}, package / "resources")


@pytest.mark.parametrize(
    "options",
    [
        {"manylinux-x86_64-image": "manylinux2014"},
        {"manylinux-x86_64-image": f"registry.example.org/x@sha256:{'0' * 64}"},
        {"manylinux-x86_64-image": "manylinux2014", "linux": {"manylinux-x86_64-image": "manylinux_2_28"}},
        {"overrides": [{"select": "cp3{10,11,7}-* *-musllinux*", "manylinux-x86_64-image": "manylinux2014"}]},
        {"overrides": [{"select": ["cp39-*"], "manylinux-x86_64-image": "manylinux2014"}]},
    ],
)
@pytest.mark.parametrize("identifier", ["cp37-manylinux_x86_64", "cp38-manylinux_x86_64", "cp311-manylinux_x86_64"])
@pytest.mark.parametrize("host", [{}, {"CIBW_MANYLINUX_X86_64_IMAGE": "localhost/own:latest"}])
def test_images_are_chosen_as_cibuildwheel_chooses(
    says: Any, tmp_path: Path, tools_folder: Path, identifier: str, options: dict[str, Any], host: Mapping[str, str]
) -> None:
    version = cibuildwheel_version(BuildIdentifier.parse(identifier))
    assert version is not None
    plan = plan_of(MARKUPSAFE, identifier, settings=BuildSettings(cibuildwheel=options))
    text = config_text(
        plan, version=version, environment={}, constraints_in_container=True, repair_notes="/notes.py", load_check="/check.py"
    )
    (tmp_path / "cibuildwheel.toml").write_text(text)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "setup.py").touch()
    said = says(version, identifier, str(tmp_path / "cibuildwheel.toml"), "package", **host)
    (package,) = (tools_folder / f"cibuildwheel-{version}").glob("lib/python*/site-packages/cibuildwheel")
    assert said["image"] == stated_image(plan, host, package / "resources")


@pytest.mark.parametrize("version", ["2.23.3", "3.4.1", "4.3.3"])
def test_the_captured_identifiers_are_the_packages_own(says: Any, version: str) -> None:
    """``data/cibuildwheel_identifiers.json``, which the table of `core.platforms` is held against, is what each version says."""
    captured = json.loads((DATA / "cibuildwheel_identifiers.json").read_text())
    assert says(version, "identifiers") == captured[version]
