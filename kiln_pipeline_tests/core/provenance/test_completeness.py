"""What a complete statement names, and how each thing that is missing is called."""

from dataclasses import replace

import pytest

from kiln_pipeline.core.build_plan import Failure, Material
from kiln_pipeline.core.ladder import RungOutcome
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.provenance.completeness import gaps
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import Statement, parse_statement
from kiln_pipeline_tests.audit_samples import sample_bundle, sample_plan

IMAGE = Material(name="localhost/image:latest", kind="image", sha256="b" * 64)


def sample(failure: Failure | None = None) -> Statement:
    _, files = sample_bundle(sample_plan(), failure=failure)
    return parse_statement(unverified_payload(files["attestation.json"]))


def in_a_container(statement: Statement, *materials: Material) -> Statement:
    plan = replace(statement.plan, identifier=BuildIdentifier.parse("cp311-manylinux_x86_64"))
    return replace(statement, plan=plan, materials=(*statement.materials, *materials))


def without(statement: Statement, kind: str) -> Statement:
    return replace(statement, materials=tuple(item for item in statement.materials if item.kind != kind))


def test_what_hosts_write_is_complete():
    """A success on a Mac, one in a container, and a failure that came to nothing but its class and its proof."""
    assert gaps(sample()) == ()
    assert gaps(in_a_container(sample(), IMAGE)) == ()
    failed = sample(Failure(failure_class="bad-sdist", proof="it holds ../evil.py", hint=""))
    assert gaps(replace(failed, materials=(), command=())) == ()


@pytest.mark.parametrize(
    ("statement", "gap"),
    [
        (without(sample(), "interpreter"), "the interpreter is not named"),
        (without(sample(), "tool"), "neither cibuildwheel nor zig is named with its version"),
        (in_a_container(sample()), "the container image is not named"),
        (in_a_container(sample(), replace(IMAGE, sha256="")), "localhost/image:latest has no sha256"),
        (
            replace(sample(), materials=(*sample().materials, Material(name="wheel==1", kind="build-requirement"))),
            "wheel==1 has no sha256",
        ),
        (replace(sample(), command=()), "the command is not there"),
        (replace(sample(), rungs=(RungOutcome(rung="as-of"),)), "the rung that won is not the one that it was built by"),
        (sample(Failure(failure_class="timeout", proof="", hint="")), "no line of its log proves the failure"),
    ],
)
def test_each_gap_by_its_name(statement: Statement, gap: str):
    assert gaps(statement) == (gap,)
