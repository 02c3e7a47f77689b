"""Folders of builds: gone with their build, and those of a killed kiln with the next one's start."""

import subprocess
import sys
from pathlib import Path

from kiln_pipeline.stages.build_folders import build_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from kiln_pipeline.stages.build_folders import build_folder
with build_folder(Path(sys.argv[1]), "kiln-build-") as folder:
    (folder / "half.o").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_builds_folder_goes_with_the_next_build(tmp_path: Path) -> None:
    """And that of a running one, or of somebody else, stays."""
    (tmp_path / "kiln-mirror").mkdir()
    with build_folder(tmp_path, "kiln-build-") as running:
        ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
        left = {path.name for path in tmp_path.iterdir() if path.is_dir()} - {running.name, "kiln-mirror"}
        assert (ended.returncode, len(left)) == (-9, 1)
        with build_folder(tmp_path, "kiln-build-") as third:
            assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {running.name, third.name, "kiln-mirror"}
    assert [path.name for path in tmp_path.iterdir()] == ["kiln-mirror"]


def test_a_folder_goes_with_its_build_however_that_ends(tmp_path: Path) -> None:
    """Its lock too."""
    try:
        with build_folder(tmp_path / "work", "kiln-build-") as folder:
            (folder / "a" / "b").mkdir(parents=True)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert list((tmp_path / "work").iterdir()) == []
