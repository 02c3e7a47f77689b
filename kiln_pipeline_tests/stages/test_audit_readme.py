"""The page for people without kiln: its own commands, run as they stand, accept a wheel and refuse what was altered."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.stages.audit_readme import put_readme, render_readme
from kiln_pipeline_tests.audit_samples import LOG
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore
from kiln_pipeline_tests.stages.test_verify import small_site

KEY = VerifierKey.of(LOG)
TOOLS = ("curl", "openssl", "sha256sum", "sh", "python3")


def test_the_page_is_put_once_and_again_when_it_changes():
    """Byte-stable: a run that changes nothing writes nothing."""
    site = MemoryStore()
    put_readme(site, KEY)
    put_readme(site, KEY)
    assert site.puts == ["audit/README"]
    assert f"    {KEY}\n".encode() in site.objects["audit/README"]
    put_readme(site, VerifierKey.of(MemorySigner("kiln.invalid/other")))
    assert len(site.puts) == 2
    assert site_layout.headers("audit/README")["Content-Type"] == "text/plain; charset=utf-8"


def test_recording_puts_the_page():
    site, _ = small_site(bulk=1)
    assert site.objects[site_layout.AUDIT_README] == render_readme(KEY)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    """(URL, folder, wheel) of a published site over HTTP; its wheel is an entry in the middle of the log."""
    store, attempt = small_site(bulk=5)
    folder = tmp_path_factory.mktemp("site")
    for key, data in store.objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    with SiteServer(folder) as server:
        yield server.url.rstrip("/"), folder, attempt.wheel


def follow(page: str, url: str, wheel: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run every command of the page in its order, as somebody would who copies them into a shell."""
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    environment = {**os.environ, "SITE": url, "WHEEL": wheel, "no_proxy": "*"}
    return subprocess.run(["sh", "-e", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}")
def test_the_commands_of_the_page_accept_a_wheel_and_refuse_what_was_altered(site: tuple[str, Path, str], tmp_path: Path):
    """Fetched from the site itself, page and wheel both; then each part of it is altered in turn."""
    url, folder, wheel = site
    page = (folder / "audit" / "README").read_text()
    (tmp_path / "good").mkdir()
    good = follow(page, url, wheel, tmp_path / "good")
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("Signature Verified Successfully") == 3
    assert "in the log of kiln.invalid/test" in good.stdout
    assert good.stdout.count(": OK\n") == 2
    assert '"https://slsa.dev/provenance/v1"' in good.stdout
    provenance = folder / "wheels" / f"{wheel}.provenance.json"
    bundle = json.loads(provenance.read_text())
    size = bundle["checkpoint"].splitlines()[1]
    altered = {
        "index": {**bundle, "index": bundle["index"] - 1},
        "size": {**bundle, "checkpoint": bundle["checkpoint"].replace(f"\n{size}\n", f"\n{int(size) + 1}\n")},
        "proof": {**bundle, "inclusionProof": bundle["inclusionProof"][::-1]},
        "statement": {**bundle, "envelope": {**bundle["envelope"], "payload": bundle["envelope"]["payload"][:-8] + "fX19Cg=="}},
        "entry": {**bundle, "entry": bundle["entry"].replace("wrapt", "wrapc")},
    }
    for name, changed in altered.items():
        (tmp_path / name).mkdir()
        provenance.write_text(json.dumps(changed))
        assert follow(page, url, wheel, tmp_path / name).returncode != 0, name
    provenance.write_text(json.dumps(bundle))
    data = (folder / "wheels" / wheel).read_bytes()
    (folder / "wheels" / wheel).write_bytes(data[:-1] + b"x")
    (tmp_path / "wheel").mkdir()
    assert "FAILED" in follow(page, url, wheel, tmp_path / "wheel").stdout
