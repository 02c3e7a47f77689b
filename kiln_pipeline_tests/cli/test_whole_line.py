"""The main job as a newcomer runs it: the real upstream, a real build, the site over HTTP, Dagster's interface in a browser."""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
KILN = [sys.executable, "-c", "from kiln_pipeline.cli import main; main()"]
CHROMIUM = "/usr/bin/chromium"
ASSETS = ("release_metadata", "missing_wheels", "wheels", "audit_log", "simple_index")


def copy_of_the_clone(folder: Path) -> Path:
    """Lay out what a clone holds besides the package: recipes and Dagster's two files."""
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(REPOSITORY / name, folder / name)
    shutil.copytree(REPOSITORY / "recipes", folder / "recipes")
    return folder


def environment(**more: str) -> Mapping[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("KILN_")}, **more}


def kiln(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*KILN, *arguments], cwd=folder, env=environment(**more), capture_output=True, text=True, check=False, timeout=900
    )


def digest(site: Path) -> str:
    files = sorted(path for path in site.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(site)).encode() + p.read_bytes() for p in files)).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the demo has run once, with the embedded builder."""
    folder = copy_of_the_clone(tmp_path_factory.mktemp("clone"))
    answer = kiln(folder, "run", KILN_BUILDER="zig")
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"built +markupsafe-2\.0\.1-1-cp3", answer.stderr, re.IGNORECASE), "setuptools of 2021 kept the capitals"
    assert re.search(r"proved pip install --index-url http://127\.0\.0\.1:\d+/simple/ markupsafe==2\.0\.1", answer.stderr)
    assert "lost-extension" in answer.stderr, "PyYAML without libyaml is refused, not published"
    return folder


def test_the_demo_publishes_one_wheel_and_refuses_the_hollow_one(folder: Path) -> None:
    wheels = [path.name for path in (folder / ".kiln" / "site" / "wheels").glob("*.whl")]
    assert len(wheels) == 1
    assert wheels[0].lower().startswith("markupsafe-2.0.1-1-")
    page = (folder / ".kiln" / "site" / "simple" / "pyyaml" / "index.html").read_text()
    assert "5.4.1-1-" not in page


def test_a_second_run_builds_nothing_and_changes_no_byte(folder: Path) -> None:
    site = folder / ".kiln" / "site"
    before = digest(site)
    answer = kiln(folder, "run", KILN_BUILDER="zig")
    assert answer.returncode == 0, answer.stderr
    assert "nothing to build" in answer.stderr
    assert digest(site) == before


def test_keys_are_for_the_owner_only(folder: Path) -> None:
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder / ".kiln" / "keys").glob("*.pem")}
    assert modes == {"host.pem": "0o600", "log.pem": "0o600"}


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_verify_accepts_what_was_published_and_refuses_one_flipped_byte_anywhere(folder: Path, tmp_path: Path) -> None:
    """Wheel, metadata, provenance, build log, envelope, tiles, checkpoint, key, pages: each is refused with exit code 6."""
    site = tmp_path / "site"
    shutil.copytree(folder / ".kiln" / "site", site)
    wheel = next((site / "wheels").glob("*.whl"))
    accepted = kiln(folder, "verify", str(wheel))
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stdout.strip().endswith("verified")
    key = (site / "audit" / "log.vkey").read_text().strip()
    entry = next(line for line in accepted.stdout.splitlines() if "statement" in line).rpartition(" ")[2]
    # the key is given; what is for people proves nothing, and no verification reads it
    victims = [path for path in site.rglob("*") if path.is_file() and path.name not in ("log.vkey", "README")]
    victims = [p for p in victims if "pyyaml" not in p.parts and p.parent.name != "simple"]
    victims = [p for p in victims if not {"packages", "status"} & set(p.parts) and p.parent != site]
    others = [p for p in victims if p.parent.name in ("entries", "logs") and p.suffix in (".json", ".gz")]
    for path in victims:
        data = path.read_bytes()
        path.write_bytes(flipped(data, len(data) // 2))
        answer = kiln(folder, "verify", str(wheel), "--no-sdist", "--log-key", key)
        path.write_bytes(data)
        if path in others and entry not in path.name and answer.returncode == 0:
            continue  # the other attempt's own files are no part of this wheel's story
        assert answer.returncode == 6, f"{path.relative_to(site)}: {answer.stdout}{answer.stderr}"


def test_a_second_run_at_the_same_time_says_who_holds_the_home(folder: Path) -> None:
    first = subprocess.Popen([*KILN, "run"], cwd=folder, env=environment(KILN_BUILDER="zig"), stderr=subprocess.PIPE, text=True)
    try:
        assert first.stderr is not None
        first.stderr.readline()
        second = kiln(folder, "run", KILN_BUILDER="zig")
        assert second.returncode == 5
        assert str(first.pid) in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        first.communicate(timeout=300)
    assert first.returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[tuple[str, str]]:
    """`kiln up` over the folder: (Dagster's address, the site's address). Ends within a minute, with every child."""
    port, site_port = free_port(), free_port()
    command = [*KILN, "up", "--port", str(port), "--site-port", str(site_port)]
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info", folder / "up.log")
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{site_port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=90) == 0
    left = subprocess.run(["pgrep", "-f", f"dagster.*{port}"], capture_output=True, text=True, check=False).stdout
    assert left == ""


def wait_for(url: str, log: Path) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    pytest.fail(f"{url} does not answer: {log.read_text()}")


def test_the_site_is_served_beside_dagster(ui: tuple[str, str]) -> None:
    with urllib.request.urlopen(f"{ui[1]}/simple/markupsafe/", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"markupsafe-2.0.1-1-" in answer.read().lower()


def test_the_asset_graph_shows_five_materialised_assets(ui: tuple[str, str], tmp_path: Path) -> None:
    """The lineage graph in a real browser has the six assets; each asset's page has its latest metadata."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser: {CHROMIUM} is not there")
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(f"{ui[0]}/asset-groups")
        for group in ("control_plane", "build_hosts", "publisher"):
            page.get_by_text(group, exact=True).first.wait_for(timeout=60_000)
        page.screenshot(path=str(tmp_path / "graph.png"))
        for asset in ASSETS:
            page.goto(f"{ui[0]}/assets/{asset}")
            page.get_by_text("Latest materialization" if asset != "wheels" else "manylinux", exact=False).first.wait_for(
                timeout=60_000
            )
            page.screenshot(path=str(tmp_path / f"{asset}.png"))
        browser.close()


def test_rebuild_says_identical_and_the_next_run_has_it_on_record(folder: Path) -> None:
    """The verdict is left in the inbox, taken in by the next run, and told by verify; the second time the log has two."""
    wheel = next((folder / ".kiln" / "site" / "wheels").glob("*.whl"))
    answer = kiln(folder, "rebuild", str(wheel), KILN_BUILDER="zig")
    assert answer.returncode == 0, answer.stderr
    assert f"{wheel.name}: identical: the same bytes" in answer.stdout
    assert "left in the inbox" in answer.stdout
    answer = kiln(folder, "run", KILN_BUILDER="zig")
    assert answer.returncode == 0, answer.stderr
    told = kiln(folder, "verify", str(wheel))
    assert told.returncode == 0, told.stderr
    assert "rebuilt 1× on its own build host: identical" in told.stdout
    assert kiln(folder, "audit", "check", "--full").returncode == 0
    assert kiln(folder, "index", "check").returncode == 0
