"""diffoscope's own words on two wheels, where it is installed; and silence where it has none."""

import shutil
from pathlib import Path

import pytest

from kiln_pipeline.adapters import diffoscope
from kiln_pipeline_tests.fakes import make_wheel
from kiln_pipeline_tests.rebuild_samples import rezipped

NAME, WHEEL = make_wheel("wrapt", "1.14.0", "cp311-cp311-macosx_11_0_arm64", build="1")


def both(folder: Path, rebuilt: bytes) -> tuple[Path, Path]:
    for place, data in (("published", WHEEL), ("rebuilt", rebuilt)):
        (folder / place).mkdir()
        (folder / place / NAME).write_bytes(data)
    return folder / "published" / NAME, folder / "rebuilt" / NAME


def test_without_diffoscope_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert diffoscope.explain(*both(tmp_path, rezipped(WHEEL, extra="wrapt/more.py"))) == ""


@pytest.mark.slow
def test_it_names_what_differs_and_no_folder_of_the_host(tmp_path: Path) -> None:
    if shutil.which("diffoscope") is None:
        pytest.skip("diffoscope is not installed")
    text = diffoscope.explain(*both(tmp_path, rezipped(WHEEL, extra="wrapt/more.py")))
    assert text.startswith(f"--- published/{NAME}\n+++ rebuilt/{NAME}\n")
    assert "wrapt/more.py" in text
    assert str(tmp_path) not in text
    assert all(character == "\n" or character.isprintable() for character in text)
