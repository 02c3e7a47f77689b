"""Recipes of ours built for real: a patch and system packages, C that is generated anew, an extension that hides its loss."""

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.recipe_folder import load_recipes
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.attempts import Outcome
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import LOG_NAME, Statement, parse_statement
from kiln_pipeline.stages.ad_hoc import ad_hoc_plan
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.workspace import Silent
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore
from kiln_pipeline_tests.recipes.capture import RECIPES

pytestmark = pytest.mark.slow


def built(folder: Path, tools: Path, environment: Mapping[str, str], release: str, python: str) -> tuple[Statement, str]:
    """Build one wheel by our recipe, as `kiln run` does, and return its statement and log."""
    project, _, version = release.partition("==")
    upstream = SimpleApiUpstream(PYPI_SIMPLE_ENDPOINT)
    plan = ad_hoc_plan(
        package_name=project,
        package_version=version,
        package_url="",
        python_version=python,
        environment_variables="",
        platform="manylinux_x86_64",
        recipes=load_recipes(RECIPES),
        upstream=upstream,
        attempts=(),
    )
    inbox = MemoryStore()
    attempt = build_wheel(
        plan,
        builder=CibuildwheelBuilder(tools, endpoint=PYPI_SIMPLE_ENDPOINT, environment=environment),
        upstream=upstream,
        inbox=inbox,
        signer=MemorySigner("host"),
        clock=lambda: datetime.now(UTC),
        work=folder / "work",
        progress=Silent(),
    )
    log = gzip.decompress(inbox.get(f"{attempt.statement_sha256}/{LOG_NAME}")).decode()
    statement = parse_statement(unverified_payload(inbox.get(f"{attempt.statement_sha256}/{ATTESTATION}")))
    assert attempt.outcome is Outcome.SUCCEEDED, log
    assert "Testing wheel" in log, "the recipe's test command ran"
    return statement, log


def test_pyyaml_of_2021_on_python_3_13(tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]) -> None:
    """6.0 with Cython 3 and libyaml: the patch is applied, and on record with its text."""
    statement, log = built(tmp_path, tools_folder, container_environment, "pyyaml==6.0", "cp313")
    (patch,) = statement.plan.settings.patches
    assert (patch.name, patch.text) == ("cython-3.patch", (RECIPES / "pyyaml" / "patches" / "cython-3.patch").read_text())
    assert "Applied patch setup.py cleanly." in log
    assert [m.name.partition(".")[0] for m in statement.materials if m.name.startswith("cython==")] == ["cython==3"]
    assert statement.wheel is not None
    assert statement.wheel.extensions == ("yaml._yaml",)


def test_cchardet_that_nobody_keeps_up(tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]) -> None:
    """Its C++ is of a Cython that 3.11 broke; generated anew it compiles."""
    statement, _ = built(tmp_path, tools_folder, container_environment, "cchardet==2.1.7", "cp311")
    assert [(rung.rung, rung.failure_class) for rung in statement.rungs] == [
        ("as-of", "removed-c-api"),
        ("as-of-regenerated", ""),
    ]


def test_pyrsistent_with_its_vectors_in_c(tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]) -> None:
    """setup.py would go on without them; the wheel is refused then."""
    statement, _ = built(tmp_path, tools_folder, container_environment, "pyrsistent==0.17.3", "cp312")
    assert statement.wheel is not None
    assert statement.wheel.extensions == ("pvectorc",)
