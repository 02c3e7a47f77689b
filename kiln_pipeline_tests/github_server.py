"""A server on 127.0.0.1 that speaks the part of GitHub's REST API that has to do with releases, and keeps what it is told.

It behaves as GitHub is documented to, pagination, drafts, renamed files and leftovers of broken-off uploads included, and does
wrong what `faults` say, in order or by chance. `promise` is checked at every moment at which a release becomes visible.
"""

import hashlib
import json
import random
import re
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

Fault = Literal[
    "500",  # and nothing was done
    "500-after",  # and it was done
    "dropped",  # no answer, and nothing was done
    "dropped-after",  # no answer, and it was done
    "429",  # with Retry-After
    "403-rate",  # the hourly limit, with X-RateLimit-Reset
    "half",  # an upload breaks off, and leaves a file in the state "starter"
    "no-json",  # status 200 and a page of HTML, and it was done
]
FAULTS: tuple[Fault, ...] = ("500", "500-after", "dropped", "dropped-after", "429", "403-rate", "half", "no-json")
TOKEN = "a-token"
_NOW = 1_900_000_000


class GitHubServer:
    """One repository, owner/wheels, without any release."""

    def __init__(self, *, digests: bool = True, page: int = 100) -> None:
        self.releases: dict[int, dict[str, Any]] = {}
        self.assets: dict[int, dict[str, Any]] = {}
        self.contents: dict[int, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.chance: tuple[random.Random, float] | None = None
        self.promise: Callable[[str, dict[str, bytes]], None] = lambda tag, files: None
        self.broken: list[str] = []
        self.digests, self.page = digests, page
        self.retry_after = "1"
        self._number, self.lock = 0, Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def mutations(self) -> list[str]:
        return [request for request in self.requests if not request.startswith("GET ")]

    def visible(self) -> dict[str, dict[str, bytes]]:
        """Return what everybody sees: tag -> label of the file -> bytes."""
        return {each["tag_name"]: self.files(each["id"]) for each in self.releases.values() if not each["draft"]}

    def files(self, release: int) -> dict[str, bytes]:
        assets = [asset for asset in self.assets.values() if asset["release"] == release and asset["state"] == "uploaded"]
        return {asset["label"]: self.contents[asset["id"]] for asset in assets}

    def number(self) -> int:
        self._number += 1
        return self._number

    def next_fault(self) -> Fault | None:
        if self.faults:
            return self.faults.pop(0)
        if self.chance and self.chance[0].random() < self.chance[1]:
            return self.chance[0].choice(FAULTS)
        return None


class _Handler(BaseHTTPRequestHandler):
    github: GitHubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with self.github.lock:
            self.github.requests.append(f"{self.command} {self.path}")
            fault = self.github.next_fault()
            status, answer, headers = self._with(fault, body)
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        data = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _with(self, fault: Fault | None, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if fault == "500":
            return 500, {"message": "Server Error"}, {}
        if fault == "dropped":
            return 0, None, {}
        if fault == "429":
            return 429, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": self.github.retry_after}
        if fault == "403-rate":
            reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(_NOW + 5)}
            return 403, {"message": "API rate limit exceeded"}, reset
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}, {}
        done = self._do(body, half=fault == "half")
        if fault == "500-after":
            return 500, b"<html>", {}
        if fault == "dropped-after":
            return 0, None, {}
        return (200, b"<html>Unicorn!</html>", {}) if fault == "no-json" else done

    def _do(self, body: bytes, *, half: bool) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        missing = (404, {"message": "Not Found"}, {})
        if not parts.path.startswith(("/repos/owner/wheels/releases", "/uploads/")):
            return missing
        numbers = [int(number) for number in re.findall(r"/(\d+)", parts.path)]
        number, kind = (numbers or [0])[0], parts.path.split("/")[-2 if numbers else -1]
        github = self.github
        if self.command == "GET" and kind == "releases":
            return self._list(int(query.get("page", "1")), int(query["per_page"]))
        if self.command == "POST" and kind == "releases":
            return self._create(json.loads(body))
        if parts.path.startswith("/uploads/"):
            return self._upload(int(parts.path.split("/")[2]), query, body, half=half)
        table = github.assets if kind == "assets" else github.releases
        if number not in table:
            return missing
        if self.command == "GET":
            return 200, github.contents[number], {}
        if self.command == "PATCH":
            table[number].update(json.loads(body))
            release = table[number]
            try:
                github.promise(release["tag_name"], github.files(number))
            except AssertionError as error:
                github.broken.append(f"{release['tag_name']}: {error}")
            return 200, self._shown(release), {}
        del table[number]
        return 204, None, {}

    def _list(self, page: int, size: int) -> tuple[int, Any, dict[str, str]]:
        size = min(size, self.github.page)
        every = sorted(self.github.releases.values(), key=lambda release: -release["id"])
        rows = every[(page - 1) * size : page * size]
        more = f'<{self.github.url}/repos/owner/wheels/releases?per_page={size}&page={page + 1}>; rel="next"'
        return 200, [self._shown(row) for row in rows], {"Link": more} if page * size < len(every) else {}

    def _create(self, release: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if any(each["tag_name"] == release["tag_name"] and not each["draft"] for each in self.github.releases.values()):
            return 422, {"message": "Validation Failed", "errors": [{"code": "already_exists", "field": "tag_name"}]}, {}
        number = self.github.number()
        self.github.releases[number] = {**release, "id": number}
        return 201, self._shown(self.github.releases[number]), {}

    def _upload(self, release: int, query: dict[str, str], body: bytes, *, half: bool) -> tuple[int, Any, dict[str, str]]:
        if release not in self.github.releases:
            return 404, {"message": "Not Found"}, {}
        name = re.sub(r"[^A-Za-z0-9._-]", ".", query["name"])
        if any(asset["release"] == release and asset["name"] == name for asset in self.github.assets.values()):
            return 422, {"message": "Validation Failed", "errors": [{"code": "already_exists", "field": "name"}]}, {}
        number = self.github.number()
        data = body[: len(body) // 2] if half else body
        asset = {"id": number, "release": release, "name": name, "label": query["label"], "size": len(data)}
        asset["state"] = "starter" if half else "uploaded"
        if self.github.digests:
            asset["digest"] = None if half else f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.github.assets[number], self.github.contents[number] = asset, data
        return (502, {"message": "Bad Gateway"}, {}) if half else (201, asset, {})

    def _shown(self, release: dict[str, Any]) -> dict[str, Any]:
        number = release["id"]
        assets = [asset for asset in self.github.assets.values() if asset["release"] == number]
        return {**release, "assets": assets, "upload_url": f"{self.github.url}/uploads/{number}/assets{{?name,label}}"}


def now() -> float:
    """What time it is for a server whose hourly limit is used up."""
    return float(_NOW)
