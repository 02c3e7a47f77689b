"""Tool environments: made once, under a lock, and made anew when they were interrupted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.tool_environments import ToolEnvironments, pip_environment
from kiln_pipeline.errors import BuildError


def environments(folder: Path, endpoint: str = PYPI_SIMPLE_ENDPOINT) -> ToolEnvironments:
    return ToolEnvironments(folder, endpoint=endpoint, host=os.environ)


def test_pip_is_reached_by_no_setting_of_the_host() -> None:
    """Neither its configuration files nor its variables; but the certificate."""
    host = {"PIP_INDEX_URL": "x", "PIP_FIND_LINKS": "y", "PIP_CONFIG_FILE": "z", "PIP_CERT": "c", "PATH": "/bin"}
    assert pip_environment(host) == {
        "PATH": "/bin",
        "PIP_CERT": "c",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
    }


def test_a_complete_environment_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is run when the marker states this Python and these requirements."""
    python = tmp_path / "tool-1" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    marker = {"python": sys.version.split()[0], "requirements": ["tool==1"]}
    (tmp_path / "tool-1" / "kiln-complete.json").write_text(json.dumps(marker, indent=1))
    assert environments(tmp_path, "http://127.0.0.1:9/").python("tool-1", ("tool==1",)) == python


@pytest.mark.slow
def test_an_environment_is_made_and_an_interrupted_one_is_made_anew(tmp_path: Path) -> None:
    """Exactly the pinned requirements; what an interrupted installation left is gone."""
    (tmp_path / "six-1.17.0" / "lib").mkdir(parents=True)
    (tmp_path / "six-1.17.0" / "lib" / "half").touch()
    python = environments(tmp_path).python("six-1.17.0", ("six==1.17.0",))
    answer = subprocess.run([python, "-c", "import six; print(six.__version__)"], capture_output=True, check=True, text=True)
    assert (answer.stdout, (tmp_path / "six-1.17.0" / "lib" / "half").exists()) == ("1.17.0\n", False)


@pytest.mark.slow
def test_an_index_that_does_not_answer_is_a_build_error(tmp_path: Path) -> None:
    """With pip's own last lines; and nothing counts as made."""
    with pytest.raises(BuildError, match=r"cannot install six==1\.17\.0"):
        environments(tmp_path, "http://127.0.0.1:9/simple/").python("six-1.17.0", ("six==1.17.0",))
    assert not (tmp_path / "six-1.17.0" / "kiln-complete.json").exists()
