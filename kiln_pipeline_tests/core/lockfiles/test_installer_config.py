"""The snippets, whole: what Poetry, PDM and uv were given and accepted."""

import tomllib

import pytest
from packaging.markers import Marker

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.installer_config import installer_config
from kiln_pipeline.core.lockfiles.model import Installer
from kiln_pipeline.core.lockfiles.target_markers import environment
from kiln_pipeline.core.platforms import Platform, all_identifiers

URL = "https://wheels.example.org/simple/"
MARKUPSAFE = Release(project="markupsafe", version="2.0.1")
PYYAML = Release(project="pyyaml", version="5.4.1")
MAC = Platform.MACOSX_ARM64


def test_pip_gets_an_index_and_our_hashes() -> None:
    assert installer_config(Installer.PIP, URL, [PYYAML, MARKUPSAFE], [MAC], hashes={MARKUPSAFE: ["22", "11"]}) == (
        "# requirements.txt: this line first; where the file has hashes, ours beside upstream's\n"
        "--extra-index-url https://wheels.example.org/simple/\n"
        "markupsafe==2.0.1 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"
        "pyyaml==5.4.1\n"
    )


@pytest.mark.parametrize(
    ("installer", "expected"),
    [
        (
            Installer.UV,
            {
                "uv": {
                    "index": [{"name": "kiln", "url": URL, "explicit": True}],
                    "sources": {"markupsafe": {"index": "kiln"}, "pyyaml": {"index": "kiln"}},
                }
            },
        ),
        (
            Installer.PDM,
            {
                "pdm": {
                    "source": [{"name": "kiln", "url": URL, "include_packages": ["markupsafe", "pyyaml"]}],
                    "resolution": {"respect-source-order": True},
                }
            },
        ),
    ],
)
def test_uv_and_pdm_get_what_the_readme_says(installer: Installer, expected: dict[str, object]) -> None:
    text = installer_config(installer, URL, [PYYAML, MARKUPSAFE, MARKUPSAFE], [MAC])
    assert tomllib.loads(text) == {"tool": expected}


def test_poetry_gets_a_marker_and_its_complement() -> None:
    """``or`` in the complement: with ``and``, an Intel Mac would get neither (the mistake of the original's README)."""
    poetry = tomllib.loads(installer_config(Installer.POETRY, URL, [MARKUPSAFE], [MAC]))["tool"]["poetry"]
    assert poetry == {
        "source": [{"name": "kiln", "url": URL, "priority": "explicit"}],
        "dependencies": {
            "markupsafe": [
                {
                    "version": "2.0.1",
                    "source": "kiln",
                    "markers": "sys_platform == 'darwin' and platform_machine == 'arm64'",
                },
                {"version": "2.0.1", "markers": "sys_platform != 'darwin' or platform_machine != 'arm64'"},
            ]
        },
    }


@pytest.mark.parametrize("platforms", [[MAC], [MAC, Platform.MANYLINUX_AARCH64], list(Platform)])
def test_poetrys_two_markers_part_the_world(platforms: list[Platform]) -> None:
    """On every target exactly one of the two holds, and ours does on all that was asked for."""
    poetry = tomllib.loads(installer_config(Installer.POETRY, URL, [MARKUPSAFE], platforms))["tool"]["poetry"]
    ours, upstreams = (Marker(entry["markers"]) for entry in poetry["dependencies"]["markupsafe"])
    for identifier in all_identifiers():
        variables: dict[str, str] = environment(identifier, patch=0)
        assert ours.evaluate(dict(variables)) != upstreams.evaluate(dict(variables))
        assert ours.evaluate(dict(variables)) or identifier.platform not in platforms
