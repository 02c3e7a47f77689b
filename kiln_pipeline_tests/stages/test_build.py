"""One build from plan to inbox, with a scripted builder for what is fast and the zig builder for what is real."""

import gzip
import hashlib
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.provenance.attempt_bundle import check_attempt_bundle
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import read_statement
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.strategies import LADDER_VERSION
from kiln_pipeline.errors import BuildError, StoreError, UpstreamError
from kiln_pipeline.ports import WheelBuilder
from kiln_pipeline.stages import build as build_stage
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline_tests.audit_samples import MATERIALS
from kiln_pipeline_tests.builds import MARKUPSAFE, PYYAML, SDISTS, plan_of
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, MemoryUpstream, ScriptedBuilder, make_wheel

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SIGNER = MemorySigner("testhost")
HOSTS = {"testhost": Host(name="testhost", platforms=tuple(Platform), public_key=SIGNER.public_key)}


class Steps:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def step(self, text: str) -> None:
        self.texts.append(text)


class OddBuilder(ScriptedBuilder):
    """A builder that makes this wheel, whatever it is asked for, and says this in its log."""

    def __init__(self, filename: str, data: bytes, log: str = "building\n") -> None:
        super().__init__()
        self.filename, self.data, self.log = filename, data, log

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        log.write_text(self.log.replace("{work}", str(work)))
        (work / self.filename).write_bytes(self.data)
        return BuildResult(builder=self.name, wheel=work / self.filename, materials=MATERIALS, command=("python", "-m", "build"))


class BrokenBuilder(ScriptedBuilder):
    """A builder that raises in the middle, with files in its folder."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        (work / "half.o").touch()
        raise self.error


def clock() -> Callable[[], datetime]:
    times = iter(START + timedelta(seconds=9 * number) for number in range(9))
    return lambda: next(times)


def run(
    tmp_path: Path,
    plan: BuildPlan,
    builder: WheelBuilder,
    *,
    inbox: MemoryStore | None = None,
    upstream: MemoryUpstream | None = None,
    steps: Steps | None = None,
) -> tuple[Attempt, MemoryStore]:
    inbox = MemoryStore() if inbox is None else inbox
    attempt = build_wheel(
        plan,
        builder=builder,
        upstream=upstream or MemoryUpstream({}, {path.name: path.read_bytes() for path in SDISTS.iterdir()}),
        inbox=inbox,
        signer=SIGNER,
        clock=clock(),
        work=tmp_path / "work",
        progress=steps or Steps(),
        run_id="run-1",
    )
    return attempt, inbox


def bundle(inbox: MemoryStore) -> tuple[str, dict[str, bytes]]:
    (name,) = {key.partition("/")[0] for key in inbox.keys()}
    return name, {key.partition("/")[2]: inbox.get(key) for key in inbox.keys()}


def log_of(inbox: MemoryStore) -> list[str]:
    return gzip.decompress(bundle(inbox)[1]["build.log.gz"]).decode().splitlines()


def tagged_wheel(tag: str = "cp311-cp311-manylinux_2_17_x86_64", extension: str | None = "_speedups") -> tuple[str, bytes]:
    return make_wheel("markupsafe", "2.0.1", tag, extension=extension, build="1")


def test_a_success_leaves_a_bundle_that_the_publisher_accepts(tmp_path: Path) -> None:
    """Log, wheel and attestation, in that order; the attempt is what the statement says."""
    plan, steps = plan_of(MARKUPSAFE), Steps()
    filename, data = tagged_wheel()
    attempt, inbox = run(tmp_path, plan, OddBuilder(filename, data), steps=steps)
    name, files = bundle(inbox)
    assert inbox.puts == [f"{name}/build.log.gz", f"{name}/{filename}", f"{name}/attestation.json"]
    checked = check_attempt_bundle(name, files, HOSTS)
    assert (checked.wheel, checked.statement.attempt, checked.statement.run_id) == (data, attempt, "run-1")
    assert attempt == Attempt(
        release=plan.release,
        identifier=plan.identifier,
        outcome=Outcome.SUCCEEDED,
        started=START,
        finished=START + timedelta(seconds=9),
        host="testhost",
        builder="scripted",
        sdist_sha256=plan.sdist.sha256,
        recipe_sha256="",
        wheel=filename,
        wheel_sha256=hashlib.sha256(data).hexdigest(),
        wheel_size=len(data),
        metadata_sha256=hashlib.sha256(checked.metadata).hexdigest(),
        log_sha256=hashlib.sha256(files["build.log.gz"]).hexdigest(),
        ladder=LADDER_VERSION,
        statement_sha256=name,
    )
    assert log_of(inbox)[-1] == f"kiln: SUCCEEDED {filename} sha256={attempt.wheel_sha256}"
    assert steps.texts == [
        "markupsafe==2.0.1 cp311-manylinux_x86_64: building with scripted",
        f"markupsafe==2.0.1 cp311-manylinux_x86_64: SUCCEEDED {filename} sha256={attempt.wheel_sha256}",
    ]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_failure_is_recorded_with_the_same_care(tmp_path: Path) -> None:
    """No wheel, but log, class, proof and a signature that the publisher accepts."""
    failure = Failure(failure_class="missing-header", proof="x.c:1:10: fatal error: 'yaml.h' file not found", hint="add it")
    attempt, inbox = run(tmp_path, plan_of(MARKUPSAFE), ScriptedBuilder({"cp311-manylinux_x86_64": failure}))
    name, files = bundle(inbox)
    checked = check_attempt_bundle(name, files, HOSTS)
    assert (checked.statement.attempt, checked.statement.hint) == (attempt, "add it")
    assert (attempt.outcome, attempt.failure, attempt.proof, attempt.wheel) == (
        Outcome.FAILED, "missing-header", failure.proof, "",
    )  # fmt: skip
    assert log_of(inbox)[-1] == f"kiln: FAILED missing-header: {failure.proof}"


def test_the_same_build_leaves_the_same_bytes(tmp_path: Path) -> None:
    """Content-addressed: killed and run again, there is one bundle."""
    inbox = MemoryStore()
    first, _ = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel()), inbox=inbox)
    before = dict(inbox.objects)
    second, _ = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel()), inbox=inbox)
    assert (first, before) == (second, inbox.objects)


@pytest.mark.parametrize(
    ("wheel", "failure_class", "proof"),
    [
        (tagged_wheel(extension=None), "lost-extension", "the wheel has no extension module at all"),
        (
            tagged_wheel("cp312-cp312-manylinux_2_17_x86_64"),
            "bad-wheel",
            "no tag of it fits cp311: cp312-cp312-manylinux_2_17_x86_64",
        ),
        (("markupsafe-2.0.1-1-cp311-cp311-manylinux_2_17_x86_64.whl", b"no zip"), "bad-wheel", "it is no valid zip file"),
    ],
)
def test_a_wheel_that_is_not_what_was_asked_for_is_a_failure(
    tmp_path: Path, wheel: tuple[str, bytes], failure_class: str, proof: str
) -> None:
    """It never reaches the inbox."""
    attempt, inbox = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*wheel))
    assert (attempt.outcome, attempt.failure, proof in attempt.proof) == (Outcome.FAILED, failure_class, True)
    assert sorted(bundle(inbox)[1]) == ["attestation.json", "build.log.gz"]


def test_a_wheel_for_a_newer_system_is_no_matter_of_build_requirements(tmp_path: Path) -> None:
    """The ladder has nothing that changes it, and is not climbed."""
    attempt, inbox = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel("cp311-cp311-manylinux_2_34_x86_64")))
    assert (attempt.failure, attempt.proof) == ("bad-binary", "it needs a newer system than glibc 2.28: manylinux_2_34_x86_64")
    assert [line for line in log_of(inbox) if line.startswith("kiln: trying ")] == [
        "kiln: trying as-of, build requirements until 2023-01-22 00:00:00 UTC"
    ]


def test_a_lost_extension_names_the_logs_first_error(tmp_path: Path) -> None:
    """The compiler said why, long before the build ended well."""
    log = "x.c:2:10: fatal error: 'yaml.h' file not found\nError compiling module, falling back to pure Python\n"
    _, inbox = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel(extension=None), log))
    name, files = bundle(inbox)
    hint = check_attempt_bundle(name, files, HOSTS).statement.hint
    assert hint.endswith("; the log's first error is: x.c:2:10: fatal error: 'yaml.h' file not found")


def test_an_sdist_that_differs_from_upstreams_hash_is_never_built(tmp_path: Path) -> None:
    """Upstream's fault, and no attempt."""
    builder, inbox = ScriptedBuilder(), MemoryStore()
    with pytest.raises(UpstreamError, match="sha256"):
        run(tmp_path, plan_of(MARKUPSAFE), builder, inbox=inbox, upstream=MemoryUpstream({}, {MARKUPSAFE: b"other"}))
    assert (builder.built, inbox.objects, list((tmp_path / "work").iterdir())) == ([], {}, [])


@pytest.mark.parametrize("error", [BuildError(subject="podman", reason="does not answer"), KeyboardInterrupt(), MemoryError()])
def test_a_builder_that_cannot_run_records_nothing(tmp_path: Path, error: BaseException) -> None:
    """The error goes on, and the folder is gone."""
    inbox = MemoryStore()
    with pytest.raises(type(error)):
        run(tmp_path, plan_of(MARKUPSAFE), BrokenBuilder(error), inbox=inbox)
    assert (inbox.objects, list((tmp_path / "work").iterdir())) == ({}, [])


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_an_inbox_that_fills_up_holds_no_attestation(tmp_path: Path, puts: int) -> None:
    """A bundle without one is an interrupted build; the next try completes it."""
    inbox = MemoryStore(fail_after=puts)
    with pytest.raises(StoreError):
        run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel()), inbox=inbox)
    assert not any(key.endswith("attestation.json") for key in inbox.keys())
    inbox.fail_after = None
    attempt, _ = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel()), inbox=inbox)
    assert read_statement(unverified_payload(inbox.get(f"{attempt.statement_sha256}/attestation.json"))) == attempt


def test_a_log_names_no_folder_of_the_host_and_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are public; a runaway one must not fill the site."""
    monkeypatch.setattr(build_stage, "MAX_LOG_SIZE", 4 * 400)  # shared by four rungs
    text = "cc {work}/a.c\n" + "x" * 1000 + "\nend of it"
    _, inbox = run(tmp_path, plan_of(MARKUPSAFE), OddBuilder(*tagged_wheel(), text))
    lines = log_of(inbox)
    assert (lines[1], lines[-2], str(tmp_path) in "".join(lines)) == ("cc {work}/build/a.c", "end of it", False)
    assert any(line.endswith("bytes are left out here") for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zig builder is for Linux")
def test_pyyaml_without_libyaml_end_to_end(tmp_path: Path, tools_folder: Path) -> None:
    """A real build that lost its extension: refused, with its class, its proof and what the person is to do."""
    identifier = f"cp{sys.version_info[0]}{sys.version_info[1]}-manylinux_{platform.machine()}"
    settings = BuildSettings(constraints=("Cython<3",), extensions=("yaml._yaml",), system_packages={"dnf": ("libyaml-devel",)})
    plan = plan_of(PYYAML, identifier, settings=settings)
    attempt, inbox = run(tmp_path, plan, ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT))
    assert (attempt.failure, attempt.proof, attempt.builder) == ("lost-extension", "yaml._yaml not in the wheel", "zig")
    name, files = bundle(inbox)
    assert check_attempt_bundle(name, files, HOSTS).statement.hint == (
        "the recipe's system packages (dnf: libyaml-devel) are installed where a container engine builds, and not without one; "
        "the log's first error is: yaml/_yaml.h:2:10: fatal error: 'yaml.h' file not found"
    )
