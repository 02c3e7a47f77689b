"""Which of a real project's files each filter admits, and the first filter that refuses the others."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from kiln_pipeline.core.distributions import FileKind
from kiln_pipeline.core.mirror.filters import Filter, refused_by
from kiln_pipeline.core.mirror.settings import Mirror
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline_tests.captured import captured_page
from kiln_pipeline_tests.core.simple_index.pages import upstream_file

NOW = datetime(2022, 12, 2, 12, tzinfo=UTC)
CP311 = (PythonTag.parse("cp311"),)


@pytest.mark.parametrize(
    ("filename", "mirror", "expected"),
    [
        ("foo-1.0.tar.gz", {}, None),
        ("foo-1.0.tar.gz", {"sdists": False}, Filter.SDISTS),
        ("foo-1.0.tar.gz", {"pythons": CP311, "platforms": (Platform.MACOSX_ARM64,)}, None),
        ("foo-1.0-py3-none-any.whl", {"pythons": CP311, "platforms": (Platform.MACOSX_ARM64,)}, None),
        ("foo-1.0-1-cp311-cp311-macosx_14_0_arm64.whl", {"pythons": CP311, "platforms": (Platform.MACOSX_ARM64,)}, None),
        ("foo-1.0-cp311-cp311-macosx_10_9_universal2.whl", {"platforms": (Platform.MACOSX_ARM64,)}, None),
        ("foo-1.0-cp310-cp310-macosx_14_0_arm64.whl", {"pythons": CP311}, Filter.PYTHONS),
        ("foo-1.0-cp39-abi3-manylinux_2_39_x86_64.whl", {"pythons": CP311, "platforms": (Platform.MANYLINUX_X86_64,)}, None),
        ("foo-1.0-cp39-abi3-manylinux2014_x86_64.whl", {"pythons": (PythonTag.parse("cp313t"),)}, Filter.PYTHONS),
        ("foo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", {"platforms": (Platform.MANYLINUX_X86_64,)}, Filter.PLATFORMS),
        ("foo-1.0-cp311-cp311-win_amd64.whl", {"platforms": tuple(Platform)}, Filter.PLATFORMS),
        ("foo-1.0-py3-none-any.whl", {"versions": (SpecifierSet(">=2"), SpecifierSet("<0.5"))}, Filter.VERSIONS),
        ("foo-1.0-py3-none-any.whl", {"versions": (SpecifierSet(">=2"), SpecifierSet("==1.0"))}, None),
        ("foo-1.0-py3-none-any.whl", {"max_size": 999}, Filter.MAX_SIZE),
        ("foo-1.0-py3-none-any.whl", {"max_size": 1000}, None),
        ("foo-1.0-py3-none-any.whl", {"min_age": timedelta(days=2)}, Filter.MIN_AGE),
        ("foo-1.0-py3-none-any.whl", {"min_age": timedelta(hours=12), "max_age": timedelta(days=2)}, None),
        ("foo-1.0-py3-none-any.whl", {"max_age": timedelta(hours=12)}, Filter.MAX_AGE),
    ],
)
def test_a_file_is_judged_by_each_filter(filename: str, mirror: dict[str, Any], expected: Filter | None) -> None:
    assert refused_by(upstream_file(filename), Mirror(**mirror), NOW) == expected


def test_what_a_file_says_of_itself_counts_too() -> None:
    pure = "foo-1.0-py3-none-any.whl"
    assert refused_by(upstream_file(pure, requires_python=">=3.12"), Mirror(pythons=CP311), NOW) is Filter.PYTHONS
    assert refused_by(upstream_file(pure, upload_time=None), Mirror(max_age=timedelta(days=1)), NOW) is Filter.MAX_AGE
    assert refused_by(upstream_file(pure, upload_time=None), Mirror(min_age=timedelta(days=1)), NOW) is Filter.MIN_AGE
    assert refused_by(upstream_file(pure, yanked=True), Mirror(), NOW) is None
    assert refused_by(upstream_file("foo-1.0.tar.gz", kind=FileKind.OTHER), Mirror(), NOW) is Filter.KIND


def test_a_real_project_is_cut_to_what_one_team_needs() -> None:
    """Every file is copied or counted; what is left is small, and serves both targets."""
    files = captured_page("numpy").files
    mirror = Mirror(
        versions=(SpecifierSet(">=1.26,<2"),), pythons=CP311, platforms=(Platform.MANYLINUX_X86_64, Platform.MACOSX_ARM64)
    )
    verdicts = Counter(refused_by(file, mirror, NOW) for file in files)
    assert sum(verdicts.values()) == len(files)
    kept = [file.filename for file in files if refused_by(file, mirror, NOW) is None]
    assert {name.rpartition("-")[2] for name in kept if name.endswith(".whl")} == {
        "manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "macosx_11_0_arm64.whl",
    }
    assert all("cp311" in name for name in kept if name.endswith(".whl"))
