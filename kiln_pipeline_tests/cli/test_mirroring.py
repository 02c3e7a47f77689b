"""`kiln mirror …` as an operator uses it, and pip and uv that install from the copies when upstream is gone."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline.cli import main
from kiln_pipeline_tests.fakes import make_wheel
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream

DEFAULTS = '[targets]\npythons = ["cp312"]\nplatforms = ["manylinux_x86_64"]\n'
FOO, DATA = make_wheel("foo", "1.0", "py3-none-any", extension=None)
METADATA = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nRequires-Dist: bar>=1\n"
BANDERSNATCH = "bandersnatch==6.8.0"


def page(project: str, name: str, data: bytes, **more: Any) -> dict[str, Any]:
    file = {"filename": name, "url": name, "hashes": {"sha256": hashlib.sha256(data).hexdigest()}, "size": len(data), **more}
    return {"meta": {"api-version": "1.4"}, "name": project, "versions": ["1.0"], "files": [file]}


@pytest.fixture
def upstream() -> Iterator[LoopbackUpstream]:
    bar, bytes_of_bar = make_wheel("bar", "1.0", "py3-none-any", extension=None)
    files = {FOO: DATA, f"{FOO}.metadata": METADATA.replace(b"Requires-Dist: bar>=1\n", b""), bar: bytes_of_bar}
    own = hashlib.sha256(files[f"{FOO}.metadata"]).hexdigest()
    pages = {"foo": page("foo", FOO, DATA, **{"core-metadata": {"sha256": own}}), "bar": page("bar", bar, bytes_of_bar)}
    with LoopbackUpstream(pages, files) as server:
        yield server


@pytest.fixture
def kiln(upstream: LoopbackUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KILN_UPSTREAM", upstream.url)
    monkeypatch.setenv("KILN_HOME", str(tmp_path / "home"))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "defaults.toml").write_text(DEFAULTS)
    recipe(tmp_path, "foo", 'mirror = "copy"')
    return lambda *arguments: CliRunner().invoke(main, ["mirror", *arguments], catch_exceptions=False)


def recipe(folder: Path, project: str, text: str) -> None:
    path = folder / "recipes" / project / "recipe.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'project = "{project}"\nreason = "r"\nversions = []\n{text}\n')


def test_a_copied_project_installs_when_upstream_is_gone(kiln, upstream: LoopbackUpstream, tmp_path: Path) -> None:
    """By pip and by uv, from our index alone; and a second run copies nothing."""
    result = kiln("sync")
    assert (result.exit_code, result.stdout) == (0, f"foo: 1 of 1 there\ncopied 1 files, {len(DATA)} bytes\n")
    assert "copied 0 files" in kiln("sync").stdout
    for name in list(upstream.files):
        del upstream.files[name]
    upstream.set_page("foo", None)
    with SiteServer(tmp_path / "home" / "site") as server:
        index = f"{server.url}simple/"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--index-url", index, "--target", "by-pip", "foo==1.0"]
        uv = [shutil.which("uv", path=str(Path(sys.executable).parent)), "pip", "install", "-q", "--no-cache"]
        uv += ["--index-url", index, "--target", "by-uv", "foo==1.0"]
        for command in (pip, uv):
            subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
    assert (tmp_path / "by-pip" / "foo" / "__init__.py").is_file()
    assert (tmp_path / "by-uv" / "foo" / "__init__.py").is_file()


def test_a_dry_run_tells_and_writes_no_page(kiln, tmp_path: Path) -> None:
    result = kiln("sync", "--dry-run")
    assert "foo: 0 of 1 there, 1 to copy" in result.stdout
    assert result.stdout.endswith(f"would copy 1 files, {len(DATA)} bytes\n")
    assert not (tmp_path / "home" / "site").exists()


def test_failures_are_told_and_stay_on_the_status(kiln, upstream: LoopbackUpstream) -> None:
    assert "never run" in kiln("status").stdout
    upstream.fault(FOO, 404)
    result = kiln("sync")
    assert result.exit_code == 3
    assert f"file {FOO}: upstream does not have it (404)" in result.stdout
    status = kiln("status")
    assert status.exit_code == 0
    assert "failed (since " in status.stdout
    (project,) = json.loads(kiln("status", "--json").stdout)["projects"]
    assert (project["project"], project["left"], len(project["failed"])) == ("foo", 1, 1)


def test_verify_finds_what_rotted_and_takes_it_off_the_page(kiln, tmp_path: Path) -> None:
    kiln("sync")
    assert kiln("verify").stdout == "every copy is what upstream stated\n"
    (copy,) = (tmp_path / "home" / "site" / "mirror").rglob("*.whl")
    copy.write_bytes(DATA[:-1] + b"!")
    result = kiln("verify")
    assert (result.exit_code, result.stdout.split()[0]) == (6, "altered")
    assert "mirror/" not in (tmp_path / "home" / "site" / "simple" / "foo" / "index.html").read_text()
    assert "copied 1 files" in kiln("sync").stdout


def test_wrong_names_and_settings_are_told_with_what_to_write(kiln, tmp_path: Path) -> None:
    result = kiln("sync", "bar", "no such", "--rate", "5MB")
    assert result.exit_code == 2
    assert 'bar: is not copied: write mirror = "copy" into recipes/bar/recipe.toml' in result.stderr
    assert "no such: 'no such' is no valid project name" in result.stderr
    assert "--rate: 'fast' is no size" in kiln("sync", "--rate", "fast").stderr
    recipe(tmp_path, "foo", 'mirror = "link"')
    assert 'has no project with mirror = "copy"' in kiln("sync").stderr


def test_a_closure_becomes_recipes(kiln, upstream: LoopbackUpstream, tmp_path: Path) -> None:
    upstream.files[f"{FOO}.metadata"] = METADATA
    upstream.set_page("foo", page("foo", FOO, DATA, **{"core-metadata": True}))
    result = kiln("closure", "foo", "--target", "cp312-manylinux_x86_64", "--add", "link")
    assert result.exit_code == 0
    assert result.stdout == (
        "bar >=1: 1.0\n  1.0: upstream has no core metadata file, so what it requires is not known\nfoo any: 1.0\n2 projects\n"
        "1 recipes written; `kiln recipes check`, then `kiln mirror sync`\n"
    )
    text = (tmp_path / "recipes" / "bar" / "recipe.toml").read_text()
    assert text == 'project = "bar"\nreason = "required by foo==1.0"\nversions = []   # builds nothing\n\nmirror = "link"\n'
    assert CliRunner().invoke(main, ["recipes", "check"]).exit_code == 0
    assert kiln("closure", "nothing", "--target", "cp312-manylinux_x86_64").exit_code == 3
    wrong = kiln("closure", "bar baz", "--target", "cp312")
    assert wrong.exit_code == 2
    assert "no valid project name" in wrong.stderr
    assert "no build identifier" in wrong.stderr


@pytest.mark.slow
def test_bandersnatch_reads_what_is_exported_for_it(kiln, tmp_path: Path) -> None:
    """The real one, in a venv of its own: its parser and its filters see the allow-list, and our versions."""
    recipe(tmp_path, "foo", '[mirror]\nmode = "copy"\nversions = [">=2", "==1.5"]\nmax-size = "1MB"')
    exported = kiln("export-bandersnatch", "--directory", str(tmp_path / "pypi"))
    assert exported.exit_code == 0
    assert "; It cannot say for one project: foo's max-size" in exported.stdout
    (tmp_path / "bandersnatch.conf").write_text(exported.stdout)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", BANDERSNATCH], check=True, timeout=600)
    script = """
import sys
from pathlib import Path
from bandersnatch.configuration import BandersnatchConfig, validate_config_values
from bandersnatch.filter import LoadedFilters
config = BandersnatchConfig(config_file=Path(sys.argv[1]))
validate_config_values(config)
filters = LoadedFilters(load_all=False)
(project,) = filters.filter_project_plugins()
(release,) = filters.filter_release_plugins()
admitted = [v for v in ("1.0", "1.5", "2.1") if release.filter({"info": {"name": "foo"}, "version": v, "releases": {v: []}})]
print(project.check_match(name="foo"), project.check_match(name="bar"), admitted)
"""
    done = subprocess.run(
        [python, "-c", script, tmp_path / "bandersnatch.conf"], check=True, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "False True ['1.5', '2.1']"
