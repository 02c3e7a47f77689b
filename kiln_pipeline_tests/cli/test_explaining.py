"""`kiln explain`: one release and one target, for people and for programs."""

import json
from pathlib import Path

import pytest


def test_a_gap_is_explained_as_json(kiln) -> None:
    """The verdict has a key of its own, and every upstream file says what it lacks."""
    result = kiln("explain", "MarkupSafe==2.0.1", "cp312-macosx_arm64", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    files = answer.pop("files")
    assert answer == {
        "release": "markupsafe==2.0.1",
        "identifier": "cp312-macosx_arm64",
        "verdict": "missing",
        "rule": "missing",
        "reason": "no wheel upstream, to be built from MarkupSafe-2.0.1.tar.gz",
        "covered_by": "",
        "cibuildwheel": "4.3.3",
    }
    assert len(files) == 69
    assert {"filename": "MarkupSafe-2.0.1.tar.gz", "kind": "sdist", "lacks": ""} in files
    assert [file["filename"] for file in files if not file["lacks"]] == ["MarkupSafe-2.0.1.tar.gz"]


def test_an_untracked_project_is_explained_without_any_recipe(kiln, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may ask, in any folder; the wheel that covers is named."""
    monkeypatch.setenv("KILN_RECIPES", str(tmp_path / "nowhere"))
    result = kiln("explain", "wrapt==1.14.1", "cp310-macosx_arm64")
    assert result.exit_code == 0
    assert "wrapt==1.14.1 cp310-macosx_arm64: covered" in result.stdout
    assert "reason   covered by wrapt-1.14.1-cp310-cp310-macosx_11_0_arm64.whl" in result.stdout
    assert "nothing: covers it" in result.stdout


def test_a_version_is_found_under_its_other_spelling(kiln) -> None:
    """``2.0.1.0`` is 2.0.1 (PEP 440), here as everywhere."""
    result = kiln("explain", "markupsafe==2.0.1.0", "cp312-macosx_arm64", "--json")
    answer = json.loads(result.stdout)
    assert (answer["release"], answer["rule"]) == ("markupsafe==2.0.1", "missing")


def test_a_release_that_upstream_does_not_have_says_so(kiln) -> None:
    answer = json.loads(kiln("explain", "markupsafe==77", "cp312-macosx_arm64", "--json").stdout)
    assert (answer["verdict"], answer["rule"], answer["files"]) == ("excluded", "no-such-release", [])


def test_both_wrong_arguments_are_reported_at_once(kiln) -> None:
    result = kiln("explain", "markupsafe", "cp312-solaris")
    assert result.exit_code == 2
    assert "write PROJECT==VERSION" in result.stderr
    assert "is no build identifier" in result.stderr


def test_an_unknown_project_is_upstreams_answer(kiln) -> None:
    result = kiln("explain", "nosuch==1", "cp312-macosx_arm64")
    assert result.exit_code == 3
    assert "upstream has no such project" in result.stderr
