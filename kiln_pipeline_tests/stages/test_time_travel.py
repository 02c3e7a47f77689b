"""The ladder walked: one attempt with every rung in its log and statement; and real old releases on Pythons they never knew."""

import gzip
import io
import platform
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.ladder import RungOutcome
from kiln_pipeline.core.patches import Patch
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import Statement, parse_statement
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.replay import replay_plan
from kiln_pipeline.core.strategies import Rung, Strategy
from kiln_pipeline.ports import WheelBuilder
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline_tests.builds import FASTRLOCK, MARKUPSAFE, PYYAML, SDISTS, plan_of
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, MemoryUpstream, ScriptedBuilder

HERE = f"cp{sys.version_info[0]}{sys.version_info[1]}-manylinux_{platform.machine()}"
CP311_HERE = f"cp311-manylinux_{platform.machine()}"


class LadderBuilder(ScriptedBuilder):
    """Fails by rung with this class, and makes the wheel by any other."""

    def __init__(self, failures: dict[Rung, str], generated: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.by_rung, self.generated = failures, generated

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        assert list(work.iterdir()) == []
        failure_class = self.by_rung.get(plan.strategy.rung)
        self.failures = (
            {str(plan.identifier): Failure(failure_class=failure_class, proof=f"{plan.strategy.rung}!", hint="")}
            if failure_class
            else {}
        )
        result = super().build(plan, sdist, work=work, log=log)
        return BuildResult(
            builder=self.name,
            wheel=result.wheel,
            failure=result.failure,
            materials=(Material(name=f"{plan.strategy.rung}==1", kind="tool"), *result.materials),
            generated=self.generated,
        )


def run(tmp_path: Path, plan: BuildPlan, builder: WheelBuilder) -> tuple[Statement, str, bytes]:
    """Return the statement, the log and the wheel."""
    inbox = MemoryStore()
    attempt = build_wheel(
        plan,
        builder=builder,
        upstream=MemoryUpstream({}, {path.name: path.read_bytes() for path in SDISTS.iterdir()}),
        inbox=inbox,
        signer=MemorySigner("testhost"),
        clock=lambda: datetime.now(UTC),
        work=tmp_path / "work",
        progress=MemoryProgress(),
    )
    bundle = attempt.statement_sha256
    wheel = inbox.get(f"{bundle}/{attempt.wheel}") if attempt.wheel else b""
    log = gzip.decompress(inbox.get(f"{bundle}/build.log.gz")).decode()
    return parse_statement(unverified_payload(inbox.get(f"{bundle}/attestation.json"))), log, wheel


class MemoryProgress:
    def step(self, text: str) -> None:
        """Say nothing."""


def test_the_winner_is_on_record_with_all_that_was_tried_before(tmp_path: Path) -> None:
    """One attempt; strategy, materials and wheel are the winner's, the log has a part for every rung."""
    builder = LadderBuilder({Rung.AS_OF: "removed-c-api", Rung.REGENERATED: "compiler-error"}, ("a.c",))
    statement, log, wheel = run(tmp_path, plan_of(MARKUPSAFE), builder)
    assert [plan.strategy.rung for plan in builder.built] == [Rung.AS_OF, Rung.REGENERATED, Rung.NEWER_SETUPTOOLS]
    assert (statement.strategy, bool(wheel)) == (builder.built[-1].strategy, True)
    assert statement.materials[0].name == "as-of-newer-setuptools==1"
    assert statement.rungs == (
        RungOutcome(rung="as-of", failure_class="removed-c-api", proof="as-of!"),
        RungOutcome(rung="as-of-regenerated", failure_class="compiler-error", proof="as-of-regenerated!"),
        RungOutcome(rung="as-of-newer-setuptools"),
    )
    until = "build requirements until 2023-01-22 00:00:00 UTC"
    building = "building markupsafe==2.0.1 for cp311-manylinux_x86_64"
    assert log.splitlines()[:-1] == [
        *(f"kiln: trying as-of, {until}", building, "kiln: as-of failed: removed-c-api: as-of!"),
        *(f"kiln: trying as-of-regenerated, {until}", building),
        "kiln: as-of-regenerated failed: compiler-error: as-of-regenerated!",
        *(f"kiln: trying as-of-newer-setuptools, {until}", building),
    ]
    assert log.splitlines()[-1].startswith("kiln: SUCCEEDED markupsafe-2.0.1-1-cp311")
    assert list((tmp_path / "work").iterdir()) == []


def test_when_every_rung_fails_the_first_ones_failure_is_the_attempts(tmp_path: Path) -> None:
    """Its build requirements fit the release best; no C to generate, so that rung is passed over."""
    failures = {
        Rung.AS_OF: "removed-c-api",
        Rung.OLD_C_API: "compiler-error",
    }
    statement, log, _ = run(tmp_path, plan_of(MARKUPSAFE), LadderBuilder(failures))
    assert (statement.attempt.failure, statement.attempt.proof, statement.strategy.rung) == (
        "removed-c-api",
        "as-of!",
        Rung.AS_OF,
    )
    assert statement.materials[0].name == "as-of==1"
    assert [rung.rung for rung in statement.rungs] == ["as-of", "as-of-old-c-api"]
    assert log.splitlines()[-1] == "kiln: FAILED removed-c-api: as-of!"


@pytest.mark.parametrize(
    ("settings", "failures", "tried"),
    [
        (BuildSettings(), {Rung.AS_OF: "timeout"}, ["as-of"]),
        (BuildSettings(), {Rung.AS_OF: "missing-library"}, ["as-of"]),
        (BuildSettings(time_travel="latest"), {Rung.LATEST: "compiler-error"}, ["latest"]),
        (BuildSettings(ladder=(Rung.LATEST, Rung.AS_OF)), {Rung.LATEST: "compiler-error"}, ["latest", "as-of"]),
        (BuildSettings(), {Rung.AS_OF: "compiler-error", Rung.NEWER_SETUPTOOLS: "network"}, ["as-of", "as-of-newer-setuptools"]),
    ],
)
def test_the_recipe_and_the_failure_decide_how_far_it_goes(
    tmp_path: Path, settings: BuildSettings, failures: dict[Rung, str], tried: list[str]
) -> None:
    """Off, in another order, or stopped by what no rung mends."""
    statement, _, _ = run(tmp_path, plan_of(MARKUPSAFE, settings=settings), LadderBuilder(failures))
    assert [rung.rung for rung in statement.rungs] == tried


class PathBuilder(ScriptedBuilder):
    """Fails with its folder in the proof, as compilers do."""

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        log.touch()
        return BuildResult(builder=self.name, failure=Failure(failure_class="timeout", proof=f"{work}/a.c: error", hint=""))


def test_no_proof_names_a_folder_of_the_host(tmp_path: Path) -> None:
    """Statements are public."""
    statement, log, _ = run(tmp_path, plan_of(MARKUPSAFE), PathBuilder())
    assert (statement.attempt.proof, str(tmp_path) in log) == ("{work}/build/a.c: error", False)


def needs_cp311(builder: ZigBuilder) -> None:
    if "cp311" not in map(str, builder.pythons() or ()):
        pytest.skip("no Python 3.11 with headers on this host")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zig builder is for Linux")
def test_stale_generated_c_is_generated_anew_and_the_replay_is_the_same_to_the_byte(tmp_path: Path, tools_folder: Path) -> None:
    """fastrlock 0.5 ships C of Cython 0.29.19, which Python 3.11 does not compile; the recorded files make it again."""
    builder = ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT)
    needs_cp311(builder)
    statement, log, wheel = run(tmp_path, plan_of(FASTRLOCK, CP311_HERE), builder)
    assert [(rung.rung, rung.failure_class) for rung in statement.rungs] == [
        ("as-of", "removed-c-api"),
        ("as-of-regenerated", ""),
    ], log
    assert "cython==0.29.37" in [material.name for material in statement.materials]
    replayed, log, again = run(tmp_path, replay_plan(statement), builder)
    assert (again == wheel, replayed.strategy.only != (), len(replayed.rungs)) == (True, True, 1), log
    assert [material for material in replayed.materials if material.sha256] == [
        material for material in statement.materials if material.sha256
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zig builder is for Linux")
def test_a_patch_is_in_the_wheel_on_record_and_in_the_replay(tmp_path: Path, tools_folder: Path) -> None:
    """Without a container engine too; one that does not fit ends the attempt at once, whatever rungs are left."""
    text = "For this test only\n\n--- a/src/markupsafe/__init__.py\n+++ b/src/markupsafe/__init__.py\n"
    good = Patch(name="good.patch", text=f"{text}@@ -1,1 +1,2 @@\n+PATCHED = True\n import functools\n")
    bad = Patch(name="bad.patch", text=f"{text}@@ -1,1 +1,1 @@\n-import snakes\n+import functools\n")
    builder = ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT)
    statement, log, wheel = run(tmp_path, plan_of(MARKUPSAFE, HERE, settings=BuildSettings(patches=(good,))), builder)
    assert (statement.attempt.failure, statement.plan.settings.patches) == ("", (good,)), log
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert archive.read("markupsafe/__init__.py").startswith(b"PATCHED = True\nimport functools")
    replayed, log, again = run(tmp_path, replay_plan(statement), builder)
    assert (again == wheel, replayed.plan.settings.patches) == (True, (good,)), log
    refused, log, _ = run(tmp_path, plan_of(MARKUPSAFE, HERE, settings=BuildSettings(patches=(good, bad))), builder)
    assert (refused.attempt.failure, len(refused.rungs)) == ("patch-refused", 1), log
    assert refused.attempt.proof == "patches/bad.patch: patch failed: src/markupsafe/__init__.py:1"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zig builder is for Linux")
def test_pyyaml_needs_no_constraint_on_cython_any_more(tmp_path: Path, tools_folder: Path) -> None:
    """5.4.1 fails with Cython 3; as of its date it gets as far as libyaml, which no other rung brings."""
    builder = ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT)
    needs_cp311(builder)
    statement, log, _ = run(tmp_path, plan_of(PYYAML, CP311_HERE), builder)
    assert [(rung.rung, rung.failure_class) for rung in statement.rungs] == [("as-of", "lost-extension")], log
    assert "cython==0.29.33" in [material.name for material in statement.materials]
    plain, log, _ = run(tmp_path, plan_of(PYYAML, CP311_HERE, settings=BuildSettings(time_travel="latest")), builder)
    assert (plain.strategy, plain.attempt.failure) == (Strategy(), "setup-exception"), log


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zig builder is for Linux")
def test_a_replay_of_files_that_are_gone_says_so(tmp_path: Path, tools_folder: Path) -> None:
    """Nothing else is taken in their place."""
    plan = plan_of(MARKUPSAFE, HERE)
    gone = BuildPlan(
        release=plan.release,
        identifier=plan.identifier,
        sdist=plan.sdist,
        settings=plan.settings,
        strategy=Strategy(rung=Rung.AS_OF, only=("0" * 64,)),
    )
    statement, log, _ = run(tmp_path, gone, ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT))
    assert (statement.attempt.failure, len(statement.rungs)) == ("build-requirement", 1), log
    assert "kiln: index: no file of setuptools is within the bounds of this build" in log.splitlines()
