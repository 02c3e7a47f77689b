"""What stands between a site and its readers, run as it is deployed: `kiln serve`, nginx, a Worker; over a folder or a bucket."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import S3Location, connect
from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline_tests.s3_server import S3Server

DEPLOY = Path(__file__).parent.parent / "deploy"
EDGES = ("kiln serve", "nginx", "nginx, bucket", "Worker, bucket")
_NGINX = """
load_module {module}; daemon off; pid {folder}/pid; error_log {folder}/error.log warn; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    js_import kiln from {folder}/kiln-dated-views.js;
    include {folder}/kiln.conf;
}}
"""


@contextmanager
def run_edge(name: str, site: Path, s3: S3Server, folder: Path, *, port: int = 0) -> Iterator[str]:
    """Serve `site` through one of `EDGES` and yield its URL, which ends in a slash; a bucket gets a copy of the site first."""
    folder.mkdir(parents=True)
    port = port or free_port()
    if name == "kiln serve":
        with SiteServer(site, port=port) as server:
            yield server.url
    elif name == "nginx":
        with _nginx(folder, port, "kiln.conf", {"root /srv/kiln/site;": f"root {site};"}) as url:
            yield url
    elif name == "nginx, bucket":
        location = in_bucket(site, s3, public=True)
        endpoint = s3.endpoint.removeprefix("http://")
        changes = {
            "server s3.eu-central-1.wasabisys.com:443;": f"server {endpoint};",
            "https://kiln_bucket/bucket/prefix": f"http://kiln_bucket/{location.bucket}/{location.prefix.rstrip('/')}",
            "proxy_set_header Host s3.eu-central-1.wasabisys.com;": f"proxy_set_header Host {endpoint};",
            "/var/cache/nginx/kiln": f"{folder}/cache",
        }
        with _nginx(folder, port, "kiln-bucket.conf", changes) as url:
            yield url
    elif name == "Worker, bucket":
        with _worker(in_bucket(site, s3, public=False), port) as url:
            yield url
    else:
        raise ValueError(name)


def in_bucket(site: Path, s3: S3Server, *, public: bool) -> S3Location:
    """Copy a site into a new bucket, as a publish to it would have put it there."""
    location = s3.new_bucket("some/prefix/")
    source, store = DirectoryStore(site), S3Store(location)
    store.put_many([(key, source.get(key)) for key in source.keys()])
    if public:
        anybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{location.bucket}/*"}
        policy = {"Version": "2012-10-17", "Statement": [anybody]}
        connect(location, connections=1).put_bucket_policy(Bucket=location.bucket, Policy=json.dumps(policy))
    return location


@contextmanager
def _nginx(folder: Path, port: int, config: str, changes: Mapping[str, str]) -> Iterator[str]:
    """Run nginx with one of the shipped server blocks, changed where it says so."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
    module = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
    if program is None or not module.exists():
        pytest.skip("there is no nginx with its JavaScript module: apt-get install nginx-light libnginx-mod-http-js")
    text = (DEPLOY / "nginx" / config).read_text()
    included = f"include {DEPLOY}/nginx/kiln-dated-views.conf;"
    for old, new in {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "# include kiln-dated-views.conf;": included,
        **changes,
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "kiln.conf").write_text(text)
    shutil.copy(DEPLOY / "nginx" / "kiln-dated-views.js", folder)
    user = "user root;" if folder.owner() == "root" else ""  # pytest's folders are closed to nginx's own user
    (folder / "nginx.conf").write_text(user + _NGINX.format(folder=folder, module=module))
    with _running([program, "-p", folder, "-c", folder / "nginx.conf"], port, dict(os.environ)):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def _worker(location: S3Location, port: int) -> Iterator[str]:
    """Run the Worker in Cloudflare's own runtime, before a bucket that only it may read."""
    program = next(iter(DEPLOY.glob("cloudflare/node_modules/@cloudflare/workerd-*/bin/workerd")), None)
    if program is None:
        pytest.skip("there is no workerd: npm install --ignore-scripts --prefix deploy/cloudflare")
    environment = {
        "ORIGIN": f"{location.endpoint_url}/{location.bucket}/{location.prefix.rstrip('/')}",
        "ACCESS_KEY_ID": location.access_key or "",
        "SECRET_ACCESS_KEY": location.secret_key or "",
        "REGION": location.region or "",
    }
    command = [program, "serve", DEPLOY / "cloudflare" / "workerd.capnp", "--socket-addr", f"http=127.0.0.1:{port}"]
    with _running(command, port, environment):
        yield f"http://127.0.0.1:{port}/"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def _running(command: Sequence[str | Path], port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server until the block ends; it has begun when the port takes a connection."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        for _ in range(400):
            if process.poll() is not None:
                pytest.fail(f"{command[0]} ended: {process.stderr.read().decode() if process.stderr else ''}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)
