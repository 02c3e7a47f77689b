"""`kiln host …` and `kiln audit …` as an operator meets them."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kiln_pipeline.cli import main
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.errors import RecipeError
from kiln_pipeline.workspace import Workspace


@pytest.fixture
def kiln(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `kiln …` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("KILN_HOME", "KILN_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KILN_HOST", "mac-mini-1")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return run


def test_a_host_prints_its_own_line_and_the_publisher_reads_it(kiln, tmp_path: Path):
    """The key is made once; the printed lines are what the file of enrolled hosts takes."""
    lines = kiln("host", "enroll", "--platform", "macosx_arm64", "--platform", "macosx_x86_64").stdout
    assert kiln("host", "enroll", "--platform", "macosx_arm64", "--platform", "macosx_x86_64").stdout == lines
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "hosts.toml").write_text(lines)
    (host,) = Workspace.from_environment(tmp_path, {"KILN_HOST": "publisher"}).hosts.values()
    assert (host.name, host.platforms) == ("mac-mini-1", (Platform.MACOSX_ARM64, Platform.MACOSX_X86_64))
    wrong = kiln("host", "enroll", "--platform", "beos_ppc")
    assert wrong.exit_code == 2
    assert "beos_ppc is none of" in wrong.stderr


def test_without_a_file_this_host_alone_is_enrolled_for_all_it_builds(tmp_path: Path):
    workspace = Workspace.from_environment(tmp_path, {"KILN_HOST": "laptop"})
    assert {name: host.platforms for name, host in workspace.hosts.items()} == {"laptop": tuple(Platform)}


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path):
    """Never the embedded default in its place: that would enrol a host that nobody enrolled."""
    workspace = Workspace.from_environment(tmp_path, {"KILN_HOSTS": "elsewhere/hosts.toml"})
    with pytest.raises(RecipeError, match="KILN_HOSTS"):
        _ = workspace.hosts


LEGACY = "grpcio/3_10/1_47_2/1_build.txt"


def test_import_check_and_export_by_hand(kiln, tmp_path: Path):
    """An empty workspace, the original's folder taken in, the site audited, the trail exported; then a file is altered."""
    (tmp_path / "audit" / LEGACY).parent.mkdir(parents=True)
    (tmp_path / "audit" / LEGACY).write_text("building grpcio\n")
    empty = kiln("audit", "check")
    assert (empty.exit_code, empty.stdout) == (0, "0 entries, 0 read now, 0 verified; 0 differences\n")
    assert kiln("audit", "import-legacy", "audit").stdout == "1 logs added, 0 already on record, 0 other files left out\n"
    assert kiln("audit", "import-legacy", "audit").stdout == "0 logs added, 1 already on record, 0 other files left out\n"
    assert kiln("audit", "check").stdout == "1 entries, 1 read now, 1 verified; 0 differences\n"
    assert kiln("audit", "export", "--git", "history").stdout == "1 commits added, 1 on branch audit of history\n"
    (log,) = (tmp_path / ".kiln" / "site" / "audit" / "logs").iterdir()
    log.write_bytes(b"other")
    result = kiln("audit", "check", "--full")
    assert result.exit_code == 6
    assert result.stdout.startswith(f"audit/logs/{log.name}: its sha256 is ")
    assert kiln("audit", "import-legacy", "nowhere").exit_code == 2
