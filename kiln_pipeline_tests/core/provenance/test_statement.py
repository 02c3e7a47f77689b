"""Statements: what a build host was asked and did, without loss, in the form that in-toto and SLSA specify."""

import hashlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.build_plan import UNREPAIRED, BuildPlan, BuildResult, Failure, Material
from kiln_pipeline.core.ladder import RungOutcome
from kiln_pipeline.core.patches import Patch
from kiln_pipeline.core.provenance.page_statement import PageStatement, page_statement, read_page_statement
from kiln_pipeline.core.provenance.statement import build_statement, claim_of, parse_statement, read_statement
from kiln_pipeline.core.strategies import LADDER_VERSION, Rung, Strategy
from kiln_pipeline.core.strict_json import canonical, parse
from kiln_pipeline.core.wheel_contents import WheelFacts, read_wheel
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.audit_samples import MATERIALS, RECIPE_SHA256, sample_plan
from kiln_pipeline_tests.fakes import make_wheel

PLAN = sample_plan()
STRATEGY = Strategy(
    rung=Rung.NEWER_SETUPTOOLS, cutoff=datetime(2023, 1, 22, tzinfo=UTC), newer=("setuptools",), constraints=("cython<3",),
    regenerate=True, only=("a" * 64,),
)  # fmt: skip
RUNGS = (
    RungOutcome(rung="as-of", failure_class="removed-c-api", proof="a.c:1: error"),
    RungOutcome(rung="as-of-newer-setuptools"),
)
RESULT = BuildResult(builder="cibuildwheel", materials=MATERIALS, command=("cibuildwheel",), environment={"A": "b"})
WHEEL = read_wheel(*make_wheel("wrapt", "1.14.0", "cp311-cp311-macosx_11_0_arm64", requires_python=">=3.6", build="1"))
FAILURE = Failure(failure_class="compile", proof="error: \udc80 “x”", hint="look at the log")
STARTED = datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC)


def statement(
    *,
    wheel: WheelFacts | None = WHEEL,
    failure: Failure | None = None,
    seconds: float = 75,
    host: str = "mac 1",
    plan: BuildPlan = PLAN,
    rungs: tuple[RungOutcome, ...] = (),
    result: BuildResult = RESULT,
) -> bytes:
    return build_statement(
        plan=plan,
        rungs=rungs,
        result=result,
        wheel=wheel,
        failure=failure,
        log_sha256="4" * 64,
        host=host,
        started=STARTED,
        finished=STARTED + timedelta(seconds=seconds),
        run_id="run-1",
    )


def test_a_success_reads_back_whole():
    """Plan, materials, command and wheel come back equal; the attempt is complete."""
    payload = statement()
    parsed = parse_statement(payload)
    assert (parsed.plan, parsed.materials, parsed.command, parsed.environment) == (PLAN, MATERIALS, ("cibuildwheel",), {"A": "b"})
    assert (parsed.wheel, parsed.hint, parsed.run_id) == (claim_of(WHEEL), "", "run-1")
    assert read_statement(payload) == parsed.attempt == Attempt(
        release=PLAN.release,
        identifier=PLAN.identifier,
        outcome=Outcome.SUCCEEDED,
        started=STARTED,
        finished=STARTED + timedelta(seconds=75),
        host="mac 1",
        builder="cibuildwheel",
        sdist_sha256=PLAN.sdist.sha256,
        recipe_sha256=RECIPE_SHA256,
        wheel=WHEEL.filename,
        wheel_sha256=WHEEL.sha256,
        wheel_size=WHEEL.size,
        metadata_sha256=WHEEL.metadata_sha256,
        requires_python=">=3.6",
        log_sha256="4" * 64,
        tool="cibuildwheel==4.3.3",
        ladder=LADDER_VERSION,
        statement_sha256=hashlib.sha256(payload).hexdigest(),
    )  # fmt: skip


def test_a_failure_is_recorded_with_the_same_care():
    """Its subject is the sdist; class, proof and hint are kept, bytes that are no UTF-8 as escapes."""
    payload = statement(wheel=None, failure=FAILURE)
    parsed = parse_statement(payload)
    assert (parsed.attempt.outcome, parsed.attempt.failure, parsed.attempt.proof, parsed.hint, parsed.wheel) == (
        Outcome.FAILED, "compile", "error: \\udc80 “x”", "look at the log", None,
    )  # fmt: skip
    document = parse(payload, "statement")
    assert isinstance(document, dict)
    assert document["subject"] == [{"digest": {"sha256": PLAN.sdist.sha256}, "name": "wrapt-1.14.0.tar.gz"}]


def test_the_forms_of_the_specifications():
    """in-toto Statement v1, SLSA provenance v1, a builder id that is a URI, RFC 3339 times in UTC."""
    document = parse(statement(), "statement")
    assert isinstance(document, dict)
    assert (document["_type"], document["predicateType"]) == ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1")
    assert sorted(document["predicate"]) == ["buildDefinition", "kiln_attempt", "runDetails"]
    assert document["predicate"]["runDetails"]["builder"] == {"id": "https://python.build/build-hosts/mac%201/cibuildwheel"}
    assert document["predicate"]["runDetails"]["metadata"] == {
        "invocationId": "run-1", "startedOn": "2026-11-01T12:00:00.000005Z", "finishedOn": "2026-11-01T12:01:15.000005Z",
    }  # fmt: skip


def test_the_ladder_is_told_whole():
    """The strategy that won, to the last field, and every rung before it; the plan is what was asked, without them."""
    plan = replace(PLAN, strategy=STRATEGY, settings=replace(PLAN.settings, time_travel="2023-06-01", ladder=(Rung.LATEST,)))
    parsed = parse_statement(statement(plan=plan, rungs=RUNGS))
    assert (parsed.strategy, parsed.rungs, parsed.plan) == (STRATEGY, RUNGS, replace(plan, strategy=Strategy()))


def test_the_wheel_before_its_repair_is_a_byproduct():
    """Of a success and of a failed repair alike; statements without one are read as before."""
    before = Material(name="wrapt-1.14.0-cp311-cp311-macosx_10_9_universal2.whl", kind=UNREPAIRED, sha256="5" * 64)
    for outcome in ({"wheel": WHEEL}, {"wheel": None, "failure": FAILURE}):
        parsed = parse_statement(statement(**outcome, result=replace(RESULT, unrepaired=before)))
        assert (parsed.unrepaired, parsed.attempt.log_sha256) == (before, "4" * 64)
        assert parse_statement(statement(**outcome)).unrepaired is None


def test_patches_are_on_record_whole():
    """Name, text and hash; a text that is not the hash's is refused, and statements from before there were any have none."""
    patch = Patch(name="python-3.12.patch", text="As upstream's 2.0 has it\n\n--- a/é.c\n+++ b/é.c\n@@ -1 +1 @@\n-a\n+b\n")
    plan = replace(PLAN, settings=replace(PLAN.settings, patches=(patch,)))
    assert parse_statement(statement(plan=plan)).plan == plan
    document = parse(statement(plan=plan), "statement")
    settings = document["predicate"]["buildDefinition"]["externalParameters"]["settings"]
    assert settings["patches"] == [{"name": patch.name, "sha256": patch.sha256, "text": patch.text}]
    settings["patches"][0]["text"] += "\n"
    with pytest.raises(VerificationError, match="sha256"):
        parse_statement(canonical(document))
    del settings["patches"]
    assert parse_statement(canonical(document)).plan == PLAN


def test_statements_from_before_time_travel_are_of_plain_builds():
    """The log is append-only: what it holds must stay readable. Half of the new fields is none of the two forms."""
    document = parse(statement(), "statement")
    own = document["predicate"]["kiln_attempt"]
    settings = document["predicate"]["buildDefinition"]["externalParameters"]["settings"]
    for field in ("strategy", "rungs", "ladder"):
        del own[field]
    for field in ("time_travel", "ladder"):
        del settings[field]
    parsed = parse_statement(canonical(document))
    assert (parsed.strategy, parsed.rungs, parsed.plan.settings.time_travel) == (Strategy(), (), "latest")
    own["rungs"] = []
    with pytest.raises(VerificationError, match="missing: \\['strategy'\\]"):
        parse_statement(canonical(document))


def test_any_time_zone_is_written_as_utc():
    east = STARTED.astimezone(timezone(timedelta(hours=5, minutes=30)))
    arguments = {
        "plan": PLAN,
        "result": RESULT,
        "wheel": WHEEL,
        "failure": None,
        "log_sha256": "4" * 64,
        "host": "h",
        "run_id": "r",
    }
    assert build_statement(started=east, finished=east, **arguments) == build_statement(
        started=STARTED, finished=STARTED, **arguments
    )


def test_a_clock_that_ran_backwards_is_refused():
    with pytest.raises(VerificationError, match="ran backwards"):
        statement(seconds=-1)


@pytest.mark.parametrize(("wheel", "failure"), [(None, None), (WHEEL, FAILURE)])
def test_an_attempt_has_a_wheel_or_a_failure(wheel: WheelFacts | None, failure: Failure | None):
    with pytest.raises(ValueError, match="either a wheel or a failure"):
        statement(wheel=wheel, failure=failure)


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    """The paths of all tables, lists and plain values of a document."""
    found = [path]
    if isinstance(value, dict):
        found += [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        found += [leaf for number, item in enumerate(value) for leaf in leaves(item, (*path, number))]
    return found


def changed(document: object, path: tuple, change: Callable[[object], object]) -> bytes:
    copy = deepcopy({"": document})
    place = copy
    for step in ("", *path)[:-1]:
        place = place[step]
    place[("", *path)[-1]] = change(place[("", *path)[-1]])
    return canonical(copy[""])


FREE = ("settings", "cibuildwheel")  # cibuildwheel's own table: any JSON


@pytest.mark.parametrize(
    "payload",
    [statement(plan=replace(PLAN, strategy=STRATEGY), rungs=RUNGS), statement(wheel=None, failure=FAILURE)],
    ids=["success", "failure"],
)
def test_every_field_has_its_type(payload: bytes):
    """Whatever stands in the place of a field's value, it is refused; and no table takes another field."""
    document = parse(payload, "statement")
    for path in leaves(document):
        if set(FREE) <= set(path) and path[-1] != FREE[-1]:
            continue
        with pytest.raises(VerificationError):
            parse_statement(changed(document, path, lambda _: [{"a": []}]))
        open_table = path[-1:] in [(name,) for name in ("environment", "ad_hoc_environment", "cibuildwheel", "system_packages")]
        for extra in ({"extra": None},) if not open_table else ():
            with pytest.raises(VerificationError):
                parse_statement(
                    changed(document, path, lambda value, extra=extra: {**value, **extra} if isinstance(value, dict) else 7.5)
                )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("subject", 0, "digest", "sha256"), "0" * 64),
        (("subject", 0, "name"), "other.whl"),
        (("predicate", "kiln_attempt", "host"), "other"),
        (("predicate", "kiln_attempt", "wheel", "filename"), "other.whl"),
        (("predicate", "kiln_attempt", "wheel", "metadata_sha256"), "0" * 64),
        (("predicate", "kiln_attempt", "outcome"), "failed"),
        (("predicate", "buildDefinition", "externalParameters", "recipe", "text"), "another recipe"),
        (("predicate", "buildDefinition", "externalParameters", "release"), "Wrapt==1.14"),
        (("predicate", "buildDefinition", "externalParameters", "identifier"), "cp311-plan9_arm64"),
        (("predicate", "buildDefinition", "externalParameters", "sdist", "sha256"), "0" * 64),
        (("predicate", "buildDefinition", "resolvedDependencies", 0, "uri"), "https://files.example.org/other"),
        (("predicate", "buildDefinition", "resolvedDependencies"), []),
        (("predicate", "runDetails", "byproducts"), []),
        (("predicate", "runDetails", "metadata", "finishedOn"), "2026-11-01T12:00:00Z"),
        (("predicate", "runDetails", "metadata", "finishedOn"), "2026-13-01T12:00:00.000000Z"),
    ],
)
def test_parts_that_do_not_agree_are_refused(path: tuple, value: object):
    with pytest.raises(VerificationError):
        parse_statement(changed(parse(statement(), "statement"), path, lambda _: value))


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b"nonsense", b"\xff", b"[" * 100_000, b"[" * 700 + b"]" * 700, b"NaN", b'{"a":1,"a":1}']
)
def test_what_is_no_statement_is_refused(payload: bytes):
    with pytest.raises(VerificationError):
        parse_statement(payload)
    with pytest.raises(VerificationError):
        read_page_statement(payload)


def test_another_spelling_is_refused():
    """One document, one spelling: a space more is another statement."""
    with pytest.raises(VerificationError, match="canonical"):
        parse_statement(statement().replace(b'"_type":', b'"_type": '))


def test_page_statements():
    """Both pages, by hash, for one project; nothing less."""
    pages = {"index.html": b"<html>", "index.json": b"{}"}
    payload = page_statement("wrapt", pages)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in pages.items()}
    assert read_page_statement(payload) == PageStatement(project="wrapt", pages=hashes)
    with pytest.raises(ValueError, match="has the pages"):
        page_statement("wrapt", {"index.html": b""})
    document = parse(payload, "statement")
    for path in leaves(document):
        with pytest.raises(VerificationError):
            read_page_statement(changed(document, path, lambda _: [{"a": []}]))
    with pytest.raises(VerificationError, match="does not name the pages"):
        read_page_statement(changed(document, ("subject",), lambda subject: [*subject, subject[0]]))
