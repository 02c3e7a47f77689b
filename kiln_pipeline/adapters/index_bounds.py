"""A strategy put into force: the index view that belongs to a build, on this host or in its container, and what it gave out."""

import json
import re
import shlex
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from http.server import ThreadingHTTPServer
from pathlib import Path

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from kiln_pipeline.adapters import index_door, index_view
from kiln_pipeline.adapters.container_programs import place
from kiln_pipeline.adapters.index_view import Policy, make_server
from kiln_pipeline.core.build_plan import Material
from kiln_pipeline.core.strategies import Strategy

INDEX = "{index}"
"""How the view's address stands in provenance: its port is another one in every build."""

_GIVEN = re.compile(r"^kiln: index: (\S+) sha256=([0-9a-f]{64})$", re.MULTILINE)
_DOOR, _SOCKETS = "/tmp/kiln-index-door.py", "/run/kiln-index"  # noqa: S108 (likewise)
_IN_CONTAINER = "/tmp/kiln-index-view.py"  # noqa: S108 (a path in a container that nobody shares)


def policy_of(strategy: Strategy, *, upstream: str, also: tuple[str, ...] = ()) -> Policy:
    """Return what a build by `strategy` may install; `also` are pins that its tools need in any case."""
    cutoff = strategy.cutoff.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z" if strategy.cutoff else ""
    return Policy(upstream=upstream, cutoff=cutoff, newer=strategy.newer, also=also, only=strategy.only)


class ServedIndex:
    """A view that is being served on this host's loopback, and on whatever other listening socket it is given."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server, self._others = server, list[ThreadingHTTPServer]()
        self.port = int(server.server_port)
        self.url = f"http://127.0.0.1:{self.port}/simple/"

    def serve_on(self, listening: socket.socket) -> None:
        """Serve on another socket too, such as one that listens in a jail's own network."""
        other = ThreadingHTTPServer(("127.0.0.1", self.port), self._server.RequestHandlerClass, bind_and_activate=False)
        other.socket.close()
        other.socket, other.daemon_threads = listening, True
        self._others.append(other)
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """End serving everywhere."""
        for server in (self._server, *self._others):
            server.shutdown()
            server.server_close()


@contextmanager
def serving(
    policy: Policy, *, log: Path, environment: Mapping[str, str], relays: bool = False, noting: str | None = None
) -> Iterator[ServedIndex]:
    """Serve the view on this host; what it gives out is appended to `log`. `relays`, `noting`: see `index_view.make_server`."""
    lock = threading.Lock()

    def note(line: str) -> None:
        with lock, log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    stated = environment.get("SSL_CERT_FILE") or environment.get("PIP_CERT") or environment.get("REQUESTS_CA_BUNDLE")
    server = make_server(policy, 0, note, stated or DEFAULT_CA_BUNDLE_PATH, relays, noting)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    index = ServedIndex(server)
    try:
        yield index
    finally:
        index.close()
        thread.join()


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with the loopback exempt from any proxy of the host."""
    stated = environment.get("no_proxy") or environment.get("NO_PROXY")
    both = ",".join(part for part in (stated, "127.0.0.1") if part)
    return {**environment, "no_proxy": both, "NO_PROXY": both}


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now: a container may share the host's network."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def container_command(policy: Policy, port: int) -> str:
    """Return the shell command that starts the view in a container and returns when it answers; it ends with the container."""
    stated = {**policy._asdict(), "port": port}
    argument = shlex.quote(json.dumps({key: value for key, value in stated.items() if value}, sort_keys=True))
    return f"{place(Path(index_view.__file__), _IN_CONTAINER)} && python -I -S {_IN_CONTAINER} {argument}"


@contextmanager
def through_a_socket(policy: Policy, port: int, *, log: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Serve the view to a container without a network: yield the engine's argument for `create`, and the command that opens it.

    The one thing of the host that the container sees is a folder with one socket in it.
    """
    with (
        serving(policy, log=log, environment=environment, relays=True, noting=index_door.NOTE) as index,
        tempfile.TemporaryDirectory(prefix="kiln-index-") as folder,  # not the build's own: a socket's path has 107 bytes at most
        socket.socket(socket.AF_UNIX) as listening,
    ):
        path = Path(folder, "index")
        listening.bind(str(path))
        Path(folder).chmod(0o711)
        path.chmod(0o666)  # whoever the container's root is on this host
        listening.listen(64)
        index.serve_on(listening)
        program = f"{place(Path(index_door.__file__), _DOOR)} && python -I -S {_DOOR} {port} {_SOCKETS}/index"
        yield f"--volume={folder}:{_SOCKETS}", program


def given_out(log: str) -> tuple[tuple[str, str], ...]:
    """Return (``name==version``, sha256) of the files that a view gave out according to `log`, sorted."""
    found: set[tuple[str, str]] = set()
    for match in _GIVEN.finditer(log):
        pin = _pin(match[1])
        if pin:
            found.add((pin, match[2]))
    return tuple(sorted(found))


def requirement(pin: str, sha256: str = "") -> Material:
    """Return a build requirement as a material; its URI is the package URL, ``pkg:pypi/name@version``."""
    name, _, version = pin.partition("==")
    return Material(name=pin, kind="build-requirement", uri=f"pkg:pypi/{name}@{version}", sha256=sha256)


def _pin(filename: str) -> str:
    try:
        name, version = parse_wheel_filename(filename)[:2] if filename.endswith(".whl") else parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""
    return f"{canonicalize_name(name)}=={version}"
