"""pip's requirements file: joined, included and constrained as pip does it."""

import re

import pytest

from kiln_pipeline.core.lockfiles.model import Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.requirements_txt import parse_requirements
from kiln_pipeline.errors import RecipeError


def parse(files: dict[str, str]) -> LockFile:
    return parse_requirements(files["reqs/all.txt"], file="reqs/all.txt", read=files.__getitem__)


def test_everything_that_pip_reads_is_read() -> None:
    lock = parse(
        {
            "reqs/all.txt": """\
--index-url https://files.example.org/simple
-r more/base.txt
-c constraints.txt
MarkupSafe[extra]==2.0.1 ; python_version < "4" \\
    --hash=sha256:00 \\
    --hash=sha256:11 \\
    # a comment ends what is continued
requests  # constrained
attrs>=20
six==1.*
-e ./here
./there/pkg-1.0-py3-none-any.whl ; sys_platform == "darwin"
thing @ git+https://files.example.org/thing.git@v1#egg=thing
--no-binary lxml
PyYAML === 5.4.1
""",
            "reqs/more/base.txt": "--requirement=../deeper.txt\n",
            "reqs/deeper.txt": "wrapt==1.14.1 --hash=sha256:00",
            "reqs/constraints.txt": "requests==2.31.0\nnever==1\n",
        }
    )
    assert lock == LockFile(
        file="reqs/all.txt",
        installer=Installer.PIP,
        packages=(
            LockedPackage(project="./here", source="./here"),
            LockedPackage(
                project="./there/pkg-1.0-py3-none-any.whl",
                source="./there/pkg-1.0-py3-none-any.whl",
                markers=('sys_platform == "darwin"',),
            ),
            LockedPackage(project="wrapt", version="1.14.1"),
            LockedPackage(project="markupsafe", version="2.0.1", markers=('python_version < "4"',)),
            LockedPackage(project="requests", version="2.31.0"),
            LockedPackage(project="thing", source="git+https://files.example.org/thing.git@v1#egg=thing"),
            LockedPackage(project="pyyaml", version="5.4.1"),
        ),
        unpinned=("attrs>=20 (reqs/all.txt, line 9)", "six==1.* (reqs/all.txt, line 10)"),
        notes=("--no-binary lxml is not taken into account: a wheel counts as a wheel",),
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("what is this", "reqs/all.txt: line 2: 'what is this' is no requirement"),
        ("a==1 ; os = x", "reqs/all.txt: line 2: 'a==1 ; os = x' is no requirement"),
        ("--frobnicate", "reqs/all.txt: line 2: --frobnicate is no option that pip knows in a requirements file"),
        ("a==1 --frobnicate", "reqs/all.txt: line 2: --frobnicate is no option that pip knows behind a requirement"),
        ("-r https://files.example.org/r.txt", "reqs/all.txt: line 2: -r https://files.example.org/r.txt: only files"),
        ("-r all.txt", "reqs/all.txt: includes itself"),
        ("./here ; os = x", "reqs/all.txt: line 2: 'os = x' is no environment marker"),
    ],
)
def test_a_broken_line_is_one_error_with_its_number(line: str, error: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(error)}"):
        parse({"reqs/all.txt": f"# first\n{line}\n"})
