"""`kiln build`: the wheel and its bundle in a folder, the same bytes twice, and every wrong parameter told at once."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kiln_pipeline.cli import main, wheels
from kiln_pipeline.cli.commands import SOME_BUILDS_FAILED
from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.provenance.attempt_bundle import check_attempt_bundle
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.errors import BuildError, RecipeError
from kiln_pipeline_tests.fakes import ScriptedBuilder
from kiln_pipeline_tests.workspaces import memory_workspace

ARGUMENTS = ("build", "MarkupSafe==2.0.1", "--python", "3.11", "--platform", "manylinux_x86_64")


@pytest.fixture
def kiln(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, home: str = "home", failure: Failure | None = None) -> Result:
        failures = {"cp311-manylinux_x86_64": failure} if failure else {}
        workspace = memory_workspace(tmp_path / home, failures=failures)
        monkeypatch.setattr(wheels, "open_workspace", lambda **_: workspace)
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return run


def test_the_wheel_and_its_bundle_are_left_in_the_folder(kiln: Callable[..., Result], tmp_path: Path) -> None:
    """The bundle is what a publisher takes from an inbox; another host makes the same wheel."""
    answer = json.loads(kiln(*ARGUMENTS, "--env", "CFLAGS='-O2 -g'", "--env", "A=1", "--json").stdout)
    wheel = tmp_path / answer["wheel"]
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == answer["sha256"]
    assert wheel.parent == tmp_path / "dist"
    bundle = tmp_path / answer["bundle"]
    workspace = memory_workspace(tmp_path / "home")
    files = {path.name: path.read_bytes() for path in bundle.iterdir()}
    statement = check_attempt_bundle(bundle.name, files, workspace.hosts).statement
    assert statement.attempt.wheel_sha256 == answer["sha256"]
    assert b'"A":"1","CFLAGS":"-O2 -g"' in unverified_payload(files["attestation.json"])
    other = kiln(*ARGUMENTS, "--env", "CFLAGS='-O2 -g' A=1", "--output", "other", home="another host")
    assert other.stdout == f"other/{wheel.name}  sha256={answer['sha256']}\n"


def test_a_failed_build_leaves_its_log(kiln: Callable[..., Result], tmp_path: Path) -> None:
    failure = Failure(failure_class="compile", proof="x.c:1: error", hint="")
    answer = kiln(*ARGUMENTS, failure=failure)
    assert answer.exit_code == SOME_BUILDS_FAILED
    assert answer.stdout.startswith("compile: x.c:1: error (log: dist/")
    (log,) = (tmp_path / "dist").glob("*/build.log.gz")
    assert str(log.relative_to(tmp_path)) in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "messages"),
    [
        (["build", "foo", "--python", "3.11"], RecipeError.exit_code, ["write PROJECT==VERSION"]),
        (
            ["build", "_==x", "--python", "eleven", "--env", "x", "--url", "ftp://a/b"],
            RecipeError.exit_code,
            ["package_name", "python_version", "environment_variables"],
        ),
        ([*ARGUMENTS, "--url", "https://files.example.org/MarkupSafe-2.0.1.tar.gz"], RecipeError.exit_code, ["append #sha256="]),
        (["build", "markupsafe==99", "--python", "3.11"], 3, ["upstream has no sdist of it"]),
        (["build", "markupsafe==2.0.1", "--python", "2.7"], RecipeError.exit_code, ["python_version"]),
    ],
)
def test_what_is_wrong_is_told(kiln: Callable[..., Result], arguments: list[str], code: int, messages: list[str]) -> None:
    answer = kiln(*arguments)
    assert answer.exit_code == code
    for message in messages:
        assert message in answer.stderr


def test_a_host_without_a_builder_says_so(kiln: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedBuilder, "refuses", lambda *_: "there is no compiler")
    answer = kiln(*ARGUMENTS)
    assert answer.exit_code == BuildError.exit_code
    assert "there is no compiler" in answer.stderr
