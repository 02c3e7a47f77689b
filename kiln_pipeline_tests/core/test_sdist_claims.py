"""What an sdist says that its wheel must say too: from the real sdists, and wheels that fall short of it."""

from dataclasses import replace
from email.parser import BytesParser
from pathlib import Path

import pytest

from kiln_pipeline.adapters.sdist_archive import claims_in, unpack_sdist
from kiln_pipeline.core.sdist_claims import SdistClaims, claim_problems, claims_of
from kiln_pipeline.core.wheel_checks import check_claims
from kiln_pipeline.core.wheel_contents import read_wheel
from kiln_pipeline.errors import VerificationError
from kiln_pipeline_tests.builds import FASTRLOCK, MARKUPSAFE, PYYAML, SDISTS, plan_of
from kiln_pipeline_tests.fakes import make_wheel

INFO = "demo-1.0.dist-info"
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Python: >=3.6, !=3.7.0\n"
SETUPTOOLS = b"Wheel-Version: 1.0\nGenerator: setuptools (75.1.0)\n"


def problems(claims: SdistClaims, *members: str, metadata: bytes = METADATA, wheel: bytes = SETUPTOOLS) -> list[str]:
    parse = BytesParser().parsebytes
    return list(claim_problems(claims, parse(metadata), parse(wheel), [f"{INFO}/METADATA", *members]))


@pytest.mark.parametrize(
    ("filename", "claims"),
    [
        (MARKUPSAFE, SdistClaims(requires_python=">=3.6")),
        (PYYAML, SdistClaims(requires_python=">=2.7, !=3.0.*, !=3.1.*, !=3.2.*, !=3.3.*, !=3.4.*, !=3.5.*")),
        (FASTRLOCK, SdistClaims(at_root=("LICENSE",))),
    ],
)
def test_claims_of_real_sdists(tmp_path: Path, filename: str, claims: SdistClaims) -> None:
    """All from before PKG-INFO named licence files; the first two say in setup.cfg which there are."""
    assert claims_in(unpack_sdist(SDISTS / filename, tmp_path, plan_of(filename).release)) == claims


def test_what_is_dynamic_binds_nobody() -> None:
    """PEP 643: the build may fill such a field in."""
    stated = METADATA + b"License-File: LICENSE\nDynamic: license-file\nDynamic: Requires-Python\n"
    assert claims_of(stated, [], []) == SdistClaims()


def test_the_same_range_in_other_words_is_the_same() -> None:
    """Tools sort the parts and drop the spaces; a tool that drops it all is older than the field."""
    for text in (">=3.6,!=3.7.0", "!=3.7.0, >=3.6", ""):
        assert problems(SdistClaims(requires_python=text)) == []
    assert problems(SdistClaims(requires_python=">=3.8")) == [
        "METADATA has Requires-Python '>=3.6, !=3.7.0', and the sdist's PKG-INFO '>=3.8'"
    ]


def test_licences_come_along_wherever_a_tool_puts_them() -> None:
    """PEP 639's folder with paths, and the older places without."""
    claims = SdistClaims(licence_files=("LICENSE", "third/COPYING"))
    for members in (
        (f"{INFO}/licenses/LICENSE", f"{INFO}/licenses/third/COPYING"),
        (f"{INFO}/LICENSE", f"{INFO}/COPYING"),
        (f"{INFO}/license_files/LICENSE", f"{INFO}/license_files/third/COPYING"),
    ):
        assert problems(claims, *members) == []
    assert problems(claims, f"{INFO}/LICENSE", "demo/COPYING") == [
        "the sdist's PKG-INFO names the licence file third/COPYING, which is not there"
    ]
    assert problems(SdistClaims(), metadata=METADATA + b"License-File: LICENSE.txt\n") == [
        "METADATA names the licence file LICENSE.txt, which is not there"
    ]


def test_what_pkg_info_does_not_name_is_asked_of_tools_that_bring_it() -> None:
    """An old bdist_wheel, another backend, or a setup.cfg that says otherwise is believed."""
    claims = claims_of(METADATA, ["LICENSE.txt", "setup.py", "README"], ["[metadata]\nname = demo\n"])
    missing = ["none of the sdist's licence files is there (LICENSE.txt)"]
    assert problems(claims) == missing
    assert problems(claims, wheel=b"Generator: bdist_wheel (0.38.4)\n") == missing
    assert problems(claims, wheel=b"Generator: bdist_wheel (0.30.0)\n") == []
    assert problems(claims, wheel=b"Generator: poetry-core 1.9\n") == []
    assert problems(claims, f"{INFO}/LICENSE.txt") == []
    assert problems(claims_of(METADATA, ["LICENSE.txt"], ["[metadata]\nlicense_files = docs/legal.txt\n"])) == []


def test_a_wheel_is_held_against_its_sdist() -> None:
    """From the wheel's own bytes."""
    filename, data = make_wheel("demo", "1.0", "py3-none-any", extension=None, requires_python=">=3.6")
    facts = read_wheel(filename, data)
    claims = SdistClaims(requires_python=">=3.6")
    check_claims(facts, data, claims)
    with pytest.raises(VerificationError, match="Requires-Python"):
        check_claims(facts, data, replace(claims, requires_python=">=3.7"))
