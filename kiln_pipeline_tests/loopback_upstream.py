"""A real simple index on 127.0.0.1, with faults to order: what upstream can do to us, over real sockets. Not for production.

with LoopbackUpstream({"markupsafe": page}, {"MarkupSafe-2.0.1.tar.gz": data}) as upstream:
    upstream.fault("markupsafe", "truncated", times=1)
    SimpleApiUpstream(upstream.url).project_page("markupsafe")
"""

import gzip
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal, Self
from urllib.parse import urlsplit

DATA = Path(__file__).parent / "data"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"

Fault = (
    int
    | Literal[
        "truncated",  # Content-Length promises twice what comes
        "cut",  # the first half, then the line breaks
        "no-ranges",  # the right answer, whole, whatever part was asked for
        "wrong-range",  # another part than the one that was asked for
        "truncated-chunks",  # a chunked body without its last chunk
        "malformed",  # half a JSON document, with a right Content-Length
        "html",  # a login page with status 200
        "slow",  # nothing for `seconds`, then the right answer
        "drip",  # the right answer, a byte every `seconds`
        "wrong-bytes",  # one byte of the body is another
        "huge",  # a body without end
        "gzip",  # the right answer, compressed
        "gzip-bomb",  # 20 MB of spaces in 20 kB
        "gzip-broken",  # other bytes in the middle of the stream
        "retry-after-nonsense",
        "retry-after",  # 503 with Retry-After: `seconds`
        "redirect",  # 302 to the same path, with a query
        "redirect-loop",
        "redirect-ftp",
        "same-etag-500",  # an error page under the right ETag
    ]
)
"""A number answers with that status."""


@dataclass(slots=True)
class _Ordered:
    kind: Fault
    times: int | None
    seconds: float


def captured_page(project: str) -> dict[str, Any]:
    """Return a captured page of data/pages as JSON."""
    return json.loads((DATA / "pages" / f"{project}.json").read_text())


def captured_sdists() -> dict[str, bytes]:
    """Return the captured sdists of data/sdists by filename."""
    return {path.name: path.read_bytes() for path in sorted((DATA / "sdists").iterdir())}


class LoopbackUpstream:
    """Serves `pages` at ``/simple/<project>/`` as they are, file URLs apart, and `files` at ``/files/<filename>``.

    File URLs that are relative or on files.example.org point to this server. `requests` has every path that was asked for.
    """

    def __init__(
        self, pages: Mapping[str, Mapping[str, Any]], files: Mapping[str, bytes] | None = None, *, etags: bool = False
    ) -> None:
        self.etags = etags
        self.files = dict(files or {})
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.extra: dict[str, dict[str, str]] = {}
        self._faults: dict[str, _Ordered] = {}
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.origin}/simple/"
        self._bodies: dict[str, bytes] = {}
        for project, page in pages.items():
            self.set_page(project, page)

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def set_page(self, project: str, page: Mapping[str, Any] | bytes | None) -> None:
        """Publish another page (bytes go out as they are), or none any more."""
        path = f"/simple/{project}/"
        if page is None:
            self._bodies.pop(path, None)
        else:
            self._bodies[path] = page if isinstance(page, bytes) else json.dumps(self._rewritten(page)).encode()

    def set_path(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Serve something beside the simple index, as it is."""
        self._bodies[path] = body
        self.extra[path] = dict(headers or {})

    def fault(self, path: str, kind: Fault, *, times: int | None = None, seconds: float = 1.0) -> None:
        """Answer the next `times` requests (None: all) of a path, a project or a filename with a fault."""
        with self._lock:
            self._faults[self._path(path)] = _Ordered(kind=kind, times=times, seconds=seconds)

    def mend(self, path: str) -> None:
        """Take a fault back."""
        with self._lock:
            self._faults.pop(self._path(path), None)

    def count(self, path: str) -> int:
        """Return how often a path, a project or a filename was asked for."""
        return self.requests.count(self._path(path))

    def _path(self, path: str) -> str:
        if path.startswith("/"):
            return path
        return f"/files/{path}" if path in self.files else f"/simple/{path}/"

    def _rewritten(self, page: Mapping[str, Any]) -> dict[str, Any]:
        return {**page, "files": [self._rewritten_file(file) for file in page.get("files", ())]}

    def _rewritten_file(self, file: Mapping[str, Any]) -> dict[str, Any]:
        ours = urlsplit(file["url"]).netloc in ("", "files.example.org")
        return {**file, "url": f"{self.origin}/files/{file['filename']}"} if ours else dict(file)

    def body(self, path: str) -> bytes | None:
        """Return what is served at a path, faults apart."""
        return self._bodies.get(path, self.files.get(path.removeprefix("/files/")))

    def noted(self, path: str, headers: Mapping[str, str]) -> _Ordered | None:
        """Note a request and return the fault to answer it with."""
        with self._lock:
            self.requests.append(path)
            self.headers.append(dict(headers))
            fault = self._faults.get(path)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    del self._faults[path]
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    upstream: LoopbackUpstream

    def process_request(self, request: Any, client_address: Any) -> None:
        self.upstream.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients under test hang up in the middle on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write for head and body
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        upstream = self.server.upstream
        path, _, query = self.path.partition("?")
        fault = upstream.noted(path, self.headers)
        body = upstream.body(path)
        if fault is not None and not (fault.kind == "redirect" and query):
            self._fault(fault, body or b"")
        elif body is None:
            self._answer(404, b"no such page", "text/plain")
        else:
            self._found(path, body)

    def _found(self, path: str, body: bytes) -> None:
        extra = dict(self.server.upstream.extra.get(path, {}))
        if self.server.upstream.etags:
            extra["ETag"] = _etag(body)
            if self.headers.get("If-None-Match") == extra["ETag"]:
                self._answer(304, b"", "", extra)
                return
        start = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if path.startswith("/files/") and start:
            extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._answer(206, body[int(start) :], "application/octet-stream", extra)
            return
        self._answer(200, body, JSON_TYPE if path.startswith("/simple/") else "application/octet-stream", extra)

    def _answer(self, status: int, body: bytes, content_type: str, extra: Mapping[str, str] | None = None) -> None:
        self._head(status, {"Content-Type": content_type, "Content-Length": str(len(body)), **(extra or {})})
        self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value and not (status == 304 and name == "Content-Length"):
                self.send_header(name, value)
        self.end_headers()

    def _fault(self, fault: _Ordered, body: bytes) -> None:
        match fault.kind:
            case int(status):
                self._answer(status, b"{}", JSON_TYPE)
            case "truncated":
                self._head(200, {"Content-Type": JSON_TYPE, "Content-Length": str(2 * len(body))})
                self._hang_up_after([body])
            case "truncated-chunks":
                self._head(200, {"Content-Type": JSON_TYPE, "Transfer-Encoding": "chunked"})
                self._hang_up_after([b"%x\r\n%b\r\n" % (len(body), body)])
            case "cut":
                self._head(200, {"Content-Type": JSON_TYPE, "Content-Length": str(len(body))})
                self._hang_up_after([body[: len(body) // 2]])
            case "no-ranges":
                self._answer(200, body, JSON_TYPE)
            case "wrong-range":
                self._answer(206, body[1:], JSON_TYPE, {"Content-Range": f"bytes 1-{len(body) - 1}/{len(body)}"})
            case "malformed":
                self._answer(200, body[: len(body) // 2], JSON_TYPE)
            case "html":
                self._answer(200, b"<!doctype html><title>Sign in</title>", "text/html")
            case "slow":
                time.sleep(fault.seconds)
                self._answer(200, body, JSON_TYPE)
            case "drip":
                self._head(200, {"Content-Type": JSON_TYPE, "Content-Length": str(len(body))})
                self._hang_up_after(_slowly(body, fault.seconds))
            case "wrong-bytes":
                self._answer(200, body[:-1] + bytes([body[-1] ^ 1]), "application/octet-stream")
            case "huge":
                self._head(200, {"Content-Type": JSON_TYPE, "Connection": "close"})
                self._hang_up_after(b" " * 65536 for _ in range(1 << 16))
            case "gzip":
                self._answer(200, gzip.compress(body), JSON_TYPE, {"Content-Encoding": "gzip"})
            case "gzip-bomb":
                self._answer(200, gzip.compress(b" " * 20_000_000, 1), JSON_TYPE, {"Content-Encoding": "gzip"})
            case "gzip-broken":
                data = gzip.compress(body)
                self._answer(200, data[:100] + bytes(100) + data[200:], JSON_TYPE, {"Content-Encoding": "gzip"})
            case "retry-after-nonsense":
                self._answer(503, b"", "", {"Retry-After": "soon"})
            case "retry-after":
                self._answer(503, b"", "", {"Retry-After": f"{fault.seconds:g}"})
            case "redirect" | "redirect-loop":
                self._answer(302, b"", "", {"Location": f"{self.path.partition('?')[0]}?again"})
            case "redirect-ftp":
                self._answer(302, b"", "", {"Location": f"ftp://files.example.org{self.path}"})
            case "same-etag-500":
                self._answer(500, b"{}", JSON_TYPE, {"ETag": _etag(body)})

    def _hang_up_after(self, parts: Any) -> None:
        self.close_connection = True
        with suppress(OSError):
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()


def _slowly(body: bytes, seconds: float) -> Iterator[bytes]:
    for number in range(len(body)):
        time.sleep(seconds)
        yield body[number : number + 1]


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
