"""The files that a lock names, in the words of each tool's own format."""

import pytest

from kiln_pipeline.core.locked_files import LockedFile, locked_files
from kiln_pipeline.errors import RecipeError

A, B, C = "a" * 64, "b" * 64, "c" * 64
WHEEL = "wrapt-1.14.0-1-cp311-cp311-macosx_11_0_arm64.whl"
URL = f"https://wheels.example.org/wheels/{WHEEL}"

REQUIREMENTS = f"""\
# wrapt==1.13 --hash=sha256:{C}
--index-url https://wheels.example.org/simple/
wrapt==1.14.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B.upper()}
    # via nobody
lz4 @ {URL}#sha256={C} ; python_version > "3"
"""
UV = f"""\
version = 1
[[package]]
name = "wrapt"
version = "1.14.0"
source = {{ registry = "https://wheels.example.org/simple/" }}
sdist = {{ url = "https://files.example.org/wrapt-1.14.0.tar.gz", hash = "sha256:{A}", size = 1 }}
wheels = [
    {{ url = "{URL}", hash = "sha256:{B}", size = 2 }},
]
"""
POETRY = f"""\
[[package]]
name = "wrapt"
version = "1.14.0"
files = [
    {{file = "{WHEEL}", hash = "sha256:{B}"}},
    {{file = "wrapt-1.14.0.tar.gz", hash = "md5:{"0" * 32}"}},
]
[metadata]
content-hash = "{C}"
"""
PYLOCK = f"""\
lock-version = "1.0"
[[packages]]
name = "wrapt"
[[packages.wheels]]
name = "{WHEEL}"
url = "{URL}"
hashes = {{ sha256 = "{B}" }}
[[packages.wheels]]
path = "down/{WHEEL}"
hashes = {{ sha256 = "{A}" }}
"""


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("requirements.txt", REQUIREMENTS, (
            LockedFile(sha256=A), LockedFile(sha256=B), LockedFile(sha256=C, filename=WHEEL, url=URL),
        )),
        ("uv.lock", UV, (
            LockedFile(sha256=A, filename="wrapt-1.14.0.tar.gz", url="https://files.example.org/wrapt-1.14.0.tar.gz"),
            LockedFile(sha256=B, filename=WHEEL, url=URL),
        )),
        ("poetry.lock", POETRY, (LockedFile(sha256=B, filename=WHEEL),)),
        ("pdm.lock", POETRY.replace("[metadata]", "[meta]"), (LockedFile(sha256=B, filename=WHEEL),)),
        ("pylock.toml", PYLOCK, (LockedFile(sha256=B, filename=WHEEL, url=URL), LockedFile(sha256=A, filename=WHEEL))),
        ("requirements.txt", "", ()),
    ],
)  # fmt: skip
def test_every_format_names_its_files(file: str, text: str, expected: tuple[LockedFile, ...]):
    assert locked_files(text, file) == expected


def test_a_broken_lock_is_an_error():
    with pytest.raises(RecipeError, match="no TOML"):
        locked_files("[[package", "uv.lock")
