"""Every target against pip's own resolver, on real filenames: covered is what ``pip download --only-binary`` would take."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import Tag
from pip._internal.models.target_python import TargetPython
from pip._internal.models.wheel import Wheel
from pip._vendor.packaging import _manylinux, _musllinux

from kiln_pipeline.core import release_metadata
from kiln_pipeline.core.coverage import TargetSet, bit, covering_wheels, release_facts
from kiln_pipeline.core.distributions import FileKind
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, Platform, all_identifiers
from kiln_pipeline.core.tags import Target, accepted_tags, parse_tag_set
from kiln_pipeline_tests.captured import captured, captured_page

FLOORS = [Floors(), pytest.param(Floors(macosx_x86_64=(12, 0), glibc=(2, 17), musl=(1, 1)), marks=pytest.mark.slow)]


def targets_with(floors: Floors) -> list[Target]:
    return [Target(identifier=identifier, floors=floors) for identifier in all_identifiers()]


def pip_platforms(target: Target, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What one gives to ``pip download --platform``: for Linux, what pip itself lists on a system of the target's floors."""
    floors, machine = target.floors, target.identifier.platform.machine
    match target.identifier.platform.family:
        case "macosx":
            major, minor = floors.macosx_arm64 if machine == "arm64" else floors.macosx_x86_64
            return [f"macosx_{major}_{minor}_{machine}"]
        case "manylinux":
            monkeypatch.setattr(_manylinux, "_get_glibc_version", lambda: floors.glibc)
            monkeypatch.setattr(_manylinux, "_have_compatible_abi", lambda executable, archs: True)
            return list(_manylinux.platform_tags([machine]))
        case _:
            version = _musllinux._MuslVersion(*floors.musl)
            monkeypatch.setattr(_musllinux, "_get_musl_version", lambda executable: version)
            return list(_musllinux.platform_tags([machine]))


def pip_target(target: Target, monkeypatch: pytest.MonkeyPatch) -> TargetPython:
    """``pip download --implementation … --python-version … --abi … --platform …`` for a target."""
    python = target.identifier.python
    if python.implementation == "pp":
        series = "pp80" if python.minor >= 11 else "pp73"
        abi = f"pypy{python.major}{python.minor}_{series}"
    else:
        abi = f"cp{python.major}{python.minor}{'t' if python.free_threaded else ''}{'m' if python.minor < 8 else ''}"
    return TargetPython(
        platforms=pip_platforms(target, monkeypatch),
        py_version_info=(python.major, python.minor),
        abis=[abi],
        implementation=python.implementation,
    )


def real_wheels() -> list[str]:
    """Up to four filenames of every tag set that was captured."""
    by_tags: defaultdict[str, list[str]] = defaultdict(list)
    for filename in captured().column("filename").to_pylist():
        if filename.endswith(".whl"):
            by_tags["-".join(filename.split("-")[-3:])].append(filename)
    return [filename for _, names in sorted(by_tags.items()) for filename in names[:: max(len(names) // 3, 1)]]


def each_its_own_project(filenames: list[str]) -> pa.Table:
    count = len(filenames)
    values: dict[str, list[object]] = {
        "project": [f"p{number:06}" for number in range(count)],
        "version": ["1.0"] * count,
        "filename": list(filenames),
        "kind": [FileKind.WHEEL.value] * count,
        "requires_python": [""] * count,
        "yanked": [False] * count,
    }
    return pa.table(values)


@pytest.mark.parametrize("floors", FLOORS)
def test_covered_equals_what_pip_would_take(floors: Floors, monkeypatch: pytest.MonkeyPatch):
    """Some thousands of real filenames × every target."""
    targets = targets_with(floors)
    filenames = real_wheels()
    wheels = [Wheel(filename) for filename in filenames]
    facts = release_facts(each_its_own_project(filenames), TargetSet(targets))
    everything = np.arange(len(filenames))
    assert (len(filenames) > 4000, len(targets) > 90) == (True, True)
    for column, target in enumerate(targets):
        tags = pip_target(target, monkeypatch).get_unsorted_tags()
        expected = [filename for filename, wheel in zip(filenames, wheels, strict=True) if wheel.supported(tags)]
        ours = bit(facts.covered, everything, np.full(len(filenames), column))
        assert [filenames[row] for row in np.flatnonzero(ours)] == expected, target


@pytest.mark.parametrize("floors", FLOORS)
def test_the_accepted_tags_are_pips_in_pips_order(floors: Floors, monkeypatch: pytest.MonkeyPatch):
    """Only ``--platform manylinux2014_x86_64`` pulls its elders forward, which pip on a real system does not do."""
    for target in targets_with(floors):
        ours = [str(tag) for tag in accepted_tags(target.identifier, target.floors)]
        theirs = [str(tag) for tag in pip_target(target, monkeypatch).get_sorted_tags()]
        if target.identifier.platform is Platform.MANYLINUX_X86_64:
            ours, theirs = sorted(ours), sorted(theirs)
        assert ours == theirs, target


@pytest.mark.parametrize(
    ("project", "text"),
    [
        ("lxml", "cp311-macosx_x86_64"),
        ("lxml", "cp39-manylinux_x86_64"),
        ("numpy", "cp313t-musllinux_aarch64"),
        ("bcrypt", "pp310-manylinux_x86_64"),
    ],
)
def test_the_covering_wheel_is_the_one_that_pip_prefers(project: str, text: str, monkeypatch: pytest.MonkeyPatch):
    """Best tag first; between equals the one listed first."""
    target = Target(identifier=BuildIdentifier.parse(text))
    page = captured_page(project)
    page = replace(page, files=tuple(replace(file, requires_python="") for file in page.files))
    facts = release_facts(release_metadata.page_table(page), TargetSet([target]))
    tags = pip_target(target, monkeypatch).get_sorted_tags()
    best: dict[str, tuple[int, int]] = {}
    for row, file in enumerate(page.files):
        if file.kind is FileKind.WHEEL and not file.yanked and Wheel(file.filename).supported(tags):
            rank = (Wheel(file.filename).support_index_min(tags), row)
            best[file.version] = min(best.get(file.version, rank), rank)
    expected = {version: row for version, (_, row) in best.items()}
    ours = {facts.versions[facts.version[r]]: row for r, row in enumerate(covering_wheels(facts, 0).tolist()) if row >= 0}
    assert ours == expected
    assert expected


def test_a_compressed_tag_set_spells_its_product():
    expected = {Tag(i, "none", p) for i in ("py2", "py3") for p in ("any", "win32")}
    assert parse_tag_set("py2.py3-none-any.win32") == expected


@pytest.mark.parametrize(
    "text", ["", "py3", "py3-none", "py3-none-any-any", ".".join(["a"] * 70) + "-" + ".".join(["b"] * 70) + "-any"]
)
def test_what_is_no_sane_tag_set_has_no_tags(text: str):
    assert parse_tag_set(text) == frozenset()


@given(st.text())
def test_no_tag_set_crashes(text: str):
    assert all(isinstance(tag, Tag) for tag in parse_tag_set(text))
