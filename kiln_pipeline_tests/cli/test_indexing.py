"""`kiln index …` from the command line."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.cli import main
from kiln_pipeline_tests.stages.sites import grow, publish_projects


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a published site and two targets, of which one cannot be written."""
    monkeypatch.chdir(tmp_path)
    for variable in ("KILN_HOME", "KILN_SITE", "KILN_STATE", "KILN_RECIPES"):
        monkeypatch.delenv(variable, raising=False)
    site, state = DirectoryStore(tmp_path / ".kiln" / "site"), DirectoryStore(tmp_path / ".kiln" / "state")
    grow(site, state, ["cp311"])
    publish_projects(site, state, "foo", "wrapt")
    (tmp_path / "kiln.toml").write_text('[[publish]]\nname = "good"\nto = "good"\n[[publish]]\nname = "bad"\nto = "file/bad"\n')
    (tmp_path / "file").write_text("")
    return tmp_path


def test_targets_are_copied_to_and_a_broken_one_is_told(home: Path) -> None:
    result = CliRunner().invoke(main, ["index", "replicate"])
    assert result.exit_code == 5
    lines = {line.partition(":")[0]: line for line in result.stdout.splitlines()}
    assert "has all of the site" in lines["good"]
    assert "a file stands where a folder is needed" in lines["bad"]
    site, good = DirectoryStore(home / ".kiln" / "site"), DirectoryStore(home / "good")
    assert {key: good.get(key) for key in good.keys()} == {key: site.get(key) for key in site.keys()}
    result = CliRunner().invoke(main, ["index", "replicate", "good", "--minutes", "5"])
    assert (result.exit_code, result.stdout) == (0, "good: 0 copied (0 bytes), 0 removed; has all of the site\n")


def test_drift_is_listed_with_its_exit_code(home: Path) -> None:
    result = CliRunner().invoke(main, ["index", "check"])
    assert (result.exit_code, result.stdout) == (0, "the index is as it was left\n")
    (home / ".kiln" / "site" / "simple" / "foo" / "index.html").write_bytes(b"altered")
    (home / ".kiln" / "site" / "stray").write_bytes(b"")
    result = CliRunner().invoke(main, ["index", "check"])
    assert (result.exit_code, result.stdout) == (6, "altered  simple/foo/index.html\nunowned  stray\n")


def test_a_target_is_checked_and_mended(home: Path) -> None:
    CliRunner().invoke(main, ["index", "replicate", "good"])
    page = home / "good" / "simple" / "foo" / "index.html"
    page.write_bytes(b"altered")
    result = CliRunner().invoke(main, ["index", "check", "--target", "good", "--mend"])
    assert result.exit_code == 6
    assert "1 objects will be written by `kiln index replicate good`" in result.stdout
    assert CliRunner().invoke(main, ["index", "replicate", "good"]).exit_code == 0
    assert page.read_bytes() == (home / ".kiln" / "site" / "simple" / "foo" / "index.html").read_bytes()
    assert CliRunner().invoke(main, ["index", "check", "--target", "good"]).exit_code == 0


def test_an_unknown_target_is_told(home: Path) -> None:
    result = CliRunner().invoke(main, ["index", "replicate", "wasabi"])
    assert (result.exit_code, result.stderr) == (2, "kiln: kiln.toml: publish: has no target 'wasabi'\n")


def test_dated_views_from_the_command_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`snapshot`, `snapshots`, `remove-snapshots`; the log's key is the workspace's own here, and it signs the view alone."""

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["index", *arguments])
        return result.exit_code, result.stdout

    today = datetime.now(UTC).date()
    address = f"http://127.0.0.1:8765/simple@{today}/"
    assert run("snapshots") == (0, "none: `kiln index snapshot` takes one\n")
    code, text = run("snapshot")
    assert (code, text.startswith(f"{address}: 2 projects, 2 written (")) == (0, True)
    assert run("snapshot", "--keep-days", "30") == (0, f"{address}: was taken before, and stays as it is\n")
    assert run("snapshots") == (0, f"{address}  2 projects, 2 other than in the view before\n")
    assert json.loads(run("snapshots", "--json")[1]) == [{"date": str(today), "url": address, "projects": 2}]
    assert run("check")[0] == 0
    assert run("snapshot", "--date", "2020-01-01")[0] == 2
    assert run("snapshot", "--date", "yesterday")[0] == 2
    assert run("remove-snapshots", "2020-01-01")[0] == 2
    code, text = run("remove-snapshots", str(today))
    assert (code, text) == (0, "1 views removed, 10 objects\n")
    assert list(DirectoryStore(home / ".kiln" / "site").keys("simple@")) == []
