"""Failure classes, on excerpts of the logs that python.build's own builders wrote in December 2022."""

from datetime import timedelta
from pathlib import Path

import pytest

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.failure_rules import RULES
from kiln_pipeline.core.failures import FailureClass, retry_after

LOGS = Path(__file__).parent.parent / "data" / "failure_logs"
EXCERPTS = [
    ("compiler-error", "grpcio-1.22.0-cp310", "third_party/zlib/gzlib.c:252:9: error: implicit declaration of function 'lseek'"),
    ("missing-header", "grpcio-0.5.0a0-cp310", "grpc/_adapter/_c.c:35:10: fatal error: 'grpc/grpc.h' file not found"),
    ("missing-tool", "grpcio-0.13.0-cp39", "raise CommandError('could not find protoc')"),
    ("no-such-identifier", "lxml-1.1-cp37", "cibuildwheel: No build identifiers selected: BuildSelector(build_config='cp37-mac"),
    ("python2-syntax", "lxml-1.3.6-cp39", "except pkg_resources.VersionConflict, e:"),
    ("removed-c-api", "lxml-4.2.2-cp310", "src/lxml/etree.c:5432:15: error: no member named 'use_tracing' in 'struct _ts'"),
    ("setup-exception", "grpcio-0.11.0b0-cp310", "AttributeError: module 'enum' has no attribute 'IntFlag'"),
]


@pytest.mark.parametrize(("failure_class", "build", "proof"), EXCERPTS)
def test_real_logs_have_their_class_and_the_line_that_proves_it(failure_class: str, build: str, proof: str) -> None:
    """The proof is the line without its time stamp and colours."""
    failure = classify((LOGS / f"{failure_class}.{build}.log").read_text(encoding="utf-8"))
    assert (failure_class, proof) == (failure.failure_class, failure.proof[: len(proof)])


@pytest.mark.parametrize(
    ("line", "failure_class"),
    [
        ("cc1plus: out of memory allocating 65536 bytes", "out-of-memory"),
        ("g++: fatal error: Killed signal terminated program cc1plus", "out-of-memory"),
        ("OSError: [Errno 28] No space left on device: 'build/x.o'", "out-of-disk"),
        ("kiln: stopped after 3600 seconds", "timeout"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "engine"),
        (
            "Error: initializing source docker://files.example.org/pypa/manylinux_2_28_x86_64: pinging container registry",
            "engine",
        ),
        (
            "WARNING: Retrying (Retry(total=0, connect=None, read=None)) after connection broken by 'NewConnectionError'",
            "network",
        ),
        ("WARNING: Retrying (Retry(total=4, connect=None, read=None)) after connection broken by 'ReadTimeoutError'", "unknown"),
        ("ERROR: No matching distribution found for setuptools<50", "build-requirement"),
        ("ModuleNotFoundError: No module named 'Cython'", "build-requirement"),
        ("ModuleNotFoundError: No module named 'distutils'", "setup-exception"),
        ("/usr/bin/ld: cannot find -lyaml: No such file or directory", "missing-library"),
        ("x.c:3:10: fatal error: yaml.h: No such file or directory", "missing-header"),
        ("x.c:3:10: fatal error: longintrepr.h: No such file or directory", "removed-c-api"),
        ("src/a.c:10:5: error: ‘PyEval_CallObject’ undeclared (first use in this function)", "removed-c-api"),
        ("x.c:1:1: error: expression is not assignable\n    Py_TYPE(&T) = &PyType_Type;", "removed-c-api"),
        ("x.c:1:1: error: expression is not assignable\n    f(x) = 3;", "compiler-error"),
        ("x.o: undefined reference to `foo'", "link-error"),
        ("sh: 1: swig: not found", "missing-tool"),
        ("cibuildwheel: error: Build failed because a pure Python wheel was generated.", "lost-extension"),
        (
            'auditwheel: error: cannot repair "x.whl" to "manylinux_2_17_x86_64" ABI because of too-recent versions',
            "repair-failed",
        ),
        ("NameError: name 'unicode' is not defined", "python2-syntax"),
        ("======= 3 failed, 10 passed in 1.2s =======", "tests-failed"),
        ("all went well until it did not", "unknown"),
    ],
)
def test_single_lines(line: str, failure_class: str) -> None:
    """Lines as gcc, clang, pip, podman and pytest print them."""
    assert failure_class == classify(f"running build_ext\n{line}\n").failure_class


def test_the_host_outranks_the_compiler_and_the_cause_its_echo() -> None:
    """A full disk makes compilers fail in many ways; a missing header makes setup.py raise."""
    log = "x.c:1:2: error: expected ';'\nx.c:9: No space left on device\nRuntimeError: build failed\n"
    assert classify(log).failure_class == FailureClass.OUT_OF_DISK
    log = "x.c:1:10: fatal error: 'a.h' file not found\nRuntimeError: build failed\nx.c:1:10: fatal error: 'b.h' file not found\n"
    expected = Failure(
        failure_class="missing-header",
        proof="x.c:1:10: fatal error: 'a.h' file not found",
        hint="the header a.h is missing: add the package that brings it to the recipe's system-packages",
    )
    assert expected == classify(log)


def test_an_empty_or_unknown_log_says_so() -> None:
    """Nothing is guessed."""
    assert (classify("").failure_class, classify("").proof) == ("unknown", "the log is empty")
    assert classify("one\n\x1b[31mtwo\x1b[0m\n\n").proof == "two"


def test_a_proof_is_one_bounded_line_around_the_sign() -> None:
    """A make that prints a megabyte in one line does not put it into provenance."""
    failure = classify("b" * 5000 + " x.c:3:1: error: no " + "c" * 5000)
    assert (failure.failure_class, len(failure.proof), "x.c:3:1: error" in failure.proof) == ("compiler-error", 300, True)


def test_every_hint_can_be_filled_and_no_rule_matches_nothing() -> None:
    """A hint's braces are groups of its pattern; an alternative that matches the empty string would match every log."""
    for rule in (rule for tier in RULES for rule in tier):
        assert rule.hint.format(**dict.fromkeys(rule.pattern.groupindex, "x"))
        assert rule.pattern.search("") is None


@pytest.mark.parametrize(
    ("failure_class", "count", "wait"),
    [
        ("network", 1, timedelta(minutes=5)),
        ("network", 3, timedelta(minutes=20)),
        ("network", 50, timedelta(hours=12)),
        ("engine", 1, timedelta(minutes=10)),
        ("timeout", 9, timedelta(days=1)),
        ("unknown", 2, timedelta(days=2)),
        ("a class of a later version", 1, timedelta(days=1)),
        ("compiler-error", 1, None),
        ("lost-extension", 1, None),
    ],
)
def test_when_a_failure_is_tried_again(failure_class: str, count: int, wait: timedelta | None) -> None:
    """What a person must mend waits for them; what the world must mend waits longer each time."""
    assert wait == retry_after(failure_class, count)


def test_every_class_has_a_retry_rule() -> None:
    """None or a positive wait."""
    assert all(wait is None or wait > timedelta(0) for wait in (retry_after(name, 1) for name in FailureClass))
