"""Provenance: the in-toto Statement v1 with a SLSA provenance v1 predicate that every attempt leaves. No signing here.

Specifications: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance.
SLSA lets producers add fields named ``<vendor>_<field>``: ours is ``kiln_attempt`` (outcome, failure, wheel, the strategy and
every rung of the ladder that was tried).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from types import MappingProxyType
from urllib.parse import quote

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.build_plan import UNREPAIRED, BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.ladder import RungOutcome
from kiln_pipeline.core.provenance.parameters import external_parameters, read_external_parameters
from kiln_pipeline.core.provenance.strategy_record import (
    read_ladder_version,
    read_strategy_record,
    strategy_fields,
    strategy_record,
)
from kiln_pipeline.core.strategies import Strategy
from kiln_pipeline.core.strict_json import Table, canonical, format_time, parse_canonical
from kiln_pipeline.core.toolchains import tool_of
from kiln_pipeline.core.wheel_contents import WheelFacts

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://python.build/build-types/wheel/v1"
LOG_NAME = "build.log.gz"

DEPENDENCY_FIELDS = {"annotations", "digest", "name", "uri"}
_OWN = {"outcome", "host", "builder", "failure", "wheel"}


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelClaim:
    """What a statement says of its wheel; `claim_of` says the same of a wheel's bytes, and the two must be equal."""

    filename: str
    sha256: str
    size: int
    metadata_sha256: str
    requires_python: str
    license_expression: str
    license_files: tuple[str, ...]
    extensions: tuple[str, ...]
    is_purelib: bool
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A statement, parsed: the attempt that the audit log counts, and what pages and verifiers show besides."""

    attempt: Attempt
    plan: BuildPlan
    """What was asked for, exactly as the build host was given it."""
    run_id: str
    materials: tuple[Material, ...]
    """What went in besides the sdist."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    hint: str
    """What a person can do about the failure; empty for a success."""
    wheel: WheelClaim | None
    strategy: Strategy = Strategy()
    """The rung that made the wheel, or whose failure this is. Statements from before time travel are of plain builds."""
    rungs: tuple[RungOutcome, ...] = ()
    """Every rung that was tried, in order; empty in statements from before time travel."""
    unrepaired: Material | None = None
    """The wheel before its repair, as the build backend made it; None where no repair step was reached or needed."""
    enforced: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """How each limit of the build was enforced; empty in statements from before limits."""


def claim_of(wheel: WheelFacts) -> WheelClaim:
    """Return what a statement must say of this wheel."""
    return WheelClaim(
        filename=wheel.filename,
        sha256=wheel.sha256,
        size=wheel.size,
        metadata_sha256=wheel.metadata_sha256,
        requires_python=wheel.requires_python,
        license_expression=wheel.license_expression,
        license_files=wheel.license_files,
        extensions=wheel.extensions,
        is_purelib=wheel.is_purelib,
        tags=wheel.tags,
    )


def build_statement(
    *,
    plan: BuildPlan,
    result: BuildResult,
    wheel: WheelFacts | None,
    failure: Failure | None,
    log_sha256: str,
    host: str,
    started: datetime,
    finished: datetime,
    run_id: str,
    rungs: Sequence[RungOutcome] = (),
) -> bytes:
    """Return the statement of one attempt as canonical JSON.

    Exactly one of `wheel` and `failure` is given; the times are aware; `plan.strategy` is the rung that `result` is of. The
    subject is the wheel; in-toto wants a subject that is not empty, so that of a failed attempt is the sdist, and
    ``kiln_attempt.outcome`` says that nothing was made of it.
    Raises `VerificationError` when the result could not be read back, for example when the clock ran backwards.
    """
    if (wheel is None) == (failure is None):
        raise ValueError("an attempt has either a wheel or a failure")
    claim = claim_of(wheel) if wheel is not None else None
    subject = (claim.filename, claim.sha256) if claim else (plan.sdist.filename, plan.sdist.sha256)
    byproducts = [(LOG_NAME, log_sha256)]
    if result.unrepaired:
        byproducts.append((result.unrepaired.name, result.unrepaired.sha256))
    if claim:
        byproducts.append((f"{claim.filename}.metadata", claim.metadata_sha256))
    payload = canonical({
        "_type": STATEMENT_TYPE,
        "subject": [{"digest": {"sha256": subject[1]}, "name": subject[0]}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": external_parameters(plan),
                "internalParameters": {
                    "command": result.command, "environment": result.environment, "enforced": result.enforced,
                },
                "resolvedDependencies": [dependency(material) for material in (_sdist(plan), *result.materials)],
            },
            "runDetails": {
                "builder": {"id": _builder_id(host, result.builder)},
                "metadata": {
                    "invocationId": run_id, "startedOn": format_time(started), "finishedOn": format_time(finished),
                },
                "byproducts": [{"digest": {"sha256": sha256}, "name": name} for name, sha256 in byproducts],
            },
            "kiln_attempt": {
                "outcome": Outcome.SUCCEEDED if claim else Outcome.FAILED,
                "host": host,
                "builder": result.builder,
                "failure": {"class": failure.failure_class, "proof": failure.proof, "hint": failure.hint} if failure else None,
                "wheel": {field.name: getattr(claim, field.name) for field in fields(claim)} if claim else None,
                **strategy_record(plan.strategy, rungs),
            },
        },
    })  # fmt: skip
    parse_statement(payload)
    return payload


def read_statement(payload: bytes) -> Attempt:
    """Parse a statement strictly and return its attempt (`index` is -1). Raises `VerificationError` at the first doubt."""
    return parse_statement(payload).attempt


def parse_statement(payload: bytes) -> Statement:
    """Parse a statement strictly: no field more or less than `build_statement` writes, and all of them in agreement.

    Raises `VerificationError` at the first doubt. Whether the statement is true of any file is not looked at here.
    """
    subject = "provenance statement"
    top = Table(parse_canonical(payload, subject), subject, fields={"_type", "subject", "predicateType", "predicate"})
    top.exactly("_type", STATEMENT_TYPE)
    top.exactly("predicateType", PREDICATE_TYPE)
    predicate = top.table("predicate", fields={"buildDefinition", "runDetails", "kiln_attempt"})
    definition = predicate.table(
        "buildDefinition", fields={"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    )
    definition.exactly("buildType", BUILD_TYPE)
    plan = read_external_parameters(definition)
    internal = definition.table("internalParameters", fields=None)
    later = {"enforced"} & internal.plain().keys()  # not in statements from before limits
    internal = definition.table("internalParameters", fields={"command", "environment"} | later)
    run = predicate.table("runDetails", fields={"builder", "metadata", "byproducts"})
    own = predicate.table("kiln_attempt", fields=_OWN | strategy_fields(predicate.table("kiln_attempt", fields=None)))
    strategy, rungs = read_strategy_record(own)
    sdist, *materials = [read_material(row) for row in definition.tables("resolvedDependencies", fields=DEPENDENCY_FIELDS)] or [
        None
    ]
    if sdist is None or sdist != _sdist(plan):
        raise definition.error("resolvedDependencies", "does not start with the sdist of the external parameters")
    wheel = _read_claim(own)
    failure = own.table("failure", fields={"class", "proof", "hint"}) if wheel is None else None
    if wheel is not None:
        own.exactly("failure", None)
    top.exactly("subject", [{"digest": {"sha256": wheel.sha256}, "name": wheel.filename}] if wheel
                else [{"digest": {"sha256": sdist.sha256}, "name": sdist.name}])  # fmt: skip
    run.table("builder", fields={"id"}).exactly("id", _builder_id(own.text("host"), own.text("builder")))
    log_sha256, unrepaired = _read_byproducts(run, wheel)
    found = tuple(material for material in materials if material is not None)
    attempt = replace(
        _read_attempt(payload, plan, own, run, wheel, failure, log_sha256),
        tool=tool_of(own.text("builder"), (material.name for material in found if material.kind == "tool")),
        image_sha256=next((material.sha256 for material in found if material.kind == "image"), ""),
        ladder=read_ladder_version(own),
    )
    return Statement(
        attempt=attempt,
        plan=plan,
        run_id=run.table("metadata", fields=None).text("invocationId"),
        materials=found,
        command=internal.texts("command"),
        environment=internal.text_map("environment"),
        enforced=internal.text_map("enforced") if later else {},
        hint=failure.text("hint") if failure else "",
        wheel=wheel,
        strategy=strategy,
        rungs=rungs,
        unrepaired=unrepaired,
    )


def _sdist(plan: BuildPlan) -> Material:
    return Material(name=plan.sdist.filename, kind="sdist", uri=plan.sdist.url, sha256=plan.sdist.sha256)


def _builder_id(host: str, builder: str) -> str:
    """SLSA wants a URI for whoever must be trusted: the build host and the builder on it."""
    return f"https://python.build/build-hosts/{quote(host, safe='')}/{quote(builder, safe='')}"


def dependency(material: Material) -> dict[str, object]:
    """Return an in-toto ResourceDescriptor; a material without a hash has an empty digest."""
    digest = {"sha256": material.sha256} if material.sha256 else {}
    return {"annotations": {"kind": material.kind}, "digest": digest, "name": material.name, "uri": material.uri}


def read_material(row: Table) -> Material:
    """Return the material that `dependency` wrote, from a table with `DEPENDENCY_FIELDS`. Raises `VerificationError`."""
    digest = row.table("digest", fields={"sha256"} if row.raw("digest") else set())
    return Material(
        name=row.text("name"),
        kind=row.table("annotations", fields={"kind"}).text("kind"),
        uri=row.text("uri"),
        sha256=digest.sha256("sha256") if digest.plain() else "",
    )


def _read_claim(own: Table) -> WheelClaim | None:
    if own.text("outcome") == Outcome.FAILED:
        own.exactly("wheel", None)
        return None
    own.exactly("outcome", str(Outcome.SUCCEEDED))
    wheel = own.table("wheel", fields={field.name for field in fields(WheelClaim)})
    return WheelClaim(
        filename=wheel.text("filename"),
        sha256=wheel.sha256("sha256"),
        size=wheel.whole("size"),
        metadata_sha256=wheel.sha256("metadata_sha256"),
        requires_python=wheel.text("requires_python"),
        license_expression=wheel.text("license_expression"),
        license_files=wheel.texts("license_files"),
        extensions=wheel.texts("extensions"),
        is_purelib=wheel.flag("is_purelib"),
        tags=wheel.texts("tags"),
    )


def _read_attempt(
    payload: bytes,
    plan: BuildPlan,
    own: Table,
    run: Table,
    wheel: WheelClaim | None,
    failure: Table | None,
    log_sha256: str,
) -> Attempt:
    times = run.table("metadata", fields={"invocationId", "startedOn", "finishedOn"})
    if times.time("finishedOn") < times.time("startedOn"):
        raise times.error("finishedOn", "is before startedOn: the build host's clock ran backwards")
    return Attempt(
        release=plan.release,
        identifier=plan.identifier,
        outcome=Outcome.SUCCEEDED if wheel else Outcome.FAILED,
        started=times.time("startedOn"),
        finished=times.time("finishedOn"),
        host=own.text("host"),
        builder=own.text("builder"),
        sdist_sha256=plan.sdist.sha256,
        recipe_sha256=plan.recipe_sha256,
        wheel=wheel.filename if wheel else "",
        wheel_sha256=wheel.sha256 if wheel else "",
        wheel_size=wheel.size if wheel else 0,
        metadata_sha256=wheel.metadata_sha256 if wheel else "",
        requires_python=wheel.requires_python if wheel else "",
        failure=failure.text("class") if failure else "",
        proof=failure.text("proof") if failure else "",
        log_sha256=log_sha256,
        statement_sha256=hashlib.sha256(payload).hexdigest(),
    )


def _read_byproducts(run: Table, wheel: WheelClaim | None) -> tuple[str, Material | None]:
    """Return the log's sha256 and the wheel before its repair; a wheel's metadata file is the only other byproduct."""
    rows = run.tables("byproducts", fields={"digest", "name"})
    found = [(row.text("name"), row.table("digest", fields={"sha256"}).sha256("sha256")) for row in rows]
    metadata = [(f"{wheel.filename}.metadata", wheel.metadata_sha256)] if wheel else []
    before = [pair for pair in found[1:2] if pair[0].endswith(".whl")]
    if [name for name, _ in found[:1]] != [LOG_NAME] or found[1:] != [*before, *metadata]:
        raise run.error(
            "byproducts", "are not the log, the wheel before its repair and the metadata file, as the wheel's record has it"
        )
    unrepaired = [Material(name=name, kind=UNREPAIRED, sha256=sha256) for name, sha256 in before]
    return found[0][1], unrepaired[0] if unrepaired else None
