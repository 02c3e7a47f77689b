"""`kiln status`, errors in one style, and what the shell completes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kiln_pipeline.cli import main
from kiln_pipeline_tests.stages.sites import grow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recipes" / "wrapt").mkdir(parents=True)
    (tmp_path / "recipes" / "wrapt" / "recipe.toml").write_text('project = "wrapt"\nreason = "a test"\nversions = "==1.14.0"\n')
    shutil.copy(REPOSITORY / "recipes" / "defaults.toml", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KILN_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_the_status_of_an_empty_workspace_and_of_one_with_a_log(folder: Path):
    """Nothing on record is no error; what is recorded is told, the same as JSON."""
    empty = CliRunner().invoke(main, ["status"])
    assert (empty.exit_code, "none yet" in empty.stdout) == (0, True)
    from kiln_pipeline.adapters.directory import DirectoryStore

    grow(DirectoryStore(folder / ".kiln" / "site"), DirectoryStore(folder / ".kiln" / "state"), ["cp311"], failures=["cp310"])
    answer = CliRunner().invoke(main, ["status"])
    assert answer.exit_code == 0
    assert "1 wheels of ours" in answer.stdout
    assert "2 entries" in answer.stdout
    values = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    assert values["attempts"][-1] == {"span": "all time", "succeeded": 1, "failed": 1}
    assert [host["name"] for host in values["hosts"]] == ["mac-mini-1"]


@pytest.mark.parametrize(
    "line",
    ["missing --platfrom x", "missing --platform x", "explain a", "explain a b", "nosuch", "serve --port 0", "mirror nosuch",
     "build foo --python 3.11", "failures nosuch", "run nosuch", "index check --target x", "lock-check no.lock --target x"],
)  # fmt: skip
def test_every_error_is_in_one_style(folder: Path, line: str):
    """On stderr, each line after the program's name, no usage text in front and no traceback; exit code 2 for wrong input."""
    answer = CliRunner().invoke(main, line.split())
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("kiln: ")
    assert all(text.startswith("kiln: ") for text in answer.stderr.splitlines())


@pytest.mark.parametrize(
    ("words", "found"),
    [("kiln stat", "status"), ("kiln missing wr", "wrapt"), ("kiln missing --platform musl", "musllinux_x86_64"),
     ("kiln run W", "wrapt")],
)  # fmt: skip
def test_the_shell_completes_commands_recipes_and_platforms(folder: Path, words: str, found: str):
    """Asked as bash asks."""
    environment = {**os.environ, "_KILN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    program = [sys.executable, "-c", "from kiln_pipeline.cli import main; main(prog_name='kiln')"]
    answer = subprocess.run(program, env=environment, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert f"plain,{found}" in answer.stdout.splitlines()
