"""Wheels whose binaries break what their tags promise: real ones, made by ``data/binaries/make.sh``, and each refused by name."""

import os
import zipfile
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.adapters.wheel_binaries import examine, objections_in
from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of
from kiln_pipeline_tests.fakes import make_wheel

BINARIES = Path(__file__).parent.parent / "data" / "binaries"
MODULE = "markupsafe/_speedups.cpython-311-x86_64-linux-gnu.so"


def examined(
    tmp_path: Path, binary: str, tag: str, identifier: str = "", tools: Path = Path("/nonexistent")
) -> tuple[Failure | None, str]:
    """Examine a wheel around one binary; return the failure and what the log says."""
    filename, data = make_wheel("markupsafe", "2.0.1", tag, binary=(BINARIES / binary).read_bytes())
    wheel, log = tmp_path / filename, tmp_path / "log"
    wheel.write_bytes(data)
    log.touch()
    environments = ToolEnvironments(tools, endpoint=PYPI_SIMPLE_ENDPOINT, host=os.environ)
    plan = plan_of(MARKUPSAFE, identifier or "cp311-manylinux_x86_64")
    return examine(wheel, plan, tools=environments, log=log), log.read_text()


@pytest.mark.parametrize(
    ("binary", "tag", "identifier", "told"),
    [
        ("elf-plain.so", "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "", "its binaries need manylinux_2_5_x86_64"),
        ("elf-glibc-2.34.so", "cp311-cp311-manylinux_2_34_x86_64", "", "manylinux_2_34_x86_64 (GLIBC_2.34 of libc.so.6)"),
        ("macho-arm64-14.so", "cp311-cp311-macosx_14_0_arm64", "cp311-macosx_arm64", "its binaries need macOS 14.0 on arm64"),
    ],
)
def test_what_the_binaries_need_is_noted(tmp_path: Path, binary: str, tag: str, identifier: str, told: str) -> None:
    """A tag that promises no more than they keep is none of the examiner's business, however narrow it is."""
    failure, log = examined(tmp_path, binary, tag, identifier)
    assert (failure, told in log) == (None, True), log


@pytest.mark.parametrize(
    ("binary", "tag", "identifier", "proof"),
    [
        (
            "elf-glibc-2.34.so",
            "cp311-cp311-manylinux_2_17_x86_64.manylinux_2_34_x86_64",
            "",
            "it is tagged manylinux_2_17_x86_64, and its binaries need manylinux_2_34_x86_64 or newer (GLIBC_2.34 of libc.so.6)",
        ),
        (
            "elf-foreign.so",
            "cp311-cp311-manylinux_2_28_x86_64",
            "",
            "it is tagged manylinux_2_28_x86_64, and its binaries need what no manylinux or musllinux system is sure to have"
            " (libforeign.so.1)",
        ),
        (
            "elf-aarch64.so",
            "cp311-cp311-manylinux_2_28_x86_64",
            "",
            "it is tagged manylinux_2_28_x86_64, and its binaries need what no manylinux or musllinux system is sure to have"
            f" ({MODULE} is not for x86_64 with glibc)",
        ),
        (
            "elf-plain.so",
            "cp311-cp311-musllinux_1_2_x86_64",
            "cp311-musllinux_x86_64",
            f"({MODULE} is not for x86_64 with musl)",
        ),
        (
            "macho-arm64-14.so",
            "cp311-cp311-macosx_11_0_arm64",
            "cp311-macosx_arm64",
            f"it is tagged macosx_11_0_arm64, and {MODULE} needs macOS 14.0 on arm64",
        ),
        (
            "macho-arm64-14.so",
            "cp311-cp311-macosx_14_0_universal2",
            "cp311-macosx_arm64",
            f"it is tagged macosx_14_0_universal2, and {MODULE} is not for x86_64, but for arm64",
        ),
        (
            "macho-arm64-foreign.so",
            "cp311-cp311-macosx_11_0_arm64",
            "cp311-macosx_arm64",
            f"{MODULE} loads /opt/homebrew/lib/libforeign.dylib, which neither the wheel nor macOS has",
        ),
        (
            "elf-plain.so",
            "cp311-cp311-macosx_11_0_arm64",
            "cp311-macosx_arm64",
            "it is tagged macosx_11_0_arm64, and has no Mach-O file",
        ),
        (
            "macho-arm64-14.so",
            "cp311-cp311-manylinux_2_28_x86_64",
            "",
            "it is tagged manylinux_2_28_x86_64, and has no ELF file",
        ),
        ("elf-plain.so", "py3-none-any", "", "it has binaries, and is tagged for every platform"),
        ("make.sh", "cp311-cp311-manylinux_2_28_x86_64", "", "it is tagged manylinux_2_28_x86_64, and has no ELF file"),
    ],
)
def test_a_promise_that_the_binaries_break(tmp_path: Path, binary: str, tag: str, identifier: str, proof: str) -> None:
    """The proof names the tag, what it would take, and the symbol or library that wants it."""
    failure, log = examined(tmp_path, binary, tag, identifier)
    assert failure is not None
    assert (failure.failure_class, proof in failure.proof, proof in log) == ("bad-binary", True, True), failure.proof


def test_what_cannot_be_examined_is_refused(tmp_path: Path) -> None:
    """Half an ELF file: whatever the parser makes of it, the wheel does not pass."""
    whole = (BINARIES / "elf-glibc-2.34.so").read_bytes()
    for number, damaged in enumerate((whole[:80], whole[:1200], whole[:60] + b"\xff" * 4 + whole[64:])):
        filename, data = make_wheel("markupsafe", "2.0.1", "cp311-cp311-manylinux_2_28_x86_64", binary=damaged)
        (tmp_path / filename).write_bytes(data)
        tools = ToolEnvironments(tmp_path / "tools", endpoint=PYPI_SIMPLE_ENDPOINT, host={})
        failure = examine(tmp_path / filename, plan_of(MARKUPSAFE), tools=tools, log=tmp_path / f"log-{number}")
        assert failure is not None, number
        assert failure.failure_class == "bad-binary"


def test_a_wheel_without_binaries_or_without_sense_is_left_to_others(tmp_path: Path) -> None:
    """A lost extension and a broken zip have names of their own."""
    filename, data = make_wheel("markupsafe", "2.0.1", "cp311-cp311-manylinux_2_28_x86_64", extension=None)
    tools = ToolEnvironments(tmp_path / "tools", endpoint=PYPI_SIMPLE_ENDPOINT, host={})
    for content in (data, b"no zip"):
        (tmp_path / filename).write_bytes(content)
        assert examine(tmp_path / filename, plan_of(MARKUPSAFE), tools=tools, log=tmp_path / "log") is None


@pytest.mark.slow
def test_the_stable_abi_is_audited(tmp_path: Path, tools_folder: Path) -> None:
    """A private function, and one that came with 3.10, in a wheel for 3.9 and later."""
    tag = "cp39-abi3-manylinux_2_17_x86_64"
    failure, _ = examined(tmp_path, "elf-private.so", tag, tools=tools_folder)
    assert failure is not None
    assert (failure.failure_class, failure.proof) == (
        "bad-binary",
        "_speedups.abi3.so uses PyModule_AddObjectRef, which is in the stable ABI since Python 3.10; "
        "_speedups.abi3.so uses _PyLong_AsByteArray, which is not in the stable ABI",
    )
    assert examined(tmp_path, "elf-plain.so", tag, tools=tools_folder)[0] is None


def test_an_audit_that_left_no_report_is_no_pass(tmp_path: Path) -> None:
    """Nor is one that audited nothing."""
    report = tmp_path / "report.json"
    found = [objections_in(report)]
    for text in ("", "{}", '{"specs": {}}', '{"specs": {"x.whl": {"kind": "wheel", "wheel": []}}}'):
        report.write_text(text)
        found.append(objections_in(report))
    assert found == [None] * 5


def test_a_zip_bomb_is_never_unpacked(tmp_path: Path) -> None:
    """Bounds come before everything that unpacks."""
    filename, data = make_wheel("markupsafe", "2.0.1", "cp311-cp311-manylinux_2_28_x86_64")
    (tmp_path / filename).write_bytes(data)
    with zipfile.ZipFile(tmp_path / filename, "a") as archive:
        archive.writestr("../evil.so", b"\x7fELF")
    tools = ToolEnvironments(tmp_path / "tools", endpoint=PYPI_SIMPLE_ENDPOINT, host={})
    assert examine(tmp_path / filename, plan_of(MARKUPSAFE), tools=tools, log=tmp_path / "log") is None
    assert not (tmp_path / "log").exists()
