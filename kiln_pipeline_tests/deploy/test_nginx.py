"""deploy/nginx/kiln.conf in nginx, over a site that kiln published: it answers as `kiln serve` does; pip and uv install."""

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline.core.site_layout import headers
from kiln_pipeline_tests.adapters.test_site_server import JSON, PIP, WHEEL, clean_environment, publish_wheels
from kiln_pipeline_tests.fakes import make_wheel

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "deploy" / "nginx" / "kiln.conf"
LOCAL = make_wheel("foo", "0.9+local", "py3-none-any", extension=None, build="1")
MAIN = """
daemon off; pid {folder}/pid; error_log {folder}/error.log warn; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    include {folder}/kiln.conf;
}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nginx") / "site"
    publish_wheels(folder, WHEEL, LOCAL)
    store = DirectoryStore(folder)
    others = ("audit/checkpoint", "audit/log.vkey", "audit/tile/0/000", "audit/tile/0/001.p/3", "audit/entries/ab.json")
    for key in (*others, "audit/logs/ab.log.gz", "packages/foo/index.html", "PACKAGES.md", "index.html"):
        store.put(key, key.encode())
    (folder / ".kiln-tmp-secret").write_text("secret")
    folder.parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def nginx(site: Path) -> Iterator[int]:
    """The port of a running nginx."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
    if program is None:
        pytest.skip("there is no nginx: apt-get install nginx-light")
    folder = site.parent
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = CONFIG.read_text()
    for old, new in (("listen 8080;", f"listen 127.0.0.1:{port};"), ("root /srv/kiln/site;", f"root {site};")):
        assert old in text
        text = text.replace(old, new)
    (folder / "kiln.conf").write_text(text)
    user = "user root;" if Path("/proc/self").owner() == "root" else ""  # pytest's folders are closed to nginx's own user
    (folder / "nginx.conf").write_text(user + MAIN.format(folder=folder))
    process = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE)
    try:
        for _ in range(200):
            if process.poll() is not None:
                pytest.fail(f"nginx ended: {process.stderr.read().decode() if process.stderr else ''}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


def ask(port: int, path: str, method: str = "GET", **more: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for exactly this path, as only a raw client does; header names come with underscores."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in more.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


PATHS = [
    *("/simple/", "/simple/foo/", "/simple/foo", "/simple/none/", "/simple/foo/index.json", "/simple/foo/index.html"),
    *("/", "/packages/foo/", "/wheels/", "/.kiln-tmp-secret", "/simple/../../site.conf", "/nothing"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", [PIP, "text/html", "*/*", ""])
def test_it_answers_as_kiln_serve_does(nginx: int, site: Path, path: str, accept: str) -> None:
    """The same status, type, caching rules and bytes."""
    with SiteServer(site) as server:
        expected = ask(int(server.url.rstrip("/").rpartition(":")[2]), path, Accept=accept)
    found = ask(nginx, path, Accept=accept)
    # nginx knows a path that climbs out of the site for a bad request
    assert found[0] == expected[0] or (found[0], expected[0]) == (400, 404)
    if found[0] == 200:
        kept = ("content-type", "cache-control", "vary")
        assert {name: found[1].get(name) for name in kept} == {name: expected[1].get(name) for name in kept}
        assert found[2] == expected[2]
    elif found[0] == 301:
        assert found[1]["location"] == expected[1]["location"]
    else:
        assert "cache-control" not in found[1]


def test_every_object_has_the_headers_of_the_layout(nginx: int, site: Path) -> None:
    for key in DirectoryStore(site).keys():
        status, found, body = ask(nginx, "/" + key.replace("+", "%2B"))
        assert (status, body) == (200, DirectoryStore(site).get(key))
        assert {"Content-Type": found["content-type"], "Cache-Control": found["cache-control"]} == headers(key), key


def test_ranges_conditions_and_heads(nginx: int) -> None:
    path = f"/wheels/{WHEEL[0]}"
    status, found, body = ask(nginx, path, Range="bytes=10-19")
    assert (status, body) == (206, WHEEL[1][10:20])
    assert ask(nginx, path, If_None_Match=found["etag"])[0] == 304
    status, found, body = ask(nginx, path, "HEAD")
    assert (status, int(found["content-length"]), body) == (200, len(WHEEL[1]), b"")
    assert ask(nginx, path, "PUT")[0] == 405
    page = ask(nginx, "/simple/foo/", Accept=JSON, Accept_Encoding="gzip")
    assert (page[1]["content-encoding"], page[1]["vary"]) == ("gzip", "Accept")


def run(tmp_path: Path, *command: str | Path) -> None:
    done = subprocess.run(command, env=clean_environment(tmp_path), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pip_installs_our_wheel(nginx: int, tmp_path: Path) -> None:
    target, index = tmp_path / "target", f"http://127.0.0.1:{nginx}/simple/"
    run(tmp_path, sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", target, "--index-url", index, "Foo==1.0")
    assert (target / "foo-1.0.dist-info" / "WHEEL").read_text().splitlines()[-1] == "Build: 1"


def test_uv_installs_our_wheel_by_its_escaped_address(nginx: int, tmp_path: Path) -> None:
    """A version with a plus, which is written %2B in the page."""
    target, index = tmp_path / "target", f"http://127.0.0.1:{nginx}/simple/"
    more = ("--index-url", index, "--python", sys.executable)
    run(tmp_path, find_uv_bin(), "pip", "install", "--no-cache", "--target", target, *more, "foo==0.9+local")
    assert (target / "foo-0.9+local.dist-info" / "WHEEL").is_file()
