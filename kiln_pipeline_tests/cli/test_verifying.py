"""`kiln verify` as an auditor meets it: a wheel, a lock, an environment, offline; the story, the exit code, what it loads."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline.cli import main
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.simple_index.render import root_json
from kiln_pipeline.stages.dated_views import take_view
from kiln_pipeline_tests.audit_samples import LOG, Silent
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore
from kiln_pipeline_tests.stages.sites import grow, publish_projects
from kiln_pipeline_tests.stages.test_verify import small_site

KEY = str(VerifierKey.of(LOG))
Kiln = Callable[..., Result]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """(folder, wheel, sha256) of a published site."""
    store, attempt = small_site(bulk=2)
    store.put(site_layout.SIMPLE_ROOT_JSON, root_json(["wrapt"]))
    folder = tmp_path_factory.mktemp("published") / "site"
    for key, data in store.objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder, attempt.wheel, attempt.wheel_sha256


@pytest.fixture
def kiln(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kiln:
    """Run `kiln verify …` in an empty folder, without the sdist's upstream."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KILN_HOME", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return lambda *arguments: CliRunner().invoke(main, ("verify", *map(str, arguments)), catch_exceptions=False)


def lock_of(folder: Path, sha256: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text(f"wrapt==1.14.0 \\\n    --hash=sha256:{sha256} \\\n    --hash=sha256:{'0' * 64}\n")
    return path


def test_a_wheel_in_its_site(kiln: Kiln, published: tuple[Path, str, str], tmp_path: Path):
    """The key is pinned on first use, and a site that comes with another one later is refused."""
    folder, wheel, _ = published
    shutil.copytree(folder, tmp_path / "site")
    result = kiln(tmp_path / "site" / "wheels" / wheel, "--no-sdist")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "verified"
    assert json.loads((tmp_path / ".kiln" / "keys" / "known_logs.json").read_text()) == {str(tmp_path / "site"): KEY}
    (tmp_path / "site" / "audit" / "log.vkey").write_text(f"{VerifierKey.of(MemorySigner('kiln.invalid/other'))}\n")
    assert kiln(tmp_path / "site" / "wheels" / wheel, "--no-sdist").exit_code == 0, "the pinned key counts, not the site's"
    other = VerifierKey.of(MemorySigner("kiln.invalid/other"))
    assert kiln(tmp_path / "site" / "wheels" / wheel, "--no-sdist", "--log-key", other).exit_code == 6


def test_a_wheel_by_url_and_a_lock_over_http(kiln: Kiln, published: tuple[Path, str, str], tmp_path: Path):
    folder, wheel, sha256 = published
    with SiteServer(folder) as server:
        assert kiln(f"{server.url}wheels/{wheel}", "--no-sdist").exit_code == 0
        result = kiln(lock_of(tmp_path, sha256), "--site", server.url, "--no-sdist", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["verdict"], [row["wheel"] for row in answer["wheels"]]) == ("verified", [wheel])


def test_a_lock_lists_all_and_then_refuses(kiln: Kiln, published: tuple[Path, str, str], tmp_path: Path):
    folder, wheel, sha256 = published
    site = shutil.copytree(folder, tmp_path / "site")
    good = kiln(lock_of(tmp_path, sha256), "--site", site, "--no-sdist")
    assert good.exit_code == 0
    assert f"{wheel}: verified" in good.stdout
    assert good.stdout.splitlines()[-1].endswith("1 verified, 0 refused")
    (site / "wheels" / wheel).write_bytes((site / "wheels" / wheel).read_bytes() + b"x")
    bad = kiln(lock_of(tmp_path, sha256), "--site", site, "--no-sdist", "--log-key", KEY)
    assert bad.exit_code == 6
    assert f"{wheel}: REFUSED" in bad.stdout
    none = kiln(lock_of(tmp_path, "1" * 64), "--site", folder)
    assert (none.exit_code, "nothing to verify" in none.stdout) == (0, True)
    assert kiln(lock_of(tmp_path, sha256)).exit_code == 2, "a lock does not say which site"


def test_an_environment(kiln: Kiln, published: tuple[Path, str, str], tmp_path: Path):
    """Unpacked as an installer does it; then one file is changed."""
    folder, wheel, _ = published
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    shutil.unpack_archive(folder / "wheels" / wheel, packages, "zip")
    result = kiln(tmp_path / "venv", "--site", folder, "--no-sdist")
    assert result.exit_code == 0
    assert "4 files as they are in the wheel" in result.stdout
    (packages / "wrapt" / "__init__.py").write_text("import evil\n")
    result = kiln(tmp_path / "venv", "--site", folder, "--no-sdist")
    assert result.exit_code == 6
    assert "wrapt/__init__.py has been altered" in result.stdout


def test_offline(kiln: Kiln, published: tuple[Path, str, str], tmp_path: Path):
    """With the file beside the wheel or another one; nothing is trusted on first use."""
    folder, wheel, _ = published
    shutil.copy(folder / "wheels" / wheel, tmp_path)
    shutil.copy(folder / "wheels" / f"{wheel}.provenance.json", tmp_path)
    unknown = kiln(wheel, "--offline")
    assert unknown.exit_code == 6
    assert "no key of a log of this name" in unknown.stderr
    assert kiln(wheel, "--offline", "--log-key", KEY).exit_code == 0
    assert kiln(folder / "wheels" / wheel, "--no-sdist").exit_code == 0, "which pins the key"
    assert kiln(wheel, "--offline").stdout.splitlines()[-1] == "verified"
    shutil.move(f"{wheel}.provenance.json", "bundle.json")
    assert kiln(wheel, "--offline").exit_code == 6
    assert kiln(wheel, "--bundle", "bundle.json").exit_code == 0
    Path("bundle.json").write_bytes(Path("bundle.json").read_bytes().replace(b'"index":2', b'"index":1'))
    assert kiln(wheel, "--bundle", "bundle.json").exit_code == 6
    assert kiln("https://wheels.example.org/wheels/x.whl", "--offline").exit_code == 2
    missing = kiln(wheel)
    assert (missing.exit_code, "--offline" in missing.stderr) == (6, True)


@pytest.mark.slow
def test_a_verification_takes_under_two_seconds_and_loads_no_orchestrator(published: tuple[Path, str, str], tmp_path: Path):
    """The whole process, from the interpreter's start; the better of two, since others share the machine."""
    folder, wheel, sha256 = published
    code = (
        "import atexit, sys; atexit.register(lambda: print([n for n in ('dagster', 'pandas') if n in sys.modules]));"
        "from kiln_pipeline.cli import main; main()"
    )
    for subject in (folder / "wheels" / wheel, lock_of(tmp_path, sha256)):
        seconds: list[float] = []
        for _ in range(2):
            start = time.perf_counter()
            command = [sys.executable, "-c", code, "verify", str(subject), "--site", str(folder), "--no-sdist", "--log-key", KEY]
            answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=dict(os.environ))
            seconds.append(time.perf_counter() - start)
            assert answer.stdout.splitlines()[-1] == "[]"
        assert min(seconds) < 2


def test_a_wheel_against_the_pages_of_a_dated_view(kiln: Kiln, tmp_path: Path):
    """What the live index no longer shows."""
    day = date(2026, 11, 22)
    site, state = DirectoryStore(tmp_path / "site"), MemoryStore()
    grow(site, state, ["cp311"])
    publish_projects(site, state, "foo", "wrapt")
    take_view(day, today=day, site=site, state=state, signer=LOG, progress=Silent())
    publish_projects(site, state, "foo")
    (wheel,) = (tmp_path / "site" / "wheels").glob("*.whl")
    assert kiln(wheel, "--no-sdist").exit_code == 6
    result = kiln(wheel, "--no-sdist", "--as-of", day)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "verified")
    result = kiln(wheel, "--no-sdist", "--as-of", "2026-11-21")
    assert result.exit_code == 6
