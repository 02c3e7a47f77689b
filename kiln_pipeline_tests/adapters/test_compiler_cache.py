"""The compiler cache: it changes no byte, belongs to one sdist in one image, and its absence is no failure."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.compiler_cache import OBJECTS, PROGRAMS, VERSION, CompilerCache
from kiln_pipeline.adapters.container_images import Image
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.errors import BuildError
from kiln_pipeline_tests.builds import FASTRLOCK, MARKUPSAFE, SDISTS, plan_of

IMAGE = Image(reference="localhost/image:latest", digest="a" * 64, pinned=f"localhost/image@sha256:{'a' * 64}")
ENGINE = """#!/bin/sh
echo "$*" >> "{log}"
case "$1 $2" in
  "volume inspect") test -e "{volumes}/$3" && echo '[]' ;;
  "volume rm") test ! -e "{volumes}/$3.used" && rm "{volumes}/$3" ;;
  create*) echo id ;;
  *) true ;;
esac
"""
"""An engine that has volumes, and containers that are never started: files in a folder."""


def engine(tmp_path: Path) -> str:
    script = tmp_path / "engine"
    (tmp_path / "volumes").mkdir()
    script.write_text(ENGINE.format(log=tmp_path / "asked", volumes=tmp_path / "volumes"))
    script.chmod(0o755)
    return str(script)


class Filled(CompilerCache):
    """With the program's volume there already."""

    def _program_volume(self, machine: str, image: Image, engine: str, environment: Mapping[str, str]) -> str:
        return f"programs-{machine}"


def test_objects_belong_to_one_sdist_in_one_image(tmp_path: Path) -> None:
    """Pythons of one release share them; another release, or another image, gets others; programs are read-only."""
    cache, host = Filled(tmp_path / "cache", endpoint="https://files.example.org/simple/"), {"PATH": os.defpath}

    def volumes(filename: str, identifier: str, image: Image = IMAGE) -> tuple[str, ...]:
        return cache.use(plan_of(filename, identifier), image, engine=engine_, environment=host).volumes

    engine_ = engine(tmp_path)
    first = volumes(MARKUPSAFE, "cp311-manylinux_x86_64")
    assert first[0] == f"--volume=programs-x86_64:{PROGRAMS}:ro"
    assert first[1].endswith(f":{OBJECTS}")
    assert volumes(MARKUPSAFE, "cp312-manylinux_x86_64") == first
    others = {
        volumes(FASTRLOCK, "cp311-manylinux_x86_64")[1],
        volumes(MARKUPSAFE, "cp311-manylinux_x86_64", replace(IMAGE, digest="b" * 64))[1],
        first[1],
    }
    assert len(others) == 3


def test_what_was_not_used_for_long_is_removed(tmp_path: Path) -> None:
    """But not while a build has it; and one that somebody else removed is forgotten."""
    notes, host = tmp_path / "cache" / "volumes", {"PATH": os.defpath}
    name = engine(tmp_path)
    notes.mkdir(parents=True)
    old = time.time() - 30 * 24 * 3600
    for volume, used in (("kiln-objects-old", old), ("kiln-objects-held", old), ("kiln-objects-new", time.time())):
        (notes / volume).touch()
        os.utime(notes / volume, (used, used))
        (tmp_path / "volumes" / volume).touch()
    (tmp_path / "volumes" / "kiln-objects-held.used").touch()
    (notes / "kiln-objects-gone").touch()
    os.utime(notes / "kiln-objects-gone", (old, old))
    cache = Filled(tmp_path / "cache", endpoint="https://files.example.org/simple/")
    cache.use(plan_of(MARKUPSAFE), IMAGE, engine=name, environment=host)
    left = {path.name for path in notes.iterdir()}
    assert {"kiln-objects-held", "kiln-objects-new"} < left
    assert left.isdisjoint({"kiln-objects-old", "kiln-objects-gone"})
    assert not (tmp_path / "volumes" / "kiln-objects-old").exists()


def test_without_an_upstream_there_is_no_cache_and_the_reason_is_asked_once(tmp_path: Path) -> None:
    """A builder then goes on without."""
    cache, name = CompilerCache(tmp_path / "cache", endpoint="http://127.0.0.1:9/simple/"), engine(tmp_path)
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(BuildError, match="ccache"):
            cache.use(plan_of(MARKUPSAFE), IMAGE, engine=name, environment={"PATH": os.defpath})
    assert time.monotonic() - started < 0.5


@pytest.mark.slow
def test_the_cache_changes_no_byte_and_cannot_be_tampered_with(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """Without it, with an empty one, with a full one: the same wheel. The second time its object comes from the cache."""
    made = CibuildwheelBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)
    settings = BuildSettings(
        cibuildwheel={
            "environment": {"CCACHE_NAMESPACE": os.urandom(8).hex()},  # a cache of this test's own
            "before-build": f"! touch {PROGRAMS}/bin/gcc",
        }
    )
    plan = plan_of(MARKUPSAFE, settings=settings)
    wheels: list[bytes] = []
    results = []
    for name, caches in (("off", False), ("cold", True), ("warm", True)):
        (tmp_path / name).mkdir()
        log = tmp_path / f"{name}.log"
        result = made.build(replace(plan, caches=caches), SDISTS / MARKUPSAFE, work=tmp_path / name, log=log)
        assert result.wheel is not None, log.read_text()
        wheels.append(result.wheel.read_bytes())
        results.append(result)
    assert wheels[0] == wheels[1] == wheels[2]
    assert "CCACHE_DIR" not in results[0].environment
    assert "--volume=" not in (tmp_path / "off.log").read_text()
    assert [any(m.name == f"ccache=={VERSION}" for m in result.materials) for result in results] == [False, True, True]
    engine_name = container_environment["CIBW_CONTAINER_ENGINE"].split(";")[0]
    volumes = [line for line in (tmp_path / "warm.log").read_text().split("'") if line.startswith("--volume=kiln-")]
    command = [
        engine_name,
        "run",
        "--rm",
        *volumes,
        f"--env=CCACHE_DIR={OBJECTS}",
        next(material.name for material in results[-1].materials if material.kind == "image"),
    ]
    answer = subprocess.run(
        [*command, f"{PROGRAMS}/bin/ccache", "--print-stats"], env={**os.environ, **container_environment}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    counts = dict(line.split("\t") for line in answer.stdout.splitlines())
    assert int(counts["preprocessed_cache_hit"]) + int(counts["direct_cache_hit"]) >= 1
