"""Rebuilds: the verdict is on what was published, with what is on record; and what says nothing of the wheel is no verdict."""

import base64
import gzip
import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from platform import machine
from types import MappingProxyType

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters import diffoscope
from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import parse_statement
from kiln_pipeline.core.rebuilds import Obstacle, RebuildVerdict, summary
from kiln_pipeline.core.wheel_comparison import compare_wheels
from kiln_pipeline.errors import BuildError, NotRebuildable, UpstreamError
from kiln_pipeline.ports import WheelBuilder
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.stages.rebuild import Explain, Original, Rebuilt, rebuild_wheel
from kiln_pipeline_tests.audit_samples import LOG, MATERIALS, Silent, sample_bundle, sample_plan, sdist_bytes
from kiln_pipeline_tests.builds import MARKUPSAFE, SDISTS, plan_of
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, MemoryUpstream, ScriptedBuilder

HERE = Platform.MACOSX_ARM64
SDIST = {"wrapt-1.14.0.tar.gz": sdist_bytes("wrapt", "1.14.0")}


def original(plan: BuildPlan | None = None) -> Original:
    bundle = sample_bundle(plan or sample_plan(), requires_python="")
    statement = parse_statement(unverified_payload(bundle[1]["attestation.json"]))
    wheel = bundle[1][statement.attempt.wheel]
    return Original(wheel=wheel, statement=statement, index=7, origin=LOG.name)


class Again(ScriptedBuilder):
    """Makes the small wheel of its plan again, altered by `change`."""

    name = "cibuildwheel"

    def __init__(self, change: Callable[[bytes], bytes] = bytes, failure: Failure | None = None) -> None:
        super().__init__({"cp311-macosx_arm64": failure} if failure else None)
        self.change, self.asked = change, list[tuple[Sequence[Material], Path]]()

    def replaying(self, identifier: BuildIdentifier, materials: Sequence[Material], folder: Path) -> "Again":
        assert not folder.exists()
        self.asked.append((materials, folder))
        return self

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        result = super().build(plan, sdist, work=work, log=log)
        if result.wheel is not None:
            result.wheel.write_bytes(self.change(result.wheel.read_bytes()))
        return replace(result, materials=MATERIALS)


def no_diffoscope(published: Path, rebuilt: Path) -> str:
    return ""


def again(
    tmp_path: Path,
    builder: ScriptedBuilder,
    *,
    of: Original | None = None,
    files: dict[str, bytes] = SDIST,
    platform: Platform = HERE,
    explain: Explain = no_diffoscope,
) -> Rebuilt:
    times = iter(datetime(2026, 11, 2, 12, minute, tzinfo=UTC) for minute in range(2))
    rebuilt = rebuild_wheel(
        of or original(),
        builders=(builder,),
        platform=platform,
        host="mac-mini-2",
        upstream=MemoryUpstream({}, files),
        clock=lambda: next(times),
        work=tmp_path,
        explain=explain,
        progress=Silent(),
    )
    assert list(tmp_path.iterdir()) == [], "the fresh place is gone afterwards"
    assert rebuilt.rebuild.log_sha256 == hashlib.sha256(rebuilt.log).hexdigest()
    return rebuilt


def rezipped(wheel: bytes, **contents: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in reversed(old.namelist()):
            new.writestr(zipfile.ZipInfo(name, (2022, 2, 2, 2, 2, 2)), contents.get(name, old.read(name)))
    return buffer.getvalue()


def test_identical(tmp_path: Path) -> None:
    """The plan is the recorded one, bound to the recorded files; the tools are asked for by what is on record."""
    builder = Again()
    rebuilt = again(tmp_path, builder)
    assert (rebuilt.rebuild.verdict, rebuilt.difference, rebuilt.wheel) == (RebuildVerdict.IDENTICAL, "", original().wheel)
    assert rebuilt.rebuild.rebuilt_sha256 == rebuilt.rebuild.wheel_sha256
    assert (rebuilt.rebuild.host, rebuilt.rebuild.original) == ("mac-mini-2", 7)
    ((materials, _),) = builder.asked
    assert materials == MATERIALS
    (plan,) = builder.built
    assert plan.strategy.only == ("a" * 64,)
    assert not plan.caches
    assert replace(plan, strategy=sample_plan().strategy, caches=True) == sample_plan()
    assert gzip.decompress(rebuilt.log).decode().splitlines()[-1] == f"kiln: {summary(rebuilt.rebuild)}"


def test_equal(tmp_path: Path) -> None:
    rebuilt = again(tmp_path, Again(rezipped))
    assert rebuilt.rebuild.verdict is RebuildVerdict.EQUAL
    assert rebuilt.rebuild.difference_sha256 == hashlib.sha256(gzip.compress(rebuilt.difference.encode(), mtime=0)).hexdigest()
    assert "the order of the members" in rebuilt.difference


def other_code(wheel: bytes) -> bytes:
    """A wheel with other code, and a RECORD that is right about it."""
    code, record = b"import os\n", "wrapt-1.14.0.dist-info/RECORD"
    digest = base64.urlsafe_b64encode(hashlib.sha256(code).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(io.BytesIO(wheel)) as old:
        rows = old.read(record).decode().splitlines(keepends=True)
    rows = [f"wrapt/__init__.py,sha256={digest},{len(code)}\n" if row.startswith("wrapt/__init__") else row for row in rows]
    return rezipped(wheel, **{"wrapt/__init__.py": code, record: "".join(rows).encode()})


def test_different(tmp_path: Path) -> None:
    rebuilt = again(tmp_path, Again(other_code))
    assert rebuilt.rebuild.verdict is RebuildVerdict.DIFFERENT
    assert "+import os" in rebuilt.difference
    assert "RECORD" not in rebuilt.difference


def test_diffoscope_has_the_word_where_it_is_there(tmp_path: Path) -> None:
    """It is given both wheels, under their names."""

    def explain(published: Path, rebuilt: Path) -> str:
        assert published.name == rebuilt.name == original().statement.attempt.wheel
        assert (published.read_bytes(), rebuilt.read_bytes()) == (original().wheel, other_code(original().wheel))
        return "its own text\n"

    assert again(tmp_path, Again(other_code), explain=explain).difference == "its own text\n"


def test_other_inputs_are_told(tmp_path: Path) -> None:
    """A difference that comes of another tool is not the package's."""

    class Newer(Again):
        def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
            newer = [replace(item, name=item.name.replace("cibuildwheel==4.3.3", "cibuildwheel==9.9.9")) for item in MATERIALS]
            return replace(super().build(plan, sdist, work=work, log=log), materials=tuple(newer))

    assert again(tmp_path, Newer(other_code)).difference.splitlines()[:2] == [
        "recorded, and not used this time: tool cibuildwheel==4.3.3",
        "used this time, and not on record: tool cibuildwheel==9.9.9",
    ]


class Gone(Again):
    def replaying(self, identifier: BuildIdentifier, materials: Sequence[Material], folder: Path) -> Again:
        raise NotRebuildable(subject="image", obstacle=Obstacle.IMAGE_GONE, reason="nobody has it")


def unpinned() -> Original:
    """A build requirement is on record without its hash."""
    whole = original()
    return replace(whole, statement=replace(whole.statement, materials=(replace(MATERIALS[0], sha256=""),)))


def hostile_options() -> Original:
    """A stranger's statement asks for what no recipe may: the host's folders in the container."""
    options = MappingProxyType({"container-engine": {"name": "podman", "create-args": ["-v/:/host"]}})
    plan = sample_plan()
    return original(replace(plan, settings=replace(plan.settings, cibuildwheel=options)))


def failed(failure_class: FailureClass) -> Again:
    return Again(failure=Failure(failure_class=failure_class, proof="it broke", hint=""))


@pytest.mark.parametrize(
    ("builder", "more", "obstacle", "said"),
    [
        (Again(), {"files": {}}, Obstacle.SDIST_GONE, "upstream answered 404"),
        (Again(), {"files": {"wrapt-1.14.0.tar.gz": b"another"}}, Obstacle.SDIST_GONE, "its sha256 differs"),
        (failed(FailureClass.BUILD_REQUIREMENT), {}, Obstacle.REQUIREMENT_GONE, "it broke"),
        (failed(FailureClass.COMPILER_ERROR), {}, Obstacle.BUILD_FAILED, "compiler-error: it broke"),
        (Gone(), {}, Obstacle.IMAGE_GONE, "nobody has it"),
        (Again(), {"of": unpinned()}, Obstacle.NOT_RECORDED, "no sha256 is on record for Cython==0.29.37"),
        (Again(), {"of": hostile_options()}, Obstacle.REFUSED, "container-engine: may not be set here"),
        (ScriptedBuilder(), {}, Obstacle.NO_BUILDER, "this host has no builder called cibuildwheel"),
        (ScriptedBuilder(), {"platform": Platform.MANYLINUX_X86_64}, Obstacle.OTHER_PLATFORM, "no builder called cibuildwheel"),
    ],
)
def test_not_rebuildable(tmp_path: Path, builder: ScriptedBuilder, more: dict, obstacle: Obstacle, said: str) -> None:
    """Each with a name of its own, and the sentence; the log ends in it."""
    rebuilt = again(tmp_path, builder, **more)
    assert (rebuilt.rebuild.verdict, rebuilt.rebuild.obstacle) == (RebuildVerdict.NOT_REBUILDABLE, obstacle)
    assert said in rebuilt.rebuild.reason
    assert (rebuilt.filename, rebuilt.wheel, rebuilt.rebuild.rebuilt_sha256) == ("", b"", "")
    assert gzip.decompress(rebuilt.log).decode().endswith(f"kiln: not rebuildable: {obstacle}: {rebuilt.rebuild.reason}\n")


@pytest.mark.parametrize(
    "failure_class", [FailureClass.NETWORK, FailureClass.ENGINE, FailureClass.TIMEOUT, FailureClass.OUT_OF_DISK]
)
def test_what_says_more_of_the_day_is_no_verdict(tmp_path: Path, failure_class: FailureClass) -> None:
    """It is an error, and another try is worth it."""
    with pytest.raises(BuildError, match="no verdict") as refusal:
        again(tmp_path, failed(failure_class))
    assert not isinstance(refusal.value, NotRebuildable)


def test_an_upstream_that_does_not_answer_is_no_verdict(tmp_path: Path) -> None:
    class Away(MemoryUpstream):
        def download(self, file, folder):
            raise UpstreamError(subject=file.filename, reason="it cannot be reached", retriable=True)

    with pytest.raises(UpstreamError):
        rebuild_wheel(
            original(), builders=(Again(),), platform=HERE, host="h", upstream=Away({}), clock=lambda: datetime.now(UTC),
            work=tmp_path, explain=no_diffoscope, progress=Silent(),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def really_built(tmp_path: Path, builder: WheelBuilder, identifier: str) -> Original:
    """MarkupSafe 2.0.1, built for real, as if it had been published."""
    inbox = MemoryStore()
    attempt = build_wheel(
        plan_of(MARKUPSAFE, identifier),
        builder=builder,
        upstream=MemoryUpstream({}, {MARKUPSAFE: (SDISTS / MARKUPSAFE).read_bytes()}),
        inbox=inbox,
        signer=MemorySigner("first"),
        clock=lambda: datetime.now(UTC),
        work=tmp_path / "first",
        progress=Silent(),
    )
    bundle = attempt.statement_sha256
    assert attempt.wheel, gzip.decompress(inbox.get(f"{bundle}/build.log.gz")).decode()
    statement = parse_statement(unverified_payload(inbox.get(f"{bundle}/attestation.json")))
    return Original(wheel=inbox.get(f"{bundle}/{attempt.wheel}"), statement=statement, index=0, origin=LOG.name)


def really_rebuilt(tmp_path: Path, builder: WheelBuilder, of: Original) -> Rebuilt:
    return rebuild_wheel(
        of,
        builders=(builder,),
        platform=of.statement.plan.identifier.platform,
        host="second",
        upstream=MemoryUpstream({}, {MARKUPSAFE: (SDISTS / MARKUPSAFE).read_bytes()}),
        clock=lambda: datetime.now(UTC),
        work=tmp_path / "second",
        explain=diffoscope.explain,
        progress=Silent(),
    )


@pytest.mark.slow
def test_a_real_wheel_is_rebuilt_in_a_container(
    tmp_path: Path, tools_folder: Path, container_environment: Mapping[str, str]
) -> None:
    """Identical with the recorded image and cibuildwheel; over it, a doctored wheel is equal or different as it was doctored."""
    builder = CibuildwheelBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)
    of = really_built(tmp_path, builder, "cp311-manylinux_x86_64")
    rebuilt = really_rebuilt(tmp_path, builder, of)
    log = gzip.decompress(rebuilt.log).decode()
    assert (rebuilt.rebuild.verdict, rebuilt.wheel == of.wheel) == (RebuildVerdict.IDENTICAL, True), rebuilt.difference + log
    assert "@sha256:" in log
    assert compare_wheels(rezipped(of.wheel), rebuilt.wheel).verdict is RebuildVerdict.EQUAL
    with zipfile.ZipFile(io.BytesIO(of.wheel)) as archive:
        (module,) = [name for name in archive.namelist() if name.endswith(".so")]
        code = archive.read(module)
    doctored = compare_wheels(rezipped(of.wheel, **{module: code.replace(b"&amp;", b"&amq;", 1)}), rebuilt.wheel)
    assert doctored.verdict is RebuildVerdict.DIFFERENT
    assert f"{module}  {len(code)} bytes published" in doctored.text
    assert "ELF sections that differ: .rodata" in doctored.text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the zig builder is for Linux")
def test_a_real_wheel_is_rebuilt_with_zig(tmp_path: Path, tools_folder: Path) -> None:
    """With tools made anew in the fresh place; another patch release of the interpreter, or another zig, is no rebuild."""
    builder = ZigBuilder(tools_folder, endpoint=PYPI_SIMPLE_ENDPOINT)
    here = f"cp{sys.version_info[0]}{sys.version_info[1]}-manylinux_{machine()}"
    of = really_built(tmp_path, builder, here)
    rebuilt = really_rebuilt(tmp_path, builder, of)
    log = gzip.decompress(rebuilt.log).decode()
    assert (rebuilt.rebuild.verdict, rebuilt.wheel == of.wheel) == (RebuildVerdict.IDENTICAL, True), rebuilt.difference + log
    materials = of.statement.materials
    for old, new, obstacle in (
        ("cpython==", "cpython==3.0.", Obstacle.OTHER_INTERPRETER),
        ("ziglang==0.", "ziglang==0.0.", Obstacle.TOOL_GONE),
    ):
        altered = tuple(replace(item, name=item.name.replace(old, new)) for item in materials)
        told = really_rebuilt(tmp_path, builder, replace(of, statement=replace(of.statement, materials=altered)))
        assert told.rebuild.obstacle == obstacle, told.rebuild.reason


@pytest.mark.slow
def test_an_image_that_is_nowhere(container_environment: Mapping[str, str], tmp_path: Path) -> None:
    """One that was made on the build host is had from nobody else."""
    builder = CibuildwheelBuilder(tmp_path, endpoint=PYPI_SIMPLE_ENDPOINT, environment=container_environment)
    materials = (
        Material(name="cibuildwheel==4.3.3", kind="tool"),
        Material(name="localhost/kiln-nowhere:latest", kind="image", sha256="0" * 64),
    )
    with pytest.raises(NotRebuildable, match="was made on the build host") as refusal:
        builder.replaying(BuildIdentifier.parse("cp311-manylinux_x86_64"), materials, tmp_path / "tools")
    assert refusal.value.obstacle == Obstacle.IMAGE_GONE
