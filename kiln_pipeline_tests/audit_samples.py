"""Attempt bundles as build hosts leave them, made by the product's own code from the fakes' small wheels."""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.core.provenance.dsse import sign_envelope
from kiln_pipeline.core.provenance.statement import build_statement
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.wheel_contents import read_wheel
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, make_wheel

HOST = MemorySigner("mac-mini-1")
LOG = MemorySigner("kiln.invalid/test")
HOSTS = {HOST.name: Host(name=HOST.name, platforms=(Platform.MACOSX_ARM64,), public_key=HOST.public_key)}
RECIPE = 'reason = "no wheels upstream"\n'
RECIPE_SHA256 = hashlib.sha256(RECIPE.encode()).hexdigest()
STARTED = datetime(2026, 11, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def sdist_bytes(project: str, version: str) -> bytes:
    return f"{project} {version} sdist".encode()


def sample_plan(project: str = "wrapt", version: str = "1.14.0", python: str = "cp311", *, build_number: int = 1) -> BuildPlan:
    """A plan with something in every field."""
    data = sdist_bytes(project, version)
    return BuildPlan(
        release=Release.of(project, version),
        identifier=BuildIdentifier.parse(f"{python}-macosx_arm64"),
        sdist=DistributionFile(
            filename=f"{project}-{version}.tar.gz",
            url=f"https://files.example.org/{project}-{version}.tar.gz",
            kind=FileKind.SDIST,
            version=version,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            requires_python=">=2.7, !=3.0.*",
            upload_time=datetime(2022, 3, 1, 8, 30, 1, 7, tzinfo=UTC),
        ),
        settings=BuildSettings(
            cibuildwheel=MappingProxyType({"build-verbosity": 1, "environment": {"WRAPT_INSTALL_EXTENSIONS": "true"}}),
            constraints=("Cython<3",),
            system_packages=MappingProxyType({"brew": ("libyaml",)}),
        ),
        environment=MappingProxyType({"CFLAGS": "-O2"}),
        build_number=build_number,
        recipe_text=RECIPE,
        recipe_sha256=RECIPE_SHA256,
    )


FAILURE = Failure(failure_class="compile", proof="wrapt.c:1: error: 'é' \udc80", hint="look at the log")
MATERIALS = (
    Material(name="Cython==0.29.37", kind="build-requirement", uri="https://files.example.org/Cython.whl", sha256="a" * 64),
    Material(name="cibuildwheel==4.3.3", kind="tool"),
    Material(name="cpython==3.11.7", kind="interpreter"),
)


def sample_bundle(
    plan: BuildPlan,
    *,
    failure: Failure | None = None,
    signer: MemorySigner = HOST,
    host: str = "",
    minutes: int = 0,
    seconds: int = 75,
    wheel_build: str = "",
    requires_python: str = ">=3.6",
    damage: Callable[[bytes], bytes] = bytes,
) -> tuple[str, dict[str, bytes]]:
    """Return (bundle id, file name -> bytes) of one attempt.

    `minutes` moves its times, `seconds` is how long it took, `damage` is done before it is signed.
    """
    log = gzip.compress(f"building {plan.release} for {plan.identifier} {minutes}\n".encode(), mtime=0)
    files = {"build.log.gz": log}
    facts = None
    if failure is None:
        python = str(plan.identifier.python)
        filename, data = make_wheel(
            plan.release.project,
            plan.release.version,
            f"{python}-{python}-macosx_11_0_arm64",
            requires_python=requires_python,
            build=wheel_build or str(plan.build_number),
        )
        files[filename] = damage(data)
        damaged = {"sha256": hashlib.sha256(damage(data)).hexdigest(), "size": len(damage(data))}
        facts = replace(read_wheel(filename, data), **damaged)
    started = STARTED + timedelta(minutes=minutes)
    payload = build_statement(
        plan=plan,
        result=BuildResult(
            builder="cibuildwheel",
            materials=MATERIALS,
            command=("cibuildwheel", "--only", str(plan.identifier), "{work}/sdist"),
            environment=MappingProxyType({"SOURCE_DATE_EPOCH": str(plan.source_date_epoch)}),
        ),
        wheel=facts,
        failure=failure,
        log_sha256=hashlib.sha256(log).hexdigest(),
        host=host or signer.name,
        started=started,
        finished=started + timedelta(seconds=seconds),
        run_id="run-1",
    )
    files["attestation.json"] = sign_envelope(payload, [signer])
    return hashlib.sha256(payload).hexdigest(), files


def put_bundle(inbox: MemoryStore, bundle: tuple[str, Mapping[str, bytes]]) -> str:
    """Write a bundle as a build host does, the attestation last, and return its id."""
    bundle_id, files = bundle
    for name in sorted(files, key=lambda name: name == "attestation.json"):
        inbox.put(f"{bundle_id}/{name}", files[name])
    return bundle_id


class Silent:
    """A `Progress` that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, text: str) -> None:
        self.lines.append(text)
