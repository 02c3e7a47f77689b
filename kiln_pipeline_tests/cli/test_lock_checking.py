"""`kiln lock-check`: a real lock against an upstream over HTTP, for people and for programs."""

import json
import shutil
from pathlib import Path

import pytest

from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream
from kiln_pipeline_tests.workspaces import DATA

PINS = "markupsafe==2.0.1\npyyaml==5.4.1 ; sys_platform == 'linux'\nwrapt==1.14.1\n"


@pytest.fixture
def pins(tmp_path: Path) -> str:
    (tmp_path / "requirements.txt").write_text(PINS)
    return "requirements.txt"


def test_nothing_to_compile_exits_with_0(kiln, pins: str) -> None:
    (Path(pins)).write_text("markupsafe==2.0.1\nwrapt==1.14.1\n")
    result = kiln("lock-check", pins, "--target", "cp310-macosx_arm64")
    assert result.exit_code == 0
    assert result.stdout == "cp310-macosx_arm64: 2 releases: 2 covered\n"


def test_what_compiles_is_listed_with_the_next_step_and_exits_with_1(kiln, pins: str) -> None:
    result = kiln("lock-check", pins, "--target", "cp312-macosx_arm64")
    assert result.exit_code == 1
    assert "cp312-macosx_arm64: 2 releases: 2 fillable" in result.stdout
    assert "no wheel upstream, to be built from MarkupSafe-2.0.1.tar.gz" in result.stdout
    assert "needs a compiler; kiln recipes new wrapt" in result.stdout
    assert "installer configuration, once the gaps are filled (pip)" in result.stdout
    assert "--extra-index-url http://127.0.0.1:8765/simple/" in result.stdout


def test_the_report_as_json_has_every_target(kiln, pins: str) -> None:
    result = kiln("lock-check", pins, "--target", "cp312-macosx_arm64", "--target", "cp39-manylinux_x86_64", "--json")
    report = json.loads(result.stdout)
    assert {key: report[key] for key in ("file", "installer", "verdict", "elsewhere", "unpinned", "notes")} == {
        "file": "requirements.txt",
        "installer": "pip",
        "verdict": "compiles",
        "elsewhere": [],
        "unpinned": [],
        "notes": [],
    }
    releases = {
        target: {outlook: [line["release"] for line in lines] for outlook, lines in outlooks.items()}
        for target, outlooks in report["targets"].items()
    }
    assert releases == {
        "cp312-macosx_arm64": {
            "covered": [],
            "published": [],
            "fillable": ["markupsafe==2.0.1", "wrapt==1.14.1"],
            "unfillable": [],
        },
        "cp39-manylinux_x86_64": {
            "covered": ["markupsafe==2.0.1", "pyyaml==5.4.1", "wrapt==1.14.1"],
            "published": [],
            "fillable": [],
            "unfillable": [],
        },
    }


def test_our_index_fills_the_gap_and_the_snippet_has_its_hash(kiln, pins: str, upstream: LoopbackUpstream) -> None:
    """With --index-url, what that index has does not compile."""
    page = json.loads((DATA / "pages" / "markupsafe.json").read_bytes())
    wheel = "MarkupSafe-2.0.1-1-cp312-cp312-macosx_11_0_arm64.whl"
    ours = {"filename": wheel, "url": f"wheels/{wheel}", "hashes": {"sha256": "7" * 64}, "size": 7}
    page["files"].insert(0, ours)
    Path(pins).write_text("markupsafe==2.0.1\n")
    with LoopbackUpstream({"markupsafe": page}, {}) as index:
        result = kiln("lock-check", pins, "--target", "cp312-macosx_arm64", "--index-url", index.url)
    assert result.exit_code == 0
    assert f"our index has {wheel}" in result.stdout
    assert f"--extra-index-url {index.url}\nmarkupsafe==2.0.1 \\\n    --hash=sha256:{'7' * 64}\n" in result.stdout


def test_the_targets_own_system_counts(kiln, upstream: LoopbackUpstream) -> None:
    """A wheel that needs a newer macOS than the floor is named, and taken where the user says that he has it."""
    page = json.loads((DATA / "pages" / "markupsafe.json").read_bytes())
    wheel = "MarkupSafe-2.0.1-cp312-cp312-macosx_13_0_arm64.whl"
    page["files"].append({"filename": wheel, "url": f"wheels/{wheel}", "hashes": {"sha256": "7" * 64}, "size": 7})
    upstream.set_page("markupsafe", page)
    Path("requirements.txt").write_text("markupsafe==2.0.1\n")
    result = kiln("lock-check", "requirements.txt", "--target", "cp312-macosx_arm64", "--json")
    assert result.exit_code == 1
    (line,) = json.loads(result.stdout)["targets"]["cp312-macosx_arm64"]["fillable"]
    assert line["reason"].endswith(f"; {wheel} needs macOS 13.0, the floor is 11.0")
    assert kiln("lock-check", "requirements.txt", "--target", "cp312-macosx_arm64", "--macos", "14").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("requirements.txt", "--target", "cp312-macosx_arm64", "--macos", "new"), "--macos: 'new' is no version"),
        (("nosuch.lock", "--target", "cp312-macosx_arm64"), "nosuch.lock: does not exist"),
        (("requirements.txt", "--target", "cp312-solaris", "--target", "x"), "'cp312-solaris' is no build identifier"),
        (("poetry.lock", "--target", "cp312-macosx_arm64"), "poetry.lock: is not UTF-8 (byte 0)"),
        (("Pipfile.lock", "--target", "cp312-macosx_arm64"), "Pipfile.lock: is no lock file that kiln knows"),
    ],
)
def test_wrong_input_is_one_clear_line(kiln, pins: str, arguments: tuple[str, ...], error: str) -> None:
    Path("poetry.lock").write_bytes(b"\xff\xfe")
    shutil.copy(pins, "Pipfile.lock")
    result = kiln("lock-check", *arguments)
    assert result.exit_code == 2
    assert error in result.stderr
    assert "Traceback" not in result.stderr
