"""Which image a build gets: host, overrides, platform table, recipe, cibuildwheel's own list, in cibuildwheel's order."""

import os
from pathlib import Path

import pytest

from kiln_pipeline.adapters.cibuildwheel_image import option_name, stated_image, variable
from kiln_pipeline.adapters.container_images import Image, resolve
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of

NEW, OLD = f"registry.example.org/new@sha256:{'1' * 64}", f"registry.example.org/old@sha256:{'0' * 64}"


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    """The two files of cibuildwheel that say so, in its own form."""
    (tmp_path / "defaults.toml").write_text('[tool.cibuildwheel]\nmanylinux-x86_64-image = "manylinux_2_28"\n')
    (tmp_path / "pinned_docker_images.cfg").write_text(
        f"[x86_64]\nmanylinux2014 = {OLD}  # 2026.10.21-1\nmanylinux_2_28 = {NEW}\n\n[pypy_x86_64]\nmanylinux2014 = {OLD}\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("options", "host", "image"),
    [
        ({}, {}, NEW),
        ({"manylinux-x86_64-image": "manylinux2014"}, {}, OLD),
        (
            {"manylinux-x86_64-image": "manylinux2014", "linux": {"manylinux-x86_64-image": "example/other:1"}},
            {},
            "example/other:1",
        ),
        ({"overrides": [{"select": "cp3{10,11}-*", "manylinux-x86_64-image": "manylinux2014"}]}, {}, OLD),
        ({"overrides": [{"select": ["cp39-*", "*musl*"], "manylinux-x86_64-image": "manylinux2014"}]}, {}, NEW),
        (
            {"manylinux-x86_64-image": "manylinux2014"},
            {"CIBW_MANYLINUX_X86_64_IMAGE": "localhost/own:latest"},
            "localhost/own:latest",
        ),
        ({}, {"CIBW_MANYLINUX_X86_64_IMAGE": ""}, NEW),
    ],
)
def test_the_strongest_word_wins(resources: Path, options: dict[str, object], host: dict[str, str], image: str) -> None:
    plan = plan_of(MARKUPSAFE, settings=BuildSettings(cibuildwheel=options))
    assert stated_image(plan, host, resources) == image


def test_names_of_the_option() -> None:
    names = {text: option_name(BuildIdentifier.parse(text)) for text in ("cp313t-musllinux_aarch64", "pp310-manylinux_x86_64")}
    assert names == {
        "cp313t-musllinux_aarch64": "musllinux-aarch64-image",
        "pp310-manylinux_x86_64": "manylinux-pypy_x86_64-image",
    }
    assert variable(BuildIdentifier.parse("pp310-manylinux_x86_64")) == "CIBW_MANYLINUX_PYPY_X86_64_IMAGE"


@pytest.mark.parametrize(
    ("answer", "pinned", "digest"),
    [
        (f'sha256:{"7" * 64} ["example.org:5000/a/b@sha256:{"5" * 64}"]', f"example.org:5000/a/b@sha256:{'5' * 64}", "5" * 64),
        (f"{'7' * 64} []", f"sha256:{'7' * 64}", "7" * 64),  # docker, of an image that was built here
        (f"sha256:{'7' * 64} null", f"sha256:{'7' * 64}", "7" * 64),
        ("", "example.org:5000/a/b:latest", ""),  # cibuildwheel says what is wrong, in the log
    ],
)
def test_an_image_is_run_by_its_digest(tmp_path: Path, answer: str, pinned: str, digest: str) -> None:
    """The engine here is a script that knows one image, or none."""
    engine = tmp_path / "engine"
    engine.write_text(f"#!/bin/sh\n[ \"$1\" = image ] && [ -n '{answer}' ] && echo '{answer}'\n")
    engine.chmod(0o755)
    found = resolve(
        "example.org:5000/a/b:latest",
        BuildIdentifier.parse("cp311-manylinux_x86_64"),
        engine=str(engine),
        environment={"PATH": os.defpath},
    )
    assert found == Image(reference="example.org:5000/a/b:latest", digest=digest, pinned=pinned)
    assert (found.material.kind, found.material.sha256) == ("image", digest)


def test_a_digest_that_is_stated_is_taken_as_it_is() -> None:
    """No engine is asked."""
    found = resolve(NEW, BuildIdentifier.parse("cp311-manylinux_x86_64"), engine="no-such-engine", environment={})
    assert (found.reference, found.digest, found.pinned) == ("registry.example.org/new", "1" * 64, NEW)
