"""Markers for a target, not for the interpreter that asks."""

import pytest

from kiln_pipeline.core.lockfiles.target_markers import check_marker, environment, may_hold
from kiln_pipeline.core.platforms import BuildIdentifier


@pytest.mark.parametrize(
    ("marker", "target", "holds"),
    [
        ("", "cp312-macosx_arm64", True),
        ("sys_platform == 'darwin' and platform_machine == 'arm64'", "cp312-macosx_arm64", True),
        ("sys_platform == 'darwin' and platform_machine == 'arm64'", "cp312-macosx_x86_64", False),
        ("platform_system == 'Linux' and platform_machine == 'aarch64'", "cp312-musllinux_aarch64", True),
        ("os_name == 'nt'", "cp312-manylinux_x86_64", False),
        ("python_version >= '3.10'", "cp39-manylinux_x86_64", False),
        ("python_version >= '3.10'", "cp310-manylinux_x86_64", True),
        ("python_full_version <= '3.11.2'", "cp311-manylinux_x86_64", True),  # for some patch releases
        ("python_full_version > '3.11.2'", "cp311-manylinux_x86_64", True),
        ("python_full_version <= '3.11.2'", "cp312-manylinux_x86_64", False),
        ("implementation_name == 'pypy'", "pp310-manylinux_x86_64", True),
        ("platform_python_implementation != 'PyPy'", "pp310-manylinux_x86_64", False),
        ("extra == 'fast'", "cp312-manylinux_x86_64", True),  # all extras count
        ("extra != 'fast'", "cp312-manylinux_x86_64", True),
        ("extra == 'fast' and sys_platform == 'win32'", "cp312-manylinux_x86_64", False),
        ("'fast' in extras or 'dev' in dependency_groups", "cp312-manylinux_x86_64", True),
        ("'fast' not in extras", "cp312-manylinux_x86_64", True),
        ("platform_release >= '20.0'", "cp312-macosx_arm64", False),
    ],
)
def test_a_marker_is_the_targets(marker: str, target: str, holds: bool) -> None:
    assert may_hold(marker, BuildIdentifier.parse(target)) is holds


def test_a_targets_environment_has_every_variable_of_pep_508() -> None:
    assert environment(BuildIdentifier.parse("cp313t-musllinux_aarch64"), patch=2) == {
        "implementation_name": "cpython",
        "implementation_version": "3.13.2",
        "os_name": "posix",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": "3.13.2",
        "python_version": "3.13",
        "sys_platform": "linux",
    }


def test_what_is_no_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="'os = x' is no environment marker"):
        check_marker("os = x")
